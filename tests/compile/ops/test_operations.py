"""Every operation's rules against the oracle: values, formats, ranges, peaks, on every carrier."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samebits import errors
from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Attr, Carrier, Format, Interval, Node, Overflow, Rounding
from samebits.compile.ops import OPERATIONS, operation, site_of
from samebits.compile.ops.arith import as_carrier
from samebits.compile.passes import propagate_ranges

from ...oracle import evaluate
from ...strategies import EVENTS, MAKERS, Case, operation_cases

WIDTHS = (5, 12, 26, 60)  # formats up to so many bits: float32, float64, int64, Python integers


def by_operation() -> Any:
    return pytest.mark.parametrize("op", sorted(OPERATIONS))


def cases(op: str, widths: tuple[int, ...] = WIDTHS) -> st.SearchStrategy[Case]:
    return st.sampled_from(widths).flatmap(lambda width: operation_cases(op, width))


def batched(case: Case, name: str, carrier: Carrier) -> Any:
    """A tensor's mantissas as the engine gives them to a kernel."""
    known = case.graph.constants
    array = known[name][..., None] if name in known else np.moveaxis(case.inputs[name], 0, -1)
    return as_carrier(array, carrier)


def run_kernel(case: Case, node: Node, carrier: Carrier) -> Any:
    site = site_of(case.graph, node)
    return operation(node.op).kernel(site, [batched(case, x, carrier) for x in node.inputs])


def test_every_operation_has_a_maker_of_test_cases() -> None:
    assert MAKERS.keys() == OPERATIONS.keys()


@by_operation()
@given(data=st.data())
def test_kernel_equals_the_oracle_on_every_carrier(op: str, data: st.DataObject) -> None:
    case = data.draw(cases(op))
    (node,) = case.graph.nodes
    # the oracle also checks the shape rule, and that the format rule loses nothing
    expected = np.array([evaluate(case.graph, case.event(n))[node.output] for n in range(EVENTS)])
    ranges = propagate_ranges(case.graph)
    peak = operation(op).peak(site_of(case.graph, node), [ranges[x] for x in node.inputs])
    before = {name: array.copy() for name, array in case.inputs.items()}
    for carrier in Carrier:
        if not carrier.holds(peak):
            continue
        got = run_kernel(case, node, carrier)
        assert got.dtype == carrier.dtype
        assert got.shape[:-1] == case.graph.tensors[node.output].shape
        first = np.moveaxis(as_carrier(got, Carrier.PYTHON), -1, 0)
        exact = np.broadcast_to(first, expected.shape)
        assert (exact == expected).all(), f"{carrier}: {exact} instead of {expected}"
    for name, array in case.inputs.items():
        assert (array == before[name]).all(), f"{op} changed its input {name}"


@by_operation()
@given(data=st.data())
def test_range_holds_every_value_and_the_format_holds_the_range(
    op: str, data: st.DataObject
) -> None:
    case = data.draw(cases(op))
    (node,) = case.graph.nodes
    tensor, interval = case.graph.tensors[node.output], propagate_ranges(case.graph)[node.output]
    assert interval.low.shape == interval.high.shape == tensor.shape
    assert interval.within(tensor.format.min_mantissa, tensor.format.max_mantissa)
    for number in range(EVENTS):
        values = evaluate(case.graph, case.event(number))[node.output]
        assert (interval.low <= values).all()
        assert (values <= interval.high).all()


class Recorded(int):
    """A Python integer that remembers the largest magnitude that arithmetic on it gave."""

    largest = 0

    @classmethod
    def of(cls, value: int) -> "Recorded":
        cls.largest = max(cls.largest, abs(value))
        return cls(value)


def _record(name: str) -> None:
    plain = getattr(int, name)

    def operator(self: Recorded, *others: int) -> Any:
        return Recorded.of(plain(self, *(int(other) for other in others)))

    setattr(Recorded, name, operator)


for _name in ("add", "sub", "mul", "and", "rshift", "lshift"):
    _record(f"__{_name}__")
    _record(f"__r{_name}__")
for _name in ("neg", "abs"):
    _record(f"__{_name}__")


@by_operation()
@given(data=st.data())
def test_peak_bounds_all_that_the_integer_kernel_computes(op: str, data: st.DataObject) -> None:
    case = data.draw(cases(op))
    (node,) = case.graph.nodes
    ranges = propagate_ranges(case.graph)
    peak = operation(op).peak(site_of(case.graph, node), [ranges[x] for x in node.inputs])
    Recorded.largest = 0
    recorded = []
    for name in node.inputs:
        array = batched(case, name, Carrier.PYTHON).copy()
        array.flat = [Recorded.of(int(value)) for value in array.flat]
        recorded.append(array)
    operation(op).kernel(site_of(case.graph, node), recorded)
    assert Recorded.largest <= peak


A, B, BIT = Format(True, 2, 2), Format(False, 2, 1), Format(False, 1, 1)
# operation, attributes, fed inputs of at most six small elements together
TIGHT: list[tuple[str, dict[str, Attr], list[tuple[tuple[int, ...], Format]]]] = [
    ("reshape", {"shape": (2, 2)}, [((4,), A)]),
    ("transpose", {"perm": (1, 0)}, [((2, 3), A)]),
    ("add", {}, [((2,), A), ((1,), B)]),
    ("sub", {}, [((2,), B), ((1,), A)]),
    ("sub", {}, [((), B), ((), B)]),
    ("mul", {}, [((2, 1), A), ((1, 2), A)]),
    ("mul", {}, [((), A), ((), B)]),
    ("max", {}, [((2,), A), ((1,), B)]),
    ("min", {}, [((2,), A), ((1,), B)]),
    ("select", {}, [((2,), BIT), ((1,), A), ((2,), B)]),
    ("sum", {}, [((3, 2), A)]),
    ("sum", {}, [((6,), B)]),
    ("reduce_max", {}, [((3, 2), A)]),
    ("shift", {"bits": 3}, [((2,), A)]),
    ("dot", {}, [((2, 1), A), ((2, 2), B)]),
    ("lookup", {}, [((2,), B), ((4,), A)]),
    ("concat", {}, [((2,), A), ((1,), B)]),
    *(
        ("cast", {"format": Format(signed, 3, integer, rounding, mode), "bounded": 0}, [((), wide)])
        for signed, integer, rounding, mode in product(
            (True, False), (2, 3, 5), Rounding, (Overflow.SAT, Overflow.SAT_SYM)
        )
        for wide in (Format(True, 5, 3), Format(False, 4, 3))
    ),
]


@pytest.mark.parametrize(("op", "attrs", "shapes"), TIGHT)
def test_range_is_tight(
    op: str, attrs: dict[str, Attr], shapes: list[tuple[tuple[int, ...], Format]]
) -> None:
    build = GraphBuilder()
    fed = [build.input(f"x{i}", shape, fmt) for i, (shape, fmt) in enumerate(shapes)]
    graph = build.graph((build.apply(op, *fed, **attrs).name,))
    (node,) = graph.nodes
    sizes = [int(np.prod(shape)) for shape, _ in shapes]
    choices = [
        range(fmt.min_mantissa, fmt.max_mantissa + 1)
        for (_, fmt), size in zip(shapes, sizes, strict=True)
        for _ in range(size)
    ]
    everything = np.array(list(product(*choices)), dtype=np.int64)
    parts = np.split(everything, np.cumsum(sizes)[:-1], axis=1)
    kernel = operation(op).kernel
    inputs = [x.T.reshape(*shape, -1) for x, (shape, _) in zip(parts, shapes, strict=True)]
    seen = kernel(site_of(graph, node), inputs)
    interval = propagate_ranges(graph)[node.output]
    assert (seen.min(axis=-1) == interval.low).all()
    assert (seen.max(axis=-1) == interval.high).all()


def test_ranges_start_from_the_given_bounds() -> None:
    build = GraphBuilder()
    x = build.input("x", (2,), Format(True, 8, 8))
    y = build.cast(x, Format(True, 4, 4))
    graph = build.graph((y.name,))
    full = propagate_ranges(graph)[y.name]
    narrow = propagate_ranges(graph, {"x": Interval(np.array([-3, 0]), np.array([2, 99]))})[y.name]
    assert (full.low.tolist(), full.high.tolist()) == ([-8, -8], [7, 7])
    assert (narrow.low.tolist(), narrow.high.tolist()) == ([-3, -8], [2, 7])


def test_index_that_can_leave_the_table_is_refused() -> None:
    build = GraphBuilder()
    index = build.input("index", (1,), Format(False, 2, 2))
    y = build.apply("lookup", index, build.integers([1, 2, 3], Format(True, 4, 4)), name="y")
    with pytest.raises(errors.FormatError) as caught:
        propagate_ranges(build.graph((y.name,)))
    assert str(caught.value) == (
        "lookup y: index index can reach 0 .. 3, the table has entries 0 .. 2"
    )


def test_lookup_takes_each_event_its_own_table() -> None:
    build = GraphBuilder()
    index = build.input("index", (2, 1), Format(False, 1, 1))
    table = build.input("table", (2,), Format(True, 4, 4))
    graph = build.graph((build.apply("lookup", index, table).name,))
    got = operation("lookup").kernel(
        site_of(graph, graph.nodes[0]),
        [np.array([[[0, 1]], [[1, 1]]]), np.array([[1, 3], [2, 4]])],
    )
    assert got.tolist() == [[[1, 4]], [[2, 4]]]


FOUR, PAIR = Format(True, 4, 4), ((2, 3), Format(True, 4, 4))
REFUSED: list[tuple[str, dict[str, Attr], list[tuple[tuple[int, ...], Format]], str]] = [
    ("reshape", {"shape": (5,)}, [PAIR], "reshape: x0 (2, 3) cannot be (5,)"),
    ("transpose", {"perm": (0, 0)}, [PAIR], "transpose: (0, 0) does not order the axes of (2, 3)"),
    (
        "add",
        {},
        [PAIR, ((3, 3), FOUR)],
        "add: shapes do not broadcast: x0 (2, 3) and x1 (3, 3)",
    ),
    # a lower rank would broadcast against the batch axis
    ("mul", {}, [PAIR, ((3,), FOUR)], "mul: shapes do not broadcast: x0 (2, 3) and x1 (3,)"),
    (
        "dot",
        {},
        [((1, 2), FOUR), ((3, 2), FOUR)],
        "dot: shapes (1, 2) and (3, 2) do not fit",
    ),
    ("lookup", {}, [((2,), FOUR), ((), FOUR)], "lookup: table x1 has no entries"),
    (
        "gather",
        {},
        [PAIR, ((2,), Format(True, 4, 3))],
        "gather: x1 (2,) (ap_fixed<4,3,TRN,WRAP>) cannot number the slices of x0 (2, 3)",
    ),
    (
        "concat",
        {},
        [PAIR, ((2, 4), FOUR)],
        "concat: shapes do not fit behind the first axis: x0 (2, 3) and x1 (2, 4)",
    ),
    (
        "divide",
        {},
        [PAIR, ((1, 1), Format(False, 4, 3))],
        "divide: x1 (ap_ufixed<4,3,TRN,WRAP>) is not an integer",
    ),
    (
        "compare",
        {"relation": "lt"},
        [PAIR, PAIR],
        "compare: relation 'lt' is not one of ['eq', 'ge', 'gt']",
    ),
    ("add", {}, [PAIR], "add: takes (2, 2) inputs, got 1"),
    ("shift", {}, [PAIR], "shift: takes attributes ['bits'], got []"),
    ("shift", {"bits": "2"}, [PAIR], "shift: attribute bits cannot be '2'"),
    ("pad", {}, [PAIR], f"operation 'pad' is not one of {', '.join(sorted(OPERATIONS))}"),
    (
        "accumulate",
        {"format": Format(True, 5, 4), "kind": "chain", "order": (0, 1)},
        [PAIR],
        "accumulate: x0 is ap_fixed<4,4,TRN,WRAP>, the accumulator is ap_fixed<5,4,TRN,WRAP>; "
        "cast the terms first",
    ),
    (
        "accumulate",
        {"format": FOUR, "kind": "chain", "order": (0, 0)},
        [PAIR],
        "accumulate: (0, 0) does not order 2 terms",
    ),
    (
        "accumulate",
        {"format": FOUR, "kind": "bush", "order": ()},
        [PAIR],
        "accumulate: kind 'bush' is not one of 'chain', 'tree'",
    ),
    (
        "accumulate",
        {"format": FOUR, "kind": "tree", "order": ()},
        [PAIR, ((3,), FOUR)],
        "accumulate: a tree has its own order and no start",
    ),
    (
        "accumulate",
        {"format": FOUR, "kind": "chain", "order": (0, 1)},
        [PAIR, ((1,), FOUR)],
        "accumulate: start x1 (1,) is not of shape (3,)",
    ),
    (
        "accumulate",
        {"format": FOUR, "kind": "tree", "order": ()},
        [((0, 2), FOUR)],
        "accumulate: x0 (0, 2) has no terms to add",
    ),
]


@pytest.mark.parametrize(("op", "attrs", "shapes", "message"), REFUSED)
def test_wrong_use_is_refused(
    op: str, attrs: dict[str, Attr], shapes: list[tuple[tuple[int, ...], Format]], message: str
) -> None:
    build = GraphBuilder()
    fed = [build.input(f"x{i}", shape, fmt) for i, (shape, fmt) in enumerate(shapes)]
    with pytest.raises(errors.FormatError) as caught:
        build.apply(op, *fed, **attrs)
    assert str(caught.value) == message
