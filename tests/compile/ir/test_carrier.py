"""`Carrier`: the limits are those of the machine's numbers."""

import numpy as np
import pytest

from samebits.compile.ir import Carrier

LIMITED = [Carrier.FLOAT32, Carrier.FLOAT64, Carrier.INT64]


@pytest.mark.parametrize("carrier", LIMITED)
def test_limit_is_the_last_exact_integer(carrier: Carrier) -> None:
    limit = carrier.limit
    assert limit is not None
    assert carrier.holds(limit)
    assert not carrier.holds(limit + 1)
    for value in (limit, limit - 1, -limit):
        assert int(np.array(value, dtype=object).astype(carrier.dtype)) == value
    if carrier is not Carrier.INT64:
        assert int(np.array(limit + 1, dtype=object).astype(carrier.dtype)) != limit + 1


@pytest.mark.parametrize(
    ("magnitude", "carrier"),
    [
        (0, Carrier.FLOAT32),
        (2**24, Carrier.FLOAT32),
        (2**24 + 1, Carrier.FLOAT64),
        (2**53, Carrier.FLOAT64),
        (2**53 + 1, Carrier.INT64),
        (2**63 - 1, Carrier.INT64),
        (2**63, Carrier.PYTHON),
        (2**200, Carrier.PYTHON),
    ],
)
def test_the_fastest_exact_carrier_is_chosen(magnitude: int, carrier: Carrier) -> None:
    assert Carrier.for_magnitude(magnitude) is carrier
