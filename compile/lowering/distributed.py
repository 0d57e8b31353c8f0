"""Layers of the strategy distributed_arithmetic: an exact sum of all products, and one cast.

hls4ml gives the weights to da4ml, which writes a network of additions into the graph, and deletes
them. They come from outside then (`weights=`); the generated C++ says how the inputs are cast
before, and proves that the weights are those it multiplies with.

Source: hls4ml vivado/passes/distributed_arithmetic.py, nnet_da_wrappers.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from samebits import errors

from ..ir import Format, Tensor
from ..ops import Array
from .context import Context, Lowering
from .conv import image_columns
from .einsum import Axes, dense_axes, dense_bias, dense_data, natural_order
from .generated import Binary, Constant, Expression, Function, Input, Variable, functions_of
from .quantizer import cast_elements, element_formats
from .windows import Geometry

__all__ = [
    "LAYERS",
    "STRATEGY",
    "exact_constant",
    "lower_distributed_conv",
    "lower_distributed_dense",
    "lower_distributed_einsum_dense",
]

STRATEGY = "distributed_arithmetic"
_BIAS_LSB = 2.0**-32
_COLUMNS = 64  # of the identity at a time: a large kernel has many thousand intermediate results


def lower_distributed_dense(context: Context, layer: Any) -> Tensor:
    """result = cast(sum over i of x[i] * w[i, j], and the bias).

    Source: distributed_arithmetic.py, `DistributedArithmeticCodegen`.
    """
    n_in, n_out = int(layer.get_attr("n_in")), int(layer.get_attr("n_out"))
    x = context.input(layer)
    if x.shape != (n_in,):
        raise errors.UnsupportedError(
            f"{context.where(layer)}: input shape {x.shape} is not ({n_in},)"
        )
    column = context.build.reshape(x, (n_in, 1))
    total = _affine(context, layer, column, n_out)
    return context.build.cast(context.build.reshape(total, (n_out,)), context.result_format(layer))


def lower_distributed_conv(context: Context, layer: Any) -> Tensor:
    """For every window of the image what Dense does.

    Source: nnet_da_wrappers.h, `conv1d_cl`, `conv2d_cl`; nnet_conv_stream.h.
    """
    where, sizes = context.where(layer), Geometry.of(layer)
    if context.io_type == "io_parallel" and layer.get_attr("implementation") != "linebuffer":
        raise errors.UnsupportedError(
            f"{where}: hls4ml writes no call for implementation "
            f"{layer.get_attr('implementation')} with {STRATEGY}; use linebuffer"
        )
    total = _affine(context, layer, image_columns(context, layer, sizes), sizes.n_filt)
    shape = tuple(int(size) for size in layer.get_output_variable().shape)
    return context.build.cast(context.build.reshape(total, shape), context.result_format(layer))


def lower_distributed_einsum_dense(context: Context, layer: Any) -> Tensor:
    """result = cast(cast(cast(sum over c of x * w) + bias)), the inner casts to accum_t.

    Source: nnet_einsum_dense.h, `einsum_dense`; distributed_arithmetic.py,
    `DistributedArithmeticEinsumCodegen`.
    """
    build, axes = context.build, dense_axes(layer)
    accum = context.attribute_format(layer, "accum_t")
    functions = _functions(context, layer, axes.common)
    blocks = _proven_blocks(context, layer, axes, functions)
    data = dense_data(context, layer, axes)
    rows = build.reshape(data, (axes.contracted * axes.common, axes.left))
    rows = _as_read(context, layer, functions, rows)
    weights, fmt = exact_constant(blocks.transpose(1, 0, 2)[:, :, None, :])
    total = build.apply(
        "dot", build.reshape(rows, data.shape), build.integers(weights, fmt, "weight")
    )
    biased = build.apply("add", build.cast(total, accum), dense_bias(context, layer, axes))
    result = build.cast(build.cast(biased, accum), context.result_format(layer))
    return natural_order(context, layer, result)


def _proven_blocks(
    context: Context, layer: Any, axes: Axes, functions: Sequence[Function]
) -> Array:
    """The kernel (common, contracted, right), given so or in the order of the layer's equation."""
    where, shape = context.where(layer), (axes.common, axes.contracted, axes.right)
    data = _given(context, layer, "weight", shape)
    given = [data] if data.shape == shape else []
    equation = str(layer.get_attr("equation")).replace(" ", "")
    left, right = equation.partition("->")[0].split(",")
    if "." not in equation and len(right) == data.ndim:
        result = equation.partition("->")[2]
        common = [name for name in right if name in left and name in result]
        contracted = [name for name in right if name in left and name not in result]
        free = [name for name in right if name not in left]
        perm = [right.index(name) for name in (*common, *contracted, *free)]
        given.append(data.transpose(perm).reshape(shape))
    if not given:
        raise errors.UsageError(
            f"{where}: {layer.name}/weight has shape {data.shape}, wanted {shape}"
        )
    for kernel in given:
        try:
            return np.array(
                [
                    _proven(function, block, np.zeros(axes.right), where)[0]
                    for function, block in zip(functions, kernel, strict=True)
                ]
            )
        except errors.UnsupportedError:
            raise
        except errors.ModelError as error:
            refused = error
    raise refused


def _affine(context: Context, layer: Any, columns: Tensor, n_out: int) -> Tensor:
    """sum over k of columns[k, p] * w[k, m], and the bias, exactly: (p, m)."""
    build, n_in = context.build, columns.shape[0]
    functions = _functions(context, layer, 1)
    kernel, bias = _proven(
        functions[0],
        _given(context, layer, "weight", (n_in, n_out)).reshape(n_in, n_out),
        _given(context, layer, "bias", (n_out,)).reshape(n_out),
        context.where(layer),
    )
    columns = _as_read(context, layer, functions, columns)
    weights, fmt = exact_constant(kernel[:, None, :])
    total = build.apply(
        "dot",
        build.reshape(columns, (*columns.shape, 1)),
        build.integers(weights, fmt, "weight"),
    )
    biases, fmt = exact_constant(bias[None, :])
    return build.apply("add", total, build.integers(biases, fmt, "bias"))


def _functions(context: Context, layer: Any, count: int) -> tuple[Function, ...]:
    where, source = context.where(layer), layer.get_attr("da_codegen")
    functions = () if source is None else functions_of(source, where)
    if len(functions) != count:
        raise errors.ModelError(
            f"{where}: it holds {len(functions)} functions that da4ml generated, wanted {count}; "
            "convert the model again"
        )
    return functions


def _given(context: Context, layer: Any, name: str, shape: tuple[int, ...]) -> Array:
    """As many weights of a layer as `shape` holds: from outside, or left in the graph."""
    where, key, data = context.where(layer), f"{layer.name}/{name}", None
    if key in context.weights:
        data = np.asarray(context.weights[key], dtype=np.float64)
    elif name in layer.weights:
        data = np.asarray(layer.weights[name].data, dtype=np.float64)
    if data is None:
        raise errors.UnsupportedError(
            f"{where}: hls4ml has removed its {name} for the strategy {STRATEGY}; give the arrays "
            f"from before, weights={{'{layer.name}/weight': ..., '{layer.name}/bias': ...}}, or "
            "convert the model with another strategy"
        )
    if data.size != int(np.prod(shape)):
        raise errors.UsageError(f"{where}: {key} has shape {data.shape}, wanted {shape}")
    if not np.isfinite(data).all():
        raise errors.ModelError(f"{where}: {key} holds NaN or infinity")
    return data


def _proven(function: Function, kernel: Array, bias: Array, where: str) -> tuple[Array, Array]:
    """The kernel and the bias that the generated code applies, which must be those given.

    da4ml takes the kernel as float32, leaves out inputs that are always zero, and cuts the bias to
    32 fraction bits (fixed_variable_array.py, `cmvm`; fixed_variable.py, `_const_f`).

    Raises:
        ModelError: the code computes with other numbers.
    """
    made = _coefficients(function, where)
    read = {e.position for _, e in function.assigned.values() if isinstance(e, Input)}
    kernel = np.asarray(kernel, dtype=np.float32).astype(np.float64)
    kernel[[position for position in range(function.n_in) if position not in read]] = 0
    if made.shape != (len(kernel) + 1, len(bias)) or (made[:-1] != kernel).any():
        raise errors.ModelError(
            f"{where}: the weights given for it are not those that its generated code multiplies "
            "with; give them as they stood in the graph"
        )
    if (abs(made[-1] - bias) > _BIAS_LSB).any():
        raise errors.ModelError(
            f"{where}: the bias given for it is not the one that its generated code adds; give it "
            "as it stood in the graph"
        )
    return kernel, made[-1]


def _coefficients(function: Function, where: str) -> Array:
    """What the outputs are in terms of the inputs and of one: (n_in + 1, n_out)."""
    units = np.eye(function.n_in + 1)
    parts = [
        _run(function, units[:, start : start + _COLUMNS], where)
        for start in range(0, len(units), _COLUMNS)
    ]
    return np.concatenate(parts)


def _run(function: Function, inputs: Array, where: str) -> Array:
    """The outputs (columns, n_out) for inputs and one (n_in + 1, columns).

    In float64, which adds and doubles exactly up to 53 bits.
    """
    values: dict[int, Array] = {}

    def value(expression: Expression) -> Array:
        match expression:
            case Input(position):
                return np.asarray(inputs[position])
            case Constant(number):
                return np.asarray(inputs[-1] * number)
            case Variable(number, shift, negative):
                return np.asarray(values[number] * ((-1.0 if negative else 1.0) * 2.0**shift))
            case Binary(left, "+", right):
                return np.asarray(value(left) + value(right))
            case Binary(left, "-", right):
                return np.asarray(value(left) - value(right))
        raise errors.UnsupportedError(
            f"{where}: samebits cannot follow {expression} in the C++ that da4ml generated"
        )

    for number, (_, expression) in function.assigned.items():
        values[number] = value(expression)
    return np.array([value(expression) for _, expression in function.returned]).T


def _as_read(context: Context, layer: Any, functions: Sequence[Function], rows: Tensor) -> Tensor:
    """rows (inputs of the functions, taken in turn; ...), each cast to the type it is read with."""
    if not any(function.quantized for function in functions) and (
        _from_narrow_quantizer(context, layer)
    ):
        return rows  # the types are those of the quantizer, which has cast already
    formats = [
        _read_as(function, position)
        for position in range(functions[0].n_in)
        for function in functions
    ]
    if all(fmt is None or _holds(fmt, rows.format) for fmt in formats):
        return rows
    return cast_elements(context, rows, formats)


def _read_as(function: Function, position: int) -> Format | None:
    """The first type that the function gives an input; None if it does not read it."""
    if position in function.quantized:
        return function.quantized[position]
    for fmt, expression in function.assigned.values():
        if expression == Input(position):
            return fmt
    return None


def _from_narrow_quantizer(context: Context, layer: Any) -> bool:
    """True if a quantizer stands before the layer, whose result holds all of its formats."""
    before = layer.get_input_node()
    if before is None or before.class_name != "FixedPointQuantizer":
        return False
    result = context.result_format(before)
    formats = element_formats(context, before)
    return all(fmt is None or _holds(result, fmt) for fmt in formats)


def _holds(wide: Format, narrow: Format) -> bool:
    """True if every number of the narrow format is one of the wide format."""
    return (
        wide.signed >= narrow.signed
        and wide.integer - wide.signed >= narrow.integer - narrow.signed
        and wide.fraction >= narrow.fraction
    )


def exact_constant(values: Array) -> tuple[Array, Format]:
    """Mantissas of float64 numbers on the coarsest grid that holds all of them, and its format.

    >>> mantissas, fmt = exact_constant(np.array([0.5, -1.25]))
    >>> mantissas.tolist(), str(fmt)
    ([2, -5], 'ap_fixed<4,2,TRN,WRAP>')
    """
    ratios = [float(value).as_integer_ratio() for value in values.flat]
    fraction = max(denominator.bit_length() for _, denominator in ratios) - 1
    mantissas = np.empty(values.size, dtype=object)
    mantissas[:] = [number * ((1 << fraction) // denominator) for number, denominator in ratios]
    fmt = Format.spanning(int(mantissas.min()), int(mantissas.max()), fraction)
    return mantissas.reshape(values.shape), fmt


LAYERS: dict[str, Lowering] = {
    "Dense": lower_distributed_dense,
    "Conv1D": lower_distributed_conv,
    "Conv2D": lower_distributed_conv,
    "Conv2DBatchnorm": lower_distributed_conv,
    "PointwiseConv1D": lower_distributed_conv,
    "PointwiseConv2D": lower_distributed_conv,
    "EinsumDense": lower_distributed_einsum_dense,
}
