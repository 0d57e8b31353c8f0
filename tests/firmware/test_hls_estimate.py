"""The model of HLS designs: counted by hand, against the published reports, and what it refuses."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Graph, Overflow, Rounding
from samebits.compile.target import Target
from samebits.firmware.hls_estimate import describe, estimate_hls
from samebits.firmware.hls_model import (
    HlsLayer,
    Weights,
    closest_reuse,
    coefficients,
    cycles_latency,
    dsps,
    lut_terms,
    multipliers,
    read_model,
    turns,
    usable_ns,
    weights_of,
)
from samebits.firmware.results import NotRun, Quantity

from ..fuzz.fuzzer import fuzzer as benchmark

TARGET = Target(part="xcvu13p-flga2577-2-e", clock_mhz=200)


def network(*sizes: int, bits: int = 8, kind: str = "Dense") -> Graph:
    """Dense layers with ReLUs between, weights of `bits` bits."""
    rng = np.random.default_rng(3)
    build = GraphBuilder()
    x = build.input("x", (sizes[0],), Format(True, 16, 6))
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1)
    for number, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        build.scope = f"d{number}"
        values = rng.integers(low, high, (n_in, n_out))
        weights = build.integers(values, Format(True, bits, 1), "weight")
        total = build.apply("dot", build.reshape(x, (n_in, 1)), weights)
        x = build.cast(total, Format(True, 18, 8))
        types = {"accum": x.format, "weight": weights.format}
        build.layer(f"d{number}", kind, x, types=types)
        if number < len(sizes) - 2:
            build.scope = f"relu{number}"
            x = build.cast(x, Format(False, 6, 3, Rounding.RND_CONV, Overflow.SAT))
            build.layer(f"relu{number}", "Activation", x)
    return build.graph((x.name,))


def dense(name: str = "dense", **changes: object) -> HlsLayer:
    """16 inputs of 16 bits, 4 outputs."""
    weights = Weights(nonzero=60, terms=15, two_digit=10, multiplied=40)
    layer = HlsLayer(name, "product", "Dense", 16, 4, 16, 18, 18, 8, weights=weights)
    return replace(layer, **changes)


def naive(value: int) -> int:
    """Non-zero digits of the canonical signed-digit form, digit by digit."""
    value, count = abs(value), 0
    while value:
        if value % 2:
            count += 1
            value -= 2 - value % 4
        value //= 2
    return count


def test_digits_of_weights(rng: np.random.Generator) -> None:
    values = rng.integers(-300, 300, (9, 7))
    different = [sorted(set(row)) for row in values.tolist()]
    counts = [naive(value) for row in different for value in row]
    assert weights_of(values) == Weights(
        nonzero=int((values != 0).sum()),
        terms=int((values != 0).sum(axis=0).max()),
        two_digit=counts.count(2),
        multiplied=sum(count > 2 for count in counts),
    )


@pytest.mark.parametrize("shape", [(16, 64), (64, 32), (32, 5), (80, 24), (7, 3)])
def test_reuse_factors_as_hls4ml_takes_them(shape: tuple[int, int]) -> None:
    from hls4ml.backends import get_backend

    backend = get_backend("Vitis")
    allowed = backend.get_valid_reuse_factors(*shape)
    for wanted in (1, 2, 3, 4, 6, 10, 33, 100, 1024, 10**6):
        assert closest_reuse(*shape, wanted) == backend.get_closest_reuse_factor(allowed, wanted)


def test_cycles_by_hand() -> None:
    delay = (2.0, 0.5, 1.0, 1.0, 2.0, 15.0, 10.0, 0.5)
    # 2 + 0.5 log2(16) + 1 = 5 ns each; an activation 1 ns
    relu = HlsLayer("relu", "activation", "Activation", 4, 4, 18, 18)
    layers = [dense(), relu, dense()]
    assert cycles_latency(layers, 11.0, delay) == 0  # all in one period
    assert cycles_latency(layers, 6.0, delay) == 1  # the second dense layer begins another
    assert cycles_latency(layers, 5.0, delay) == 2
    # 5 ns are two periods of 4 - 0.5 ns; two for each dense layer, and one between them
    assert cycles_latency(layers, 4.0, delay) == 4
    assert cycles_latency(layers, 2.9, delay) == 6  # three for each


def test_dsp_and_lut_by_hand() -> None:
    assert dsps(dense()) == 40
    assert dsps(dense(in_bits=10)) == 0
    assert dsps(dense(in_bits=28, weight_bits=19)) == 40 * 2 * 2
    assert lut_terms(dense()).tolist() == [60 * 18, 10 * 16, 0, 0, 0, 0]
    assert lut_terms(dense(in_bits=6)).tolist() == [60 * 18, 10 * 6, 40 * 36, 0, 0, 0]


def test_the_shipped_coefficients_are_the_fit_of_the_shipped_reports() -> None:
    fit = benchmark("hls_estimate")
    fresh = fit.model_of(fit.read())
    shipped = read_model()
    assert fresh.keys() == shipped.keys()
    for name in ("reports", "sources", "ranges", "vivado_lut_share"):
        assert fresh[name] == shipped[name], name
    for name, values in shipped["coefficients"].items():
        assert fresh["coefficients"][name] == pytest.approx(values, rel=1e-3), name
    for group, quantities in shipped["errors"].items():
        for name, values in quantities.items():
            assert fresh["errors"][group][name] == pytest.approx(values, abs=2e-3), (group, name)


def test_every_source_is_held_out_from_its_own_prediction() -> None:
    fit = benchmark("hls_estimate")
    reports = fit.read()
    source = "nrp-nautilus/6nrp-hls4ml"
    own = next(report for report in reports if report.source.startswith(source))
    wrong = replace(own, layer_lut=tuple(10 * (v or 0) or None for v in own.layer_lut))
    (first,) = (p for r, p, _ in fit.held_out(reports) if r is own)
    swapped = [wrong if report is own else report for report in reports]
    (second,) = (p for r, p, _ in fit.held_out(swapped) if r is wrong)
    assert first == second


def test_published_designs_with_uniform_widths_have_exactly_these_dsps() -> None:
    fit = benchmark("hls_estimate")
    sources = ("nrp-nautilus", "max-cohen54", "alex-yang")
    names = ("model_2.1/hls4ml_prj_prune_60",)
    found = [r for r in fit.read() if r.source.startswith(sources) or r.name in names]
    assert len(found) == 6
    for report in found:
        assert sum(map(dsps, report.layers)) == report.measured["DSP"], report.name


def test_estimate_of_a_network() -> None:
    graph = network(16, 64, 5)
    layers = describe(graph)
    assert [layer.kind for layer in layers] == ["product", "activation", "product"]
    first, _, last = layers
    assert (first.n_in, first.n_out, first.in_bits, first.accum_bits) == (16, 64, 16, 18)
    assert (last.n_in, last.n_out, last.in_bits) == (64, 5, 6)
    assert first.weights == weights_of(graph.constants["d0/weight"])
    found = estimate_hls(layers, TARGET)
    cycles = found.latency.cycles
    assert isinstance(cycles, Quantity)
    usable = usable_ns(5.0, "Vitis")
    assert cycles.value == cycles_latency(layers, usable, coefficients().delay)
    assert sum(share.cycles.value for share in found.latency.layers) == pytest.approx(cycles.value)
    shown = [cycles, *found.resources.used.values()]
    for quantity in shown:
        assert isinstance(quantity, Quantity)
        assert quantity.kind == "estimated"
        assert "held-out reports" in quantity.tool
    assert found.resources.used["DSP"].value == first.weights.multiplied
    assert found.resources.used["BRAM36"].value == 0
    luts = [used["LUT"].value for used in found.layers.values()]
    assert sum(luts) == pytest.approx(found.resources.used["LUT"].value, abs=3)


def test_outside_of_the_fitted_range_is_said() -> None:
    found = estimate_hls(describe(network(200, 8)), TARGET)
    assert found.latency.notes == ("outside of the fitted n in 16 to 64: d0 200",)
    assert "outside of the fitted range" in found.resources.used["LUT"].tool


def test_resource_strategy_follows_the_reuse_factor() -> None:
    layers = describe(network(16, 64, 32))
    target = replace(TARGET, strategy="Resource", reuse_factor=4)
    few, many = (estimate_hls(layers, replace(target, reuse_factor=r)) for r in (4, 16))
    saved = few.latency.cycles.value - 2 * 4
    assert many.latency.cycles.value - 2 * 16 == pytest.approx(saved, abs=8)
    assert few.layers["d0"]["DSP"].value == 16 * 64 // 4
    assert (few.latency.initiation_interval.value, many.latency.initiation_interval.value) == (
        4,
        16,
    )
    # 64 outputs read 16 inputs of 8 bits: 64 x 16 / 16 words of 8 bits are 15 blocks wide
    assert many.resources.used["BRAM36"].value == (15 + 29) / 2
    assert "all 2 held-out reports" in many.resources.used["LUT"].tool
    other = estimate_hls(layers, replace(target, reuse_factor=3))
    assert other.latency.notes[0].endswith("as hls4ml takes it")


def test_latency_strategy_with_reuse() -> None:
    graph = network(16, 64, bits=6)
    (layer,) = layers = describe(graph)
    assert layer.weights is not None
    zeros = 16 * 64 - layer.weights.nonzero
    assert multipliers(layer, 4) == 16 * 64 // 4 - zeros // 4
    assert layer.weights.multiplied < multipliers(layer, 4)
    one, four = (estimate_hls(layers, replace(TARGET, reuse_factor=r)) for r in (1, 4))
    assert four.latency.cycles.value == one.latency.cycles.value
    assert four.latency.initiation_interval.value == 4
    assert "outside of the fitted range" in four.latency.cycles.tool
    assert "outside" not in one.latency.cycles.tool
    for numbers in (four.resources.used, four.layers["d0"]):
        for name in {"LUT", "FF", "DSP"} & set(numbers):
            absent = numbers[name]
            assert isinstance(absent, NotRun)
            assert "reuse factor 4 leaves multipliers enough" in absent.reason
    two = estimate_hls(layers, replace(TARGET, reuse_factor=2))
    assert two.resources.used["LUT"] == one.resources.used["LUT"]
    assert "the five published pairs at 1 and 2" in two.latency.notes[-1]
    few = estimate_hls(layers, replace(TARGET, reuse_factor=512))
    assert few.resources.used["DSP"].value == multipliers(layer, 512) == 2
    # the rest takes turns: 1,024 weights of one or more digits at 2 multipliers
    assert few.latency.initiation_interval.value <= 512
    assert few.latency.cycles.value - one.latency.cycles.value == turns(layer, 512) - 1
    assert "d0: reuse factor 512" in few.latency.notes[-1]
    assert "all 7 held-out reports" in few.latency.cycles.tool


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"part": "xcku115-flvb2104-2-i"}, "UltraScale has none"),
        ({"strategy": "distributed_arithmetic"}, "distributed arithmetic"),
        ({"clock_mhz": 480}, "480 MHz"),
        ({"part": "5CGXFC7C7F23C8"}, "not a part"),
    ],
)
def test_refused_targets(changes: dict[str, object], reason: str) -> None:
    found = estimate_hls(describe(network(16, 8)), replace(TARGET, **changes))
    for value in (found.latency.cycles, *found.resources.used.values()):
        assert isinstance(value, NotRun)
        assert reason in value.reason


def test_refused_layers() -> None:
    found = estimate_hls(describe(network(16, 8, kind="GarNet")), TARGET)
    assert isinstance(found.latency.cycles, NotRun)
    assert "GarNet d0" in found.latency.cycles.reason


def test_the_7_series_is_slower_with_the_same_logic() -> None:
    layers = describe(network(16, 64, 5))
    plus, seven = (
        estimate_hls(layers, replace(TARGET, part=part))
        for part in (TARGET.part, "xc7z020clg400-1")
    )
    assert seven.latency.cycles.value > plus.latency.cycles.value
    assert seven.resources.used["LUT"].value == plus.resources.used["LUT"].value
    assert seven.resources.used["FF"].value > plus.resources.used["FF"].value
    assert "90 % of 10 held-out reports" in seven.latency.cycles.tool
