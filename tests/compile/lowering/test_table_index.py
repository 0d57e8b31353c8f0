"""The int that addresses a table: x * size / 16 in ap_fixed's arithmetic, then towards zero."""

from fractions import Fraction
from math import trunc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format
from samebits.compile.lowering.activation import scaled_to_int
from samebits.sim.numpy_engine import NumpyEngine


@pytest.mark.parametrize(
    "fmt",
    [Format(True, 7, 8), Format(True, 5, 8), Format(False, 4, 6), Format(True, 9, 4)],
    ids=str,
)
@pytest.mark.parametrize("factor", [100, -37, 1024])
def test_the_quotient_is_truncated_on_the_grid_of_the_product(fmt: Format, factor: int) -> None:
    """A grid coarser than the integers stays that coarse (ap_fixed_base.h, `operator/`)."""
    build = GraphBuilder()
    context: Any = SimpleNamespace(build=build)
    index = scaled_to_int(context, build.input("x", (1,), fmt), factor, 4)
    graph = build.graph((index.name,))
    mantissas = list(range(fmt.min_mantissa, fmt.max_mantissa + 1))
    lsb = Fraction(2) ** -fmt.fraction
    (got,) = NumpyEngine(graph).run(
        [np.array([[float(m * lsb)] for m in mantissas])], graph.outputs
    )
    wanted = [trunc(trunc(Fraction(m * factor, 16)) * lsb) for m in mantissas]
    assert got.ravel().tolist() == wanted
