"""DACombinational: C++ as da4ml 0.5 generates it, statement by statement."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hls4ml.model.layers import DACombinational
from hls4ml.model.types import FixedPrecisionType, Source

from samebits import errors
from samebits.compile.ir import Format
from samebits.compile.lowering.generated import (
    Binary,
    Choice,
    Constant,
    Input,
    Lookup,
    Variable,
    functions_of,
)

from .converted import caster, check, convert, given, layer_of, precision, refusal

HEAD = """template <typename inp_t, typename out_t>
void comb(inp_t model_inp[{n_in}], out_t model_out[{n_out}]) {{ // ap_fixed<8,4> -> ap_fixed<9,5>
    #pragma HLS INLINE

    {body}
}}
"""


def code(n_in: int, n_out: int, *lines: str) -> Source:
    return Source(HEAD.format(n_in=n_in, n_out=n_out, body="\n    ".join(lines)))


def combinational(source: Source, n_in: int, n_out: int) -> Any:
    """A converted network whose one layer stands for a DACombinational with this code."""
    layer = {"name": "layer", "class_name": "Activation", "activation": "relu", "inputs": ["x"]}
    model = convert([given("x", n_in), layer], ["layer"], {"x": {"Precision": "fixed<8,4>"}})
    node = layer_of(model, "layer")
    node.__class__ = type("VitisDACombinational", (DACombinational,), {"_wrapped": True})
    node.set_attr("da_codegen", source)
    variable = node.get_output_variable()
    variable.shape = (n_out,)
    variable.type.precision = FixedPrecisionType(8, 5, True, "RND", "SAT")
    return model


def test_additions_of_shifted_numbers(rng: np.random.Generator) -> None:
    source = code(
        2,
        4,
        "ap_fixed<8,4> v0 = model_inp[0]; // 0.0",
        "ap_fixed<6,3> v1 = model_inp[1]; // 0.0",
        "ap_fixed<10,6> v2 = v0 + bit_shift<2>(v1); // 1.0",
        "ap_fixed<11,6> v3 = v0 - bit_shift<-1>(v1); // 1.0",
        "ap_fixed<12,6> v4 = v3 + ap_ufixed<3,2>(1.5); // 1.0",
        "ap_fixed<6,3> v5 = v4; // 1.0",
        "ap_fixed<7,4> v6 = -v1; // 1.0",
        "ap_fixed<16,8> v7 = v5 * v6; // 1.0",
        "model_out[0] = ap_fixed<11,7>(bit_shift<1>(v2));",
        "model_out[1] = ap_fixed<12,6>(-v4);",
        "model_out[2] = 0;",
        "model_out[3] = ap_fixed<16,8>(v7);",
    )
    model = combinational(source, 2, 4)
    result = caster(precision(layer_of(model, "layer"), "result"))
    wrapped = {width: caster(Format(True, *width)) for width in ((6, 3), (10, 6), (11, 6), (12, 6))}

    def kernel(x: Any) -> list[Fraction]:
        x0, x1 = x[0], wrapped[6, 3](x[1])
        v2, v3 = wrapped[10, 6](x0 + 4 * x1), wrapped[11, 6](x0 - x1 / 2)
        v4 = wrapped[12, 6](v3 + Fraction(3, 2))
        v5 = wrapped[6, 3](v4)
        return [result(y) for y in (2 * v2, wrapped[12, 6](-v4), Fraction(0), v5 * -x1)]

    check(model, kernel, rng, events=40)


def test_choices(rng: np.random.Generator) -> None:
    """relu of x and of -x, the larger of two, and the highest bit of an unsigned number."""
    source = code(
        2,
        5,
        "ap_fixed<8,4> v0 = model_inp[0]; // 0.0",
        "ap_fixed<8,4> v1 = model_inp[1]; // 0.0",
        "ap_ufixed<7,3> v2 = v0 > 0 ? ap_ufixed<7,3>(v0) : ap_ufixed<7,3>(0); // 0.0",
        "ap_ufixed<8,4> v3 = v0 > 0 ? ap_ufixed<8,4>(0) : ap_ufixed<8,4>(-v0); // 0.0",
        "ap_fixed<9,5> v4 = v0 - v1; // 1.0",
        "ap_fixed<8,4> v5 = v4[8] ? ap_fixed<8,4>(v1) : ap_fixed<8,4>(v0); // 1.0",
        "ap_fixed<9,5> v6 = v4[8] ? ap_fixed<9,5>(0) : ap_fixed<9,5>(-bit_shift<1>(v1)); // 1.0",
        "ap_fixed<6,4> v7 = v2[6] ? ap_fixed<6,4>(v0) : ap_fixed<6,4>(v1); // 1.0",
        *(f"model_out[{n}] = ap_fixed<12,6>(v{n + 2 + (n > 1)});" for n in range(5)),
    )
    model = combinational(source, 2, 5)
    result = caster(precision(layer_of(model, "layer"), "result"))
    nine, six = caster(Format(True, 9, 5)), caster(Format(True, 6, 4))

    def kernel(x: Any) -> list[Fraction]:
        x0, x1 = x
        third = Fraction(0) if x0 < x1 else nine(-2 * x1)
        made = [max(x0, Fraction(0)), max(-x0, Fraction(0)), max(x0, x1), third]
        made.append(six(x0) if max(x0, Fraction(0)) >= 4 else six(x1))
        return [result(y) for y in made]

    check(model, kernel, rng, events=60)


def test_tables_are_indexed_by_the_bits(rng: np.random.Generator) -> None:
    entries = [k * 0.25 - 1 for k in range(8)]
    text = ",".join(str(entry) for entry in entries)
    source = code(
        1,
        1,
        f"static const ap_fixed<4,2> table_1[] = {{{text}}};",
        "",
        "ap_fixed<3,1> v0 = model_inp[0]; // 0.0",
        "ap_fixed<4,2> v1 = table_1[v0.range()]; // 1.0",
        "model_out[0] = ap_fixed<4,2>(v1);",
    )
    model = combinational(source, 1, 1)
    result, key = caster(precision(layer_of(model, "layer"), "result")), caster(Format(True, 3, 1))
    check(model, lambda x: [result(Fraction(entries[int(key(x[0]) * 4) % 8]))], rng, events=30)


def test_what_is_read() -> None:
    """Every kind of expression, with the numbers and types that stand in it."""
    source = code(
        2,
        1,
        "ap_ufixed<5, 2, AP_RND, AP_SAT> model_inp_q_0 = model_inp[0];",
        "ap_ufixed<1, 0> model_inp_q_1 = 0;",
        "ap_ufixed<5,2> v0 = model_inp_q_0; // 0.0",
        "ap_fixed<2,2> v1 = -1.5e-05; // 0.0",
        "ap_fixed<2,2> v2 = v0 - ap_ufixed<1,0>(0.5); // 0.0",
        "ap_fixed<2,2> v3 = v1[1] ? ap_fixed<2,2>(v0) : ap_fixed<2,2>(-bit_shift<-3>(v1)); // 2.0",
        "ap_fixed<2,2> v4 = some_table[v3.range()]; // 2.0",
        "model_out[0] = ap_fixed<2,2>(-bit_shift<4>(v4));",
    )
    (function,) = functions_of(source, "here")
    assert (function.name, function.n_in, function.n_out) == ("comb", 2, 1)
    assert [str(fmt) for fmt in function.quantized.values()] == ["ap_ufixed<5,2,RND,SAT>", "None"]
    two = Format(True, 2, 2)
    assert [expression for _, expression in function.assigned.values()] == [
        Input(0),
        Constant(-1.5e-05),
        Binary(Variable(0), "-", Constant(0.5, Format(False, 1, 0))),
        Choice(1, 1, two, Variable(0), Variable(1, -3, True)),
        Lookup("some_table", 3),
    ]
    assert function.returned == ((two, Variable(4, 4, True)),)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ap_fixed<8,4> v1 = v0 / v0;", "samebits cannot read 'v0 / v0' in the C++ that da4ml"),
        ("int v1 = 3;", "samebits cannot read 'int v1 = 3' in the C++ that da4ml"),
        ("ap_fixed<0,0> v1 = v0;", "ap_fixed<0,0,TRN,WRAP> is not a type; wanted a width of 1"),
        (
            "ap_fixed<8,4> v1 = v0[3] ? ap_fixed<8,4>(v0) : ap_fixed<8,4>(0);",
            "its generated code reads bit 3 of v0 (ap_fixed<8,4,TRN,WRAP>); supported: the highest",
        ),
    ],
)
def test_statements_that_da4ml_does_not_write(line: str, message: str) -> None:
    first, last = "ap_fixed<8,4> v0 = model_inp[0];", "model_out[0] = ap_fixed<8,4>(v1);"
    model = combinational(code(1, 1, first, line, last), 1, 1)
    assert refusal(model).startswith(f"layer layer (DACombinational): {message}")


def test_several_inputs_of_which_hls4ml_passes_only_the_first() -> None:
    lines = ("ap_fixed<8,4> v0 = model_inp[3];", "model_out[0] = ap_fixed<8,4>(v0);")
    assert refusal(combinational(code(4, 1, *lines), 2, 1)) == (
        "layer layer (DACombinational): its generated code reads 4 numbers; hls4ml's call gives it "
        "the 2 of its first of 1 inputs; the C simulation is undefined"
    )
    model = combinational(code(2, 2, *lines), 2, 2)
    assert refusal(model, errors.ModelError) == (
        "layer layer (DACombinational): comb sets 1 of its 2 outputs"
    )
