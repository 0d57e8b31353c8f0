"""DACombinational: a layer that hls4ml has no kernel for, traced by da4ml into additions, products,
tables and choices, which stand as generated C++ in the graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from samebits import errors

from ..ir import Format, Tensor
from .context import Context, Lowering
from .generated import (
    Binary,
    Choice,
    Constant,
    Expression,
    Function,
    Input,
    Lookup,
    Variable,
    functions_of,
)
from .precision import literal

__all__ = ["LAYERS", "lower_combinational"]

_OPERATIONS = {"+": "add", "-": "sub", "*": "mul"}


def lower_combinational(context: Context, layer: Any) -> Tensor:
    """Every assignment of the generated C++, one number after the other, cast to its type.

    Source: vivado/passes/distributed_arithmetic.py, `DACombinationalTemplate`.
    """
    build, where, x = context.build, context.where(layer), context.input(layer)
    source = layer.get_attr("da_codegen")
    functions = () if source is None else functions_of(source, where)
    count = int(np.prod(x.shape))
    if len(layer.inputs) != 1 or len(functions) != 1 or functions[0].n_in != count:
        wanted = sum(function.n_in for function in functions)
        raise errors.UnsupportedError(
            f"{where}: its generated code reads {wanted} numbers; hls4ml's call gives it the "
            f"{count} of its first of {len(layer.inputs)} inputs; the C simulation is undefined"
        )
    flat = build.reshape(x, (count,))
    outputs = _Lowered(context, functions[0], flat, where).outputs()
    shape = tuple(int(size) for size in layer.get_output_variable().shape)
    y = build.reshape(build.apply("concat", *outputs), shape)
    return build.cast(y, context.result_format(layer))


class _Lowered:
    """The tensors (1,) of a function's variables."""

    def __init__(self, context: Context, function: Function, x: Tensor, where: str) -> None:
        self.build = context.build
        self.function = function
        self.x = x
        self.where = where
        self.tables: dict[str, Tensor] = {}
        self.values: dict[int, Tensor] = {}
        scope = self.build.scope
        for number, (fmt, expression) in function.assigned.items():
            self.build.scope = f"{scope}/v{number}"
            self.values[number] = self.build.cast(self.value(expression, fmt), fmt)
        self.build.scope = scope

    def outputs(self) -> list[Tensor]:
        """What the function returns, each cast to the type that stands there."""
        returned = []
        for fmt, expression in self.function.returned:
            y = self.value(expression, fmt or Format(False, 1, 1))
            returned.append(y if fmt is None else self.build.cast(y, fmt))
        return returned

    def value(self, expression: Expression, fmt: Format) -> Tensor:
        """An expression; a bare number is of the type that it is assigned to."""
        build = self.build
        match expression:
            case Input(position):
                index = build.integers([position], Format.spanning(0, position, 0), "place")
                return build.apply("gather", self.x, index)
            case Constant(number, kind):
                kind = kind or fmt
                return build.integers([literal(number, kind)], kind.lossless, "number")
            case Variable(number, shift, negative):
                y = self.values[number]
                y = build.apply("shift", y, bits=shift) if shift else y
                return build.apply("sub", self._zero(), y) if negative else y
            case Binary(left, operator, right):
                operands = self.value(left, fmt), self.value(right, fmt)
                return build.apply(_OPERATIONS[operator], *operands)
            case Choice(variable, bit, kind, yes, no):
                chosen = [build.cast(self.value(operand, kind), kind) for operand in (yes, no)]
                return build.apply("select", self._condition(variable, bit), *chosen)
            case Lookup(table, variable):
                key = self.values[variable]
                bits = Format(False, key.format.width, key.format.integer)
                return build.apply("lookup", build.cast(key, bits), self._table(table))

    def _zero(self) -> Tensor:
        return self.build.integers([0], Format(False, 0, 0), "zero")

    def _condition(self, variable: int, bit: int | None) -> Tensor:
        key = self.values[variable]
        if bit is None:
            return self.build.apply("compare", key, self._zero(), relation="gt")
        if bit != key.format.width - 1:
            raise errors.UnsupportedError(
                f"{self.where}: its generated code reads bit {bit} of v{variable} ({key.format}); "
                "supported: the highest bit"
            )
        # the highest bit: negative, or from half of the range on
        if key.format.signed:
            return self.build.apply("compare", self._zero(), key, relation="gt")
        half = self.build.integers([1 << bit], key.format.lossless, "half")
        return self.build.apply("compare", key, half, relation="ge")

    def _table(self, name: str) -> Tensor:
        if name not in self.tables:
            fmt, numbers = self.function.tables[name]
            entries = [literal(number, fmt) for number in numbers]
            self.tables[name] = self.build.integers(entries, fmt.lossless, "table")
        return self.tables[name]


LAYERS: dict[str, Lowering] = {
    "DACombinational": lower_combinational,
}
