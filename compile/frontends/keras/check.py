"""Exported model against Keras: what is proved of every layer, and what was measured."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from samebits import errors

from .export import layer_tensors
from .proof import Proof, prove

__all__ = ["ExportCheck", "TensorCheck", "check_export", "random_events"]

BATCH = 4096

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TensorCheck:
    """One tensor on both sides.

    Args:
        provable: that the two sides are equal is proved.
        reason: why it is, or why not.
        different: how many of the `values` are not equal.
        largest_difference: absolute.
        bound: what is proved of it: 0 where equality is, infinite where nothing is.
    """

    name: str
    provable: bool
    reason: str
    values: int
    different: int
    largest_difference: float
    bound: float = np.inf


@dataclass(frozen=True)
class ExportCheck:
    """The comparison of a Keras model with its export on `events` events.

    `tensors` holds every layer's output in the order of the graph, `outputs` those of the model.
    """

    events: int
    tensors: tuple[TensorCheck, ...]
    outputs: tuple[TensorCheck, ...]


def check_export(
    model: Any,
    onnx_model: onnx.ModelProto,
    x: npt.ArrayLike | Sequence[npt.ArrayLike] | Mapping[str, npt.ArrayLike],
) -> ExportCheck:
    """Compare every layer's output of the Keras model and of ONNX Runtime.

    Args:
        x: raw features (N, ...); for several inputs a list of them, or a dict by name.

    Raises:
        MismatchError: a tensor whose equality is provable differs, or one by more than the bound
            that is proved.
    """
    features = _features(model, onnx_model, x)
    largest = max(float(np.abs(one).max(initial=0.0)) for one in features.values())
    properties = {item.key: item.value for item in onnx_model.metadata_props}
    proofs = prove(
        onnx_model,
        largest,
        json.loads(properties.get("samebits.caveats", "{}")),
        json.loads(properties.get("samebits.deviations", "{}")),
    )
    keras_tensors = layer_tensors(model)
    names = [
        name for node in onnx_model.graph.node for name in node.output if name in keras_tensors
    ]
    keras_values = _run_keras(model, [keras_tensors[name] for name in names], features)
    onnx_values = _run_onnx(onnx_model, names, features)
    checks = tuple(
        _compare(name, proofs[name], left, right)
        for name, left, right in zip(names, keras_values, onnx_values, strict=True)
    )
    by_name = {check.name: check for check in checks}
    outputs = tuple(by_name[output.name] for output in onnx_model.graph.output)
    return ExportCheck(len(next(iter(features.values()))), checks, outputs)


def random_events(exported: onnx.ModelProto) -> dict[str, Floats]:
    """Numbers for every input of an exported model; row numbers where a table is looked up."""
    rng, tables = np.random.default_rng(0), {t.name: t.dims for t in exported.graph.initializer}
    casts = {n.output[0]: n.input[0] for n in exported.graph.node if n.op_type == "Cast"}
    looked_up = {
        casts[node.input[1]]: tables[node.input[0]][0]
        for node in exported.graph.node
        if node.op_type == "Gather" and node.input[1] in casts and node.input[0] in tables
    }
    events = {}
    for value in exported.graph.input:
        shape = (1000, *(d.dim_value for d in value.type.tensor_type.shape.dim[1:]))
        rows = looked_up.get(value.name)
        values = rng.normal(0, 2, shape) if rows is None else rng.integers(0, rows, shape)
        events[value.name] = values.astype(np.float32)
    return events


def _features(model: Any, onnx_model: onnx.ModelProto, x: Any) -> dict[str, Floats]:
    names = [value.name for value in onnx_model.graph.input]
    if isinstance(x, Mapping):
        if set(x) != set(names):
            raise errors.DataError(f"check of {model.name!r}: inputs {sorted(x)}, wanted {names}")
        given = [x[name] for name in names]
    else:
        given = list(x) if len(names) > 1 else [x]
        if len(given) != len(names):
            raise errors.DataError(
                f"check of {model.name!r}: {len(given)} arrays for the inputs {', '.join(names)}"
            )
    features = {n: np.asarray(one, np.float32) for n, one in zip(names, given, strict=True)}
    for one in features.values():
        if len(one) == 0 or not np.all(np.isfinite(one)):
            raise errors.DataError(
                f"check of {model.name!r}: wanted at least one event of finite features, got "
                f"{len(one)} events with {np.count_nonzero(~np.isfinite(one))} values that are "
                "NaN or infinite"
            )
    return features


def _compare(
    name: str, proof: Proof, left: npt.NDArray[Any], right: npt.NDArray[Any]
) -> TensorCheck:
    unequal = left != right
    count = int(np.count_nonzero(unequal))
    gap = float(np.abs(left.astype(np.float64) - right).max(initial=0.0))
    bound = 0.0 if proof.exact else proof.largest_error
    if gap > bound or (proof.exact and count):
        distance = np.abs(left.astype(np.float64) - right)
        event = tuple(int(i) for i in np.unravel_index(np.argmax(distance), distance.shape))
        claim = (
            f"although equality is provable ({proof.reason}); first"
            if proof.exact
            else f"by up to {gap:g}, although {bound:g} is the proved bound; largest"
        )
        if proof.exact:
            event = tuple(int(i) for i in np.argwhere(unequal)[0])
        raise errors.MismatchError(
            f"tensor {name!r}: Keras and ONNX Runtime differ in {count} of {unequal.size} values "
            f"{claim} in event {event[0]}, element "
            f"{', '.join(map(str, event[1:]))}: Keras {float(left[event])!r}, ONNX Runtime "
            f"{float(right[event])!r}. This is a fault of the exporter or of one of the two; "
            "please report it with the model"
        )
    return TensorCheck(name, proof.exact, proof.reason, int(unequal.size), count, gap, bound)


def _run_keras(model: Any, tensors: Sequence[Any], features: dict[str, Floats]) -> list[Any]:
    keras = sys.modules["tf_keras"]  # the model exists, so it is loaded
    inner = keras.Model(model.inputs, list(tensors))
    values = inner.predict(list(features.values()), batch_size=BATCH, verbose=0)
    return values if isinstance(values, list) else [values]


def _run_onnx(
    onnx_model: onnx.ModelProto, names: Sequence[str], features: dict[str, Floats]
) -> list[Floats]:
    import onnxruntime  # type: ignore[import-untyped]

    inner = onnx.ModelProto()
    inner.CopyFrom(onnx_model)
    present = {output.name for output in inner.graph.output}
    for name in names:
        if name not in present:
            inner.graph.output.append(
                helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            )
    session = onnxruntime.InferenceSession(
        inner.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    events = len(next(iter(features.values())))
    parts = [
        session.run(list(names), {name: x[start : start + BATCH] for name, x in features.items()})
        for start in range(0, events, BATCH)
    ]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]
