"""The native emulator against ONNX Runtime (float32), hls4ml's csim and the clock.

    python benchmarks/native.py [--batch 4096]

One thread, the best of many calls, alternating. The jet tagger of networks.py: nanoseconds for an
event in a batch, and for one event alone through the C interface, called from C. Needs a C++
compiler.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from networks import NETWORKS, float_network
from timing import one_thread, random_events

_ALONE = """#include "emulator.h"
#include <chrono>
#include <cstdio>
int main() {{
    static float x[1000][{features}];
    double y[{classes}], sum = 0;
    for (int e = 0; e < 1000; ++e)
        for (int i = 0; i < {features}; ++i) x[e][i] = float((e * 31 + i * 17) % 41 - 20) / 8;
    double best = 1e9;
    for (int run = 0; run < 50; ++run) {{
        const auto start = std::chrono::steady_clock::now();
        for (int e = 0; e < 1000; ++e) {{
            const void* inputs[] = {{x[e]}};
            double* outputs[] = {{y}};
            samebits_predict(inputs, 1, outputs);
            sum += y[0];
        }}
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        best = took.count() < best ? took.count() : best;
    }}
    std::printf("%.1f %.3f\\n", best * 1e6, sum);
}}
"""


def measure(batch: int) -> dict[str, float]:
    """Nanoseconds per event, and the ratios."""
    import samebits
    from samebits.sim.onnx_engine import OnnxEngine

    converted = NETWORKS["jet tagger, 6 bits"].make()
    design = samebits.Design.from_hls4ml(converted)
    x = random_events(design, batch)
    session = OnnxEngine(float_network((16, 64, 32, 32, 5))).session
    name = session.get_inputs()[0].name
    native = design.native
    best = {"native": 1e9, "ONNX Runtime float32": 1e9}
    for _ in range(1000):
        for engine, run in (
            ("native", lambda: native.run([x])),
            ("ONNX Runtime float32", lambda: session.run(None, {name: x})),
        ):
            start = time.perf_counter()
            run()
            best[engine] = min(best[engine], time.perf_counter() - start)
    assert np.array_equal(design.simulate(x, engine="native"), design.simulate(x))
    numbers = {f"{engine}, ns/event": 1e9 * s / batch for engine, s in best.items()}
    numbers["native, one event alone, ns"] = alone_ns(design)
    with contextlib.redirect_stdout(io.StringIO()):
        converted.compile()
        few = x[:2000]
        start = time.perf_counter()
        converted.predict(few)
        csim_s = (time.perf_counter() - start) / len(few)
    numbers["csim predict, ns/event"] = 1e9 * csim_s
    numbers["ONNX Runtime / native"] = best["ONNX Runtime float32"] / best["native"]
    numbers["csim / native"] = csim_s * batch / best["native"]
    return numbers


def alone_ns(design: Any) -> float:
    """One event through the C interface, called from C."""
    from samebits.firmware.toolchain import find_cxx

    (features,) = (t.shape[0] for t in design.graph.tensors_of(design.graph.inputs))
    (classes,) = (t.shape[0] for t in design.graph.tensors_of(design.graph.outputs))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        design.emulator_source().write(folder)
        (folder / "main.cpp").write_text(_ALONE.format(features=features, classes=classes))
        flags = ["-std=c++17", "-O3", "-march=native", "-fno-trapping-math"]
        command = [*find_cxx().command, *flags, "main.cpp", "emulator.cpp", "-o", "run"]
        subprocess.run(command, cwd=folder, check=True, timeout=600)
        done = subprocess.run(
            ["./run"], cwd=folder, check=True, timeout=60, capture_output=True, text=True
        )
    return float(done.stdout.split()[0])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=4096)
    for name, number in measure(parser.parse_args().batch).items():
        print(f"{name:<32}{number:>12,.1f}")


if __name__ == "__main__":
    one_thread()
    main()
