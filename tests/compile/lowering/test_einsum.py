"""Einsum and EinsumDense against nnet_einsum.h, nnet_einsum_dense.h and nnet_transpose.h."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hls4ml.model.types import IntegerPrecisionType, XnorPrecisionType
from hls4ml.utils.transpose_utils import transpose_config_gen

from samebits.compile.ir import Overflow, Rounding

from .converted import Layer, caster, check, convert, given, grid, layer_of, precision, refusal
from .converted import weights as weights_of
from .kernels import dense_latency

MODES = [(rounding, overflow) for rounding in Rounding for overflow in Overflow]
EQUATIONS = [
    ("ij,kj->ik", (3, 4), (2, 4)),
    ("ij,kj->ki", (3, 4), (2, 4)),
    ("abc,cbd->dba", (2, 3, 4), (4, 3, 2)),
    ("ab,cd->dabc", (2, 3), (2, 2)),
    ("ab,ab->ba", (3, 2), (3, 2)),
    ("abc,dac->bda", (2, 3, 2), (4, 2, 2)),
    ("a,ba->b", (5,), (3, 5)),
    ("ab,bca->c", (2, 3), (3, 4, 2)),
]


def transpose(data: list[Fraction], shape: tuple[int, ...], perm: Any) -> list[Fraction]:
    """nnet_transpose.h, with the configuration that hls4ml writes for it."""
    config = transpose_config_gen("unused", tuple(shape), tuple(perm))
    to_shape = [int(size) for size in config["to_shape"].split(",")]
    strides = [int(size) for size in config["perm_strides"].split(",")]

    def transfer_index(index: int) -> int:
        position = 0
        for axis in reversed(range(len(shape))):
            position += index % to_shape[axis] * strides[axis]
            index //= to_shape[axis]
        return position

    return [data[transfer_index(index)] for index in range(config["N"])]


def flattened(nested: Any) -> list[Fraction]:
    return [x for part in nested for x in flattened(part)] if isinstance(nested, list) else [nested]


def einsum(layer: Any, product: Any = lambda a, b: a * b) -> Any:
    """nnet_einsum.h, `einsum`: every product goes into the accumulator as it is."""
    names = ("n_inplace", "n_free0", "n_free1", "n_contract")
    inplace, free0, free1, contract = (layer.get_attr(name) for name in names)
    accum, result = caster(precision(layer, "accum")), caster(precision(layer, "result"))

    def kernel(data0: Any, data1: Any) -> list[Fraction]:
        in0, in1 = (
            transpose(
                flattened(data),
                layer.get_attr(f"inp{number}_shape"),
                layer.get_attr(f"inp{number}_tpose_idxs"),
            )
            for number, data in enumerate((data0, data1))
        )
        out = [Fraction(0)] * (inplace * free0 * free1)
        for i in range(inplace):
            for l0 in range(free0):
                for l1 in range(free1):
                    total = Fraction(0)
                    for c in range(contract):
                        a = in0[(i * free0 + l0) * contract + c]
                        b = in1[i * free1 * contract + l1 * contract + c]
                        total = accum(total + product(a, b))
                    out[(i * free0 + l0) * free1 + l1] = result(total)
        shape, perm = layer.get_attr("out_interpert_shape"), layer.get_attr("out_tpose_idxs")
        return transpose(out, shape, perm)

    return kernel


def einsum_dense(layer: Any) -> Any:
    """nnet_einsum_dense.h, `einsum_dense`, with dense_latency."""
    names = ("n_inplace", "n_free_data", "n_free_kernel", "n_contract")
    inplace, data_free, kernel_free, contract = (layer.get_attr(name) for name in names)
    accum, result = caster(precision(layer, "accum")), caster(precision(layer, "result"))
    kernel_data, biases = weights_of(layer, "weight"), weights_of(layer, "bias")

    def kernel(data: Any) -> list[Fraction]:
        rows = transpose(
            flattened(data), layer.get_attr("inp_shape"), layer.get_attr("inp_tpose_idxs")
        )
        out = [Fraction(0)] * (inplace * data_free * kernel_free)
        for l0 in range(data_free):
            for i in range(inplace):
                first, start = (i * data_free + l0) * contract, (i * data_free + l0) * kernel_free
                made = dense_latency(
                    rows[first : first + contract],
                    kernel_data[i * kernel_free * contract : (i + 1) * kernel_free * contract],
                    biases[start : start + kernel_free],
                    accum,
                    lambda a, w: a * w,
                )
                out[start : start + kernel_free] = [result(x) for x in made]
        shape, perm = layer.get_attr("out_interpert_shape"), layer.get_attr("out_tpose_idxs")
        return transpose(out, shape, perm)

    return kernel


def einsum_of(
    equation: str, shape0: tuple[int, ...], shape1: tuple[int, ...], out: tuple[int, ...]
) -> list[Layer]:
    layer = {"name": "layer", "class_name": "Einsum", "inputs": ["a", "b"], "equation": equation}
    layer |= {"inp0_shape": shape0, "inp1_shape": shape1, "out_shape": out}
    return [given("a", *shape0), given("b", *shape1), layer]


def dense_of(
    rng: np.random.Generator, equation: str, shape: tuple[int, ...], kernel: tuple[int, ...]
) -> list[Layer]:
    data, bias = grid(rng, *kernel), None
    out = np.einsum(equation, np.zeros(shape), data).shape
    if rng.random() < 0.7:
        bias = grid(rng, *out)
    layer = {"name": "layer", "class_name": "EinsumDense", "inputs": ["x"], "equation": equation}
    layer |= {"inp_shape": shape, "out_shape": out, "weight_data": data, "bias_data": bias}
    return [given("x", *shape), layer]


def types(accum: str, result: str = "fixed<9,4,RND,SAT>", **inputs: str) -> dict[str, Any]:
    layer = {"accum": accum, "result": result, "weight": "fixed<6,2>", "bias": "fixed<6,2>"}
    config = {"layer": {"Precision": layer}}
    return config | {name: {"Precision": {"result": text}} for name, text in inputs.items()}


@pytest.mark.parametrize(("equation", "shape0", "shape1"), EQUATIONS)
def test_every_order_of_axes(
    equation: str, shape0: tuple[int, ...], shape1: tuple[int, ...], rng: np.random.Generator
) -> None:
    out = np.einsum(equation, np.zeros(shape0), np.zeros(shape1)).shape
    config = types("fixed<9,5,TRN,SAT>", a="fixed<6,3>", b="fixed<5,2>")
    model = convert(einsum_of(equation, shape0, shape1, out), ["layer"], config)
    check(model, einsum(layer_of(model, "layer")), rng)
    model = convert(
        dense_of(rng, equation, shape0, shape1), ["layer"], config | types("fixed<8,4>")
    )
    check(model, einsum_dense(layer_of(model, "layer")), rng)


@pytest.mark.parametrize(("rounding", "overflow"), MODES)
def test_every_mode_of_the_accumulator(
    rounding: Rounding, overflow: Overflow, rng: np.random.Generator
) -> None:
    modes = f"{rounding.value},{overflow.value}"
    for accum in (f"fixed<7,4,{modes}>", f"fixed<9,3,{modes}>", f"ufixed<8,6,{modes}>"):
        config = types(accum, a="fixed<6,3>", b="ufixed<5,2>", x="fixed<6,3>")
        model = convert(einsum_of("ij,kj->ki", (2, 5), (2, 5), (2, 2)), ["layer"], config)
        check(model, einsum(layer_of(model, "layer")), rng)
        model = convert(dense_of(rng, "ij,kj->ki", (2, 5), (2, 5)), ["layer"], config)
        check(model, einsum_dense(layer_of(model, "layer")), rng)


def test_an_accumulator_that_holds_every_product_is_one_operation(
    rng: np.random.Generator,
) -> None:
    config = types("fixed<20,10,RND_CONV,SAT>", a="fixed<6,3>", b="fixed<5,2>")
    model = convert(einsum_of("ij,kj->ik", (2, 3), (2, 3), (2, 2)), ["layer"], config)
    check(model, einsum(layer_of(model, "layer")), rng)


def test_binary_and_ternary_data(rng: np.random.Generator) -> None:
    """nnet_mult.h: `both_binary`, `weight_binary`, `data_binary`, `weight_ternary`."""

    def sign(bit: Fraction) -> int:
        return -1 if bit == 0 else 1

    def ternary(a: Fraction, b: Fraction) -> Fraction:
        return Fraction(0) if b == 0 else -a if b == -1 else a

    xnor, ternary_type = XnorPrecisionType(), IntegerPrecisionType(2, True)
    rules: list[tuple[Any, Any, Any]] = [
        (xnor, xnor, lambda a, b: Fraction(int(a == b))),
        (None, xnor, lambda a, b: a * sign(b)),
        (xnor, None, lambda a, b: sign(a) * b),
        (None, ternary_type, ternary),
        (ternary_type, None, lambda a, b: a * b),
    ]
    for left, right, product in rules:
        config = types("fixed<8,5,RND,SAT>", a="fixed<4,2>", b="fixed<4,3>")
        model = convert(einsum_of("ij,kj->ik", (2, 4), (3, 4), (2, 3)), ["layer"], config)
        for name, kind in (("a", left), ("b", right)):
            if kind is not None:
                layer_of(model, name).get_output_variable().type.precision = kind
        check(model, einsum(layer_of(model, "layer"), product), rng)


def test_an_integer_accumulator_takes_products_as_integers(rng: np.random.Generator) -> None:
    """ap_fixed_base.h: `ap_int += ap_fixed` drops the fraction of the product, towards zero."""
    config = types("int<6>", a="fixed<6,4>", b="fixed<5,2>")
    model = convert(einsum_of("ij,kj->ik", (2, 4), (3, 4), (2, 3)), ["layer"], config)
    check(model, einsum(layer_of(model, "layer"), lambda a, b: Fraction(int(a * b))), rng)


def test_refusals(rng: np.random.Generator) -> None:
    layers = einsum_of("ij,kj->ik", (2, 4), (3, 4), (2, 3))
    model = convert(layers, ["layer"])
    layer_of(model, "layer").set_attr("strategy", "resource")
    assert refusal(model) == (
        "layer layer (Einsum): hls4ml has no strategy resource for it; supported: latency"
    )
    model = convert(layers, ["layer"])
    model.config.config["IOType"] = "io_stream"
    assert refusal(model) == (
        "layer layer (Einsum): hls4ml has it for io_parallel only, not io_stream"
    )
