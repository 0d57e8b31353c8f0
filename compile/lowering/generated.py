"""Reads the C++ that da4ml writes into a converted graph: single assignments of simple expressions.

    ap_fixed<9,5> v16 = v6 - bit_shift<-1>(v12); // 1.0
    model_out[0] = ap_fixed<17,6>(-v16);

Source: da4ml 0.5, codegen/hls/hls_codegen.py, `ssa_gen`, `output_gen`; and what hls4ml's
`FuseQuantizerIntoDALayers` puts in front (vivado/passes/distributed_arithmetic.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from samebits import errors

from ..ir import Format
from .quantizer import TYPE, generated_format

__all__ = [
    "Binary",
    "Choice",
    "Constant",
    "Expression",
    "Function",
    "Input",
    "Lookup",
    "Variable",
    "functions_of",
]

_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_FUNCTION = re.compile(
    r"void (\w+)\(inp_t model_inp\[(\d+)\], out_t model_out\[(\d+)\]\) \{(.*?)\n\}", re.DOTALL
)
_TABLE = re.compile(rf"static const {TYPE} (\w+)\[\] = \{{([^}}]*)\}}")
_QUANTIZED = re.compile(rf"{TYPE} model_inp_q_(\d+) = (model_inp\[\d+\]|0)")
_ASSIGNED = re.compile(rf"{TYPE} v(\d+) = (.+)", re.DOTALL)
_RETURNED = re.compile(r"model_out\[(\d+)\] = (.+)", re.DOTALL)
_CHOICE = re.compile(rf"v(\d+)(?: > (0)|\[(\d+)\]) \? {TYPE}\((.+)\) : {TYPE}\((.+)\)")
_LOOKUP = re.compile(r"(\w+)\[v(\d+)\.range\(\)\]")
_BINARY = re.compile(r"(v\d+) ([-+*]) (.+)")
_VARIABLE = re.compile(r"(-?)(?:v(\d+)|bit_shift<(-?\d+)>\(v(\d+)\))")
_INPUT = re.compile(r"model_inp(?:\[(\d+)\]|_q_(\d+))")
_TYPED = re.compile(rf"{TYPE}\((.+)\)")


@dataclass(frozen=True, slots=True)
class Input:
    """model_inp[position]."""

    position: int


@dataclass(frozen=True, slots=True)
class Variable:
    """v<number> * 2**shift, negated or not."""

    number: int
    shift: int = 0
    negative: bool = False


@dataclass(frozen=True, slots=True)
class Constant:
    """A C++ double, converted to a type if one stands there."""

    value: float
    format: Format | None = None


@dataclass(frozen=True, slots=True)
class Binary:
    """left + right, left - right or left * right."""

    left: Variable
    operator: str
    right: Variable | Constant


@dataclass(frozen=True, slots=True)
class Choice:
    """yes if variable > 0 (bit None), or if that bit of it is set; else no; both of one type."""

    variable: int
    bit: int | None
    format: Format
    yes: Variable | Constant
    no: Variable | Constant


@dataclass(frozen=True, slots=True)
class Lookup:
    """The entry of a table that the bits of a variable number."""

    table: str
    variable: int


Expression = Input | Variable | Constant | Binary | Choice | Lookup


@dataclass(frozen=True, slots=True)
class Function:
    """A function `void name(inp_t model_inp[n_in], out_t model_out[n_out])`.

    Args:
        quantized: formats to which inputs are cast first, by position; None makes the input zero.
        assigned: variable -> (its type, what is assigned), in order.
        returned: for every output, (its type or None, the expression).
        tables: name -> (type, C++ doubles).
    """

    name: str
    n_in: int
    n_out: int
    quantized: dict[int, Format | None]
    assigned: dict[int, tuple[Format, Expression]]
    returned: tuple[tuple[Format | None, Expression], ...]
    tables: dict[str, tuple[Format, tuple[float, ...]]]


def functions_of(source: Any, where: str) -> tuple[Function, ...]:
    """The functions of a generated source, in order.

    Args:
        source: hls4ml's `Source`.

    Raises:
        UnsupportedError: a statement that da4ml 0.5 does not write.
    """
    return tuple(
        _function(name, int(n_in), int(n_out), body, where)
        for name, n_in, n_out, body in _FUNCTION.findall(str(source.code))
    )


def _function(name: str, n_in: int, n_out: int, body: str, where: str) -> Function:
    quantized: dict[int, Format | None] = {}
    assigned: dict[int, tuple[Format, Expression]] = {}
    returned: dict[int, tuple[Format | None, Expression]] = {}
    tables: dict[str, tuple[Format, tuple[float, ...]]] = {}
    text = re.sub(r"//[^\n]*|#pragma[^\n]*", "", body)
    for statement in (part.strip() for part in text.split(";")):
        if not statement:
            continue
        if match := _TABLE.fullmatch(statement):
            *kind, table, entries = match.groups()
            numbers = tuple(float(entry) for entry in entries.split(","))
            tables[table] = (generated_format(kind, where), numbers)
        elif match := _QUANTIZED.fullmatch(statement):
            *kind, position, value = match.groups()
            quantized[int(position)] = None if value == "0" else generated_format(kind, where)
        elif match := _ASSIGNED.fullmatch(statement):
            *kind, number, expression = match.groups()
            fmt = generated_format(kind, where)
            assigned[int(number)] = (fmt, _expression(expression, where))
        elif match := _RETURNED.fullmatch(statement):
            position, expression = match.groups()
            typed = _TYPED.fullmatch(expression)
            if typed:
                fmt = generated_format(typed.groups()[:-1], where)
                returned[int(position)] = (fmt, _expression(typed.groups()[-1], where))
            else:
                returned[int(position)] = (None, _expression(expression, where))
        else:
            raise _unknown(statement, where)
    if sorted(returned) != list(range(n_out)):
        raise errors.ModelError(f"{where}: {name} sets {len(returned)} of its {n_out} outputs")
    outputs = tuple(returned[position] for position in range(n_out))
    return Function(name, n_in, n_out, quantized, assigned, outputs, tables)


def _expression(text: str, where: str) -> Expression:
    text = text.strip()
    if match := _CHOICE.fullmatch(text):
        variable, _, bit = match.groups()[:3]
        rest = match.groups()[3:]
        fmt = generated_format(rest[:5], where)
        yes, no = _operand(rest[5], where), _operand(rest[11], where)
        return Choice(int(variable), None if bit is None else int(bit), fmt, yes, no)
    if match := _LOOKUP.fullmatch(text):
        return Lookup(match[1], int(match[2]))
    if match := _INPUT.fullmatch(text):
        return Input(int(match[1] or match[2]))
    if match := _BINARY.fullmatch(text):
        return Binary(Variable(int(match[1][1:])), match[2], _operand(match[3], where))
    return _operand(text, where)


def _operand(text: str, where: str) -> Variable | Constant:
    text = text.strip()
    if match := _VARIABLE.fullmatch(text):
        sign, plain, shift, shifted = match.groups()
        return Variable(int(plain or shifted), int(shift or 0), sign == "-")
    if match := _TYPED.fullmatch(text):
        return Constant(float(match.groups()[-1]), generated_format(match.groups()[:-1], where))
    if re.fullmatch(_NUMBER, text):
        return Constant(float(text))
    raise _unknown(text, where)


def _unknown(statement: str, where: str) -> errors.UnsupportedError:
    return errors.UnsupportedError(
        f"{where}: samebits cannot read {statement!r} in the C++ that da4ml generated; it reads "
        "that of da4ml 0.5"
    )
