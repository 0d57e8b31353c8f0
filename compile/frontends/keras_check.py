"""Exported model against Keras: where equality is provable, and what was measured.

Both sides compute in float32. A result is the same on both, whatever the order of summation, if
every product and every partial sum is a multiple of 2^e below 2^(24+e): then nothing is ever
rounded. The proof walks the ONNX graph with the step (exponent e) and the largest magnitude of
every element of the last axis. After the first operation that may round (softmax, a wide sum)
nothing is claimed.
"""

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from samebits import errors

from . import quant

__all__ = ["ExportCheck", "TensorCheck", "check_export"]

FLOAT32_BITS = 24
BATCH = 4096

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TensorCheck:
    """One tensor on both sides. `reason` says why equality is provable or why it is not;
    `largest_difference` is absolute, `different` counts the values that are not equal."""

    name: str
    provable: bool
    reason: str
    values: int
    different: int
    largest_difference: float


@dataclass(frozen=True)
class ExportCheck:
    """The comparison of a Keras model with its export on `events` events.

    `tensors` holds every layer's output in the order of the graph, `outputs` those of the model.
    """

    events: int
    tensors: tuple[TensorCheck, ...]
    outputs: tuple[TensorCheck, ...]

    @property
    def last_provable(self) -> str | None:
        """The last tensor whose equality is provable; None if there is none."""
        return next((t.name for t in reversed(self.tensors) if t.provable), None)


def check_export(model: Any, onnx_model: onnx.ModelProto, x: npt.ArrayLike) -> ExportCheck:
    """Compare every layer's output of the Keras model and of ONNX Runtime for raw features x (N,
    F).

    Raises:
        MismatchError: a tensor whose equality is provable differs.
    """
    features = np.asarray(x, np.float32)
    if len(features) == 0 or not np.all(np.isfinite(features)):
        raise errors.DataError(
            f"check of {model.name!r}: wanted at least one event of finite features, got "
            f"{len(features)} events with {np.count_nonzero(~np.isfinite(features))} values that "
            "are "
            "NaN or infinite"
        )
    largest = float(np.abs(features).max(initial=0.0))
    proofs = prove(onnx_model, largest, _hard_tanhs(model))
    names = _comparable(model, onnx_model)
    keras_values = _run_keras(model, names, features)
    onnx_values = _run_onnx(onnx_model, names, features)
    checks = tuple(
        _compare(name, proofs[name], left, right)
        for name, left, right in zip(names, keras_values, onnx_values, strict=True)
    )
    ends = [output.name for output in onnx_model.graph.output]
    return ExportCheck(
        len(features), checks, tuple(check for check in checks if check.name in ends)
    )


def _compare(
    name: str, proof: "Proof", left: npt.NDArray[Any], right: npt.NDArray[Any]
) -> TensorCheck:
    unequal = left != right
    count = int(np.count_nonzero(unequal))
    if proof.exact and count:
        event = tuple(int(i) for i in np.argwhere(unequal)[0])
        raise errors.MismatchError(
            f"tensor {name!r}: Keras and ONNX Runtime differ in {count} of {unequal.size} values "
            f"although equality is provable ({proof.reason}); first in event {event[0]}, element "
            f"{', '.join(map(str, event[1:]))}: Keras {float(left[event])!r}, ONNX Runtime "
            f"{float(right[event])!r}. This is a fault of the exporter or of one of the two; "
            "please "
            "report it with the model"
        )
    gap = float(np.abs(left.astype(np.float64) - right).max(initial=0.0))
    return TensorCheck(name, proof.exact, proof.reason, int(unequal.size), count, gap)


def _comparable(model: Any, onnx_model: onnx.ModelProto) -> list[str]:
    layers = {layer.name for layer in model.layers}
    return [tensor for node in onnx_model.graph.node for tensor in node.output if tensor in layers]


def _hard_tanhs(model: Any) -> set[str]:
    """Layers whose activation is QKeras's quantized_tanh in its default form."""
    functions = {
        layer.name: getattr(layer, "quantizer", getattr(layer, "activation", None))
        for layer in model.layers
    }
    return {
        name
        for name, function in functions.items()
        if type(function).__name__ == "quantized_tanh" and not getattr(function, "use_real_tanh", 0)
    }


def _run_keras(model: Any, names: Sequence[str], x: npt.NDArray[np.float32]) -> list[Any]:
    keras = sys.modules["tf_keras"]  # the model exists, so it is loaded
    inner = keras.Model(model.inputs, [model.get_layer(name).get_output_at(0) for name in names])
    values = inner.predict(x, batch_size=BATCH, verbose=0)
    return values if isinstance(values, list) else [values]


def _run_onnx(
    onnx_model: onnx.ModelProto, names: Sequence[str], x: npt.NDArray[np.float32]
) -> list[npt.NDArray[np.float32]]:
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
    source = inner.graph.input[0].name
    parts = [
        session.run(list(names), {source: x[start : start + BATCH]})
        for start in range(0, len(x), BATCH)
    ]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


@dataclass(frozen=True)
class Proof:
    """What is known of a tensor: per element of the last axis the exponent of its step and its
    largest
    magnitude (shapes broadcast). `exact` says that no operation up to here can round."""

    exact: bool
    reason: str
    exponent: npt.NDArray[np.int64]
    bound: Array

    @classmethod
    def lost(cls, reason: str) -> "Proof":
        """Nothing is known, because `reason`."""
        return cls(False, reason, np.zeros(1, np.int64), np.full(1, np.inf))

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> "Proof":
        """A constant: every element's own step and magnitude."""
        array = values.astype(np.float64)
        mantissa, exponent = np.frexp(array)
        integer = np.rint(np.ldexp(mantissa, FLOAT32_BITS)).astype(np.int64)
        trailing = np.where(integer == 0, 0, np.log2(np.maximum(integer & -integer, 1)))
        steps = np.where(
            array == 0, np.int64(1000), exponent - FLOAT32_BITS + trailing.astype(np.int64)
        )
        return cls(True, "constant", steps.astype(np.int64), np.abs(array))


Rule = Callable[[onnx.NodeProto, list[Proof]], Proof]


def prove(
    onnx_model: onnx.ModelProto, largest_input: float, hard_tanhs: Collection[str] = ()
) -> dict[str, Proof]:
    """What is provable of every tensor for inputs of at most `largest_input` in magnitude.

    `hard_tanhs` names the tensors that Keras computes through x/2 + 1/2 before it rounds.
    """
    constants = {item.name: numpy_helper.to_array(item) for item in onnx_model.graph.initializer}
    known = {name: Proof.of(value) for name, value in constants.items()}
    for graph_input in onnx_model.graph.input:
        known[graph_input.name] = Proof(
            False, "raw input", np.full(1, -1000, np.int64), np.full(1, largest_input)
        )
    for node in onnx_model.graph.node:
        operands = [known[name] for name in node.input]
        if node.op_type == quant.OPERATOR:
            proof = _quant(node, operands, constants)
            if node.output[0] in hard_tanhs and operands[0].exponent.min() < 1 - FLOAT32_BITS:
                proof = Proof.lost(
                    "quantized_tanh computes with x/2 + 1/2, which rounds inputs finer than 2^-23"
                )
        else:
            stop = next((one for one in operands if not one.exact), None)
            rule = RULES.get(node.op_type)
            if stop is not None:
                proof = stop
            elif rule is None:
                proof = Proof.lost(f"{node.op_type} rounds in float32")
            else:
                proof = rule(node, operands)
        known[node.output[0]] = proof
    return known


def _checked(operator: str, exponent: Any, bound: Any) -> Proof:
    """Exact if every element stays below 2^24 of its steps."""
    with np.errstate(over="ignore"):  # zeros are multiples of any step, even of 2^2000
        steps = np.asarray(bound, np.float64) / np.exp2(np.asarray(exponent, np.float64))
    bits = int(np.ceil(np.log2(max(1.0, float(steps.max()) + 1))))
    if bits > FLOAT32_BITS:
        return Proof.lost(f"{operator} needs {bits} bits, float32 has {FLOAT32_BITS}")
    return Proof(
        True,
        f"{operator} needs {bits} of float32's {FLOAT32_BITS} bits",
        np.asarray(exponent),
        bound,
    )


def _quant(
    node: onnx.NodeProto, operands: list[Proof], constants: dict[str, npt.NDArray[Any]]
) -> Proof:
    x = operands[0]
    if not x.exact and x.reason != "raw input":
        return x
    scale, zeropt, bits = (constants[name] for name in node.input[1:])
    if scale.ndim or np.frexp(scale)[0] != 0.5 or zeropt != 0:
        return Proof.lost("Quant with a scale that is not one power of two")
    attributes, width = quant.attributes_of(node), int(bits)
    step = float(scale)
    if float(x.bound.max()) >= 2.0**FLOAT32_BITS * step:
        return Proof.lost(f"values from 2^{FLOAT32_BITS} steps of the quantizer up")
    reach = 2.0 ** (width - attributes.signed) * step
    exponent = np.full(1, int(np.log2(step)), np.int64)
    if node.input[0] in constants:  # a constant on the grid is unchanged: keep its finer knowledge
        return x
    return _checked("Quant", exponent, np.minimum(reach, x.bound + step))


def _relu(node: onnx.NodeProto, operands: list[Proof]) -> Proof:
    return operands[0]


def _flatten(node: onnx.NodeProto, operands: list[Proof]) -> Proof:
    x = operands[0]
    return _checked("Flatten", x.exponent.min(keepdims=True), x.bound.max(keepdims=True))


def _add(node: onnx.NodeProto, operands: list[Proof]) -> Proof:
    left, right = operands
    return _checked("Add", np.minimum(left.exponent, right.exponent), left.bound + right.bound)


def _mul(node: onnx.NodeProto, operands: list[Proof]) -> Proof:
    left, right = operands
    return _checked("Mul", left.exponent + right.exponent, left.bound * right.bound)


def _matmul(node: onnx.NodeProto, operands: list[Proof]) -> Proof:
    """Sum over C_in: the finest step of all products, and the sum of their magnitudes."""
    x, weight = operands
    count = weight.bound.shape[0]
    exponent = np.broadcast_to(x.exponent, count)[:, None] + weight.exponent
    bound = np.broadcast_to(x.bound, count) @ weight.bound
    return _checked("MatMul", exponent.min(axis=0), bound)


RULES: dict[str, Rule] = {
    "Add": _add,
    "Flatten": _flatten,
    "MatMul": _matmul,
    "Mul": _mul,
    "Relu": _relu,
}
