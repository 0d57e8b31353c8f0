"""The report's estimates: numbers, or the reason why a tool has not run."""

import numpy as np
import pytest

from samebits import Design, Target
from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format
from samebits.estimates import estimate_facts
from samebits.report.facts import NotRun, Quantity

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
    unrolled, vendor = latency.estimates
    assert isinstance(unrolled.latency_ns, Quantity)
    assert unrolled.latency_ns.kind == "estimated"
    assert isinstance(resources.estimates[0].used["LUT"], Quantity)
    assert vendor.latency_ns == NotRun(reason="the design has no HLS project on disk")


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
    for absent in (latency.estimates[0].latency_ns, resources.estimates[0].used["LUT"]):
        assert isinstance(absent, NotRun)
        assert absent.reason.endswith(reason)
    assert latency.headline is None
