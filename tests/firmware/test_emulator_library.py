"""The library that experiments load: several in one process, in threads, bits as NumPy's."""

import ctypes
import importlib.util
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import errors
from samebits.compile.builder import GraphBuilder
from samebits.compile.emitters.cpp import to_cpp
from samebits.compile.ir import Format, Graph, Overflow, Rounding
from samebits.firmware import toolchain
from samebits.firmware.emulator_library import compile_library, library_name
from samebits.sim.numpy_engine import NumpyEngine

pytestmark = pytest.mark.skipif(
    toolchain.probe().compiler is None or not Path("/proc").exists(),
    reason="needs a C++ compiler on Linux",
)
EVENTS = 100
SIZES = {"jets": (20, 8), "muons": (13, 5)}

HOST = Path(__file__).with_name("emulator_host.cpp").read_text(encoding="utf-8")


def network(name: str) -> Graph:
    inputs, outputs = SIZES[name]
    build = GraphBuilder()
    x = build.input("x", (inputs,), Format(True, 8, 4))
    numbers = (np.arange(inputs * outputs) * inputs % 53 - 26).reshape(inputs, outputs)
    weights = build.integers(numbers, Format(True, 6, 2))
    y = build.apply("dot", build.reshape(x, (inputs, 1)), weights)
    relu = Format(False, 6, 3, Rounding.RND_CONV, Overflow.SAT)
    return build.graph((build.cast(y, relu, name="y").name,))


def raw_events(name: str, grid: bool = False) -> Any:
    x = np.random.default_rng(len(name)).normal(0, 3, (EVENTS, SIZES[name][0]))
    return ((np.clip(np.floor(x * 16), -128, 127) / 16) if grid else x).astype(np.float32)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("libraries")
    made = {}
    for name, version in (("jets", "3"), ("muons", "1p2")):
        made[name] = folder / library_name(name, version)
        source = to_cpp(network(name), {"samebits.fingerprint": f"{name}0123456789"})
        compile_library(source, made[name], name=name, version=version)
    return made


def answers(
    folder: Path, made: dict[str, Path], flags: list[str], mode: str, grid: bool = False
) -> list[str]:
    """Runs the host on all libraries, compares the bits, gives the lines it prints."""
    (folder / "host.cpp").write_text(HOST)
    compiler = toolchain.find_cxx()
    command = [*compiler.command, "-std=c++17", "-O1", "-w", *flags, "host.cpp", "-o", "host"]
    toolchain.run_compiler(
        [*command, "-ldl", "-lpthread"], what="the host", timeout_s=300, cwd=folder
    )
    call = ["./host", mode, str(EVENTS)]
    for name, library in made.items():
        (folder / f"{name}.x").write_bytes(raw_events(name, grid).tobytes())
        call += [str(library), name, *map(str, SIZES[name])]
    done = subprocess.run(call, cwd=folder, timeout=60, check=True, capture_output=True, text=True)
    for name in made:
        got = np.frombuffer((folder / f"{name}.y").read_bytes()).reshape(EVENTS, -1)
        (expected,) = NumpyEngine(network(name)).run([raw_events(name, grid)], ["y"])
        assert np.array_equal(got, expected), name
    return done.stdout.splitlines()


@pytest.mark.parametrize("mode", ["local", "global"])
def test_two_designs_in_one_process_and_in_threads(
    mode: str, libraries: dict[str, Path], tmp_path: Path
) -> None:
    printed = answers(tmp_path, libraries, [], mode)
    assert printed == [
        "jets_v3: prepare_input: input x: wanted float* (built with SAMEBITS_AP_TYPES also "
        "ap_fixed<8, 4>*) to 20 numbers, got i",
        "muons_v1p2: prepare_input: input x: wanted float* (built with SAMEBITS_AP_TYPES also "
        "ap_fixed<8, 4>*) to 13 numbers, got i",
    ]


def test_callers_may_hold_ap_fixed_numbers(tmp_path: Path) -> None:
    """Also with a header of the caller's that declares the class."""
    spec = importlib.util.find_spec("hls4ml")
    if spec is None or spec.origin is None:
        pytest.skip("the headers come with hls4ml")
    ap_types = Path(spec.origin).parent / "templates" / "vivado" / "ap_types"
    declared = HOST[HOST.index("namespace hls4mlEmulator") : HOST.index("using hls4mlEmulator")]
    (tmp_path / "declared.h").write_text(f"#include <any>\n{declared}")
    library = tmp_path / "jets_v4.so"
    compile_library(
        to_cpp(network("jets")),
        library,
        name="jets",
        version="4",
        arch="x86-64-v3" if platform.machine() == "x86_64" else "native",
        header="declared.h",
        ap_types=ap_types,
        include=[tmp_path],
    )
    compiler = toolchain.find_cxx()
    include = toolchain.headers_for(compiler, ap_types, tmp_path / "overlay")
    answers(tmp_path, {"jets": library}, ["-DWITH_AP", *include], "local", grid=True)


class Port(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_char_p) for name in ("name", "format", "type")),
        ("size", ctypes.c_size_t),
    )


class Model(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_char_p) for name in ("name", "version", "fingerprint")),
        *((name, ctypes.c_size_t) for name in ("inputs", "outputs")),
        *((name, ctypes.POINTER(Port)) for name in ("input", "output")),
    )


def test_a_library_tells_what_it_is(libraries: dict[str, Path]) -> None:
    told = {}
    for name, path in libraries.items():
        ask = ctypes.CDLL(str(path)).samebits_model_info
        ask.restype = ctypes.POINTER(Model)
        told[name] = ask().contents
    jets, muons = told["jets"], told["muons"]
    assert (jets.name, jets.version, jets.fingerprint) == (b"jets", b"3", b"jets0123456789")
    assert (muons.name, muons.version, muons.inputs, muons.outputs) == (b"muons", b"1p2", 1, 1)
    x, y = muons.input[0], muons.output[0]
    assert (x.name, x.format, x.type, x.size) == (b"x", b"ap_fixed<8,4,TRN,WRAP>", b"float", 13)
    assert (y.name, y.format, y.type, y.size) == (
        b"y",
        b"ap_ufixed<6,3,RND_CONV,SAT>",
        b"double",
        5,
    )


def test_the_makefile_builds_the_same(tmp_path: Path, libraries: dict[str, Path]) -> None:
    if shutil.which("make") is None or toolchain.find_cxx().kind == "zig":
        pytest.skip("no make, or no compiler for it")
    to_cpp(network("jets")).write(tmp_path)
    command = ["make", "NAME=jets", "VERSION=5", "CXXFLAGS=-O1 -Wall -Wextra -Werror"]
    compiler = toolchain.find_cxx().command[0]
    subprocess.run([*command, f"CXX={compiler}"], cwd=tmp_path, check=True, timeout=300)
    answers(tmp_path, {"jets": tmp_path / "jets_v5.so"}, [], "local")
    if shutil.which("readelf"):
        told = subprocess.run(
            ["readelf", "-d", "jets_v5.so"], cwd=tmp_path, check=True, capture_output=True
        )
        assert b"[jets_v5.so]" in told.stdout


@pytest.mark.parametrize("word", ["", "3 x", 'a"b', "../a"])
def test_names_that_are_none(word: str) -> None:
    with pytest.raises(errors.UsageError, match="wanted letters, digits and any of _"):
        library_name("jets", word)
