"""The native emulator, compiled, against the NumPy engine: bits, no tolerance."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from samebits import errors
from samebits.compile.builder import GraphBuilder
from samebits.compile.emitters.cpp import EMITTERS, to_cpp
from samebits.compile.emitters.onnx import input_dtype
from samebits.compile.ir import Format, Graph, Overflow, Rounding
from samebits.compile.lowering import lower
from samebits.compile.ops import OPERATIONS
from samebits.compile.passes import simplify
from samebits.firmware import toolchain
from samebits.firmware.native import NativeEmulator
from samebits.sim.numpy_engine import NumpyEngine

from ..corpus.runner import load_arrays, load_graph
from ..strategies import MAKERS, Case, networks, operation_cases

pytestmark = pytest.mark.skipif(toolchain.probe().compiler is None, reason="needs a C++ compiler")
CASES = Path(__file__).parents[1] / "corpus" / "cases"
NETWORKS = (
    "qkeras__relu_negative_slope__io_parallel-Vivado-quantizer1__ceb6ff",
    "dense_unrolled__resource_unrolled_rnn__1-True-io_stream-Vivado-GRU__a16b4d",
    "softmax__softmax__16-6-input_shape2-18-8-io_parallel-True-stable-Vitis__b1115f",
)
EVENTS = 150  # blocks of 64, 32 or 16, and some one by one


def merged(cases: list[Case]) -> tuple[Graph, list[Any]]:
    """All graphs as one, and its inputs as real numbers: one compilation instead of many."""
    graphs: list[Graph] = []
    inputs: list[Any] = []
    for number, case in enumerate(cases):

        def new(name: str, number: int = number) -> str:
            return f"g{number}.{name}"

        graph = case.graph
        nodes = tuple(
            replace(node, inputs=tuple(map(new, node.inputs)), output=new(node.output))
            for node in graph.nodes
        )
        tensors = {new(name): replace(t, name=new(name)) for name, t in graph.tensors.items()}
        constants = {new(name): values for name, values in graph.constants.items()}
        outer = (tuple(map(new, names)) for names in (graph.inputs, graph.outputs))
        graphs.append(Graph(*outer, nodes, tensors, constants))
        for name in graph.inputs:
            fmt = graph.tensors[name].format
            values = [float(int(m)) * fmt.lsb for m in np.asarray(case.inputs[name]).flat]
            array = np.array(values).reshape(case.inputs[name].shape)
            inputs.append(np.resize(array, (EVENTS, *array.shape[1:])).astype(input_dtype(fmt)))
    whole = Graph(
        tuple(name for graph in graphs for name in graph.inputs),
        tuple(name for graph in graphs for name in graph.outputs),
        tuple(node for graph in graphs for node in graph.nodes),
        {name: tensor for graph in graphs for name, tensor in graph.tensors.items()},
        {name: values for graph in graphs for name, values in graph.constants.items()},
    )
    return whole, inputs


def same_bits(graph: Graph, inputs: list[Any], folder: Path) -> None:
    expected = NumpyEngine(graph).run(inputs, list(graph.outputs))
    got = NativeEmulator(graph, folder).run(inputs)
    assert len(got) == len(expected)
    for (name, found), wanted in zip(got.items(), expected, strict=True):
        assert found.shape == wanted.shape, name
        assert np.array_equal(found, wanted), name


def test_every_operation_has_an_emitter() -> None:
    assert EMITTERS.keys() == OPERATIONS.keys()


@pytest.mark.parametrize("op", sorted(OPERATIONS))
def test_every_operation(op: str, tmp_path: Path) -> None:
    """Narrow formats, 32-bit and 64-bit ones, and some beyond."""
    seen: list[Case] = []
    for width in (6, 14, 27, 40):

        @settings(max_examples=6)
        @given(case=operation_cases(op, width))
        def draw(case: Case) -> None:
            if case.graph.inputs:
                seen.append(case)

        draw()
    assert len(seen) > 5
    assert op in MAKERS
    same_bits(*merged(seen), tmp_path)


def test_random_networks(tmp_path: Path) -> None:
    seen: list[Case] = []

    @settings(max_examples=15)
    @given(case=networks())
    def draw(case: Case) -> None:
        seen.append(Case(simplify(case.graph), case.inputs))
        seen.append(case)

    draw()
    same_bits(*merged(seen), tmp_path)


def modes() -> Iterator[tuple[Rounding, Overflow]]:
    for rounding in Rounding:
        for overflow in Overflow:
            yield rounding, overflow


@pytest.mark.parametrize("source", [Format(True, 10, 3), Format(False, 9, 4)], ids=str)
def test_every_cast_mode_on_every_value(source: Format, tmp_path: Path) -> None:
    build = GraphBuilder()
    x = build.input("x", (1,), source)
    grids = [(True, 5, 2), (False, 4, 3), (True, 6, 6), (True, 1, 1), (False, 0, 0), (True, 14, 5)]
    outputs = [
        build.cast(x, Format(*grid, rounding, overflow)).name
        for grid in grids
        for rounding, overflow in modes()
    ]
    mantissas = np.arange(source.min_mantissa, source.max_mantissa + 1)
    events = (mantissas * source.lsb).astype(input_dtype(source)).reshape(-1, 1)
    same_bits(build.graph(tuple(outputs)), [events], tmp_path)


@pytest.mark.parametrize("grid", [(True, 8, 3), (False, 30, 30), (True, 60, 4), (True, 8, -70)])
def test_raw_inputs_are_cast_like_the_engine_casts_them(
    grid: tuple[bool, int, int], tmp_path: Path, rng: np.random.Generator
) -> None:
    build = GraphBuilder()
    outputs, inputs = [], []
    for number, (rounding, overflow) in enumerate(modes()):
        fmt = Format(*grid, rounding, overflow)
        if fmt.like_ap_int:
            continue
        outputs.append(build.reshape(build.input(f"x{number}", (1,), fmt), (1, 1)).name)
        halves = rng.integers(-(2**20), 2**20, 400) / 2 * fmt.lsb
        wild = rng.normal(0, 1, 400) * 2.0 ** rng.integers(-140, 120, 400)
        edges = [s * v for v in (0, 1.4e-45, 1e-38, 3e38, fmt.lsb, 128.0) for s in (1.0, -1.0)]
        events = np.concatenate([halves, wild, edges])
        inputs.append(events.astype(input_dtype(fmt)).reshape(-1, 1))
    same_bits(build.graph(tuple(outputs)), inputs, tmp_path)


def test_an_ap_int_makes_one_of_a_number_just_below_zero(tmp_path: Path) -> None:
    build = GraphBuilder()
    fmt = Format(True, 6, 6, Rounding.TRN_ZERO, Overflow.WRAP)
    graph = build.graph((build.reshape(build.input("x", (1,), fmt), (1, 1)).name,))
    events = np.linspace(-40, 40, 321, dtype=np.float32).reshape(-1, 1)
    same_bits(graph, [events], tmp_path)


@pytest.mark.parametrize("name", NETWORKS)
def test_recorded_networks(name: str, tmp_path: Path) -> None:
    graph = simplify(lower(load_graph(CASES / name)))
    inputs = [
        np.resize(x, (EVENTS, *graph.tensors[n].shape)).astype(input_dtype(graph.tensors[n].format))
        for x, n in zip(load_arrays(CASES / name / "inputs.npz", "x"), graph.inputs, strict=True)
    ]
    layers = tuple(graph.layer_tensors.values())
    same_bits(replace(graph, outputs=(*layers, *graph.outputs)), inputs, tmp_path)


def test_the_first_call_of_a_library_made_by_clang(tmp_path: Path) -> None:
    """clang 14 loses vector registers where a thread's memory is asked for the first time."""
    if shutil.which("clang++") is None:
        pytest.skip("no clang++")
    folder = CASES / "keras_v3_api__activations__io_parallel-Vivado-activation_function3__fa33ce"
    graph = simplify(lower(load_graph(folder)))
    (x,) = load_arrays(folder / "inputs.npz", "x")
    inputs = [x.astype(np.float32)]
    compiler = toolchain.find_cxx({**os.environ, "CXX": "clang++"})
    got = NativeEmulator(graph, tmp_path, compiler).run(inputs)
    (expected,) = NumpyEngine(graph).run(inputs, list(graph.outputs))
    assert np.array_equal(next(iter(got.values())), expected)


def small_graph() -> Graph:
    """A dense layer and a saturating cast."""
    build = GraphBuilder()
    x = build.input("x", (20,), Format(True, 8, 4))
    weights = build.integers((np.arange(160) % 53 - 26).reshape(20, 8), Format(True, 6, 2))
    y = build.apply("dot", build.reshape(x, (20, 1)), weights)
    relu = Format(False, 6, 3, Rounding.RND_CONV, Overflow.SAT)
    return build.graph((build.cast(y, relu, name="y").name,))


@pytest.mark.parametrize("events", [0, 1, 15, 16, 17, 64, 65, 1000])
def test_any_number_of_events(
    events: int, tmp_path_factory: pytest.TempPathFactory, rng: np.random.Generator
) -> None:
    folder = tmp_path_factory.getbasetemp() / "native"  # compiled once
    same_bits(small_graph(), [rng.normal(0, 3, (events, 20)).astype(np.float32)], folder)


def test_compiled_once(tmp_path: Path) -> None:
    first = NativeEmulator(small_graph(), tmp_path)
    libraries = list(tmp_path.rglob("*.so"))
    assert len(libraries) == 1
    written = libraries[0].stat().st_mtime_ns
    second = NativeEmulator(small_graph(), tmp_path)
    assert libraries[0].stat().st_mtime_ns == written
    x = [np.ones((3, 20), np.float32)]
    assert np.array_equal(first.run(x)["y"], second.run(x)["y"])


def test_nan_is_an_error(tmp_path: Path) -> None:
    x = np.zeros((100, 20), np.float32)
    x[70, 2] = np.nan
    with pytest.raises(errors.DataError, match="NaN"):
        NativeEmulator(small_graph(), tmp_path).run([x])


def test_it_tells_what_it_is(tmp_path: Path) -> None:
    emulator = NativeEmulator(small_graph(), tmp_path, metadata={"fact": 'a "word" \\ é'})
    assert emulator.description["fact"] == 'a "word" \\ é'
    told = emulator.description
    assert told["inputs"] == [
        {"name": "x", "shape": [20], "format": "ap_fixed<8,4,TRN,WRAP>", "type": "float"}
    ]
    assert told["outputs"][0]["name"] == "y"


def saturating_input() -> Graph:
    build = GraphBuilder()
    x = build.input("x", (4,), Format(True, 22, 11, Rounding.RND_CONV, Overflow.SAT))
    return build.graph((build.apply("add", x, x).name,))


@pytest.mark.parametrize("command", ["g++", "clang++"])
@pytest.mark.parametrize(
    "name", ["small", "saturating", "batchnorm__batchnorm__True-Vitis-io_stream__7c0b5d"]
)
def test_no_warnings(name: str, command: str, tmp_path: Path) -> None:
    if shutil.which(command) is None:
        pytest.skip(f"no {command}")
    graphs = {"small": small_graph, "saturating": saturating_input}
    graph = graphs[name]() if name in graphs else simplify(lower(load_graph(CASES / name)))
    to_cpp(graph).write(tmp_path)
    for flags in (["-O2", "-march=native"], ["-O1"]):
        strict = ["-std=c++17", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-c", *flags]
        call = [command, *strict, "emulator.cpp", "-o", "emulator.o"]
        subprocess.run(call, cwd=tmp_path, check=True, timeout=300)


@pytest.mark.parametrize(
    "flags",
    [(), ("-mno-avx512f",), ("-mno-avx2",), ("-mno-sse4.1",)],
    ids=["native", "no AVX-512", "no AVX2", "no SSE4"],
)
def test_clean_under_sanitizers(flags: tuple[str, ...], tmp_path: Path) -> None:
    """Also as a program of its own, on processors with shorter vectors."""
    compiler = toolchain.find_cxx()
    if compiler.kind == "zig" or not Path("/proc/cpuinfo").exists():
        pytest.skip("flags of gcc and clang on x86-64 Linux")
    to_cpp(small_graph()).write(tmp_path)
    rng = np.random.default_rng(5)
    x = rng.normal(0, 3, (EVENTS, 20)).astype(np.float32)
    expected = NumpyEngine(small_graph()).run([x], ["y"])[0]
    (tmp_path / "x.bin").write_bytes(x.tobytes())
    (tmp_path / "main.cpp").write_text(
        f"""#include "emulator.h"
#include <cstdio>
static float x[{EVENTS}][20];
static double y[{EVENTS}][8];
int main() {{
    std::FILE* file = std::fopen("x.bin", "rb");
    if (!file || std::fread(x, sizeof x, 1, file) != 1) return 2;
    std::fclose(file);
    const void* inputs[] = {{x}};
    double* outputs[] = {{&y[0][0]}};
    if (samebits_predict(inputs, {EVENTS}, outputs)) return 3;
    file = std::fopen("y.bin", "wb");
    std::fwrite(y, sizeof y, 1, file);
    return std::fclose(file);
}}
"""
    )
    strict = ("-std=c++17", "-O3", "-fno-trapping-math", "-Wall", "-Wextra", "-Werror")
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    command = [
        *compiler.command,
        *strict,
        *sanitizers,
        "-march=native",
        *flags,
        "main.cpp",
        "emulator.cpp",
        "-o",
        "run",
    ]
    toolchain.run_compiler(command, what="the emulator", timeout_s=300, cwd=tmp_path)
    subprocess.run(["./run"], cwd=tmp_path, check=True, timeout=60)
    got = np.frombuffer((tmp_path / "y.bin").read_bytes()).reshape(EVENTS, 8)
    assert np.array_equal(got, expected)
