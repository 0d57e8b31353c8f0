"""The report's estimates: numbers, or the reason why a tool has not run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import Design, Target, errors
from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format
from samebits.estimates import estimate_facts
from samebits.firmware.estimate import Estimate, estimate
from samebits.record import of_design
from samebits.report.facts import NotRun, Quantity, VerificationFacts
from samebits.sections import verification_facts
from samebits.sim.verification import EngineReport, LayerRow, Verification

pytest.importorskip("alkaid", reason="alkaid is in the extra rtl")

FMT = Format(True, 8, 4)


def convolution(positions: int) -> Design:
    """3 x 3 pixels at each position, 16 filters."""
    build = GraphBuilder()
    patches = build.input("x", (9, positions, 1), FMT)
    kernel = build.integers(np.arange(144).reshape(9, 1, 16) % 7 + 1, FMT)
    y = build.apply("dot", patches, kernel)
    build.layer("conv", "Conv2D", y)
    return Design(build.graph((y.name,)), Target())


def wide_product() -> Design:
    build = GraphBuilder()
    x = build.input("x", (1,), Format(True, 40, 20))
    y = build.apply("mul", x, x)
    return Design(build.graph((y.name,)), Target())


def test_a_small_network_has_numbers_from_alkaid_and_none_from_the_vendor() -> None:
    latency, resources = estimate_facts(convolution(2))
    measured, unrolled, vendor, hls, routed = latency.estimates
    assert measured.latency_ns == NotRun(
        reason="the RTL was not run: `samebits verify --against rtl` measures it"
    )
    assert isinstance(unrolled.latency_ns, Quantity)
    assert unrolled.latency_ns.kind == "estimated"
    assert isinstance(resources.estimates[1].used["LUT"], Quantity)
    assert vendor.latency_ns == NotRun(reason="the design has no HLS project on disk")
    for absent in (routed.latency_ns, resources.estimates[0].used["LUT"]):
        assert absent == NotRun(reason="there is no rtl/: run `samebits rtl`")
    assert isinstance(hls.latency_ns, NotRun)  # no published report has a convolution
    assert resources.headline is resources.estimates[1]


@pytest.mark.parametrize(
    ("design", "reason"),
    [
        (
            convolution(500),
            "as unrolled logic this network is 72,000 operations on single numbers (dot 72,000), "
            "more than the limit of 50,000 (max_operations)",
        ),
        (wide_product(), "use narrower formats"),
    ],
    ids=["too large", "too wide"],
)
def test_what_unrolled_logic_cannot_express_is_not_run_and_says_why(
    design: Design, reason: str
) -> None:
    latency, resources = estimate_facts(design)
    for absent in (latency.estimates[1].latency_ns, resources.estimates[1].used["LUT"]):
        assert isinstance(absent, NotRun)
        assert absent.reason.endswith(reason)
    assert latency.headline is None


def verified(design: Design) -> VerificationFacts:
    """As if Verilator had run the RTL that stands in the design's folder."""
    rtl = design.rtl()
    row = EngineReport(
        "rtl",
        "equal",
        "answers every event",
        "Verilator 5.48, alkaid 0.8",
        (LayerRow("y", "f", 5, 0, 40, 0),),
        latency_cycles=rtl.latency_cycles,
        files_sha256=rtl.files_sha256,
    )
    return verification_facts(Verification((row,), {"ties": 5}))


@pytest.fixture
def saved(tmp_path: Path) -> Design:
    design = convolution(2)
    design = Design(design.graph, Target(clock_mhz=400))
    design.save(tmp_path)
    return design


def test_measured_cycles_come_first_with_the_clock_as_a_target(saved: Design) -> None:
    latency, _ = estimate_facts(saved, 20.0, verified(saved))
    headline = latency.headline
    assert headline is latency.estimates[0]
    cycles, clock, fmax = headline.cycles, headline.clock_mhz, headline.fmax_mhz
    assert isinstance(cycles, Quantity)
    assert isinstance(clock, Quantity)
    assert isinstance(fmax, Quantity)
    assert (cycles.kind, cycles.tool) == ("measured", "Verilator 5.48")
    assert clock.value == 400
    assert (fmax.kind, fmax.tool.split()[0]) == ("estimated", "alkaid")
    assert any(
        "the cycles are measured, the clock (400 MHz) is the target" in n for n in headline.notes
    )
    assert isinstance(headline.latency_ns, Quantity)
    assert headline.latency_ns.value == cycles.value * 2.5
    # measured cycles of a clock that alkaid's delays do not allow, or do
    kind = "assumed" if fmax.value < 400 else "estimated"
    assert headline.latency_ns.kind == clock.kind == kind
    assert sum(layer.cycles.value for layer in headline.layers) == pytest.approx(cycles.value)
    assert latency.estimates[1].layers == ()


def test_rtl_in_other_stages_is_not_what_was_measured(saved: Design) -> None:
    old = verified(saved)
    assert of_design(old, saved) == old
    saved.rtl(latency_cycles=7)
    changed = of_design(old, saved)
    assert isinstance(changed, VerificationFacts)
    assert changed.engines[0].status == "not run"
    latency, _ = estimate_facts(saved, None, changed)
    assert latency.estimates[0].latency_ns == NotRun(
        reason="the RTL: rtl/ is not what was verified; run `samebits verify --against rtl` again"
    )


def test_flip_flops_of_another_pipeline_than_the_rtl_say_so(saved: Design) -> None:
    saved.rtl()
    _, before = estimate_facts(saved)
    saved.rtl(latency_cycles=7)
    latency, after = estimate_facts(saved)
    cycles = latency.estimates[1].cycles
    assert isinstance(cycles, Quantity)
    *_, plain = (e for e in before.estimates if e.source == "unrolled logic, alkaid")
    *_, told = (e for e in after.estimates if e.source == "unrolled logic, alkaid")
    assert plain.notes == ()
    pipeline = f"of a pipeline of {cycles.value:g} cycles; rtl/ has 7"
    assert told.notes == (f"the FF are those {pipeline}, and other FF",)
    assert isinstance(told.used["FF"], Quantity)
    assert told.used["FF"].tool.endswith(pipeline)
    assert told.used["LUT"] == plain.used["LUT"]


def test_an_estimate_is_made_once_for_a_design(
    saved: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def counted(*arguments: Any) -> Estimate:
        made.append(arguments)
        return estimate(*arguments)

    monkeypatch.setattr("samebits.estimates.estimate", counted)
    first = estimate_facts(saved)
    again = estimate_facts(Design.load(saved.folder))
    assert (again, len(made)) == (first, 1)
    kept = saved.folder / "estimate.json"
    kept.write_text(kept.read_text().replace(saved.fingerprint, "0" * 64))
    assert (estimate_facts(saved), len(made)) == (first, 2)
    kept.write_text(kept.read_text()[:-30])
    assert (estimate_facts(saved), len(made)) == (first, 3)


@pytest.mark.parametrize("budget_ns", [0.0, -5.0, float("nan"), float("inf")])
def test_a_budget_is_above_0(budget_ns: float) -> None:
    with pytest.raises(errors.UsageError) as caught:
        estimate_facts(convolution(1), budget_ns)
    assert str(caught.value) == f"--budget-ns must be above 0 ns, got {budget_ns:g}"


def test_a_folded_hls_project_comes_before_unrolled_logic() -> None:
    design = convolution(2)
    folded = Design(design.graph, Target(strategy="Resource", reuse_factor=3))
    for one, first in ((design, "rtl/ in Verilator"), (folded, "hls/, Vitis HLS")):
        latency, resources = estimate_facts(one)
        assert latency.estimates[0].source == first
        assert latency.estimates[-1].source.startswith("rtl/ on Lattice")
        assert resources.estimates[-1].device
