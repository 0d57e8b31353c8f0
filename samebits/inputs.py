"""A user's arrays checked and shaped for a graph's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samebits import errors
from samebits.compile.ir import Graph

if TYPE_CHECKING:
    from samebits.design import Design

__all__ = [
    "Events",
    "GraphInputs",
    "check_arrays",
    "check_inputs",
    "design_words",
    "raw_events",
]

Events: TypeAlias = ArrayLike | Sequence[ArrayLike] | Mapping[str, ArrayLike]
"""Events (N, ...): an array for one input; a list in the graph's order, or one by input name."""


def check_inputs(graph: Graph, x: Events) -> list[NDArray[Any]]:
    """Float arrays (N, *input shape) in the order of the graph's inputs.

    Args:
        x: arrays may be flat behind the batch axis.

    Raises:
        DataError: wrong names, number of inputs, features or events; NaN or infinity; not numbers.
    """
    return check_arrays({name: graph.tensors[name].shape for name in graph.inputs}, x)


def check_arrays(shapes: Mapping[str, tuple[int, ...]], x: Events) -> list[NDArray[Any]]:
    """`check_inputs` for inputs of these names and shapes of one event.

    Raises:
        DataError: other names, numbers of inputs or of events, shapes; NaN or infinity.
    """
    names = list(shapes)
    arrays: list[Any]
    if isinstance(x, Mapping):
        if set(x) != set(names):
            raise errors.DataError(f"inputs: got {sorted(x)}, wanted {sorted(names)}")
        arrays = [x[name] for name in names]
    elif len(names) == 1:
        arrays = [x[0]] if isinstance(x, list) and len(x) == 1 and np.ndim(x[0]) > 1 else [x]
    else:
        if not isinstance(x, Sequence) or len(x) != len(names):
            raise errors.DataError(
                f"inputs: the network has {len(names)} ({', '.join(names)}); give a list of as "
                "many arrays, or a dict by name"
            )
        arrays = list(x)
    shaped = [
        _check_one(name, shapes[name], array) for name, array in zip(names, arrays, strict=True)
    ]
    events = {len(array) for array in shaped}
    if len(events) > 1:
        raise errors.DataError(f"inputs have different numbers of events: {sorted(events)}")
    return shaped


def _check_one(name: str, shape: tuple[int, ...], values: ArrayLike) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except ValueError:
        raise errors.DataError(
            f"input {name}: rows of different lengths; wanted events of shape {shape}"
        ) from None
    if array.dtype.kind not in "fiub":
        raise errors.DataError(f"input {name}: holds {array.dtype}, wanted numbers")
    size = int(np.prod(shape))
    if array.shape[1:] != shape and not (array.ndim == 2 and array.shape[1] == size):
        per_event = array.shape[1:] if array.ndim else ()
        raise errors.DataError(
            f"input {name}: got events of shape {per_event}, wanted {shape} "
            f"({size} features), with the batch axis first"
        )
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    flat = array.reshape(len(array), size)
    # a sum of squares is NaN or infinite if any element is: one fast pass in the usual case
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(np.vdot(flat, flat))
    bad = ~np.isfinite(flat) if suspicious else np.zeros((0, size), dtype=bool)
    if bad.any():
        event, feature = (int(i) for i in np.argwhere(bad)[0])
        count = int(bad.sum())
        raise errors.DataError(
            f"input {name}: {count} value{' is' if count == 1 else 's are'} NaN or infinite, the "
            f"first in event {event}, feature {feature}"
        )
    return flat.reshape(len(flat), *shape)


class GraphInputs(dict[str, NDArray[Any]]):
    """Arrays of the graph's inputs as they are: adversarial events are no codes of a detector."""


def raw_events(design: Design, x: Events) -> Events:
    """The events; of a design with an input adapter its checked codes by field.

    Raises:
        DataError: see `compile.adapter.raw.fields_of`.
    """
    if design.adapter is None or isinstance(x, GraphInputs):
        return x
    from samebits.compile.adapter.raw import fields_of

    return fields_of(design.adapter, x)


def design_words(design: Design, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """The inputs; of a design with an adapter one array of the words that its C++ takes."""
    if design.adapter is None:
        return inputs
    from samebits.adapter import plan_of
    from samebits.compile.adapter.hls import raw_words
    from samebits.compile.ir import Carrier
    from samebits.compile.ops.boundary import input_mantissas

    graph = design.graph
    fields = {
        name: input_mantissas(values, graph.tensors[name].format, Carrier.INT64)
        for name, values in zip(graph.inputs, inputs, strict=True)
    }
    return [raw_words(plan_of(design), fields)]
