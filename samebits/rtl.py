"""The RTL of a design: written, and found again if it is the design's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits import __version__, errors, storage
from samebits.compile.emitters.onnx import input_dtype
from samebits.compile.ir import Carrier
from samebits.compile.ops.boundary import input_mantissas, to_mantissas
from samebits.sim.stimuli import adversarial_inputs

if TYPE_CHECKING:
    from samebits.design import Design
    from samebits.firmware.rtl import Rtl

__all__ = ["present", "write"]

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
    from samebits.firmware.rtl import write_rtl
    from samebits.firmware.rtl_testbench import write_testbench

    if folder is None:
        if design.folder is None:
            raise errors.UsageError("rtl: give a folder, or save the design first")
        folder = design.folder / storage.RTL
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
        write_testbench(made, *_vectors(design, made))
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
