"""`Design.ranges`: proven bounds, spare bits, overflow."""

import numpy as np
import pytest

from samebits import Design
from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Graph, Overflow, Rounding
from samebits.ranges import TensorRange, tensor_ranges

from ..models import quantized_mlp


def three_times(target: Format) -> Graph:
    build = GraphBuilder()
    x = build.input("x", (1,), Format(False, 4, 4))
    y = build.cast(build.apply("mul", x, build.integers([3], Format(False, 2, 2))), target, "y")
    build.layer("triple", "Dense", y)
    return build.graph((y.name,))


@pytest.mark.parametrize(
    ("target", "high", "spare", "overflows"),
    [
        (Format(False, 6, 6), 45, 0, False),
        (Format(False, 9, 9), 45, 3, False),
        (Format(True, 9, 9), 45, 2, False),  # 6 bits and the sign
        (Format(False, 5, 5), 31, 0, True),
        (Format(False, 5, 5, Rounding.TRN, Overflow.SAT), 31, 0, True),
        (Format(False, 4, 6), 44, 0, False),
    ],
)
def test_range_of_a_cast(target: Format, high: float, spare: int, overflows: bool) -> None:
    from samebits.compile.passes import simplify

    found = tensor_ranges(simplify(three_times(target)))
    assert found["triple"] == TensorRange(target, 0.0, high, spare, overflows)
    assert found["triple"].verdict == ("may overflow" if overflows else "cannot overflow")
    assert found["x"] == TensorRange(Format(False, 4, 4), 0.0, 15.0, 0, False)


def test_no_event_leaves_the_proven_ranges() -> None:
    design = Design.from_onnx(quantized_mlp().model())
    ranges = design.ranges()
    x = np.random.default_rng(5).uniform(-10, 10, (5000, 4))
    for name, values in design.trace(x).items():
        assert ranges[name].low <= values.min(), name
        assert values.max() <= ranges[name].high, name
