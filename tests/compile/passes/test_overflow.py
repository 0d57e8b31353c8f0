"""Overflow sites, wraps that a later wrap repeats, and guards: the same function, better bounds."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Graph, Overflow, Rounding
from samebits.compile.passes import propagate_ranges, simplify
from samebits.compile.passes.guards import explicit_guards
from samebits.compile.passes.overflow import lift_inner_wraps, overflow_sites
from samebits.sim.numpy_engine import NumpyEngine

from ...oracle import evaluate
from ...strategies import EVENTS, Case, networks


@settings(max_examples=60)
@given(case=networks())
def test_lifting_and_guarding_change_no_bit_that_is_kept(case: Case) -> None:
    names = [*case.graph.outputs, *case.graph.layer_tensors.values()]
    for graph in (case.graph, simplify(case.graph)):
        for changed in (lift_inner_wraps(graph), explicit_guards(graph)):
            for number in range(EVENTS):
                wanted, got = (evaluate(g, case.event(number)) for g in (graph, changed))
                for name in names:
                    assert changed.tensors[name] == graph.tensors[name]
                    assert np.array_equal(wanted[name], got[name]), name


@settings(max_examples=60)
@given(case=networks())
def test_what_arrives_stays_within_the_bounds(case: Case) -> None:
    """Of what is cast, and of every partial sum of a saturating accumulator."""
    ranges = propagate_ranges(case.graph)
    for site in overflow_sites(case.graph, ranges):
        for number in range(EVENTS):
            values = evaluate(case.graph, case.event(number))
            if site.node.op == "accumulate":
                terms = values[site.node.inputs[0]]
                if site.node.attrs["kind"] == "tree":
                    continue  # its totals are in test_sites_of_accumulators
                order = list(site.node.attrs["order"])  # type: ignore[arg-type]
                start = values[site.node.inputs[1]] if len(site.node.inputs) == 2 else 0
                sums = np.cumsum(terms[order], axis=0) + start
                arriving = sums if site.partial else sums[-1]
                assert site.terms == len(terms)
                assert (site.arriving.low <= arriving).all()
                assert (arriving <= site.arriving.high).all()
            elif not (site.above or site.below):
                exact = values[site.node.inputs[0]].astype(float) * site.source.lsb
                assert (exact >= (site.target.min_saturated - 1) * site.target.lsb).all()
                assert (exact <= (site.target.max_mantissa + 1) * site.target.lsb).all()


def accumulator(kind: str, mode: Overflow) -> Graph:
    """The sum of 3, -2, x and y, each up to 3, in a type of -4 .. 3."""
    build = GraphBuilder()
    fmt = Format(True, 3, 3, Rounding.TRN, mode)
    x = build.input("x", (2,), Format(True, 3, 3, Rounding.TRN, mode))
    constant = build.integers([3, -2], fmt)
    terms = build.cast(build.apply("concat", constant, x), fmt)
    order = (0, 1, 2, 3) if kind == "chain" else ()
    y = build.apply("accumulate", terms, format=fmt, kind=kind, order=order, name="y")
    return build.graph((y.name,))


@pytest.mark.parametrize(
    ("kind", "mode", "low", "high"),
    [
        # a wrapping accumulator: its total alone
        ("chain", Overflow.WRAP, -7, 7),
        ("tree", Overflow.WRAP, -7, 7),
        # a saturating one: 3, 3 - 2, 1 + x, 1 + x + y
        ("chain", Overflow.SAT, [3, 1, -3, -7], [3, 1, 4, 7]),
        # 3 - 2, x + y, all
        ("tree", Overflow.SAT, [1, -8, -7], [1, 6, 7]),
    ],
)
def test_sites_of_accumulators(kind: str, mode: Overflow, low: Any, high: Any) -> None:
    graph = accumulator(kind, mode)
    site = overflow_sites(graph, propagate_ranges(graph))[-1]
    assert site.node.output == "y"
    assert (site.above, site.below, site.terms) == (True, True, 4)
    assert site.arriving.low.tolist() == low
    assert site.arriving.high.tolist() == high


def rounded_products(total: Format) -> Graph:
    """Products rounded to nearest one by one, which wrap at 2, added and cast to `total`."""
    build = GraphBuilder()
    x = build.input("x", (3,), Format(True, 4, 3))
    weights = build.integers([3, -2, 1], Format(True, 3, 2))
    products = build.cast(
        build.apply("mul", x, weights), Format(True, 4, 2, Rounding.RND), name="products"
    )
    total_tensor = build.cast(build.apply("sum", products), total, name="total")
    build.layer("sum", "Dense", total_tensor)
    return build.graph((total_tensor.name,))


def test_a_wrap_that_is_repeated_is_lifted() -> None:
    graph = rounded_products(Format(True, 4, 2))
    lifted = lift_inner_wraps(graph)
    products, total = overflow_sites(lifted, propagate_ranges(lifted))
    assert (products.above, products.below) == (False, False)
    assert products.target.rounding is Rounding.RND
    # 4 * 1.5 + 3.5 * 1 + 3.5 * 0.5, upwards of -(4 * 1.5 + ...): not what three wraps leave
    assert total.arriving.maximum * total.target.lsb == 3.5 * 1.5 + 4 + 1.75
    assert total.arriving.minimum * total.target.lsb == -4 * 1.5 - 3.5 - 2


@pytest.mark.parametrize(
    "total",
    [
        Format(True, 5, 3),  # more integer bits: what wrapped before stays wrapped
        Format(True, 4, 2, Rounding.TRN, Overflow.SAT),
        Format(True, 3, 2),  # drops a fraction bit
    ],
)
def test_other_wraps_stay(total: Format) -> None:
    graph = rounded_products(total)
    assert lift_inner_wraps(graph) is graph


def test_a_cast_that_was_idle_wraps_after_lifting() -> None:
    build = GraphBuilder()
    x = build.input("x", (1, 2), Format(True, 4, 3))
    once = build.cast(x, Format(True, 3, 2))
    y = build.cast(build.apply("sum", once), Format(True, 4, 2), name="y")
    graph = simplify(build.graph((y.name,)))
    assert graph.nodes[-1].attrs["bounded"]
    lifted = lift_inner_wraps(graph)
    assert not lifted.nodes[-1].attrs["bounded"]
    events = np.arange(-8, 8).reshape(8, 1, 2) / 2
    before, after = (NumpyEngine(g).run([events], ["y"])[0] for g in (graph, lifted))
    assert np.array_equal(before, after)


def test_an_accumulator_stays_the_place_where_it_wraps() -> None:
    build = GraphBuilder()
    x = build.input("x", (2,), Format(True, 4, 4))
    accum = build.cast(build.apply("sum", x), Format(True, 4, 4), name="accum")
    y = build.cast(accum, Format(True, 4, 4), name="result")
    graph = build.graph((y.name,))
    assert lift_inner_wraps(graph) is graph


def activation(relation: str, swapped: bool) -> Graph:
    """x > 3/4 ? cast(5 x) : cast(-6 x), in types that hold what each branch is chosen for only."""
    build = GraphBuilder()
    x = build.input("x", (1,), Format(True, 5, 2))
    limit = build.integers([3], Format(False, 3, 1))  # 3/4, on a coarser grid than x's
    operands = (limit, x) if swapped else (x, limit)
    five = build.integers([5], Format(False, 3, 3))
    minus = build.integers([-6], Format(True, 4, 4))
    chosen = build.apply("compare", *operands, relation=relation)
    first = build.cast(build.apply("mul", x, five), Format(True, 9, 6), name="first")
    second = build.cast(build.apply("mul", x, minus), Format(True, 9, 6), name="second")
    y = build.apply("select", chosen, first, second, name="y")
    build.layer("activation", "Activation", y)
    return build.graph((y.name,))


@pytest.mark.parametrize(
    ("relation", "swapped", "first", "second"),
    [
        # x in eighths: > 6 is 7 .. 15, and -16 .. 6 is left
        ("gt", False, (35, 75), (-36, 96)),
        ("ge", False, (30, 75), (-30, 96)),
        ("gt", True, (-80, 25), (-90, -36)),
        ("ge", True, (-80, 30), (-90, -42)),
    ],
)
def test_a_branch_meets_only_what_it_is_chosen_for(
    relation: str, swapped: bool, first: tuple[int, int], second: tuple[int, int]
) -> None:
    graph = activation(relation, swapped)
    guarded = explicit_guards(graph)
    ranges = propagate_ranges(guarded)
    assert (ranges["first"].minimum, ranges["first"].maximum) == first
    assert (ranges["second"].minimum, ranges["second"].maximum) == second
    events = np.arange(-16, 16).reshape(-1, 1) / 8
    before, after = (NumpyEngine(g).run([events], ["y"])[0] for g in (graph, guarded))
    assert np.array_equal(before, after)


def test_branches_that_mix_elements_are_left_alone() -> None:
    build = GraphBuilder()
    x = build.input("x", (2, 2), Format(True, 5, 2))
    zero = build.integers([[0, 0], [0, 0]], Format(True, 5, 2))
    total = build.apply("add", build.reshape(build.apply("sum", x), (1, 2)), x)
    y = build.apply("select", build.apply("compare", x, zero, relation="gt"), total, zero)
    graph = build.graph((y.name,))
    assert explicit_guards(graph) is graph


def test_a_branch_that_is_used_elsewhere_is_left_alone() -> None:
    build = GraphBuilder()
    x = build.input("x", (1,), Format(True, 5, 2))
    zero = build.integers([0], Format(True, 5, 2))
    double = build.apply("add", x, x)
    chosen = build.apply("compare", x, zero, relation="gt")
    y = build.apply("select", chosen, double, zero)
    for outputs in ((y.name, double.name), (y.name, build.apply("shift", double, bits=1).name)):
        graph = build.graph(outputs)
        assert explicit_guards(graph) is graph
