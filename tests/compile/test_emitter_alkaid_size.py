"""Operations of unrolled logic, counted by hand."""

import numpy as np
import pytest

from samebits import errors
from samebits.compile.builder import GraphBuilder
from samebits.compile.emitters.alkaid_size import check_size, count_operations
from samebits.compile.ir import Format, Graph

FMT = Format(True, 4, 2)


def some_of_all() -> Graph:
    build = GraphBuilder()
    x = build.input("x", (3, 1), FMT)
    y = build.apply("dot", x, build.integers([[1, 0], [0, 0], [2, -3]], FMT))
    scaled = build.apply("mul", y, build.integers([0, 5], FMT))
    squared = build.apply("mul", scaled, y)
    patches = build.apply(
        "gather", x, build.integers([[0, 1], [1, 2], [2, 2]], Format(False, 2, 2))
    )
    kernel = build.integers(np.array([[[1]], [[1]], [[0]]]), FMT)
    each = build.apply("truncated_dot", patches, kernel, bits=1)
    index = build.cast(build.reshape(each, (2,)), Format(False, 6, 6))
    found = build.apply("lookup", index, build.integers([1] * 64, FMT))
    both = build.apply("concat", squared, found)
    return build.graph((build.apply("reduce_max", both).name,))


def test_operations_are_counted_without_zeros_and_movement() -> None:
    assert count_operations(some_of_all()) == {
        "dot": 3,
        "mul": 1 + 2,
        "truncated_dot": 2 * 2,
        "cast": 2,
        "lookup": 2 * 64 // 16,
        "reduce_max": 4,
    }


def test_a_large_graph_is_refused_with_its_counts() -> None:
    check_size(some_of_all(), 24)
    with pytest.raises(errors.UnsupportedError) as error:
        check_size(some_of_all(), 23)
    assert str(error.value) == (
        "as unrolled logic this network is 24 operations on single numbers (lookup 8, "
        "truncated_dot 4, reduce_max 4), more than the limit of 23 (max_operations)"
    )
