"""Vitis HLS and Vivado, run on a copy of an HLS project or of RTL.

A run happens in a folder of its own, which takes its place when all reports are there and can be
read; its log stands beside it whatever happens. A run is used again while sources, tool and steps
are the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samebits import errors

from . import process
from .hls_project import HlsProject, read_project
from .rtl import Rtl
from .vendor_reports import check_memories, hls_results, rtl_results
from .vendor_tools import VIVADO, FoundProgram, find, hls_of

__all__ = [
    "HLS_STEPS",
    "RECORD",
    "Run",
    "build_hls",
    "build_rtl",
    "finished",
    "milestone",
]

HLS_STEPS = ("csynth", "cosim", "vivado", "route")  # a later one may need an earlier one
RECORD = "samebits_build.json"
LOG = "build.log"
_LEFT_BEHIND = ("csim", "*_prj", "output_*", "*.rpt", "*.log", "*.jou", "*.str", RECORD)
_PLAIN = re.compile(r"[A-Za-z0-9_./+=@,~-]+")
_MILESTONE = re.compile(
    r"^\*{5} (?P<stage>.*?) \*{5}$"
    r"|\[HLS [0-9-]+\] (?P<hls>(?:-- )?(?:Starting|Implementing|Generating|Analyzing|Creating"
    r"|Finished|Linking|Compiling|Running)\b.*)"
    r"|^(?P<vivado>(?:Starting|Finished|Phase \d+(?:\.\d+)*) .*)"
    r"|^(?P<command>\w+_design)(?: completed successfully|: Time)"
    r"|\[COSIM \S+\] (?P<cosim>.*)"
)
_VIVADO_SCRIPT = "samebits_vivado.tcl"
_log = logging.getLogger("samebits")


@dataclass(frozen=True)
class Run:
    """A finished run: where its reports are and which tool made each step.

    `reused`: it was there before.
    """

    folder: Path
    steps: Mapping[str, str]
    seconds: float
    reused: bool

    @property
    def tool(self) -> str:
        """All tools, as "Vitis HLS 2023.2, Vivado 2023.2"."""
        return ", ".join(dict.fromkeys(self.steps.values()))


def milestone(line: str) -> str | None:
    """What a line of the log says of the progress; None for most lines."""
    found = _MILESTONE.search(line.strip())
    return next(filter(None, found.groups()), None) if found else None


def finished(folder: Path, sources: Path) -> Run | None:
    """The run in a folder, if it was made from these sources. Never raises for a damaged one."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
        if record["sources"] != _digest(sources):
            return None
        return Run(folder, dict(record["steps"]), float(record["seconds"]), True)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def build_hls(
    hls: Path,
    target: Path,
    steps: Sequence[str] = ("csynth",),
    *,
    timeout_s: float,
    events: tuple[Sequence[Sequence[float]], Sequence[Sequence[float]]] | None = None,
    env: Mapping[str, str] = os.environ,
    on_line: Callable[[str], None] | None = None,
    force: bool = False,
) -> Run:
    """Runs Vitis HLS, and Vivado for the steps `vivado` and `route`, on an HLS project.

    Args:
        hls: the project; it is only read.
        target: the folder to make; its log is `<target>.log`. After a failure what the tool left
            is in `<target>.failed`.
        steps: some of `HLS_STEPS`; those that they need are added.
        timeout_s: for each program.
        events: inputs and outputs, for the test bench of the co-simulation.
        on_line: called with every line that the tools print.
        force: run again even if nothing has changed.

    Raises:
        MissingToolError: a tool is not there.
        ToolError: a tool fails, takes too long, or leaves no complete reports.
        BuildError: no HLS project, a folder that cannot be written or that AMD's tools cannot
            take, or another run going on there.
    """
    project = read_project(hls)
    wanted = {"csynth", *steps, *(("vivado",) if "route" in steps else ())}
    tool = find(hls_of(project.backend), env)
    vivado = find(VIVADO, env) if "vivado" in wanted else None
    tools = {
        step: str(vivado if vivado and step in ("vivado", "route") else tool)
        for step in HLS_STEPS
        if step in wanted
    }
    if tool.untested:
        _log.warning("%s: not among the releases that hls4ml names (%s)", tool, tool.program.tested)
    hls_steps = {step: made_by for step, made_by in tools.items() if step in ("csynth", "cosim")}

    def work(folder: Path, log: Path, old: Run | None) -> None:
        if old is None:
            _write_steps(folder, project, tuple(tools), events)
            command, what = _hls_command(tool, tuple(tools)), f"{tool.program.name} of {hls}"
            _run(command, what, folder, log, timeout_s, env, on_line)
        if vivado is not None:
            (folder / _VIVADO_SCRIPT).write_text(_vivado_script(project, "route" in wanted))
            command, log = _vivado_command(vivado, _VIVADO_SCRIPT), _beside(log, "vivado")
            _run(command, f"Vivado of {hls}", folder, log, timeout_s, env, on_line)
        _check_hls(folder, tuple(tools))

    return _made(hls, target, tools, hls_steps, work, force)


def build_rtl(
    rtl: Rtl,
    target: Path,
    *,
    timeout_s: float,
    env: Mapping[str, str] = os.environ,
    on_line: Callable[[str], None] | None = None,
    force: bool = False,
) -> Run:
    """Runs Vivado (synthesis, placement, routing) on RTL, by the script in its folder.

    Arguments and errors as for `build_hls`.
    """
    vivado = find(VIVADO, env)

    def work(folder: Path, log: Path, old: Run | None) -> None:
        command = _vivado_command(vivado, "build_vivado_prj.tcl")
        _run(command, f"Vivado of {rtl.folder}", folder, log, timeout_s, env, on_line)
        if not any(row.source == "rtl/, Vivado" for row in rtl_results(rtl, folder).resources):
            raise errors.ToolError(
                f"{vivado.program.name} ended well but left no reports in {folder}"
            )

    steps = {"route": str(vivado)}
    return _made(rtl.folder, target, steps, steps, work, force)


def _made(
    sources: Path,
    target: Path,
    steps: Mapping[str, str],
    kept: Mapping[str, str],
    work: Callable[[Path, Path, Run | None], None],
    force: bool,
) -> Run:
    """The finished run in `target`: an old one that fits, or a new one.

    `work` gets a copy of the sources, or of an old run of the same sources that has the steps
    `kept`, and the log's name.
    """
    target = target.resolve()
    if not _PLAIN.fullmatch(str(target)):
        raise errors.BuildError(
            f"{target}: AMD's tools take no path with blanks or letters beyond ASCII; move the "
            "build directory to another place"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            old = None if force else finished(target, sources)
            if old is not None and steps.items() <= old.steps.items():
                return old
            if old is not None and not kept.items() <= old.steps.items():
                old = None
            return _new(sources, target, steps, work, old)
    except OSError as error:
        raise errors.BuildError(
            f"{error.filename or target}: cannot be written: {error.strerror or error}"
        ) from None


def _new(
    sources: Path,
    target: Path,
    steps: Mapping[str, str],
    work: Callable[[Path, Path, Run | None], None],
    old: Run | None,
) -> Run:
    started, digest = time.monotonic(), _digest(sources)
    failed = target.with_name(f"{target.name}.failed")
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=target.parent) as temporary:
        folder, before = Path(temporary) / "new", Path(temporary) / "old"
        ignore = shutil.ignore_patterns(*((RECORD,) if old else _LEFT_BEHIND))
        shutil.copytree(old.folder if old else sources, folder, ignore=ignore, symlinks=True)
        try:
            work(folder, _beside(target, ""), old)
        except errors.ToolError as error:
            shutil.rmtree(failed, ignore_errors=True)
            folder.rename(failed)
            text = str(error).replace(str(folder), str(failed))
            raise type(error)(f"{text}\nwhat it left: {failed}") from None
        run = Run(
            target, {**(old.steps if old else {}), **steps}, time.monotonic() - started, False
        )
        record = {"sources": digest, "steps": run.steps, "seconds": run.seconds}
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n")
        if target.exists():
            target.rename(before)
        try:
            folder.rename(target)
        except BaseException:
            if before.exists():
                before.rename(target)
            raise
        shutil.rmtree(failed, ignore_errors=True)
    return run


def _beside(path: Path, what: str) -> Path:
    """The log beside a folder: hls.log, hls_vivado.log."""
    return path.with_name("_".join(filter(None, (path.name.removesuffix(".log"), what))) + ".log")


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Raises BuildError while another process makes the same folder."""
    with open(target.with_name(f".{target.name}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise errors.BuildError(
                f"{target}: another `samebits build` is making it; wait until that has ended"
            ) from None
        yield


def _digest(sources: Path) -> str:
    """A hash of all files that a run starts from."""
    ignore = shutil.ignore_patterns(*_LEFT_BEHIND)
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(sources):
        skipped = ignore(folder, [*folders, *files])
        folders[:] = sorted(name for name in folders if name not in skipped)
        for name in sorted(name for name in files if name not in skipped):
            path = Path(folder) / name
            digest.update(path.relative_to(sources).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _run(
    command: Sequence[str],
    what: str,
    folder: Path,
    log: Path,
    timeout_s: float,
    env: Mapping[str, str],
    on_line: Callable[[str], None] | None,
) -> None:
    printed = process.run(
        command,
        what=what,
        timeout_s=timeout_s,
        folder=folder,
        log=log,
        env=env,
        on_line=on_line,
    )
    shutil.copyfile(log, folder / LOG)
    check_memories(log, printed)


def _options(steps: Sequence[str]) -> dict[str, int]:
    cosim = int("cosim" in steps)  # its validation compares with the C simulation
    wanted = {"reset": 1, "csim": cosim, "synth": 1, "cosim": cosim, "validation": cosim}
    return {**wanted, "export": 0, "vsynth": 0, "fifo_opt": 0}


def _hls_command(tool: FoundProgram, steps: Sequence[str]) -> list[str]:
    """As hls4ml 1.3 calls it (backends/vitis and backends/vivado, `build`), without a shell."""
    script = "build_prj.tcl"
    if tool.command == "vitis-run":
        return [tool.path, "--mode", "hls", "--tcl", script]
    if tool.command == "vitis_hls":
        return [tool.path, "-f", script]
    words = " ".join(f"{name}={value}" for name, value in _options(steps).items())
    return [tool.path, "-f", script, words]


def _vivado_command(tool: FoundProgram, script: str) -> list[str]:
    return [tool.path, "-mode", "batch", "-nojournal", "-source", script]


def _write_steps(
    folder: Path,
    project: HlsProject,
    steps: Sequence[str],
    events: tuple[Sequence[Sequence[float]], Sequence[Sequence[float]]] | None,
) -> None:
    """build_opt.tcl, which build_prj.tcl reads, and the test bench's events."""
    if project.backend == "Vitis":
        rows = "".join(f"    {name} {value}\n" for name, value in _options(steps).items())
        (folder / "build_opt.tcl").write_text(f"array set opt {{\n{rows}}}\n")
    if events is not None and "cosim" in steps:
        (folder / "tb_data").mkdir(exist_ok=True)
        for name, rows_of in zip(("input_features", "output_predictions"), events, strict=True):
            text = "".join(" ".join(map(repr, map(float, row))) + "\n" for row in rows_of)
            (folder / "tb_data" / f"tb_{name}.dat").write_text(text)


def _vivado_script(project: HlsProject, route: bool) -> str:
    """Synthesis of the HLS output out of context, with its clock; then the place and route.

    The clock is there before the synthesis, which hls4ml's vivado_synth.tcl leaves out.
    """
    name = project.project_name

    def reports(stage: str) -> str:
        return "".join(
            f"{command} -file vivado_{stage}_{what}.rpt\n"
            for command, what in (
                ("report_utilization", "util"),
                ("report_timing_summary", "timing"),
                ("report_power", "power"),
            )
        )

    text = f"""source project.tcl
add_files ${{project_name}}_prj/solution1/syn/verilog
set xdc [open samebits.xdc w]
puts $xdc "create_clock -period $clock_period -name ap_clk \\[get_ports ap_clk\\]"
close $xdc
read_xdc -mode out_of_context samebits.xdc
synth_design -top {name} -part $part -mode out_of_context
opt_design
{reports("post_synth")}"""
    if route:
        text += f"place_design\nphys_opt_design\nroute_design\n{reports('post_route')}"
    return text


def _check_hls(folder: Path, steps: Sequence[str]) -> None:
    """Raises ToolError if a step has left no report, or the co-simulation failed."""
    found = hls_results(folder, {"PATH": ""})
    rows: dict[str, Any] = {row.source: row.cycles for row in found.latencies}
    rows |= {f"{row.source} resources": row.used["LUT"] for row in found.resources}
    wanted = {
        "csynth": ("hls/, Vitis HLS", "hls/, Vivado HLS"),
        "cosim": ("hls/, C/RTL co-simulation",),
        "vivado": ("hls/, Vivado resources",),
    }
    for step, sources in wanted.items():
        if step not in steps:
            continue
        row = next((rows[source] for source in sources if source in rows), None)
        if row is None or getattr(row, "reason", "").endswith("not found"):
            raise errors.ToolError(
                f"{step}: the tool ended well but left no report in {folder}; see its log"
            )
        if "FAILED" in getattr(row, "reason", ""):
            raise errors.ToolError(row.reason)
