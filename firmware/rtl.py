"""The fixed-point graph as RTL: Verilog or VHDL of a pipeline that takes an event in every clock.

alkaid writes the pipeline; the top module around it has the ports, a valid bit and the reset.
Files: src/ (RTL and constraints), build_vivado_prj.tcl, build_quartus_prj.tcl, rtl.json (what an
integrator and the simulation must know) and README.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from samebits import errors
from samebits.compile.emitters.alkaid import alkaid_version, deep_recursion, trace
from samebits.compile.emitters.alkaid_size import MAX_OPERATIONS
from samebits.compile.emitters.interface import output_names
from samebits.compile.ir import Format, Graph
from samebits.compile.target import check_clock

from .estimate import DELAY_UNIT_NS, as_rtl, longest_delay
from .process import locked
from .rtl_text import Port, constraints, from_pipeline, identifiers, to_pipeline, top

__all__ = ["FACTS", "LANGUAGES", "Rtl", "read_rtl", "write_rtl"]

LANGUAGES = {"verilog": "v", "vhdl": "vhd"}
FACTS = "rtl.json"
RESULTS = ("simulation", "logs", "synthesis.json", "place_and_route.json")  # of tools on the RTL
SCHEMA = 2
_PORTS = ("clk", "rst", "in_valid", "out_valid")
_MOST_CYCLES = 1000
_WIDEST = 63
_PART = re.compile(r"[A-Za-z0-9._+-]+")
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_STAGE = re.compile(r"\blogic(\d+)\b")  # alkaid's names, the same in every network


@dataclass(frozen=True)
class Rtl:
    """RTL on disk, as rtl.json describes it.

    `latency_cycles`: clock edges from the one that takes an event to the one that shows its
    answer; both ends are registers. `worst_stage`: longest delay between two registers by alkaid's
    model, in its units; 0 without logic. `fingerprint` is the design's.
    """

    folder: Path
    top: str
    language: str
    part: str
    clock_mhz: float
    latency_cycles: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    tools: Mapping[str, str]
    fingerprint: str
    worst_stage: float

    @property
    def files_sha256(self) -> str:
        """A hash of rtl.json and of all RTL files."""
        digest = hashlib.sha256()
        for path in (self.folder / FACTS, *self.sources):
            digest.update(path.relative_to(self.folder).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    @property
    def sources(self) -> list[Path]:
        """All RTL files."""
        return sorted((self.folder / "src").rglob(f"*.{LANGUAGES[self.language]}"))


def write_rtl(
    graph: Graph,
    folder: str | os.PathLike[str],
    *,
    part: str,
    clock_mhz: float,
    name: str = "network",
    latency_cycles: int | None = None,
    language: str = "verilog",
    fingerprint: str = "",
    tools: Mapping[str, str] | None = None,
    max_operations: int = MAX_OPERATIONS,
    progress: Callable[[int, int], None] | None = None,
) -> Rtl:
    """Writes the RTL of a graph into a folder, in place of RTL that is there.

    What simulation and synthesis made of RTL that is there stays if the new RTL is the same.

    Args:
        graph: best simplified.
        part: the FPGA's full name, for the build scripts.
        clock_mhz: the clock; unless `latency_cycles` is given the pipeline is cut for it, with
            alkaid's delay unit taken as 1 ns (`estimate.CALIBRATION`).
        name: what the modules are called; anything, it is made an identifier.
        latency_cycles: how many stages the pipeline is cut into.
        language: "verilog" or "vhdl".
        fingerprint: the design's, kept in rtl.json.
        tools: versions to keep in rtl.json, besides alkaid's.
        max_operations: larger graphs are refused, as `alkaid_size` counts them.
        progress: called with the number of nodes done and their total.

    Raises:
        UsageError: a part, clock, number of cycles or language that makes no sense.
        MissingToolError: alkaid is not installed.
        UnsupportedError: too large a graph for unrolled logic, or numbers that alkaid cannot hold.
        BuildError: the folder holds something else, or cannot be written.
    """
    folder = Path(folder).resolve()
    _check_replaceable(folder)
    _check(part, clock_mhz, latency_cycles, language)
    prefix = identifiers([name], "")[0]
    prefix = prefix if prefix[0].isalpha() else f"n{prefix}"
    inputs, outputs = _ports(graph)
    traced = trace(graph, max_operations=max_operations, progress=progress)
    elements: list[Any] = [x for output in graph.outputs for x in traced.elements[output].flat]
    constants = {i: x for i, x in enumerate(elements) if isinstance(x, Fraction)}
    machine = None
    stages, worst = latency_cycles or 1, 0.0
    if len(constants) < len(elements):
        budget = 1000.0 / clock_mhz / DELAY_UNIT_NS
        machine, stages, worst = _pipeline(traced.logic(), budget, latency_cycles)
    made = Rtl(
        folder=folder,
        top=f"{prefix}_top",
        language=language,
        part=part,
        clock_mhz=float(clock_mhz),
        latency_cycles=stages,
        inputs=inputs,
        outputs=outputs,
        tools={**(tools or {}), "alkaid": alkaid_version()},
        fingerprint=fingerprint,
        worst_stage=worst,
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder.parent) as temporary:
            new, old = Path(temporary) / "new", Path(temporary) / "old"
            _write(made, new, f"{prefix}_pipeline", machine, constants)
            with locked(folder.parent):
                kept = _results(made, new)
                if folder.exists():
                    folder.rename(old)
                try:
                    new.rename(folder)
                except BaseException:
                    if old.exists():
                        old.rename(folder)
                    raise
                for name in kept:
                    (old / name).rename(folder / name)
    except OSError as error:
        raise errors.BuildError(f"{folder}: cannot be written: {error.strerror or error}") from None
    return made


def _results(made: Rtl, new: Path) -> list[str]:
    """What tools have made of the RTL that is there, if the new one is the same."""
    if not (made.folder / FACTS).is_file():
        return []
    if made.files_sha256 != replace(made, folder=new).files_sha256:
        return []
    return [name for name in RESULTS if (made.folder / name).exists()]


def _check_replaceable(folder: Path) -> None:
    empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not empty and not (folder / FACTS).is_file():
        raise errors.BuildError(
            f"{folder}: holds something that is no RTL (no {FACTS}); choose another folder"
        )


def _check(part: str, clock_mhz: float, latency_cycles: int | None, language: str) -> None:
    if not _PART.fullmatch(part):  # it stands in scripts
        raise errors.UsageError(f"rtl: {part!r} is no name of a part")
    check_clock(clock_mhz)
    if latency_cycles is not None and not 1 <= latency_cycles <= _MOST_CYCLES:
        raise errors.UsageError(
            f"rtl: the latency must be 1 to {_MOST_CYCLES} cycles, got {latency_cycles}"
        )
    if language not in LANGUAGES:
        raise errors.UsageError(f"rtl: no language {language!r}; languages: {', '.join(LANGUAGES)}")


def _ports(graph: Graph) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    found = []
    for prefix, tensors, names in (
        ("in_", graph.inputs, list(graph.inputs)),
        ("out_", graph.outputs, output_names(graph)),
    ):
        ports = identifiers(names, prefix, _PORTS)
        found.append(
            tuple(
                Port.of(port, name, tensor)
                for port, name, tensor in zip(ports, names, graph.tensors_of(tensors), strict=True)
            )
        )
    for port in (*found[0], *found[1]):
        if not port.bits or port.format.width > _WIDEST:
            raise errors.UnsupportedError(
                f"rtl: {port.name} ({port.format}, {port.elements} elements): RTL takes formats of "
                f"1 to {_WIDEST} bits"
            )
    return found[0], found[1]


def _pipeline(logic: Any, budget: float, latency_cycles: int | None) -> tuple[Any, int, float]:
    """alkaid's machine, registers at both ends, the number of its stages and their worst delay."""
    from alkaid.trace.pipeline import to_pipeline as cut  # type: ignore[import-untyped]

    with deep_recursion():
        if latency_cycles is not None:
            machine = cut(as_rtl(logic), n_stages=latency_cycles, verbose=False)
        else:
            machine = cut(as_rtl(logic), latency_cutoff=budget, verbose=False)
    # the output is there one edge after the last stage's input, counted from the ports
    (out,) = machine.out_signals
    return machine, int(out.schedule.bias) - 1, longest_delay(machine.logic.values())


def _write(
    rtl: Rtl, folder: Path, pipeline: str, machine: Any, constants: Mapping[int, Fraction]
) -> None:
    suffix = LANGUAGES[rtl.language]
    source = folder / "src"
    source.mkdir(parents=True)
    ports, module, pieces = (rtl.inputs, rtl.outputs), None, []
    if machine is None:
        pieces = from_pipeline(rtl.outputs, None, constants, "")
    else:
        (given,), (made,) = machine.inp_signals, machine.out_signals
        module = pipeline, given.width, made.width
        pieces = to_pipeline(rtl.inputs, given.precisions, "model_inp")
        pieces += from_pipeline(rtl.outputs, made.precisions, constants, "model_out")
        _write_pipeline(rtl, folder, pipeline, machine)
    text = top(rtl.language, rtl.top, ports, rtl.latency_cycles, module, pieces)
    (source / f"{rtl.top}.{suffix}").write_text(text, encoding="ascii")
    limits = constraints(ports, 1000.0 / rtl.clock_mhz)
    for ending in ("xdc", "sdc"):
        (source / f"{rtl.top}.{ending}").write_text(limits, encoding="ascii")
    (folder / FACTS).write_text(json.dumps(_facts(rtl), indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(rtl), encoding="utf-8")


def _write_pipeline(rtl: Rtl, folder: Path, pipeline: str, machine: Any) -> None:
    """alkaid's files: RTL with names of this network's own, and build scripts of our top."""
    from alkaid.codegen import RTLModel  # type: ignore[import-untyped]

    with tempfile.TemporaryDirectory(prefix="samebits-") as temporary, deep_recursion():
        place = Path(temporary) / "alkaid"
        RTLModel(
            machine,
            place,
            pipeline,
            flavor=rtl.language,
            part_name=rtl.part,
            clock_period=1000.0 / rtl.clock_mhz,
            ternary_fuse=False,  # done before the pipeline was cut
        ).write()
        suffix = LANGUAGES[rtl.language]
        stem = pipeline.removesuffix("pipeline")
        for path in sorted((place / "src").glob(f"*.{suffix}")):
            if path.stem != f"{pipeline}_wrapper":
                new = _STAGE.sub(rf"{stem}logic\1", path.stem)
                text = _STAGE.sub(rf"{stem}logic\1", path.read_text(encoding="utf-8"))
                (folder / "src" / f"{new}.{suffix}").write_text(text, encoding="utf-8")
        shutil.copytree(place / "src" / "static", folder / "src" / "static")
        for path in sorted(place.glob("build_*.tcl")):
            text = path.read_text(encoding="utf-8")
            old, new = f'set project_name "{pipeline}"', f'set project_name "{rtl.top}"'
            (folder / path.name).write_text(text.replace(old, new), encoding="utf-8")


def _facts(rtl: Rtl) -> dict[str, Any]:
    def described(ports: Sequence[Port]) -> list[dict[str, Any]]:
        return [
            {
                "port": port.port,
                "name": port.name,
                "shape": list(port.shape),
                "format": str(port.format),
                "bits": port.bits,
                "elements": [
                    [(i + 1) * port.format.width - 1, i * port.format.width]
                    for i in range(port.elements)
                ],
            }
            for port in ports
        ]

    return {
        "schema": SCHEMA,
        "top": rtl.top,
        "language": rtl.language,
        "part": rtl.part,
        "clock_mhz": rtl.clock_mhz,
        "latency_cycles": rtl.latency_cycles,
        "initiation_interval": 1,
        "worst_stage": rtl.worst_stage,
        "tools": dict(rtl.tools),
        "fingerprint": rtl.fingerprint,
        "inputs": described(rtl.inputs),
        "outputs": described(rtl.outputs),
    }


def read_rtl(folder: str | os.PathLike[str]) -> Rtl:
    """The RTL that `write_rtl` wrote into a folder.

    Raises:
        BuildError: none there, or damaged.
    """
    path = Path(folder) / FACTS
    try:
        facts = json.loads(path.read_bytes())
        if facts["schema"] != SCHEMA:
            raise errors.BuildError(f"{path}: of another version of samebits; write it again")

        def ports(key: str) -> tuple[Port, ...]:
            return tuple(
                Port(x["port"], x["name"], tuple(x["shape"]), Format.parse(x["format"]))
                for x in facts[key]
            )

        # these stand in scripts and sources
        names = [facts["top"], *(x["port"] for way in ("inputs", "outputs") for x in facts[way])]
        if not (all(map(_IDENTIFIER.fullmatch, names)) and _PART.fullmatch(facts["part"])):
            raise ValueError("names that are none")
        if facts["language"] not in LANGUAGES:
            raise ValueError(f"no language {facts['language']!r}")
        check_clock(facts["clock_mhz"])
        return Rtl(
            folder=path.parent,
            inputs=ports("inputs"),
            outputs=ports("outputs"),
            **{
                key: facts[key]
                for key in (
                    *("top", "language", "part", "clock_mhz", "latency_cycles"),
                    *("tools", "fingerprint", "worst_stage"),
                )
            },
        )
    except FileNotFoundError:
        raise errors.BuildError(f"{path.parent}: holds no RTL (no {FACTS})") from None
    except (
        *(OSError, ValueError, LookupError, TypeError),
        *(errors.FormatError, errors.UsageError),
    ) as error:
        raise errors.BuildError(
            f"{path}: is damaged ({type(error).__name__}: {error}); write the RTL again"
        ) from None


def _readme(rtl: Rtl) -> str:
    rows = "\n".join(
        f"| `{port.port}` | {way} | {port.bits} | {_cell(port.name)} | {list(port.shape)} "
        f"| `{port.format}` |"
        for way, ports in (("in", rtl.inputs), ("out", rtl.outputs))
        for port in ports
    )
    stages, suffix = rtl.latency_cycles, LANGUAGES[rtl.language]
    return f"""# {rtl.top}

A pipeline that takes one event in every clock cycle (initiation interval 1).

| port | direction | bits | tensor | shape | format of an element |
|---|---|---|---|---|---|
| `clk` | in | 1 | | | |
| `rst` | in | 1 | synchronous, active high: forgets all events under way | | |
| `in_valid` | in | 1 | the inputs hold an event | | |
{rows}
| `out_valid` | out | 1 | the outputs hold its answer | | |

Element i, counted in C order of the shape, has the bits [i*w + w-1 : i*w] of its port, w being its
width: a mantissa, in two's complement where the format is signed (ap_fixed), times
2**-(width - integer). `rtl.json` lists the bits of every element.

Latency: {stages} clock cycles ({stages * 1000 / rtl.clock_mhz:.6g} ns at {rtl.clock_mhz:g} MHz)
from the edge that takes an event to the edge after which `out_valid` and the answer are there.
Inputs and outputs are registers; a circuit that drives the inputs from registers of its own and
reads the outputs with the next edge counts {stages + 1} cycles. The data registers have no reset.

The pipeline is cut for alkaid's delay model and relies on the synthesiser's retiming. Whether the
clock is met is for synthesis and place and route to say: `vivado -mode batch -source
build_vivado_prj.tcl` or `quartus_sh -t build_quartus_prj.tcl`. Without them: src/{rtl.top}.{suffix}
is the top module, src/**/*.{suffix} are all files. `testbench/`, where it is, holds a self-checking
testbench: run it in that folder.

Written by: {", ".join(f"{name} {version}" for name, version in rtl.tools.items())}.
"""


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
