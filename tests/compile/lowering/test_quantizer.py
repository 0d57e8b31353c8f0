"""HGQ's quantizers and tables against hls4ml's generated code and nnet_activation.h."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hls4ml.model.types import FixedPrecisionType, Source

from samebits import errors
from samebits.compile.ir import Format, Overflow, Rounding
from samebits.compile.lowering import lower

from .converted import Layer, caster, check, convert, given, layer_of, precision, refusal, weights

SHAPE = (2, 4)
SIGNED = np.array([[[1, 0, 1, 0], [1, 0, 1, 1]]])
WIDTH = np.array([[[5, 4, 5, 0], [6, 4, 2, 5]]])
INTEGER = np.array([[[2, 3, 2, 0], [-1, 3, 4, 2]]])
MODES = [(rounding, overflow) for rounding in Rounding for overflow in Overflow]


def quantizer(rounding: str, overflow: str) -> Any:
    """A converted network of one quantizer, whose input has a finer type than hls4ml chooses."""
    layer: Layer = {"name": "layer", "class_name": "FixedPointQuantizer", "inputs": ["x"]}
    layer |= {"mask_kbi": (SIGNED, WIDTH, INTEGER), "RND": rounding, "SAT": overflow}
    layer |= {"overrides": {}, "fusible": None}
    model = convert([given("x", *SHAPE), layer], ["layer"])
    layer_of(model, "x").get_output_variable().type.precision = FixedPrecisionType(9, 5, True)
    return model


def expected(layer: Any, rounding: Rounding, overflow: Overflow) -> Any:
    """The formats as hls4ml has them after conversion, one for each element."""
    masks = [np.broadcast_to(mask, (1, *SHAPE)).ravel() for mask in layer.mask_kbi]
    result = caster(precision(layer, "result"))
    casts = [
        caster(Format(bool(signed), int(width), int(integer), rounding, overflow))
        for signed, width, integer in zip(*masks, strict=True)
    ]

    def kernel(x: Any) -> list[Fraction]:
        elements = [number for row in x for number in row]
        return [
            result(cast(number)) if width else Fraction(0)
            for number, cast, width in zip(elements, casts, masks[1], strict=True)
        ]

    return kernel


@pytest.mark.filterwarnings("ignore:.*may compromise bit-exactness")
@pytest.mark.parametrize(("rounding", "overflow"), MODES)
def test_every_element_has_its_format(
    rounding: Rounding, overflow: Overflow, rng: np.random.Generator
) -> None:
    model = quantizer(rounding.value, overflow.value)
    layer = layer_of(model, "layer")
    assert len({*zip(*(mask.ravel() for mask in layer.mask_kbi), strict=True)}) > 3
    check(model, expected(layer, rounding, overflow), rng, events=8)


def test_no_bits_at_all_is_zero_for_every_event(rng: np.random.Generator) -> None:
    model = quantizer("RND", "SAT")
    zeros = "".join(f"    out[{place}] = 0;\n" for place in range(8))
    layer_of(model, "layer").set_attr("mask_fn_codegen", Source(zeros))
    check(model, lambda x: [Fraction(0)] * 8, rng)


def test_elements_of_one_format_are_cast_together() -> None:
    model = quantizer("RND", "SAT")
    graph = lower(model)
    casts = [node for node in graph.nodes if node.op == "cast"]
    layer = layer_of(model, "layer")
    formats = {*zip(*(mask.ravel().tolist() for mask in layer.mask_kbi), strict=True)}
    assert len(casts) == len([fmt for fmt in formats if fmt[1]]) + 1  # and the result's


def test_code_that_samebits_cannot_read() -> None:
    model = quantizer("RND", "SAT")
    layer = layer_of(model, "layer")
    written = layer.get_attr("mask_fn_codegen").code
    layer.set_attr("mask_fn_codegen", Source(written.replace("AP_SAT", "AP_WRAP_SM")))
    message = refusal(model)
    assert message.startswith("layer layer (FixedPointQuantizer): ap_fixed<")
    assert ",RND,WRAP_SM> is not supported; rounding modes: TRN, " in message
    layer.set_attr("mask_fn_codegen", Source(written.replace("inp[1]", "inp(1)")))
    assert refusal(model, errors.ModelError) == (
        "layer layer (FixedPointQuantizer): its generated code sets 7 elements of 8"
    )
    del layer.attributes["mask_fn_codegen"]
    assert refusal(model) == (
        "layer layer (FixedPointQuantizer): hls4ml has written no code for it; it does so in "
        "io_parallel only"
    )


def unary_lut(io_type: str, data: str, entries: int, rng: np.random.Generator) -> Any:
    table = rng.integers(-128, 128, entries) / 32
    layer = {"name": "layer", "class_name": "UnaryLUT", "inputs": ["x"]}
    layer |= {"table_data": table, "activation": "unary_lut"}
    types = {"x": {"Precision": {"result": data}}}
    types |= {"layer": {"table_t": "fixed<8,3>", "Precision": {"result": "fixed<6,3,RND,SAT>"}}}
    return convert([given("x", 4), layer], ["layer"], types, io_type=io_type)


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
@pytest.mark.parametrize("data", ["fixed<5,2>", "ufixed<5,2>", "fixed<4,-1>", "int<5>", "uint<3>"])
def test_unary_lut_is_indexed_by_the_bits(
    data: str, io_type: str, rng: np.random.Generator
) -> None:
    """nnet_activation.h, `unary_lut`: negative numbers are in the upper half."""
    model = unary_lut(io_type, data, 32, rng)
    layer, source = layer_of(model, "layer"), precision(layer_of(model, "x"), "result")
    entries, result = weights(layer, "table"), caster(precision(layer, "result"))

    def kernel(x: Any) -> list[Fraction]:
        mantissas = [int(number * Fraction(2) ** source.fraction) for number in x]
        return [result(entries[m % 2**source.width]) for m in mantissas]

    check(model, kernel, rng, events=16)


def test_unary_lut_whose_table_is_too_short(rng: np.random.Generator) -> None:
    model = unary_lut("io_parallel", "fixed<6,2>", 32, rng)
    assert refusal(model) == (
        "layer layer (UnaryLUT): ap_fixed<6,2,TRN,WRAP> can address 6 bits, its table has 32 "
        "entries; hls4ml's C simulation would read beyond the table's end"
    )


def test_unary_lut_on_a_stream_in_other_packets(rng: np.random.Generator) -> None:
    """The kernel reads packets of its result's size; a flattened input keeps its own."""
    flat: Layer = {"name": "flat", "class_name": "Reshape", "inputs": ["x"], "target_shape": [6]}
    layer: Layer = {"name": "layer", "class_name": "UnaryLUT", "inputs": ["flat"]}
    layer |= {"table_data": rng.integers(0, 4, 16), "activation": "unary_lut"}
    types = {"x": {"Precision": {"result": "fixed<4,2>"}}}
    model = convert([given("x", 2, 3), flat, layer], ["layer"], types, io_type="io_stream")
    assert "comes in packets of 3 but is read in packets of 6" in refusal(model)
