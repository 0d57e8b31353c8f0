"""The estimate's numbers against counting by hand and against alkaid's own RTL model."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from samebits import errors
from samebits.compile.builder import GraphBuilder
from samebits.compile.emitters.alkaid import alkaid_version, to_alkaid
from samebits.compile.emitters.alkaid_size import count_operations
from samebits.compile.ir import Format, Graph, Overflow, Rounding
from samebits.firmware.estimate import estimate
from samebits.firmware.results import Quantity

pytest.importorskip("alkaid", reason="alkaid is in the extra rtl")

PART = "xcvu13p-flga2577-2-e"


def network(*sizes: int, seed: int = 1) -> Graph:
    """Dense layers with 6-bit weights and ReLUs, simplified."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder()
    x = build.input("x", (sizes[0],), Format(True, 8, 3))
    for number, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        weights = build.integers(rng.integers(-32, 32, (n_in, n_out)), Format(True, 6, 1))
        total = build.apply("dot", build.reshape(x, (n_in, 1)), weights)
        build.layer(f"dense{number}", "Dense", total)
        positive = build.apply("max", total, build.number(0, total, total.format.lossless))
        x = build.cast(positive, Format(False, 6, 3, Rounding.RND_CONV, Overflow.SAT))
        build.layer(f"relu{number}", "Activation", x)
    return build.graph((x.name,))


def adder(width: int) -> Graph:
    build = GraphBuilder()
    a, b = (build.input(name, (1,), Format(True, width, width)) for name in "ab")
    y = build.apply("add", a, b)
    build.layer("sum", "Merge", y)
    return build.graph((y.name,))


def test_one_adder_by_hand() -> None:
    found = estimate(adder(8), PART, 200)
    # one LUT per bit; two operands and one result in registers, one stage
    assert {name: used.value for name, used in found.used.items()} == {
        "LUT": 8,
        "FF": 8 + 8 + 9,
        "DSP": 0,
        "BRAM36": 0,
    }
    assert found.latency_cycles.value == 1
    assert found.initiation_interval.value == 1
    (layer,) = found.layers
    assert (layer.layer, layer.cycles.value, layer.latency_ns.value) == ("sum", 1, 5.0)
    assert isinstance(found.fmax_mhz, Quantity)
    assert found.fmax_mhz.value == 1000 / found.worst_stage.value
    assert found.worst_stage.value == found.longest_operation.value > 1


def test_numbers_are_those_of_alkaids_rtl_model(tmp_path: Path) -> None:
    from alkaid.codegen import RTLModel

    graph = network(16, 12, 5)
    for clock_mhz in (100, 200, 320):
        found = estimate(graph, PART, clock_mhz, per_layer=False)
        model = RTLModel(to_alkaid(graph), tmp_path, latency_cutoff=1000 / clock_mhz)
        assert found.latency_cycles.value == model.latency
        assert found.used["FF"].value == model.reg_bits
        cost = sum(stage.cost for stage in model.fsm.logic.values())
        assert found.used["LUT"].value == math.ceil(cost)
        assert found.layers == ()


def test_faster_clocks_take_more_cycles_and_registers() -> None:
    slow, fast = (estimate(network(16, 16, 4), PART, mhz, per_layer=False) for mhz in (100, 400))
    assert fast.latency_cycles.value > 2 * slow.latency_cycles.value
    assert fast.used["FF"].value > slow.used["FF"].value
    assert fast.used["LUT"] == slow.used["LUT"]
    assert (slow.stage_budget.value, fast.stage_budget.value) == (10.0, 2.5)


def test_every_quantity_names_its_kind_and_tool() -> None:
    found = estimate(network(6, 4), PART, 200)
    tool = f"alkaid {alkaid_version()}"
    assert found.tool == tool
    estimated = [found.latency_cycles, found.initiation_interval]
    estimated += [*found.used.values(), found.worst_stage]
    assert {(quantity.kind, quantity.tool) for quantity in estimated} == {("estimated", tool)}
    assert found.stage_budget.kind == "assumed"
    assert {layer.latency_ns.kind for layer in found.layers} == {"assumed"}  # as the clock is
    assert "not checked by synthesis" in found.calibration


def test_the_shares_of_the_layers_add_up_to_the_latency() -> None:
    found = estimate(network(16, 12, 5), PART, 200)
    assert [layer.layer for layer in found.layers] == ["dense0", "relu0", "dense1", "relu1"]
    assert sum(layer.cycles.value for layer in found.layers) == pytest.approx(
        found.latency_cycles.value
    )
    assert sum(layer.latency_ns.value for layer in found.layers) == pytest.approx(
        5 * found.latency_cycles.value
    )
    dense, relu = (sum(layer.cycles.value for layer in found.layers[i::2]) for i in (0, 1))
    assert dense > 3 * relu > 0


def test_a_branch_that_is_ready_early_takes_no_time() -> None:
    build = GraphBuilder()
    x = build.input("x", (16,), Format(True, 8, 3))
    total = build.apply("sum", build.reshape(x, (16, 1)))
    build.layer("sum", "Dense", total)
    first = build.apply("add", x, build.input("z", (16,), Format(True, 8, 3)))
    build.layer("early", "Merge", first)
    y = build.apply("add", first, total)
    build.layer("both", "Merge", y)
    shares = {
        layer.layer: layer.cycles.value
        for layer in estimate(build.graph((y.name,)), PART, 400).layers
    }
    assert shares["sum"] > 0 == shares["early"] < shares["both"]


def test_the_same_graph_gives_the_same_numbers() -> None:
    first, second = (estimate(network(12, 8, 4), PART, 200) for _ in range(2))
    assert first.used == second.used
    assert first.layers == second.layers


def test_notes() -> None:
    build = GraphBuilder()
    x = build.input("x", (64,), Format(True, 16, 8))
    y = build.apply("mul", x, x)
    found = estimate(build.graph((y.name,)), "xc7z020clg400-1", 500, per_layer=False)
    assert any("64 products of two variables are counted as LUTs" in note for note in found.notes)
    assert any("slower" in note and "7 series" in note for note in found.notes)
    assert found.longest_operation.value > found.stage_budget.value == 2.0
    assert any("needs registers inside that operation" in note for note in found.notes)


def test_too_large_a_graph_is_refused_before_tracing() -> None:
    graph = network(16, 16)
    count = sum(count_operations(graph).values())
    assert estimate(graph, PART, 200, max_operations=count, per_layer=False).used["LUT"].value > 0
    with pytest.raises(errors.UnsupportedError, match="more than the limit of 100"):
        estimate(graph, PART, 200, max_operations=100)


@pytest.mark.parametrize("clock_mhz", [0, -5.0, float("nan"), float("inf")])
def test_impossible_clock(clock_mhz: float) -> None:
    with pytest.raises(errors.UsageError) as error:
        estimate(adder(4), PART, clock_mhz)
    assert str(error.value) == f"the clock must be above 0 MHz, got {clock_mhz}"


def test_unknown_part() -> None:
    with pytest.raises(errors.UsageError, match="unknown part 'xcnone'"):
        estimate(adder(4), "xcnone", 200)


def test_progress() -> None:
    steps: list[tuple[int, int]] = []
    estimate(network(6, 4), PART, 200, progress=lambda *step: steps.append(step))
    assert steps == [(done, 4) for done in (1, 2, 3, 4)]
