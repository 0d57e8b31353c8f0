"""What the measurements of speed share: one thread, medians, events, choice of networks."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from samebits import Design

__all__ = ["chosen_names", "median_s", "one_thread", "random_events"]

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_TENSORFLOW = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}


def one_thread(without: Sequence[str] = ()) -> None:
    """Returns in a process that has one thread and none of the variables `without`.

    They are read when NumPy is imported: where they are not so yet, the script runs again in a
    process of its own, whose exit code becomes this one's.
    """
    ready = all(os.environ.get(name) == "1" for name in _THREADS)
    if ready and not any(name in os.environ for name in without):
        return
    environment = {**os.environ, **_TENSORFLOW, **dict.fromkeys(_THREADS, "1")}
    for name in without:
        environment.pop(name, None)
    command = [sys.executable, *sys.orig_argv[1:]]
    sys.exit(subprocess.run(command, env=environment, check=False).returncode)


def median_s(run: Callable[[], Any], repeats: int) -> float:
    """Median wall time of `repeats` calls after one warm-up call."""
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def random_events(design: Design, count: int) -> NDArray[np.float32]:
    """Normal numbers for a design of one input."""
    shape = design.graph.tensors[design.graph.inputs[0]].shape
    return np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)


def chosen_names(names: Iterable[str], parts: Sequence[str]) -> list[str]:
    """The names that contain one of the parts; all where there are no parts."""
    return [name for name in names if not parts or any(part in name for part in parts)]
