"""Speeds of every software engine side by side in one run, single thread, medians.

    python -P benchmarks/speed.py build/demo [--events 100000] [--json]

Needs a build directory that `samebits demo` made, a C++ compiler and the extra `train`'s data
loader; prints a table and the ratios that README quotes. Run it on an otherwise idle machine.

OpenBLAS chooses its kernels for the processor, as ONNX Runtime does; a variable of the environment
that forces others on it (OPENBLAS_CORETYPE) is left out, unless --forced-kernels asks for it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
KERNELS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def median_s(run: Callable[[], Any], repeats: int) -> float:
    """Median wall time of `repeats` calls after one warm-up call."""
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def float_network(model: Any) -> bytes:
    """The float32 network of the same shape: Gemm, Relu, Softmax."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    weights = [
        numpy_helper.to_array(t)
        for t in model.graph.initializer
        if len(t.dims) == 2 and min(t.dims) > 1
    ]
    rng = np.random.default_rng(0)
    nodes, initializers, value = [], [], "x"
    for number, weight in enumerate(weights):
        weight = rng.normal(size=weight.shape).astype(np.float32)
        bias = rng.normal(size=weight.shape[1]).astype(np.float32)
        initializers += [
            numpy_helper.from_array(weight, f"w{number}"),
            numpy_helper.from_array(bias, f"b{number}"),
        ]
        nodes.append(helper.make_node("Gemm", [value, f"w{number}", f"b{number}"], [f"g{number}"]))
        value = f"g{number}"
        if number < len(weights) - 1:
            nodes.append(helper.make_node("Relu", [value], [f"r{number}"]))
            value = f"r{number}"
    nodes.append(helper.make_node("Softmax", [value], ["y"]))
    graph = helper.make_graph(
        nodes,
        "float32",
        [helper.make_tensor_value_info("x", 1, ["N", weights[0].shape[0]])],
        [helper.make_tensor_value_info("y", 1, ["N", weights[-1].shape[1]])],
        initializers,
    )
    made: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10
    ).SerializeToString()
    onnx.checker.check_model(made)
    return made


def new_process_s(code: str, repeats: int = 5) -> float:
    """Median wall time of a new Python process that runs `code`."""

    def run() -> None:
        subprocess.run(
            [sys.executable, "-c", code], check=True, timeout=300, stdout=subprocess.DEVNULL
        )

    return median_s(run, repeats)


def measure(build: Path, events: int) -> dict[str, float]:
    """Every number in seconds."""
    import numpy as np
    import onnx

    import samebits
    from samebits.firmware.csim import CSimulation
    from samebits.sim.onnx_engine import OnnxEngine
    from samebits.train.data import load_jets

    design = samebits.Design.load(build)
    jets = load_jets().features
    x = np.resize(jets, (events, jets.shape[1]))
    model = onnx.load(build / "model.onnx")
    numbers: dict[str, float] = {}
    numbers["NumPy engine"] = median_s(lambda: design.simulate(x), 15)
    float32 = OnnxEngine(float_network(model), "all")
    session, name = float32.session, float32.session.get_inputs()[0].name
    numbers["native emulator"] = median_s(lambda: design.simulate(x, engine="native"), 15)
    numbers["ONNX Runtime, float32 network"] = median_s(lambda: session.run(None, {name: x}), 15)
    firmware = OnnxEngine(str(build / "firmware.onnx")).session
    name = firmware.get_inputs()[0].name
    numbers["ONNX Runtime, firmware.onnx"] = median_s(lambda: firmware.run(None, {name: x}), 7)
    quantized = OnnxEngine(str(build / "model.onnx")).session
    name = quantized.get_inputs()[0].name
    numbers["ONNX Runtime, model.onnx (QONNX)"] = median_s(
        lambda: quantized.run(None, {name: x}), 5
    )
    csim = CSimulation(build / "hls")
    start = time.perf_counter()
    csim.build(force=True)
    numbers["csim, compile"] = time.perf_counter() - start
    numbers["csim, samebits' runner"] = median_s(lambda: csim.run(x), 3)
    numbers["import samebits"] = new_process_s("import samebits") - new_process_s("pass")
    load = f"import samebits; d = samebits.Design.load({str(build)!r})"
    simulate = "import numpy as np; d.simulate(np.zeros((1, 16)))"
    numbers["build/ to first event, new process"] = new_process_s(f"{load}; {simulate}")
    compile_model = f"import samebits; d = samebits.Design.from_onnx({str(build / 'model.onnx')!r})"
    numbers["model.onnx to first event, new process"] = new_process_s(
        f"{compile_model}; {simulate}", 3
    )
    numbers["hls4ml predict"] = hls4ml_predict_s(build, events)
    return numbers


def hls4ml_predict_s(build: Path, events: int) -> float:
    """hls4ml's own compile() and predict() of the same model; the compile time is not counted."""
    import tempfile

    import numpy as np

    import samebits
    from samebits.train.data import load_jets

    design = samebits.Design.from_onnx(build / "model.onnx")
    graph = design._model_graph
    jets = load_jets().features
    x = np.ascontiguousarray(np.resize(jets, (events, jets.shape[1])))
    with tempfile.TemporaryDirectory() as folder:
        graph.config.config["OutputDir"] = folder
        graph.compile()
        return median_s(lambda: graph.predict(x), 3)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=Path, nargs="?", default=Path("build/demo"))
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--forced-kernels", action="store_true", help="keep OPENBLAS_CORETYPE")
    options = parser.parse_args()
    numbers = measure(options.build, options.events)
    numpy_s, float_s = numbers["NumPy engine"], numbers["ONNX Runtime, float32 network"]
    ratios = {
        "NumPy engine / hls4ml predict": numbers["hls4ml predict"] / numpy_s,
        "NumPy engine / ONNX Runtime float32": float_s / numpy_s,
        "firmware.onnx / NumPy engine (time)": numbers["ONNX Runtime, firmware.onnx"] / numpy_s,
    }
    if options.json:
        print(json.dumps({"events": options.events, "seconds": numbers, "ratios": ratios}))
        return
    kernels = os.environ.get("OPENBLAS_CORETYPE")
    forced = f", OpenBLAS kernels forced to {kernels}" if kernels else ""
    print(f"{options.events} events, one thread, medians{forced}")
    for name, seconds in numbers.items():
        print(f"{name:<42} {seconds:10.4f} s")
    for name, ratio in ratios.items():
        print(f"{name:<42} {ratio:10.2f} x")


if __name__ == "__main__":
    if any(os.environ.get(name) != "1" for name in THREADS) or (
        "--forced-kernels" not in sys.argv and any(name in os.environ for name in KERNELS)
    ):
        # OpenBLAS reads them when NumPy is imported: start again
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
        environment = {**os.environ, **quiet, **dict.fromkeys(THREADS, "1")}
        if "--forced-kernels" not in sys.argv:
            environment = {key: value for key, value in environment.items() if key not in KERNELS}
        arguments = [sys.executable, "-P", __file__, *sys.argv[1:]]
        sys.exit(subprocess.run(arguments, env=environment, check=False).returncode)
    main()
