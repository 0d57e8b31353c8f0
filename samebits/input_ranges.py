"""What inputs a design is to expect: given bounds or events, and the mantissas that arrive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.compile.ir import Carrier, Format, Graph, Interval, Overflow
from samebits.compile.ops.boundary import to_mantissas
from samebits.inputs import check_inputs

__all__ = ["InputRange", "arriving_interval", "given_ranges", "wide_format"]

Values: TypeAlias = NDArray[Any]
_ROOM = 1000  # bits of a mantissa that any float32, and any double but a monstrous one, fits in


@dataclass(frozen=True, slots=True, eq=False)
class InputRange:
    """The real values low .. high (arrays of the input's shape) that an input is allowed."""

    low: Values
    high: Values


def given_ranges(graph: Graph, data: Any) -> tuple[dict[str, InputRange], list[Values] | None]:
    """The real range of every input that `data` says something of, and the events if it has any.

    Raises:
        UsageError: an input that does not exist, or bounds that are no range.
    """
    if data is None:
        return {}, None
    names = graph.inputs
    if isinstance(data, tuple):
        data = dict.fromkeys(names, data)
    if isinstance(data, Mapping) and any(isinstance(value, tuple) for value in data.values()):
        return {name: _one_range(graph, name, bounds) for name, bounds in data.items()}, None
    events = check_inputs(graph, data)
    if not len(events[0]):
        raise errors.DataError("ranges: the data hold no events")
    return {
        name: InputRange(array.min(axis=0), array.max(axis=0))
        for name, array in zip(names, events, strict=True)
    }, events


def _one_range(graph: Graph, name: str, bounds: Any) -> InputRange:
    if name not in graph.inputs:
        raise errors.UsageError(
            f"ranges: there is no input {name!r}; inputs: {', '.join(graph.inputs)}"
        )
    shape = graph.tensors[name].shape
    try:
        low, high = (np.broadcast_to(np.asarray(x, dtype=np.float64), shape) for x in bounds)
    except (TypeError, ValueError):
        raise errors.UsageError(
            f"ranges: {name}: wanted (low, high), numbers or arrays of shape {shape}, got "
            f"{bounds!r}"
        ) from None
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
        raise errors.UsageError(f"ranges: {name}: {bounds!r} is not a finite range low <= high")
    return InputRange(low, high)


def wide_format(fmt: Format) -> Format:
    """The format's grid and rounding with room for every double."""
    return Format(True, _ROOM, _ROOM - fmt.fraction, fmt.rounding, Overflow.SAT)


def arriving_interval(fmt: Format, bounds: InputRange) -> Interval:
    """The mantissas that arrive at an input's format."""
    low, high = (
        to_mantissas(np.asarray(x, dtype=np.float64), wide_format(fmt), Carrier.PYTHON)
        for x in (bounds.low, bounds.high)
    )
    if fmt.like_ap_int:  # it makes 1 of what lies between -1/2 and 0, see `input_mantissas`
        high = np.where((bounds.low < 0) & (bounds.high > -0.5), np.maximum(high, 1), high)
    return Interval(low, high)
