"""Reuse factors beyond the number of weights: the kernel limits them, and then may abort."""

import numpy as np
import pytest

from samebits import errors
from samebits.compile.lowering.products import resource_walk


@pytest.mark.parametrize(("n_in", "reuse"), [(1, 2), (3, 3 * 4), (4, 100)])
@pytest.mark.parametrize("any_reuse", [False, True])
def test_one_output_aborts(n_in: int, reuse: int, any_reuse: bool) -> None:
    """min(reuse, n_in * n_out) must be more than n_in (nnet_dense_resource.h)."""
    with pytest.raises(errors.UnsupportedError) as raised:
        resource_walk(n_in, 1, reuse, "layer x (PointwiseConv1D)", any_reuse=any_reuse)
    assert str(raised.value) == (
        f"layer x (PointwiseConv1D): reuse factor {reuse} for {n_in} inputs and one output; "
        f"hls4ml's kernel dense_resource_rf_gt_nin_rem0 aborts; choose at most {n_in}"
    )


def test_more_outputs_and_smaller_factors_do_not() -> None:
    for n_in, n_out, reuse in [(3, 2, 600), (3, 1, 3), (1, 1, 1), (2, 2, 4)]:
        walk = resource_walk(n_in, n_out, reuse, "layer x (Dense)")
        assert np.array_equal(walk.orders, np.broadcast_to(np.arange(n_in)[:, None], (n_in, n_out)))
    assert resource_walk(3, 1, 7, "layer x (Dense)", any_reuse=True).places.shape == (3, 1)
