"""Compile a network of your own: a plain float ONNX file, quantised by a default precision.

    python examples/own_model.py

Prints the number of bits that differ between the engines (0) and how many of the 1000 decisions
the firmware takes like the float network (989 or more).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

import samebits


def write_model(path: Path) -> None:
    """A 10-16-3 network with ReLU, as any framework exports it."""
    rng = np.random.default_rng(7)
    weights = {
        "w1": rng.normal(0, 0.4, (10, 16)),
        "b1": rng.normal(0, 0.2, 16),
        "w2": rng.normal(0, 0.4, (16, 3)),
        "b2": rng.normal(0, 0.2, 3),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h1"], "dense_1"),
        helper.make_node("Relu", ["h1"], ["r1"], "relu_1"),
        helper.make_node("Gemm", ["r1", "w2", "b2"], ["y"], "dense_2"),
    ]
    graph = helper.make_graph(
        nodes,
        "own",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 10])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)


def main() -> None:
    """The example."""
    x = np.random.default_rng(1).normal(0, 1, (1000, 10)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.onnx"
        write_model(path)
        target = samebits.Target(clock_mhz=320, precision="fixed<18,6>")
        design = samebits.Design.from_onnx(path, target)
        verification = design.verify(x, against=["onnxruntime"])
        wanted = onnxruntime.InferenceSession(str(path)).run(None, {"x": x})[0]
    answer = design.simulate(x)
    assert isinstance(answer, np.ndarray)
    same = int(np.sum(answer.argmax(axis=1) == np.asarray(wanted).argmax(axis=1)))
    for name, proven in design.ranges().items():
        if name in design.graph.layer_tensors:
            print(f"{name:<20} {proven.format!s:<28} {proven.verdict}")
    print(f"mismatching bits: {verification.mismatching_bits}")
    print(f"same decisions as the float network: {same} of 1000")


if __name__ == "__main__":
    main()
