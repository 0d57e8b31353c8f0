"""Hypothesis strategies: formats, tensors of mantissas, and graphs of one or of many operations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Graph, Overflow, Rounding, Tensor

EVENTS = 3
ROUNDINGS, OVERFLOWS = tuple(Rounding), tuple(Overflow)


@st.composite
def formats(draw: Any, min_width: int = 0, max_width: int = 8, plain: bool = False) -> Format:
    """Formats with the binary point anywhere near the bits; `plain`: default modes."""
    width = draw(st.integers(min_width, max_width))
    integer = draw(st.integers(-3, width + 3))
    signed = draw(st.booleans())
    if plain:
        return Format(signed, width, integer)
    modes = draw(st.sampled_from(ROUNDINGS)), draw(st.sampled_from(OVERFLOWS))
    return Format(signed, width, integer, *modes)


def mantissas(fmt: Format) -> st.SearchStrategy[int]:
    """The mantissas that a cast to the format can leave, its extremes often."""
    low, high = fmt.min_saturated, fmt.max_mantissa
    edges = [low, high, *(x for x in (low + 1, -1, 0, 1, high - 1) if low <= x <= high)]
    return st.one_of(st.sampled_from(edges), st.integers(low, high))


def arrays(fmt: Format, shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """Arrays of Python integers that are mantissas of the format."""
    count = int(np.prod(shape))
    flat = st.lists(mantissas(fmt), min_size=count, max_size=count)
    return flat.map(lambda values: _object_array(values, shape))


def _object_array(values: list[int], shape: tuple[int, ...]) -> Any:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out.reshape(shape)


@dataclass
class Case:
    """A graph and mantissas for its inputs, batch axis first."""

    graph: Graph
    inputs: dict[str, Any]

    def event(self, number: int) -> dict[str, Any]:
        return {name: array[number] for name, array in self.inputs.items()}


class Maker:
    """Draws the inputs of operations: fed tensors or constants."""

    def __init__(self, draw: Any, max_width: int) -> None:
        self.draw, self.max_width = draw, max_width
        self.build = GraphBuilder()
        self.inputs: dict[str, Any] = {}

    def tensor(
        self, shape: tuple[int, ...], fmt: Format | None = None, constant: bool | None = None
    ) -> Tensor:
        fmt = self.draw(formats(max_width=self.max_width)) if fmt is None else fmt
        if self.draw(st.booleans()) if constant is None else constant:
            return self.build.integers(self.draw(arrays(fmt, shape)), fmt)
        name = f"x{len(self.inputs)}"
        self.inputs[name] = self.draw(arrays(fmt, (EVENTS, *shape)))
        return self.build.input(name, shape, fmt)

    def finish(self, *outputs: Tensor) -> Case:
        return Case(self.build.graph(tuple(tensor.name for tensor in outputs)), self.inputs)


def shapes(min_rank: int = 0, max_rank: int = 3) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(1, 3), min_size=min_rank, max_size=max_rank).map(tuple)


@st.composite
def _broadcast(draw: Any, count: int) -> list[tuple[int, ...]]:
    """Shapes of one rank that broadcast."""
    full = draw(shapes())
    return [tuple(1 if draw(st.booleans()) else n for n in full) for _ in range(count)]


def _element_wise(op: str, count: int = 2) -> Callable[[Maker], Tensor]:
    def make(maker: Maker) -> Tensor:
        return maker.build.apply(op, *(maker.tensor(s) for s in maker.draw(_broadcast(count))))

    return make


def _over_first_axis(op: str) -> Callable[[Maker], Tensor]:
    def make(maker: Maker) -> Tensor:
        return maker.build.apply(op, maker.tensor((maker.draw(st.integers(1, 6)), *rest(maker))))

    def rest(maker: Maker) -> tuple[int, ...]:
        return maker.draw(shapes(max_rank=2))

    return make


def _reshape(maker: Maker) -> Tensor:
    shape = maker.draw(shapes())
    return maker.build.apply("reshape", maker.tensor(shape), shape=(1, *reversed(shape)))


def _transpose(maker: Maker) -> Tensor:
    shape = maker.draw(shapes())
    perm = tuple(maker.draw(st.permutations(range(len(shape)))))
    return maker.build.apply("transpose", maker.tensor(shape), perm=perm)


def _compare(maker: Maker) -> Tensor:
    left, right = (maker.tensor(shape) for shape in maker.draw(_broadcast(2)))
    relation = maker.draw(st.sampled_from(["gt", "ge", "eq"]))
    return maker.build.apply("compare", left, right, relation=relation)


def _shift(maker: Maker) -> Tensor:
    x = maker.tensor(maker.draw(shapes()))
    return maker.build.apply("shift", x, bits=maker.draw(st.integers(-5, 5)))


def _dot(maker: Maker) -> Tensor:
    count = maker.draw(st.integers(1, 4))
    left, right = ((count, *shape) for shape in maker.draw(_broadcast(2)))
    return maker.build.apply("dot", maker.tensor(left), maker.tensor(right))


def _truncated_dot(maker: Maker) -> Tensor:
    count, bits = maker.draw(st.integers(1, 40)), maker.draw(st.integers(1, 40))
    left, right = ((count, *shape) for shape in maker.draw(_broadcast(2)))
    factors = maker.tensor(left), maker.tensor(right)
    return maker.build.apply("truncated_dot", *factors, bits=bits)


def _gather(maker: Maker) -> Tensor:
    count, width = maker.draw(st.integers(1, 4)), maker.draw(st.integers(2, 5))
    x = maker.tensor((count, *maker.draw(shapes(max_rank=2))))
    shape = maker.draw(shapes(min_rank=1, max_rank=2))
    places = maker.draw(arrays(Format(False, width, width), shape)) % count
    index = maker.build.integers(places, Format(False, width, width))
    return maker.build.apply("gather", x, index)


def _concat(maker: Maker) -> Tensor:
    rest = maker.draw(shapes(max_rank=2))
    counts = maker.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    return maker.build.apply("concat", *(maker.tensor((count, *rest)) for count in counts))


def _divide(maker: Maker) -> Tensor:
    left, right = maker.draw(_broadcast(2))
    width = maker.draw(st.integers(1, maker.max_width))
    divisors = np.maximum(maker.draw(arrays(Format(False, width, width), right)), 1)
    divisor = maker.build.integers(divisors, Format(False, width, width))
    return maker.build.apply("divide", maker.tensor(left), divisor)


def _lookup(maker: Maker) -> Tensor:
    bits = maker.draw(st.integers(0, 4))
    index = maker.tensor(
        maker.draw(shapes(max_rank=2)), Format(False, bits, maker.draw(st.integers(-3, 6)))
    )
    entry = maker.draw(shapes(max_rank=2))
    return maker.build.apply("lookup", index, maker.tensor((1 << bits, *entry)))


def _cast(maker: Maker) -> Tensor:
    target = maker.draw(formats(max_width=maker.max_width))
    return maker.build.cast(maker.tensor(maker.draw(shapes())), target)


def _accumulate(maker: Maker) -> Tensor:
    target = maker.draw(formats(min_width=1, max_width=maker.max_width))
    grid = maker.draw(st.sampled_from([target, target.lossless]))
    count, shape = maker.draw(st.integers(1, 7)), maker.draw(shapes(max_rank=2))
    terms = maker.tensor((count, *shape), grid)
    if maker.draw(st.booleans()):
        return maker.build.apply("accumulate", terms, format=target, kind="tree", order=())
    order = tuple(maker.draw(st.permutations(range(count))))
    start = [maker.tensor(shape, grid)] if maker.draw(st.booleans()) else []
    return maker.build.apply("accumulate", terms, *start, format=target, kind="chain", order=order)


MAKERS: dict[str, Callable[[Maker], Tensor]] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "add": _element_wise("add"),
    "sub": _element_wise("sub"),
    "mul": _element_wise("mul"),
    "max": _element_wise("max"),
    "min": _element_wise("min"),
    "select": _element_wise("select", 3),
    "sum": _over_first_axis("sum"),
    "reduce_max": _over_first_axis("reduce_max"),
    "argmax": _over_first_axis("argmax"),
    "compare": _compare,
    "shift": _shift,
    "dot": _dot,
    "truncated_dot": _truncated_dot,
    "gather": _gather,
    "concat": _concat,
    "divide": _divide,
    "lookup": _lookup,
    "cast": _cast,
    "accumulate": _accumulate,
}


@st.composite
def operation_cases(draw: Any, op: str, max_width: int) -> Case:
    """A graph of one operation, every attribute and shape that it takes, and inputs."""
    maker = Maker(draw, max_width)
    return maker.finish(MAKERS[op](maker))


@st.composite
def networks(draw: Any) -> Case:
    """Dense layers as hls4ml computes them, between activations: what `simplify` rewrites."""
    maker = Maker(draw, 6)
    build, width = maker.build, draw(st.integers(1, 4))
    x = maker.tensor((width,), draw(formats(1, 6)), constant=False)
    layers = []
    for number in range(draw(st.integers(1, 3))):
        x = _dense(maker, x)
        build.layer(f"dense{number}", "Dense", x)
        layers.append(x)
        x = draw(st.sampled_from([_relu, _halve, _residual, _softmax_like]))(maker, x)
    return maker.finish(build.cast(x, draw(formats(1, 8))), layers[0])


def _dense(maker: Maker, x: Tensor) -> Tensor:
    build, draw = maker.build, maker.draw
    (n_in,), n_out = x.shape, draw(st.integers(1, 4))
    wide = draw(st.booleans())  # an accumulator that can hold everything, or any
    product_fraction, accumulator = x.format.fraction + 2, draw(formats(1, 10))
    if wide:
        width = x.format.width + 8
        modes = accumulator.rounding, accumulator.overflow
        accumulator = Format(True, width, width - product_fraction, *modes)
    column = (
        build.reshape(x, (n_in, 1))
        if draw(st.integers(0, 4))
        else build.apply("reshape", x, shape=(1, n_in))
    )
    if column.shape == (1, n_in):
        n_out = n_in
    weights = maker.tensor((n_in, n_out), Format(draw(st.booleans()), 4, 2))
    products = build.cast(build.apply("mul", column, weights), accumulator)
    start = []
    if draw(st.booleans()):
        start = [build.cast(maker.tensor((n_out,)), accumulator)]
    if not start and draw(st.booleans()):
        total = build.apply("accumulate", products, format=accumulator, kind="tree", order=())
    else:
        order = tuple(draw(st.permutations(range(n_in))))
        total = build.apply(
            "accumulate", products, *start, format=accumulator, kind="chain", order=order
        )
    return build.cast(total, draw(formats(1, 7)))


def _relu(maker: Maker, x: Tensor) -> Tensor:
    zero = maker.build.number(0, x, x.format.lossless)
    return maker.build.cast(maker.build.apply("max", x, zero), maker.draw(formats(1, 6)))


def _halve(maker: Maker, x: Tensor) -> Tensor:
    return maker.build.apply("shift", x, bits=-1)


def _residual(maker: Maker, x: Tensor) -> Tensor:
    other = maker.tensor(x.shape, maker.draw(formats(0, 5)))
    total = maker.build.apply("sub", x, other)
    return maker.build.cast(total, maker.draw(formats(1, 7)))


def _softmax_like(maker: Maker, x: Tensor) -> Tensor:
    build = maker.build
    top = build.apply("reduce_max", x)
    distance = build.cast(build.apply("sub", build.reshape(top, (1,)), x), Format(False, 3, 2))
    index = build.apply("shift", distance, bits=1)
    return build.apply("lookup", index, maker.tensor((8,), constant=True))
