"""Zero bits: no mantissa has fewer, for every operation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Overflow, Rounding, Tensor
from samebits.compile.passes import propagate_ranges
from samebits.compile.passes.zero_bits import ALL_ZERO, propagate_zero_bits, zero_bits_of

from ...oracle import evaluate
from ...strategies import EVENTS, MAKERS, Maker, formats


class CoarseMaker(Maker):
    """Draws constants whose low bits are zero: only then is there something to prove."""

    def tensor(
        self, shape: tuple[int, ...], fmt: Format | None = None, constant: bool | None = None
    ) -> Tensor:
        x = super().tensor(shape, fmt, constant)
        if x.name in self.inputs or fmt is not None:
            return x
        bits = self.draw(st.integers(0, max(0, min(3, x.format.width - 1))))
        numbers = self.build.graph((x.name,)).constants[x.name]
        return self.build.integers(numbers >> bits << bits, x.format)


@pytest.mark.parametrize("op", sorted(MAKERS))
def test_no_operation_leaves_fewer_zero_bits(op: str) -> None:
    @settings(max_examples=30)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        maker = CoarseMaker(data.draw, 6)
        case = maker.finish(MAKERS[op](maker))
        zeros = propagate_zero_bits(case.graph, propagate_ranges(case.graph))
        for number in range(EVENTS):
            for name, mantissas in evaluate(case.graph, case.event(number)).items():
                bits = min(zeros[name], 64)
                assert all(int(value) % (1 << bits) == 0 for value in mantissas.flat), (op, name)

    check()


@given(x_format=formats(1, 6, plain=True), target=formats(1, 8), factor=st.integers(1, 48))
def test_products_with_a_constant_and_a_cast(x_format: Format, target: Format, factor: int) -> None:
    build = GraphBuilder()
    x = build.input("x", (1,), x_format)
    product = build.apply("mul", x, build.integers([factor], Format(False, 6, 3)))
    y = build.cast(product, target)
    graph = build.graph((y.name,))
    zeros = propagate_zero_bits(graph, propagate_ranges(graph))
    assert zeros[product.name] == zero_bits_of(np.array([factor]))
    for number in range(x_format.min_mantissa, x_format.max_mantissa + 1):
        found = int(evaluate(graph, {"x": np.array([number], dtype=object)})[y.name][0])
        assert found % (1 << min(zeros[y.name], 64)) == 0


def test_zero_bits_of_arrays() -> None:
    assert zero_bits_of(np.array([8, -12, 1 << 40])) == 2
    assert zero_bits_of(np.array([1 << 70, 1 << 80], dtype=object)) == 70
    assert zero_bits_of(np.array([0, 0])) == zero_bits_of(np.array([], dtype=int)) == ALL_ZERO


@pytest.mark.parametrize(
    ("overflow", "zeros"), [(Overflow.WRAP, 2), (Overflow.SAT_ZERO, 2), (Overflow.SAT, 0)]
)
def test_the_ends_of_a_saturating_type_have_no_zero_bits(overflow: Overflow, zeros: int) -> None:
    build = GraphBuilder()
    x = build.input("x", (1,), Format(True, 6, 4))
    wide = build.apply("mul", x, build.integers([4], Format(False, 3, 3)))
    y = build.cast(wide, Format(True, 5, 3, Rounding.TRN, overflow))
    graph = build.graph((y.name,))
    assert propagate_zero_bits(graph, propagate_ranges(graph))[y.name] == zeros
