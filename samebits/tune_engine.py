"""One network in many formats, evaluated fast: what a changed quantizer does not reach is kept.

The fixed-point graph stays as it was compiled. A quantizer of fewer bits rounds and saturates as in
its own format, and its result is written on the finer grid of the graph, which holds it exactly. So
only the operations behind a change are computed again, and nothing is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.bit_operations import effective_bits, products
from samebits.compile.ir import Carrier, Format, Graph, Node, Overflow, Rounding, Tensor
from samebits.compile.ops import operation, site_of
from samebits.compile.ops.arith import as_carrier, cast_mantissas, scale_up
from samebits.compile.ops.boundary import input_mantissas
from samebits.compile.passes.carriers import choose_peaks
from samebits.compile.target import Target
from samebits.design import Design

if TYPE_CHECKING:
    import onnx

    from samebits.compile.frontends.onnx.formats import Quantizer
    from samebits.compile.frontends.quant import QuantGrid

__all__ = ["Engine", "Formats", "Knob", "Tunable", "tunable"]

Array: TypeAlias = NDArray[Any]
Formats: TypeAlias = tuple[tuple[int, int], ...]  # (width, integer bits) of every knob

_CHECKED_EVENTS = 256
# Rounding to a coarser grid at most doubles a number: a product of two at most quadruples.
_GROWTH = 4


@dataclass(frozen=True)
class Knob:
    """A quantizer whose format may change, and where it is in the graph.

    Args:
        name: the tensor that it makes in the ONNX model.
        weights: whether it rounds constants.
        format: as it was trained.
        tensors: the constants in the graph, or the one tensor that its cast makes.
    """

    name: str
    weights: bool
    format: Format
    tensors: tuple[str, ...]

    @property
    def least_width(self) -> int:
        """The smallest width that is tried."""
        return 2 if self.format.signed else 1

    def at(self, width: int, integer: int) -> Format:
        """Its format with another width and other integer bits."""
        return replace(self.format, width=width, integer=integer)


@dataclass(frozen=True, eq=False)
class Tunable:
    """A compiled network and its knobs; `fixed` are the quantizers that stay, with the reason."""

    model: onnx.ModelProto
    design: Design
    knobs: tuple[Knob, ...]
    fixed: Mapping[str, str]

    @property
    def start(self) -> Formats:
        """The formats that it was trained with."""
        return tuple((knob.format.width, knob.format.integer) for knob in self.knobs)

    def with_formats(self, formats: Formats) -> onnx.ModelProto:
        """The ONNX model with these formats."""
        from samebits.compile.frontends.onnx.formats import with_formats

        names = [knob.name for knob in self.knobs]
        return with_formats(self.model, dict(zip(names, formats, strict=True)))


def tunable(
    model: onnx.ModelProto,
    target: Target,
    inputs: Callable[[Graph], Sequence[Array]],
    progress: Callable[[int, int], None] | None = None,
) -> Tunable:
    """The network with its knobs, each found by compiling the network with that one changed.

    A quantizer becomes a knob if the fast engine then has the same bits at the output as the
    compiled network; else it stays as it is.

    Args:
        inputs: events for a graph; some of them are compared.
        progress: called with the quantizers done and their number.

    Raises:
        UnsupportedError: a network that cannot be compiled, or none of whose quantizers is a knob.
    """
    from samebits.compile.frontends.onnx.formats import quantizers, with_formats

    design = Design.from_onnx(model, target)
    events = [array[:_CHECKED_EVENTS] for array in inputs(design.graph)]
    knobs: list[Knob] = []
    fixed: dict[str, str] = {}
    found = quantizers(model)
    for number, one in enumerate(found):
        if progress:
            progress(number, len(found))
        grid = one.grid
        if grid is None:
            fixed[one.name] = one.why
            continue
        fmt = _format_of(grid)
        least = 2 if fmt.signed else 1
        if fmt.width <= least:
            fixed[one.name] = f"has {fmt.width} bits already"
            continue
        small = fmt.width - 1 - (fmt.width - 2 >= least), fmt.integer - (fmt.width - 2 >= least)
        changed = Design.from_onnx(with_formats(model, {one.name: small}), target)
        knob = _located(design.graph, changed.graph, one, fmt, replace(
            fmt, width=small[0], integer=small[1]))  # fmt: skip
        if knob is None:
            fixed[one.name] = "is no operation of its own in the fixed-point graph"
            continue
        fast = Engine(design.graph, (knob,), events).outputs((small,))
        slow = changed.engine.run(events, changed.graph.outputs)
        if not all(np.array_equal(a, b) for a, b in zip(fast, slow, strict=True)):
            fixed[one.name] = "hls4ml changes other types with its format"
            continue
        knobs.append(knob)
    if progress:
        progress(len(found), len(found))
    if not knobs:
        reasons = "; ".join(f"{name}: {why}" for name, why in fixed.items())
        raise errors.UnsupportedError(
            "tune: the model has no quantizer whose format could be changed"
            + (f" ({reasons})" if reasons else "; a float model is quantized with data first: ")
            + ("" if reasons else "samebits compile --calibrate")
        )
    return Tunable(model, design, tuple(knobs), fixed)


def _format_of(grid: QuantGrid) -> Format:
    rounding = {"ROUND": Rounding.RND_CONV, "FLOOR": Rounding.TRN}[grid.attributes.rounding]
    overflow = Overflow.SAT_SYM if grid.attributes.narrow else Overflow.SAT
    return Format(grid.attributes.signed, grid.width, grid.integer, rounding, overflow)


def _located(
    graph: Graph, changed: Graph, one: Quantizer, fmt: Format, small: Format
) -> Knob | None:
    """Where a quantizer is: what differs first in the graph that was compiled with it changed."""
    if one.weights:
        tensors = [
            name
            for name, values in graph.constants.items()
            if name in changed.constants and not _equal(graph, changed, name, values)
        ]
        knob = Knob(one.name, True, fmt, tuple(tensors))
        for name in tensors:
            source = graph.tensors[name].format
            values = _requantized(graph.constants[name], source, small)
            if not _equal(graph, changed, name, values):
                return None
        return knob if tensors else None
    for node in graph.nodes:
        other = changed.tensors.get(node.output)
        if other is None or other.format == graph.tensors[node.output].format:
            continue
        if node.op != "cast" or not other.format.same_grid(small):
            return None
        return Knob(one.name, False, fmt, (node.output,))
    return None


def _equal(graph: Graph, changed: Graph, name: str, values: Array) -> bool:
    """Whether a constant has these mantissas, of `graph`'s format, in `changed` too."""
    mine, other = graph.tensors[name].format.fraction, changed.tensors[name].format.fraction
    theirs = changed.constants[name]
    if values.shape != theirs.shape:
        return False
    a, b = values.astype(object), theirs.astype(object)
    return bool(np.all(a * (1 << max(0, other - mine)) == b * (1 << max(0, mine - other))))


def _requantized(mantissas: Array, source: Format, target: Format) -> Array:
    """Mantissas of `source` rounded to `target`, on the grid of `source`."""
    rounded = cast_mantissas(mantissas, source, target)
    shift = source.fraction - target.fraction
    return scale_up(rounded, shift) if shift >= 0 else rounded >> -shift


class Engine:
    """The outputs and the bit operations of a graph in any formats of its knobs.

    Args:
        inputs: real inputs of the events, as `NumpyEngine.run` takes them.
    """

    def __init__(self, graph: Graph, knobs: Sequence[Knob], inputs: Sequence[Array]) -> None:
        self.graph = graph
        self.knobs = tuple(knobs)
        self._base: Formats = tuple((k.format.width, k.format.integer) for k in self.knobs)
        self._casts = {k.tensors[0]: i for i, k in enumerate(self.knobs) if not k.weights}
        self._weights = {
            name: i for i, k in enumerate(self.knobs) if k.weights for name in k.tensors
        }
        self._carriers = self._choose_carriers()
        self._constants: dict[tuple[str, tuple[int, int]], Array] = {}
        self._bits: dict[tuple[str, tuple[int, int]], Array] = {}
        self._products = products(graph)
        self._formats = self._base
        self._held: dict[str, Array] = {}
        for name, values in zip(graph.inputs, inputs, strict=True):
            fmt = graph.tensors[name].format
            self._held[name] = input_mantissas(
                np.moveaxis(values, 0, -1), fmt, self._carriers[name]
            )
        self._held.update(self._computed(self._base, everything=True))

    def outputs(self, formats: Formats) -> list[NDArray[np.float64]]:
        """The graph's outputs (N, *shape) in these formats."""
        new = self._computed(formats)
        answers = []
        for name in self.graph.outputs:
            mantissas = new.get(name, self._held[name])
            values = mantissas.astype(np.float64) * self.graph.tensors[name].format.lsb
            answers.append(np.moveaxis(values, -1, 0))
        return answers

    def settle(self, formats: Formats) -> None:
        """From now on, only what differs from these formats is computed."""
        self._held.update(self._computed(formats))
        self._formats = formats

    def operations(self, formats: Formats) -> tuple[int, float]:
        """Effective bit operations and bit operations: see `samebits.bit_operations`."""
        found = self._narrowed(formats)
        ebops, bops = 0, 0.0
        for product in self._products:
            bits: list[int | Array] = []
            widths = []
            for name in product.operands:
                fmt = found.get(name, self.graph.tensors[name].format)
                knob = self._weights.get(name)
                if name in self.graph.constants:
                    bits.append(self._effective(name, formats))
                    widths.append(fmt.width if knob is None else formats[knob][0])
                else:
                    bits.append(fmt.width)
                    widths.append(fmt.width)
            ebops += product.ebops(bits)
            bops += product.bops(widths)
        return ebops, bops

    def _choose_carriers(self) -> dict[str, Carrier]:
        """Exact for all formats up to the knobs' own: where knobs act, with room for rounding."""
        peaks = choose_peaks(self.graph)
        moved: set[str] = set()
        for node in self.graph.nodes:
            own = self._casts.get(node.output)
            if own is None and not any(n in moved or n in self._weights for n in node.inputs):
                continue
            moved.add(node.output)
            peaks[node.output] *= _GROWTH
            if own is not None:
                source = self.graph.tensors[node.inputs[0]].format
                coarsest = source.fraction - self.knobs[own].format.fraction
                peaks[node.output] += 1 << max(0, coarsest + self.knobs[own].format.width)
        return {name: Carrier.for_magnitude(peak) for name, peak in peaks.items()}

    def _computed(self, formats: Formats, *, everything: bool = False) -> dict[str, Array]:
        """The tensors that differ, or may, from those held."""
        new: dict[str, Array] = {}
        changed = set[str]()
        for i, (old, wanted) in enumerate(zip(self._formats, formats, strict=True)):
            if old != wanted:
                knob = self.knobs[i]
                changed.update(
                    name
                    for name in knob.tensors
                    if not knob.weights
                    or not np.array_equal(self._constant(name, old), self._constant(name, wanted))
                )
        for node in self.graph.nodes:
            if (
                everything
                or node.output in changed
                or any(name in new or name in changed for name in node.inputs)
            ):
                new[node.output] = self._run(node, new, formats)
        return new

    def _run(self, node: Node, new: Mapping[str, Array], formats: Formats) -> Array:
        carrier = self._carriers[node.output]
        arrays = []
        for name in node.inputs:
            if name in self.graph.constants:
                knob = self._weights.get(name)
                values = self._constant(name, None if knob is None else formats[knob])[..., None]
            else:
                values = new[name] if name in new else self._held[name]
            arrays.append(as_carrier(values, carrier))
        site = site_of(self.graph, node)
        own = self._casts.get(node.output)
        if own is None or formats[own] == self._base[own]:
            return operation(node.op).kernel(site, arrays)
        small = self.knobs[own].at(*formats[own])
        rounded = cast_mantissas(arrays[0], site.inputs[0].format, small)
        return scale_up(rounded, site.output.format.fraction - small.fraction)

    def _constant(self, name: str, fmt: tuple[int, int] | None) -> Array:
        values = self.graph.constants[name]
        knob = self._weights.get(name)
        if fmt is None or knob is None or fmt == self._base[knob]:
            return values
        found = self._constants.get((name, fmt))
        if found is None:
            source = self.graph.tensors[name].format
            found = _requantized(values, source, self.knobs[knob].at(*fmt))
            self._constants[name, fmt] = found
        return found

    def _effective(self, name: str, formats: Formats) -> Array:
        knob = self._weights.get(name)
        key = name, (0, 0) if knob is None else formats[knob]
        found = self._bits.get(key)
        if found is None:
            found = self._bits[key] = effective_bits(
                self._constant(name, None if knob is None else formats[knob])
            )
        return found

    def _narrowed(self, formats: Formats) -> dict[str, Format]:
        """The formats of what the knobs' casts make, and of what moves it or picks from it.

        As hls4ml gives them: a type that only repeats the one before it follows that.
        """
        found: dict[str, Format] = {}
        for node in self.graph.nodes:
            own = self._casts.get(node.output)
            if own is not None:
                found[node.output] = self.knobs[own].at(*formats[own])
                continue
            given = next((found[name] for name in node.inputs if name in found), None)
            if given is None:
                continue
            tensors = self.graph.tensors_of(node.inputs)
            if node.op == "cast":
                if tensors[0].format.same_grid(self.graph.tensors[node.output].format):
                    found[node.output] = given
            elif operation(node.op).family == "movement" or node.op == "reduce_max":
                inputs = [
                    replace(
                        one, format=found.get(one.name, given if self._zero(one) else one.format)
                    )
                    for one in tensors
                ]
                found[node.output] = operation(node.op).format(inputs, node.attrs)
        return found

    def _zero(self, tensor: Tensor) -> bool:
        """Padding, which has the type of what it pads."""
        values = self.graph.constants.get(tensor.name)
        return values is not None and not values.any()
