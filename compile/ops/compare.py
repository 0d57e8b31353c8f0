"""compare: 1 where a relation between two tensors holds, else 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from samebits import errors

from ..ir import Format, Interval, Tensor
from .arith import broadcast_shape, common_format, result_peak, to_common
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION"]

_RELATIONS: dict[str, Callable[[Array, Array], Array]] = {
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
}


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    if attrs["relation"] not in _RELATIONS:
        raise errors.FormatError(
            f"compare: relation {attrs['relation']!r} is not one of {sorted(_RELATIONS)}"
        )
    return broadcast_shape(inputs, "compare")


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    return Format(False, 1, 1)


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    zeros = np.zeros(site.output.shape, dtype=object)
    return Interval(zeros, zeros + 1)


def _common(site: Site) -> Format:
    return common_format([tensor.format for tensor in site.inputs])


def _peak(site: Site, intervals: Sequence[Interval]) -> int:
    wide = Tensor(site.output.name, site.output.shape, _common(site))
    return max(1, result_peak(Site(site.inputs, site.attrs, wide), intervals))


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    left, right = to_common(site, arrays, _common(site))
    relation = _RELATIONS[site.text("relation")]
    return np.asarray(relation(left, right)).astype(arrays[0].dtype)


OPERATION = Operation(
    name="compare",
    family="arithmetic",
    equation="y = 1 if a (gt: >, ge: >=, eq: ==) b else 0, shapes broadcast",
    arity=(2, 2),
    attributes={"relation": str},
    shape=_shape,
    format=_format,
    range=_range,
    peak=_peak,
    kernel=_kernel,
)
