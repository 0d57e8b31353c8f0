"""shift: the value times a power of two; only the binary point moves."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import Format, Interval, Tensor
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION"]


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    return inputs[0].shape


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    fmt, bits = inputs[0].format, attrs["bits"]
    assert isinstance(bits, int)
    return Format(fmt.signed, fmt.width, fmt.integer + bits)


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    return intervals[0]


def _peak(site: Site, intervals: Sequence[Interval]) -> int:
    return intervals[0].magnitude


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    return arrays[0]


OPERATION = Operation(
    name="shift",
    family="arithmetic",
    equation="y = x * 2**bits: the mantissa stays, the format's binary point moves",
    arity=(1, 1),
    attributes={"bits": int},
    shape=_shape,
    format=_format,
    range=_range,
    peak=_peak,
    kernel=_kernel,
)
