"""Run compiled firmware where samebits is not installed: onnxruntime and numpy are enough.

    python examples/firmware_onnx.py build/demo/firmware.onnx

Prints the formats stored in the file and the firmware's answer to one event of zeros.
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime


def main(path: str) -> None:
    """The example."""
    session = onnxruntime.InferenceSession(path)
    feed = {}
    for value in session.get_inputs():
        dtype = np.float64 if value.type == "tensor(double)" else np.float32
        feed[value.name] = np.zeros((1, *value.shape[1:]), dtype)
    for key, text in sorted(session.get_modelmeta().custom_metadata_map.items()):
        print(f"{key}: {text}")
    for value, answer in zip(session.get_outputs(), session.run(None, feed), strict=True):
        print(f"{value.name}: {np.asarray(answer)[0].tolist()}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/firmware_onnx.py build/demo/firmware.onnx")
    main(sys.argv[1])
