"""`Carrier`: the machine number in which an engine holds mantissas, chosen by proven magnitude."""

from __future__ import annotations

import enum

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["Carrier"]


class Carrier(enum.Enum):
    """Number types, fastest first; each is exact for integers up to its limit.

    Source of the limits: IEEE 754 binary32 and binary64 significands (24 and 53 bits), int64.
    """

    FLOAT32 = "float32"
    FLOAT64 = "float64"
    INT64 = "int64"
    PYTHON = "python"

    @property
    def dtype(self) -> DTypeLike:
        """The NumPy type of an array in this carrier."""
        return object if self is Carrier.PYTHON else np.dtype(self.value)

    @property
    def limit(self) -> int | None:
        """The largest magnitude up to which every integer is exact; None if there is none."""
        return _LIMITS[self]

    def holds(self, magnitude: int) -> bool:
        """True if every integer up to `magnitude` is exact."""
        limit = self.limit
        return limit is None or magnitude <= limit

    @classmethod
    def for_magnitude(cls, magnitude: int) -> Carrier:
        """The fastest carrier that is exact up to `magnitude`.

        >>> Carrier.for_magnitude(2**24).value, Carrier.for_magnitude(2**24 + 1).value
        ('float32', 'float64')
        """
        return next(carrier for carrier in cls if carrier.holds(magnitude))


_LIMITS: dict[Carrier, int | None] = {
    Carrier.FLOAT32: 2**24,
    Carrier.FLOAT64: 2**53,
    Carrier.INT64: 2**63 - 1,
    Carrier.PYTHON: None,
}
