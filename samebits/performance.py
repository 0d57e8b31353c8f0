"""How fast the software engines are on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors

if TYPE_CHECKING:
    from samebits.design import Design

__all__ = ["measure_performance"]


def measure_performance(design: Design, features: NDArray[Any] | None) -> Any:
    """Events per second of the software engines on this machine, median of 5 runs."""
    from samebits.report.facts import NotRun, PerformanceFacts, PerformanceRow, Quantity
    from samebits.sim.onnx_engine import OnnxEngine

    design = design.network
    graph, count = design.graph, 20_000
    if features is not None and len(graph.inputs) == 1:
        shape = graph.tensors[graph.inputs[0]].shape
        inputs = [np.resize(features, (count, *features.shape[1:])).reshape(count, *shape)]
    else:
        rng = np.random.default_rng(0)
        shapes = [graph.tensors[name].shape for name in graph.inputs]
        inputs = [rng.normal(0, 1, (count, *shape)).astype(np.float32) for shape in shapes]

    def rate(run: Callable[[], Any]) -> float:
        run()
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        return count / statistics.median(seconds)

    def row(name: str, tool: str, run: Callable[[], Any]) -> PerformanceRow:
        speed = Quantity(value=rate(run), unit="events/s", kind="measured", tool=tool)
        return PerformanceRow(name=name, result=speed)

    # BLAS threads that wait for a busy core would be all that is measured
    threads: AbstractContextManager[Any] = nullcontext()
    numpy_threads = "BLAS threads as set"
    with suppress(ImportError):
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        threads, numpy_threads = threadpool_limits(1), "one BLAS thread"
    with threads:
        rows = [row("NumPy engine", f"numpy {np.__version__}", lambda: design.simulate(inputs))]
    try:
        engine = OnnxEngine(design.firmware_onnx())
        rows.append(row("firmware.onnx", engine.tool, lambda: engine.run(inputs)))
    except (errors.MissingToolError, errors.UnsupportedError) as error:
        rows.append(PerformanceRow(name="firmware.onnx", result=NotRun(reason=str(error))))
    return PerformanceFacts(
        conditions=f"{count} events, NumPy with {numpy_threads}, ONNX Runtime on one thread, "
        "median of 5 runs, this machine",
        rows=tuple(rows),
    )
