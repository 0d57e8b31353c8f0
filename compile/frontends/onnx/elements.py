"""Operators that treat every element alike, join tensors or only name axes otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from samebits import errors

from .images import repeated
from .nodes import EXACT, Check, any_use, layer_node, node_attributes
from .storage import Layout, Rule, Stored, exact_format, exact_type

__all__ = ["CHECKS", "RULES", "scaled", "unknown"]

Array = NDArray[Any]
_SAME = (
    *("Elu", "LeakyRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Tanh"),
    "ThresholdedRelu",
)


def unknown(layout: Layout, node: onnx.NodeProto) -> None:
    """Any other node reads and makes tensors with the model's own axes."""
    copy = _copy(node)
    for position, name in enumerate(node.input):
        if name in layout.stored:
            copy.input[position] = layout.identity(name).name
        elif name:
            copy.input[position] = layout.constant(name, np.array)
    outputs = [
        Stored(name, tuple(range(len(layout.shapes[name]))), layout.shapes[name])
        for name in node.output
        if name
    ]
    layout.emit(copy, outputs[0].name, outputs[0])
    for stored in outputs[1:]:
        layout.stored[stored.name] = stored


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def _same(layout: Layout, node: onnx.NodeProto) -> None:
    x, y = node.input[0], node.output[0]
    have, copy = layout.stored[x], _copy(node)
    copy.input[0] = have.name
    layout.emit(copy, y, replace(have, name=y))


def _quant(layout: Layout, node: onnx.NodeProto) -> None:
    x, y = node.input[0], node.output[0]
    have, copy = layout.stored[x], _copy(node)
    operands = [
        layout.add_constant(name, layout.arranged(layout.value(name), x)) for name in node.input[1:]
    ]
    copy.input[:] = [have.name, *operands]
    layout.emit(copy, y, replace(have, name=y))


def scaled(
    layout: Layout, name: str, x: str, y: str, scale: Array, shift: Array, kept: bool = False
) -> None:
    """y = scale * x + shift, both as they broadcast onto the stored x: an ApplyAlpha.

    Per channel where they are the same along all other axes, else per element. With `kept` a
    BatchNormalization, which hls4ml does not move behind the next layer.

    Raises:
        UnsupportedError: per element behind a convolution, into which hls4ml would fold it.
    """
    have = layout.stored[x]
    operands = [np.asarray(values, np.float32) for values in (scale, shift)]
    if np.all(operands[0] == 1) and not np.any(operands[1]):
        layout.alias(y, x)  # hls4ml takes it out, and with it a cast that it has moved into it
        return
    channels = have.shape[-1]
    if all(values.size == 1 or values.shape[-1] == values.size for values in operands):
        data = [np.broadcast_to(values.reshape(-1), (channels,)).copy() for values in operands]
        last = channels if len(have.shape) > 1 else -1
    else:
        data = [np.broadcast_to(values, have.shape).copy() for values in operands]
        last = -1
        if layout.made_by(have.name) in ("Conv", "MatMul"):
            raise errors.UnsupportedError(
                "has a constant per element behind a convolution; put a Quant node between them, "
                "or give one number per channel"
            )
    types: dict[str, Any] = {
        f"{key}_precision": exact
        for key, values in zip(("scale", "bias"), data, strict=True)
        if (exact := exact_type(values)) is not None
    }
    arrays: dict[str, Any] = {"scale_data": data[0], "bias_data": data[1]}
    if kept:
        texts = {
            key: text
            for key, values in zip(("scale", "bias"), data, strict=True)
            if (text := exact_format(values)) is not None
        }
        size = int(np.prod(have.shape))
        node = layer_node(
            *("BatchNormalization", name, [have.name], y, texts), n_in=size, n_filt=last, **arrays
        )
    else:
        node = layer_node("ApplyAlpha", name, [have.name], y, n_filt=last, **arrays, **types)
    layout.emit(node, y, replace(have, name=y))


def _joining(layout: Layout, node: onnx.NodeProto) -> None:
    """Add, Sub, Mul, Div: of two tensors, or with a constant."""
    known = [layout.is_constant(name) for name in node.input]
    if not any(known):
        _merge(layout, node)
        return
    position = known.index(True)
    x, constant, y = node.input[1 - position], node.input[position], node.output[0]
    have, first = layout.stored[x], position == 0
    neutral = {"Add": 0, "Sub": None if first else 0, "Mul": 1, "Div": 1}[node.op_type]
    if neutral is not None and np.all(layout.value(constant) == neutral):
        layout.arranged(layout.value(constant), x)
        layout.alias(y, x)  # hls4ml takes it out, and with it a cast that it has moved into it
        return
    # hls4ml fails on what it moves behind the next sum (move_scales.py, `ScaleDownAdd`)
    summed = any(
        reader.op_type == "Add" and not any(map(layout.is_constant, reader.input))
        for reader in layout.readers.get(y, [])
    )
    factors = node.op_type in ("Mul", "Div") and len(np.unique(layout.value(constant))) > 1
    summed |= node.doc_string == EXACT  # its type must hold it, whatever the default precision is
    if len(have.shape) == 1 and not factors and not summed:
        copy = _copy(node)
        copy.input[1 - position] = have.name
        copy.input[position] = layout.constant(
            constant, lambda v: np.broadcast_to(layout.arranged(v, x), have.shape)
        )
        layout.emit(copy, y, replace(have, name=y))
        return
    one: Array = np.ones((), np.float32)
    values = layout.arranged(layout.value(constant), x)
    if node.op_type in ("Add", "Sub"):
        minus = node.op_type == "Sub"
        scale, shift = (-one if minus and first else one), (-values if minus > first else values)
    else:
        inverse = (1 / values.astype(np.float64)).astype(np.float32)
        scale, shift = (values if node.op_type == "Mul" else inverse), 0 * one
    scaled(layout, node.name, x, y, scale, shift, kept=summed)


def _merge(layout: Layout, node: onnx.NodeProto) -> None:
    """Tensors, two at a time from the left as ONNX Runtime does; smaller ones are repeated."""
    operator, y, names = node.op_type, node.output[0], list(node.input)
    shape = layout.shapes[y]
    for position, name in enumerate(names):
        if (old := layout.shapes[name]) == shape:
            continue
        touched = [i for i, (n, m) in enumerate(zip(old, shape, strict=False)) if n != m]
        if len(old) != len(shape) or any(old[axis] != 1 for axis in touched):
            raise errors.UnsupportedError(
                f"joins tensors of shapes {', '.join(str(layout.shapes[n]) for n in node.input)}; "
                "supported are equal ones, and axes of one element; put a Reshape before it"
            )
        names[position] = layout.inner(f"{node.name}_repeated", shape)
        repeated(layout, names[position], name, names[position], touched)
    if len(names) == 1:
        layout.alias(y, names[0])
        return
    have = [layout.stored[name] for name in names]
    moved = [s for s in have if s.order != tuple(sorted(s.order))]
    likeness = (moved or have)[0]
    names = [layout.take(name, likeness.axes).name for name in names]
    join = {"Sum": "Add", "Mean": "Add"}.get(operator, operator)
    result = replace(likeness, name=names[0])
    steps = len(names) - 1
    for index, name in enumerate(names[1:], 1):
        last = index == steps and operator != "Mean"
        target = y if last else layout.inner(f"{y}_{index}", shape)
        title = node.name if index == steps else f"{node.name}_{index}"
        result = replace(result, name=target)
        layout.emit(helper.make_node(join, [names[0], name], [target], name=title), target, result)
        names[0] = target
    if operator == "Mean":
        part = np.asarray(1 / len(names), np.float32)
        scaled(layout, f"{node.name}_part", names[0], y, part, 0 * part)


def _extreme(layout: Layout, node: onnx.NodeProto) -> None:
    """Max and Min: of tensors, or of one and a constant."""
    known = [name for name in node.input if layout.is_constant(name)]
    if not known:
        _merge(layout, node)
        return
    if len(node.input) != 2:
        raise errors.UnsupportedError("joins constants with several tensors; supported is one")
    (x,) = (name for name in node.input if name not in known)
    limit = layout.arranged(layout.value(known[0]), x)
    _bounded(layout, node, x, {"Max": (limit, None), "Min": (None, limit)}[node.op_type])


def _clip(layout: Layout, node: onnx.NodeProto) -> None:
    given = node_attributes(node)
    operands = [*node.input[1:], "", ""][:2]
    limits = []
    for key, name in zip(("min", "max"), operands, strict=True):
        values = layout.value(name) if name else given.get(key)
        limits.append(None if values is None else np.asarray(values, np.float32).reshape(()))
    large = np.finfo(np.float32).max
    low, high = limits
    _bounded(
        layout,
        node,
        node.input[0],
        (
            None if low is None or low <= -large else low,
            None if high is None or high >= large else high,
        ),
    )


def _bounded(
    layout: Layout, node: onnx.NodeProto, x: str, limits: tuple[Array | None, Array | None]
) -> None:
    """max(x, low) = relu(x - low) + low; min(x, high) = high - relu(high - x).

    The constants in between add up, so that Clip from 0 takes one Relu and one difference less.
    """
    low, high = limits
    shape, base, y = layout.shapes[x], node.name, node.output[0]
    one = np.ones((), np.float32)
    # x = sign * current + offset
    current, sign, offset, steps = x, one, 0 * one, 0

    def through_relu(want: Array, limit: Array) -> None:
        """current := relu(want * (x - limit))."""
        nonlocal current, sign, offset, steps
        steps += 1
        scale, shift = want * sign, want * (offset - limit)
        if np.any(scale != 1) or np.any(shift):
            target = layout.inner(f"{base}_room{steps}", shape)
            scaled(layout, target, current, target, scale, shift)
            current = target
        target = layout.inner(f"{base}_relu{steps}", shape)
        have = layout.stored[current]
        relu = helper.make_node("Relu", [have.name], [target], name=target)
        layout.emit(relu, target, replace(have, name=target))
        current, sign, offset = target, want, limit

    if low is not None:
        through_relu(one, low)
    if high is not None:
        through_relu(-one, high)
    if np.any(sign != 1) or np.any(offset):
        scaled(layout, base, current, y, sign, offset)
    else:
        layout.alias(y, current)


def _prelu(layout: Layout, node: onnx.NodeProto) -> None:
    """x, or slope * x below zero; hls4ml wants a slope for every element."""
    x, y = node.input[0], node.output[0]
    have = layout.stored[x]
    slopes = layout.arranged(layout.value(node.input[1]), x)
    layer = layer_node(
        "PReLU",
        node.name,
        [have.name],
        y,
        precision={"param": exact_format(slopes) or "fixed<18,2>"},
        activation="prelu",
        n_in=int(np.prod(have.shape)),
        param_data=np.broadcast_to(slopes, have.shape).astype(np.float32),
    )
    layout.emit(layer, y, replace(have, name=y))


def _hard_sigmoid(layout: Layout, node: onnx.NodeProto) -> None:
    """clip(alpha * x + beta, 0, 1)."""
    given, x, y = node_attributes(node), node.input[0], node.output[0]
    have = layout.stored[x]
    numbers = {"slope": given.get("alpha", 0.2), "shift": given.get("beta", 0.5)}
    settings: dict[str, Any] = {
        **{key: float(np.float32(number)) for key, number in numbers.items()},
        **{f"{key}_prec": _holding(number) for key, number in numbers.items()},
    }
    layer = layer_node(
        "HardActivation",
        node.name,
        [have.name],
        y,
        activation="hard_sigmoid",
        n_in=int(np.prod(have.shape)),
        **settings,
    )
    layout.emit(layer, y, replace(have, name=y))


def _holding(number: float) -> list[int]:
    """[width, integer bits, signed] of a type for a number: exact, or with 16 bits."""
    if (exact := exact_type(np.asarray(number))) is not None:
        return exact
    integer, signed = int(np.frexp(abs(number))[1]), int(number < 0)
    return [16 + signed, integer + signed, signed]


def _concat(layout: Layout, node: onnx.NodeProto) -> None:
    """Two at a time, from the left."""
    y, constants = node.output[0], [n for n in node.input if layout.is_constant(n)]
    if constants:
        raise errors.UnsupportedError(f"joins the constant {constants[0]} with computed tensors")
    rank = len(layout.shapes[y])
    axis = int(node_attributes(node)["axis"]) % (rank + 1) - 1
    if axis < 0:
        raise errors.UnsupportedError("joins events: its axis is the batch axis")
    if rank > 3:
        raise errors.UnsupportedError(f"joins tensors of {rank} axes; hls4ml's kernels have 3")
    whole = [s for s in map(layout.stored.__getitem__, node.input) if _complete(s, rank)]
    moved = [s for s in whole if s.axes != tuple(range(rank))]
    axes = (moved or whole)[0].axes if whole else tuple(range(rank))
    names = [layout.take(name, axes).name for name in node.input]
    size = 0
    for index, name in enumerate(names):
        size += layout.shapes[node.input[index]][axis]
        if index == 0:
            continue
        end = index == len(names) - 1
        shape = tuple(size if i == axis else n for i, n in enumerate(layout.shapes[node.input[0]]))
        target = y if end else layout.inner(f"{y}_{index}", shape)
        stored = Stored(target, axes, tuple(shape[i] for i in axes if i is not None))
        join = helper.make_node(
            "Concat",
            [names[0], name],
            [target],
            name=node.name if end else f"{node.name}_{index}",
            axis=axes.index(axis) + 1,
        )
        layout.emit(join, target, stored)
        names[0] = target
    if len(names) == 1:
        layout.alias(y, node.input[0])


def _complete(stored: Stored, rank: int) -> bool:
    """True if every axis of the model is stored as one."""
    return stored.features is None and sorted(-1 if a is None else a for a in stored.axes) == [
        *range(rank)
    ]


def _softmax(layout: Layout, node: onnx.NodeProto) -> None:
    """Along any axis: hls4ml's runs along the last one."""
    x, y = node.input[0], node.output[0]
    rank = len(layout.shapes[x])
    axis = int(node_attributes(node).get("axis", -1)) % (rank + 1) - 1
    if axis < 0:
        raise errors.UnsupportedError("runs along the batch axis")
    have, copy = layout.stored[x], _copy(node)
    if have.features is not None or not have.axes or have.axes[-1] != axis:
        have = layout.take(x, [*(a for a in range(rank) if a != axis), axis])
    copy.input[0] = have.name
    del copy.attribute[:]
    copy.attribute.append(helper.make_attribute("axis", -1))
    layout.emit(copy, y, replace(have, name=y))


def _transpose(layout: Layout, node: onnx.NodeProto) -> None:
    """Nothing moves: whoever needs another order takes it."""
    x, y = node.input[0], node.output[0]
    whole = list(node_attributes(node).get("perm", range(len(layout.shapes[x]) + 1)[::-1]))
    if whole[0] != 0:
        raise errors.UnsupportedError(f"perm={whole} moves the batch axis")
    perm = [axis - 1 for axis in whole[1:]]
    have = layout.stored[x]
    axes = tuple(None if axis is None else perm.index(axis) for axis in have.axes)
    layout.stored[y] = replace(have, axes=axes)


def _reshape(layout: Layout, node: onnx.NodeProto) -> None:
    """Flatten, Reshape, Squeeze, Unsqueeze: no number moves, if they are stored in order."""
    x, y = node.input[0], node.output[0]
    have, old, new = layout.stored[x], layout.shapes[x], layout.shapes[y]
    if int(np.prod(old)) != int(np.prod(new)):
        raise errors.UnsupportedError("moves numbers between events")
    if have.features is None:
        before, after = ([i for i, n in enumerate(s) if n > 1] for s in (old, new))
        if [old[i] for i in before] == [new[i] for i in after]:
            axes = tuple(
                after[before.index(axis)] if axis is not None and size > 1 else None
                for axis, size in zip(have.axes, have.shape, strict=True)
            )
            layout.stored[y] = replace(have, axes=axes)
            return
    elif new == old:
        layout.stored[y] = have
        return
    in_order = have.features is None and have.order == tuple(sorted(have.order))
    features = None
    if not in_order and len(new) == 1 and have.features is None and _into_dense(layout, y):
        places = np.arange(np.prod(old)).reshape(old)
        rest = [axis for axis in range(len(old)) if axis not in have.order]
        features = places.transpose([*have.order, *rest]).reshape(-1)
        source = have.name
    else:
        source = have.name if in_order else layout.identity(x).name
    layer = layer_node("Reshape", node.name, [source], y, target_shape=list(new))
    layout.emit(layer, y, Stored(y, tuple(range(len(new))), new, features))


def _into_dense(layout: Layout, tensor: str) -> bool:
    """True if only products with constant matrices read a vector, whatever happens to it before."""
    if tensor in layout.outputs:
        return False
    readers = layout.readers.get(tensor, [])
    for node in readers:
        if node.op_type == "MatMul" and node.input[0] == tensor:
            if not layout.is_constant(node.input[1]):
                return False
        elif node.op_type in (*_SAME, "Quant", "HardSigmoid") and node.input[0] == tensor:
            if not _into_dense(layout, node.output[0]):
                return False
        else:
            return False
    return bool(readers)


def _constant_slope(node: onnx.NodeProto, constants: set[str]) -> str:
    return "" if node.input[1] in constants else "its slopes must be constant"


def _constant_limits(node: onnx.NodeProto, constants: set[str]) -> str:
    known = all(name in constants for name in node.input[1:] if name)
    return "" if known else "its limits must be constant"


def _division(node: onnx.NodeProto, constants: set[str]) -> str:
    if node.input[1] in constants:
        return ""
    return f"divides {'a constant ' * (node.input[0] in constants)}by a computed tensor"


CHECKS: dict[str, Check] = {
    **dict.fromkeys(("Add", "Mul", "Sub", "Max", "Min", "Mean", "Sum"), any_use),
    **dict.fromkeys(("Concat", "HardSigmoid", "Squeeze", "Transpose", "Unsqueeze"), any_use),
    "Clip": _constant_limits,
    "Div": _division,
    "PRelu": _constant_slope,
}
RULES: dict[str, Rule] = {
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(("Add", "Div", "Mul", "Sub"), _joining),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("Max", "Min"), _extreme),
    **dict.fromkeys(("Mean", "Sum"), _merge),
    "Clip": _clip,
    "Concat": _concat,
    "HardSigmoid": _hard_sigmoid,
    "Identity": lambda layout, node: layout.alias(node.output[0], node.input[0]),
    "PRelu": _prelu,
    "Quant": _quant,
    "Softmax": _softmax,
    "Transpose": _transpose,
}
