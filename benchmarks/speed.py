"""Speeds of every software engine side by side in one run, single thread, medians.

    python benchmarks/speed.py build/demo [--events 100000] [--json]

Needs a build directory that `samebits demo` made, a C++ compiler and the extra `train`'s data
loader; prints a table and the ratios that README quotes. Run it on an otherwise idle machine.

OpenBLAS chooses its kernels for the processor, as ONNX Runtime does; a variable of the environment
that forces others on it (OPENBLAS_CORETYPE) is left out, unless --forced-kernels asks for it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from networks import float_network
from timing import median_s, one_thread

KERNELS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def new_process_s(code: str, repeats: int = 5) -> float:
    """Median wall time of a new Python process that runs `code`."""

    def run() -> None:
        subprocess.run(
            [sys.executable, "-c", code], check=True, timeout=300, stdout=subprocess.DEVNULL
        )

    return median_s(run, repeats)


def onnx_s(engine: Any, x: Any, repeats: int) -> float:
    """Median wall time of an `OnnxEngine` of one input; only the session runs."""
    session, name = engine.session, engine.session.get_inputs()[0].name
    return median_s(lambda: session.run(None, {name: x}), repeats)


def measure(build: Path, events: int) -> dict[str, float]:
    """Every number in seconds."""
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
    numbers["native emulator"] = median_s(lambda: design.simulate(x, engine="native"), 15)
    sizes = [tuple(each.dims) for each in model.graph.initializer if len(each.dims) == 2]
    sizes = [pair for pair in sizes if min(pair) > 1]
    float32 = OnnxEngine(float_network((sizes[0][0], *(n_out for _, n_out in sizes))), "all")
    numbers["ONNX Runtime, float32 network"] = onnx_s(float32, x, 15)
    firmware = OnnxEngine(str(build / "firmware.onnx"))
    numbers["ONNX Runtime, firmware.onnx"] = onnx_s(firmware, x, 7)
    numbers["ONNX Runtime, model.onnx (QONNX)"] = onnx_s(
        OnnxEngine(str(build / "model.onnx")), x, 5
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
    one_thread(without=() if "--forced-kernels" in sys.argv else KERNELS)
    main()
