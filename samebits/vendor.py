"""Vendors' tools on a design: started in folders beside it, and what they have found."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from samebits import errors, storage
from samebits.compile.emitters.interface import input_dtype
from samebits.design import Design
from samebits.firmware import vitis
from samebits.firmware.rtl import Rtl
from samebits.firmware.vendor_reports import VendorResults, hls_results, rtl_results
from samebits.rtl import present
from samebits.sim.stimuli import adversarial_inputs

__all__ = ["SYNTHESIS", "build_hls", "build_rtl", "results_of_hls", "results_of_rtl"]

SYNTHESIS = "synthesis"  # the folder of all runs, in the build directory
_COSIM_EVENTS = 40
Line = Callable[[str], None]


def build_hls(
    design: Design,
    steps: Sequence[str],
    *,
    timeout_s: float,
    force: bool = False,
    env: Mapping[str, str] = os.environ,
    on_line: Line | None = None,
) -> vitis.Run:
    """Runs Vitis HLS (or Vivado HLS), and Vivado, on the design's HLS project.

    See `firmware.vitis.build_hls`. The co-simulation gets adversarial events.

    Raises:
        UsageError: the design has no HLS project on disk.
    """
    folder = _folder(design)
    if not (folder / storage.HLS).is_dir():
        raise errors.UsageError(
            f"{folder}: has no HLS project ({storage.HLS}/); write it with `samebits compile`"
        )
    return vitis.build_hls(
        folder / storage.HLS,
        folder / SYNTHESIS / storage.HLS,
        steps,
        timeout_s=timeout_s,
        events=_events(design) if "cosim" in steps else None,
        env=env,
        on_line=on_line,
        force=force,
    )


def build_rtl(
    design: Design,
    *,
    timeout_s: float,
    force: bool = False,
    env: Mapping[str, str] = os.environ,
    on_line: Line | None = None,
) -> tuple[Rtl, vitis.Run]:
    """Runs Vivado on the design's RTL; see `firmware.vitis.build_rtl`.

    Raises:
        UsageError: the design has no RTL on disk.
    """
    rtl = present(design)
    if rtl is None:
        raise errors.UsageError(
            f"{_folder(design)}: has no RTL; write it with `samebits rtl {_folder(design)}`"
        )
    return rtl, vitis.build_rtl(
        rtl,
        _folder(design) / SYNTHESIS / storage.RTL,
        timeout_s=timeout_s,
        env=env,
        on_line=on_line,
        force=force,
    )


def results_of_hls(design: Design, env: Mapping[str, str] = os.environ) -> VendorResults | None:
    """What has been reported of `hls/`, by `build_hls` or by hand; None without an HLS project.

    Raises:
        ToolError: a report that is truncated or cannot be read.
    """
    hls = design.folder / storage.HLS if design.folder else None
    if design.folder is None or hls is None or not hls.is_dir():
        return None
    run = vitis.finished(design.folder / SYNTHESIS / storage.HLS, hls)
    return hls_results(run.folder if run else hls, env)


def results_of_rtl(design: Design, rtl: Rtl) -> VendorResults:
    """What has been reported of the design's RTL, by `build_rtl` or by hand.

    Raises:
        ToolError: a report that is truncated or cannot be read.
    """
    folder = _folder(design) / SYNTHESIS / storage.RTL
    run = vitis.finished(folder, rtl.folder)
    return rtl_results(rtl, run.folder if run else rtl.folder)


def _folder(design: Design) -> Path:
    if design.folder is None:
        raise errors.UsageError("save the design first: the tools work on its folder")
    return design.folder


def _events(design: Design) -> tuple[list[list[float]], list[list[float]]]:
    """A sample of adversarial events and the engine's answers, one row for each event."""
    design = design.network
    graph = design.graph
    dtypes = [input_dtype(tensor.format) for tensor in graph.tensors_of(graph.inputs)]
    kinds = adversarial_inputs(graph, dtypes, 0).values()
    step = max(1, sum(len(arrays[0]) for arrays in kinds) // _COSIM_EVENTS)
    inputs = [np.concatenate(arrays)[::step] for arrays in zip(*kinds, strict=True)]
    outputs = design.engine.run(inputs, graph.outputs)
    rows = [[array.reshape(len(array), -1) for array in arrays] for arrays in (inputs, outputs)]
    given, wanted = (np.concatenate(arrays, axis=1).tolist() for arrays in rows)
    return given, wanted
