"""`firmware.onnx` against the NumPy engine and against ONNX Runtime on the QONNX file.

    python benchmarks/firmware_onnx.py [NAME ...] [--repeats 7] [--json]

Two QKeras networks with random weights are exported to QONNX and compiled. One thread; the engines
take turns in every round, each with the number of events at a time that suits it best, and the
medians count. All answers of the NumPy engine and firmware.onnx are compared. Needs the extra
`train`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from timing import chosen_names, one_thread, random_events

_CHUNKS = (16, 64, 256, 1024, 4096, 16384)


def jet_tagger(kit: Any) -> Any:
    """16-64-32-32-5, 6 bits (Coelho et al., arXiv:2006.10159)."""
    layers, qkeras, weights = kit.keras.layers, kit.qkeras, "quantized_bits(6,0,alpha=1)"
    stack = [layers.Input((16,)), qkeras.QActivation("quantized_bits(16,5,alpha=1)")]
    for units in (64, 32, 32):
        stack.append(qkeras.QDense(units, kernel_quantizer=weights, bias_quantizer=weights))
        stack.append(qkeras.QActivation("quantized_relu(6,2)"))
    stack.append(qkeras.QDense(5, kernel_quantizer=weights, bias_quantizer=weights))
    return kit.keras.Sequential([*stack, layers.Activation("softmax")])


def svhn_cnn(kit: Any) -> Any:
    """Three convolutions, three dense layers on 32x32x3, 8 bits (arXiv:2101.05108)."""
    layers, qkeras, weights = kit.keras.layers, kit.qkeras, "quantized_bits(8,1,alpha=1)"
    quantizers = {"kernel_quantizer": weights, "bias_quantizer": weights}
    stack = [layers.Input((32, 32, 3))]
    stack.append(qkeras.QActivation("quantized_bits(8,0,keep_negative=0,alpha=1)"))
    for filters in (16, 16, 24):
        stack.append(qkeras.QConv2D(filters, 3, **quantizers))
        stack += [qkeras.QActivation("quantized_relu(8,3)"), layers.MaxPooling2D()]
    stack.append(layers.Flatten())
    for units in (42, 64):
        stack.append(qkeras.QDense(units, **quantizers))
        stack.append(qkeras.QActivation("quantized_relu(8,3)"))
    stack.append(qkeras.QDense(10, **quantizers))
    return kit.keras.Sequential([*stack, layers.Activation("softmax")])


# the network, events, and io_type: wide images in io_parallel are a matter of minutes for hls4ml
NETWORKS: dict[str, tuple[Callable[[Any], Any], int, str]] = {
    "jet tagger, 6 bits": (jet_tagger, 65_536, "io_parallel"),
    "SVHN CNN, 8 bits": (svhn_cnn, 1_024, "io_stream"),
}


def measure(name: str, repeats: int) -> dict[str, float]:
    """Events per second of the three engines, and how many numbers differ."""
    import samebits
    from samebits.compile.frontends.keras import export_keras
    from samebits.sim.onnx_engine import OnnxEngine
    from samebits.train.tensorflow import load

    make, events, io_type = NETWORKS[name]
    model = export_keras(make(load()))
    strategy = "Latency" if io_type == "io_parallel" else "Resource"
    target = samebits.Target(io_type=io_type, strategy=strategy)
    design = samebits.Design.from_onnx(model, target)
    x = random_events(design, events)
    runs: dict[tuple[str, int], Callable[[], Any]] = {
        ("NumPy engine", 0): lambda: design.simulate(x)
    }
    sessions = {
        "firmware.onnx": OnnxEngine(design.firmware_onnx()).session,
        "model.onnx (QONNX)": OnnxEngine(model).session,
    }
    for engine, session in sessions.items():
        port = session.get_inputs()[0]
        fed = x.reshape(len(x), *(size for size in port.shape[1:]))

        def run(chunk: int, session: Any = session, port: Any = port, fed: Any = fed) -> list[Any]:
            starts = range(0, events, chunk)
            return [session.run(None, {port.name: fed[i : i + chunk]})[0] for i in starts]

        for chunk in _CHUNKS:
            if chunk <= events:
                runs[engine, chunk] = lambda run=run, chunk=chunk: run(chunk)
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in runs}
    for _ in range(repeats + 1):
        for key, call in runs.items():
            start = time.perf_counter()
            call()
            seconds[key].append(time.perf_counter() - start)
    medians = {key: statistics.median(times[1:]) for key, times in seconds.items()}
    row: dict[str, float] = {}
    for engine in ("NumPy engine", *sessions):
        best, chunk = min((value, key[1]) for key, value in medians.items() if key[0] == engine)
        row[f"{engine}, events/s"] = events / best
        row[f"{engine}, events at a time"] = chunk or design.engine.chunk_events
    answers = np.concatenate(runs["firmware.onnx", 64]())
    row["differing numbers"] = int(np.count_nonzero(answers != design.simulate(x)))
    return row


def main() -> int:
    """Prints the table; 1 if a number differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names; all networks without")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = chosen_names(NETWORKS, options.names)
    results = {name: measure(name, options.repeats) for name in names}
    if options.json:
        print(json.dumps(results))
    else:
        for name, row in results.items():
            print(name)
            for what, value in row.items():
                print(f"  {what:<42}{value:>14,.0f}")
    return int(any(row["differing numbers"] for row in results.values()))


if __name__ == "__main__":
    one_thread()
    sys.exit(main())
