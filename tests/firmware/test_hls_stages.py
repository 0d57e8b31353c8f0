"""Chains of processes: streams, convolutions, the Resource strategy, recurrent layers."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from samebits.compile.ir import Graph
from samebits.compile.lowering import lower
from samebits.compile.target import Target
from samebits.firmware.hls_estimate import describe, estimate_hls
from samebits.firmware.hls_model import HlsLayer, Weights, coefficients
from samebits.firmware.hls_stages import (
    StageCoefficients,
    Where,
    chain,
    cost,
    read_stages,
    stage_coefficients,
    step_reuse,
)
from samebits.firmware.results import NotRun, Quantity

from ..corpus.runner import load_graph
from ..fuzz.fuzzer import fuzzer as benchmark

CASES = Path(__file__).parents[1] / "corpus"

TARGET = Target(part="xcvu13p-flga2577-2-e", clock_mhz=200, io_type="io_stream")
FLAT = StageCoefficients(
    overhead=(5.0, 0.0, 0.0, 0.0),
    step=11.0,
    fill=(1.0, 0.5),
    power=((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    unrolled=((1.0, 0.0), (1.0, 0.0)),
    logic=dict.fromkeys(
        ("activation", "merge", "move", "normalize", "pool", "pool, unrolled", "softmax", "table"),
        ((0.0, 1.0), (0.0, 1.0)),
    ),
    fifo=(2.0, 3.0),
)
RESOURCE = Where(stream=True, usable_ns=4.0, strategy="Resource", reuse=9)
CONV = HlsLayer(
    name="conv",
    kind="product",
    what="Conv2D",
    n_in=9,
    n_out=4,
    in_bits=16,
    out_bits=16,
    accum_bits=16,
    weight_bits=16,
    inputs=100,
    outputs=64,
    channels=1,
)


def recorded(name: str) -> Graph:
    """The graph of a recorded network."""
    (case,) = (CASES / "cases").glob(f"{name}*")
    return lower(load_graph(case))


def test_a_position_takes_the_reuse_factor_and_a_few_cycles() -> None:
    found = cost(CONV, RESOURCE, FLAT, coefficients())
    assert found.cycles == 100 * (9 + 5) + 1
    assert found.interval == found.cycles
    assert found.lut == pytest.approx(9 * 4 / 9)  # what is multiplied at once
    assert found.ff == pytest.approx(9 * 16)
    assert found.dsp == 4
    # 4 words of 16 bits are read at once, 9 times: 576 bits stay in LUTs
    assert found.bram18 == 0


def test_weights_in_block_ram_are_as_wide_as_they_are_read() -> None:
    layer = replace(CONV, n_in=80, n_out=32, kind="product")
    found = cost(layer, replace(RESOURCE, reuse=16), FLAT, coefficients())
    assert found.bram18 == math.ceil(80 * 32 / 16 * 16 / 36) == 72
    deep = cost(
        replace(CONV, n_in=784, n_out=13), replace(RESOURCE, reuse=784), FLAT, coefficients()
    )
    assert deep.bram18 == math.ceil(13 * 16 / 36 * 784 / 512)
    once = cost(replace(CONV, n_in=784, n_out=13), replace(RESOURCE, reuse=1), FLAT, coefficients())
    assert once.bram18 == 0


def test_vitis_does_not_overlap_windows() -> None:
    latency = replace(RESOURCE, strategy="Latency", reuse=1)
    window = replace(CONV, weights=Weights(nonzero=36, terms=9, two_digit=0, multiplied=0))
    pointwise = replace(window, n_in=1)
    alone = cost(window, latency, FLAT, coefficients()).cycles
    assert alone > 2 * 100
    assert cost(pointwise, latency, FLAT, coefficients()).cycles < 2 * 100
    assert cost(window, replace(latency, vitis=False), FLAT, coefficients()).cycles < 2 * 100


def test_a_dense_layer_of_a_stream_first_collects() -> None:
    dense = replace(CONV, outputs=1, inputs=16)
    assert cost(dense, RESOURCE, FLAT, coefficients()).cycles == 16 + 9 + 5


def test_wires_run_one_after_the_other_and_streams_side_by_side() -> None:
    dense = replace(CONV, name="dense", outputs=1, inputs=64, channels=4)
    layers = [CONV, dense]
    for stream in (True, False):
        where = replace(RESOURCE, stream=stream)
        costs = [cost(layer, where, FLAT, coefficients()) for layer in layers]
        whole = chain(layers, costs, where, FLAT)
        assert whole.dsp == 8
        if stream:
            assert whole.cycles == 1401 + 1 * 1.0 + 0.5 * (64 + 14)
            assert whole.interval == 1402
            # one FIFO for each of 4 channels, 64 deep, 16 bits wide
            assert whole.bram18 == sum(each.bram18 for each in costs) + 4
            assert whole.lut == pytest.approx(8 + 2 * 4 * 16)
        else:
            assert whole.cycles == 64 * (9 + 5) + (9 + 5) + 1


def test_recurrent_steps() -> None:
    layer = replace(
        CONV, kind="recurrent", n_in=6, n_out=60, steps=20, states=20, inputs=1, outputs=1
    )
    where = replace(RESOURCE, stream=False, reuse=30)
    assert step_reuse(layer, where) == 30
    found = cost(layer, where, FLAT, coefficients())
    assert found.cycles == 20 * (30 + 11) + 1
    assert found.dsp == 6 * 60 / 30 + 20 * 60 / 20 + 3 * 20


def test_the_shipped_coefficients_are_the_fit_of_the_shipped_reports() -> None:
    fit = benchmark("hls_stages")
    reports = fit.read()
    shipped = read_stages()
    assert fit.fitted(reports) == shipped["coefficients"]
    assert fit.ranges_of(reports) == shipped["ranges"]
    assert sorted({report.source for report in reports}) == shipped["sources"]
    fresh = fit.errors_of(fit.held_out(reports))
    assert fresh == shipped["errors"]


def test_every_owner_is_held_out_from_its_own_prediction() -> None:
    fit = benchmark("hls_stages")
    reports = fit.read()
    own = next(report for report in reports if report.owner == "tsopeter")
    stages = tuple(
        replace(stage, measured={name: 9 * value for name, value in stage.measured.items()})
        for stage in own.stages
    )
    wrong = replace(own, stages=stages)
    first = fit.predict(own, fit.fit(r for r in reports if r.owner != own.owner))
    swapped = [wrong if report is own else report for report in reports]
    (second,) = (p for r, p in fit.held_out(swapped) if r is wrong)
    assert first == second


def test_multipliers_of_published_streams() -> None:
    fit = benchmark("hls_stages")
    found = stage_coefficients()
    reports = [r for r in fit.read() if r.group == "stream, Resource" and r.owner == "uw-acme"]
    assert len(reports) == 3
    for report in reports:
        assert fit.predict(report, found)["DSP"] == report.measured["dsp"], report.name


def test_layers_of_a_convolutional_network() -> None:
    layers = {
        layer.name: layer for layer in describe(recorded("auto_precision__auto_precision_sep"))
    }
    depthwise, pointwise = layers["first_layer_depthwise"], layers["first_layer_pointwise"]
    assert (depthwise.inputs, depthwise.outputs, depthwise.n_in, depthwise.n_out) == (12, 10, 3, 4)
    assert (pointwise.inputs, pointwise.n_in, pointwise.n_out) == (10, 4, 8)
    conv, pool = layers["middle_layer"], layers["first_pool"]
    assert (conv.inputs, conv.outputs, conv.n_in, conv.n_out) == (5, 4, 16, 4)
    assert (pool.kind, pool.inputs, pool.outputs, pool.n_in, pool.channels) == (
        "pool",
        10,
        5,
        16,
        8,
    )
    assert [layer.kind for layer in layers.values()].count("unknown") == 0


@pytest.mark.parametrize("io_type", ["io_stream", "io_parallel"])
@pytest.mark.parametrize("strategy", ["Latency", "Resource"])
def test_a_convolutional_network_has_numbers_with_their_errors(io_type: str, strategy: str) -> None:
    layers = describe(recorded("auto_precision__auto_precision_sep"))
    found = estimate_hls(layers, replace(TARGET, io_type=io_type, strategy=strategy))
    shown = [
        found.latency.cycles,
        found.latency.initiation_interval,
        *found.resources.used.values(),
    ]
    numbers = [one for one in shown if isinstance(one, Quantity)]
    assert len(numbers) == (4 if io_type == "io_parallel" else 6)
    for one in numbers:
        assert one.kind == "estimated"
        assert "held-out report" in one.tool
    assert found.latency.initiation_interval.value >= (1 if io_type == "io_parallel" else 12)
    cycles = sum(share.cycles.value for share in found.latency.layers)
    assert cycles == pytest.approx(found.latency.cycles.value)


def test_recurrent_layers_need_the_strategy_of_the_reports() -> None:
    layers = describe(recorded("dense_unrolled__resource_unrolled_rnn__1-True"))
    (gru,) = (layer for layer in layers if layer.kind == "recurrent")
    assert (gru.states, gru.n_out) == (8, 24)
    target = replace(TARGET, io_type="io_parallel", strategy="Resource", reuse_factor=4)
    found = estimate_hls(layers, target)
    assert found.latency.cycles.value >= gru.steps * 4
    assert found.resources.used["BRAM36"].value > 0
    refused = estimate_hls(layers, replace(target, strategy="Latency", reuse_factor=1))
    assert isinstance(refused.latency.cycles, NotRun)
    assert "strategy Resource" in refused.latency.cycles.reason


def test_what_no_report_has_is_said() -> None:
    layers = describe(recorded("auto_precision__auto_precision_sep"))
    slow = estimate_hls(layers, replace(TARGET, clock_mhz=10))
    assert any("outside of the fitted clocks" in note for note in slow.latency.notes)
    rounding = tuple(replace(layer, accum_rounds=layer.kind == "product") for layer in layers)
    noted = estimate_hls(rounding, TARGET).resources.notes
    assert any("accumulators that round or saturate" in note for note in noted)
    added = (*layers, replace(layers[-1], name="sum", kind="merge"))
    assert any("counted as an adder" in note for note in estimate_hls(added, TARGET).latency.notes)


@pytest.mark.parametrize(
    ("name", "layer", "kind"),
    [
        ("pytorch_api__activation_functionals__io_parallel-Vitis-sigmoid", "sigmoid", "table"),
        ("merge__merge__True-Vitis-io_parallel-Add", "", "merge"),
        ("upsampling_pytorch__pytorch_upsampling1d__Vitis", "upsample", "move"),
        ("binary_cnn__binary_cnn__Vivado-io_stream-latency", "q_dense_7_alpha", "product"),
        ("qkeras__quantised_po2_bit_width__Latency-io_parallel-Vitis", "dense", "product"),
        (
            "dense_unrolled__resource_unrolled_rnn__4-False-io_parallel-Vitis-LSTM",
            "lstm",
            "recurrent",
        ),
    ],
)
def test_kinds_of_layers(name: str, layer: str, kind: str) -> None:
    layers = describe(recorded(name))
    assert all(each.kind != "unknown" for each in layers)
    assert kind in [each.kind for each in layers if layer in each.name]
    if kind == "product" and layer == "dense":  # powers of two are shifts
        (found,) = (each for each in layers if each.name == layer)
        assert found.weights is not None
        assert (found.weights.nonzero, found.weights.multiplied) == (26 * 6, 0)
