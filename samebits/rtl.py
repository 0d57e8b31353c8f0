"""The RTL of a design: written, and found again if it is the design's."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits import __version__, errors, storage
from samebits.compile.emitters.interface import input_dtype
from samebits.compile.ir import Carrier
from samebits.compile.ops.boundary import input_mantissas, to_mantissas
from samebits.sim.stimuli import adversarial_inputs

if TYPE_CHECKING:
    from samebits.design import Design
    from samebits.firmware.rtl import Rtl
    from samebits.firmware.synthesis import Synthesis

__all__ = ["check_netlist", "present", "write"]

Progress = Callable[[int, int], None]
Mantissas = NDArray[Any]
_TESTBENCH_EVENTS = 500
_EXACT_BITS = 53  # the engine's answers are float64


def write(
    design: Design,
    folder: str | Path | None,
    language: str,
    clock_mhz: float | None,
    latency_cycles: int | None,
    progress: Progress | None,
) -> Rtl:
    """See `Design.rtl`."""
    from samebits.firmware.process import locked
    from samebits.firmware.rtl import write_rtl
    from samebits.firmware.rtl_testbench import write_testbench

    if folder is None:
        if design.folder is None:
            raise errors.UsageError("rtl: give a folder, or save the design first")
        folder = design.folder / storage.RTL
    storage.check_folder(Path(folder))
    source = Path(str(design.facts.get("source", "")))  # a file, or what the model was
    made = write_rtl(
        design.graph,
        folder,
        part=design.target.part,
        clock_mhz=design.target.clock_mhz if clock_mhz is None else clock_mhz,
        name=source.stem if source.suffix else "network",
        latency_cycles=latency_cycles,
        language=language,
        fingerprint=design.fingerprint,
        tools={"samebits": __version__, **design.facts.get("versions", {})},
        progress=progress,
    )
    if all(port.format.width <= _EXACT_BITS for port in made.outputs):
        vectors = _vectors(design, made)
        with locked(made.folder.parent):
            write_testbench(made, *vectors)
    return made


def _vectors(design: Design, made: Rtl) -> tuple[list[Mantissas], list[Mantissas]]:
    """Adversarial events and the NumPy engine's answers, both as mantissas."""
    graph = design.graph
    dtypes = [input_dtype(tensor.format) for tensor in graph.tensors_of(graph.inputs)]
    kinds = adversarial_inputs(graph, dtypes, 0).values()
    step = -(-sum(len(arrays[0]) for arrays in kinds) // _TESTBENCH_EVENTS)
    inputs = [np.concatenate(arrays)[::step] for arrays in zip(*kinds, strict=True)]
    answers = design.engine.run(inputs, graph.outputs)
    given = zip(inputs, made.inputs, strict=True)
    wanted = zip(answers, made.outputs, strict=True)
    return (
        [input_mantissas(x, port.format, Carrier.INT64) for x, port in given],
        [to_mantissas(y, port.format.lossless, Carrier.INT64) for y, port in wanted],
    )


def present(design: Design) -> Rtl | None:
    """The RTL in the design's folder; None if there is none.

    Raises:
        BuildError: it is damaged, or another design's.
    """
    from samebits.firmware.rtl import read_rtl

    if design.folder is None or not (design.folder / storage.RTL).is_dir():
        return None
    found = read_rtl(design.folder / storage.RTL)
    if found.fingerprint != design.fingerprint:
        raise errors.BuildError(
            f"{found.folder}: is the RTL of another design; write it again with `samebits rtl`"
        )
    return found


def check_netlist(
    design: Design,
    rtl: Rtl,
    synthesis: Synthesis,
    *,
    timeout_s: float,
    show: Callable[[int, int, str], None],
    progress: Callable[[str, int, int], None],
) -> Synthesis:
    """The synthesis with a note that its netlist has the NumPy engine's bits in every cycle.

    yosys' netlist takes the place of the RTL in the simulation of `verify`, with its adversarial
    events.

    Args:
        show: called with yosys' passes, `progress` with the simulation's events.

    Raises:
        MismatchError: a bit differs, or an answer comes in another cycle.
        UnsupportedError, MissingToolError, ToolError, BuildError: as for `write_netlist` and
            `verify`.
    """
    from samebits.firmware.synthesis import with_check, write_netlist
    from samebits.verify import ENGINES, comparison_events

    if synthesis.netlist_check:
        return synthesis
    with tempfile.TemporaryDirectory(prefix="samebits-") as temporary:
        other = copy.copy(design)
        other.folder = Path(temporary)
        place = other.folder / storage.RTL
        write_netlist(rtl, synthesis, place, timeout_s=timeout_s, progress=show)
        inputs, events, _ = comparison_events(design, None, True, 0)
        (report,) = ENGINES["rtl"](other, inputs, progress)
    count = f"{sum(events.values()):,} events"
    if report.status == "not run":
        raise errors.MissingToolError(report.detail)
    if report.status != "equal":
        raise errors.MismatchError(
            f"{rtl.folder}: the netlist of {synthesis.tools[0]} does not have the NumPy engine's "
            f"bits ({count}): {report.detail}"
        )
    simulator = report.tool.partition(",")[0]
    return with_check(
        *(rtl, synthesis),
        f"the netlist, simulated in {simulator} with {count}, gives the NumPy engine's bits: "
        f"0 of {report.bits:,} differ",
    )
