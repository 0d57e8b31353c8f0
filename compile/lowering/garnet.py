"""GarNet and GarNetStack: distance-weighted graph networks. Source: nnet_garnet.h.

Letters in shapes: V vertices, F features of a vertex, A aggregators, O features of the result. All
vertices are computed at once; those beyond the second input, how many there are, weigh nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samebits import errors

from ..ir import Format, Overflow, Rounding, Tensor
from . import tables
from .context import Context, Lowering
from .precision import format_of

__all__ = ["LAYERS", "lower_garnet", "lower_garnet_stack"]

_BIT = Format(False, 1, 1)
_DISTANCE = Format(True, 12, 4, Rounding.TRN, Overflow.SAT)  # garnet_templates.py: not configurable
_FRACTION = 10  # fraction bits of the default types
# roundings with round(x + n) == round(x) + n for every integer n
_SHIFT_INVARIANT = (Rounding.TRN, Rounding.RND, Rounding.RND_MIN_INF)


@dataclass(frozen=True, slots=True)
class _Types:
    """The layer's inner formats, and how its vertices are dealt out.

    The vertices are added up in `blocks` sums of `width` each; `vertex_bits` and `block_bits` are
    the template's logarithms of the numbers of vertices and blocks, rounded down.
    """

    edge: Format
    edge_sum: Format
    aggregate: Format
    norm: Format
    result: Format
    vertices: int
    blocks: int
    vertex_bits: int
    block_bits: int

    @property
    def width(self) -> int:
        return self.vertices >> self.block_bits


@dataclass(frozen=True, slots=True)
class _Means:
    """Edge weights of every vertex (V, A), their means (A,), and weighted features' (A, F)."""

    edges: Tensor
    edge: Tensor
    features: Tensor


def lower_garnet(context: Context, layer: Any) -> Tensor:
    """(V, O) or, collapsed to the mean over the vertices, (O,). Source: `garnet`.

    Without collapse, hls4ml leaves the rows of vertices that are not there unwritten; here they
    are zero.
    """
    types, count = _types(context, layer), _vertex_count(context, layer)
    means = _aggregate(context, layer, types, "", context.input(layer), count)
    if _collapses(context, layer):
        return _collapsed(context, layer, types, "", means, count)
    made = _distribute(context, layer, types, "", means)
    zero = context.build.number(0, made, types.result.lossless, "zero")
    present = _vertices(context, types, _present(context, types, count))
    return context.build.apply("select", present, made, zero)


def lower_garnet_stack(context: Context, layer: Any) -> Tensor:
    """Several GarNets, the last one collapsed to (O,). Source: `garnet_stack`."""
    types, count = _types(context, layer), _vertex_count(context, layer)
    if not _collapses(context, layer):
        raise errors.UnsupportedError(
            f"{context.where(layer)}: a GarNetStack without collapse does not compile in hls4ml; "
            "supported: 'mean'"
        )
    x = context.input(layer)
    tags = [f"_{number}" for number in range(int(layer.get_attr("n_sublayers")))]
    if len(tags) == 1:
        tags *= 2  # the only sublayer is the next of itself and runs twice
        if x.shape[1] != _sizes(layer, tags[0])[1]:
            raise errors.UnsupportedError(
                f"{context.where(layer)}: a single sublayer with {x.shape[1]} features of a vertex "
                f"and {_sizes(layer, tags[0])[1]} of the result does not compile in hls4ml"
            )
    *first, last = tags
    for tag in first:
        means = _aggregate(context, layer, types, tag, x, count)
        x = _distribute(context, layer, types, tag, means)
    means = _aggregate(context, layer, types, last, x, count)
    return _collapsed(context, layer, types, last, means, count)


def _types(context: Context, layer: Any) -> _Types:
    """Source: garnet_templates.py, `GarNetConfigTemplate.format`."""
    where = context.where(layer)
    if context.io_type == "io_stream":
        raise errors.UnsupportedError(f"{where}: io_stream; hls4ml has no kernel for it")
    if layer.ref_impl:
        raise errors.UnsupportedError(f"{where}: the reference implementation is not supported")
    vertices, blocks = int(layer.get_attr("n_vertices")), int(layer.get_attr("reuse_factor"))
    vertex_bits, block_bits = int(np.log2(vertices)), int(np.log2(blocks))
    sum_bits = max(block_bits, vertex_bits - block_bits)
    defaults = {
        "edge_weight": Format(False, _FRACTION, 0),
        "edge_weight_aggr": Format(False, sum_bits + _FRACTION, sum_bits),
        "aggr": Format(True, sum_bits + 3 + _FRACTION, sum_bits + 3),
        "norm": Format(False, 4 + _FRACTION, 4),
    }
    formats = {}
    for name, default in defaults.items():
        precision, type_name = layer.model.config.get_precision(layer, var=name)
        configured = not type_name.endswith("default_t")
        formats[name] = format_of(precision, f"{where}, {name}") if configured else default
    return _Types(
        edge=formats["edge_weight"],
        edge_sum=formats["edge_weight_aggr"],
        aggregate=formats["aggr"],
        norm=formats["norm"],
        result=context.result_format(layer),
        vertices=vertices,
        blocks=blocks,
        vertex_bits=vertex_bits,
        block_bits=block_bits,
    )


def _collapses(context: Context, layer: Any) -> bool:
    collapse = layer.get_attr("collapse")
    if collapse not in (None, False, "", "mean"):
        raise errors.UnsupportedError(
            f"{context.where(layer)}: collapse {collapse!r} is not supported; hls4ml has a kernel "
            "for 'mean' and for none"
        )
    return bool(collapse == "mean")


def _vertex_count(context: Context, layer: Any) -> Tensor:
    count = context.input(layer, 1)
    if count.shape != (1,):
        raise errors.UnsupportedError(
            f"{context.where(layer)}: the number of vertices has shape {count.shape}, wanted (1,)"
        )
    return count


def _integers(context: Context, values: Sequence[int], name: str) -> Tensor:
    return context.build.integers(values, Format.spanning(0, int(max(values)), 0), name)


def _weights(
    context: Context, layer: Any, name: str, shape: tuple[int, ...], axes: tuple[int, ...]
) -> Tensor:
    """Weights of a C++ array of that shape with their axes transposed."""
    mantissas, fmt = context.weight(layer, name)
    if mantissas.size != np.prod(shape):
        raise errors.ModelError(
            f"{context.where(layer)}: {mantissas.size} numbers in {name}, wanted {shape}"
        )
    return context.build.integers(mantissas.reshape(shape).transpose(axes), fmt, name)


def _sizes(layer: Any, tag: str) -> tuple[int, int]:
    """(A, O) of a sublayer."""
    return tuple(  # type: ignore[return-value]
        int(np.size(layer.weights[f"{name}{tag}_biases"].data))
        for name in ("aggregator_distance", "output_transform")
    )


def _present(context: Context, types: _Types, count: Tensor) -> Tensor:
    """(blocks * width, 1): 1 for vertices that are there. Source: `aggregate`, its two breaks."""
    build, numbers = context.build, range(types.blocks * types.width)
    most = build.number(types.vertices, count, Format.spanning(0, types.vertices, 0), "vertices")
    limit = build.reshape(build.apply("min", count, most), (1, 1))
    number = build.reshape(_integers(context, numbers, "number"), (len(numbers), 1))
    below = build.apply("compare", limit, number, relation="gt")
    if count.format.fraction <= 0:
        return below
    # no vertex's number equals a fraction: the block goes on to its end
    starts = [number - number % types.width for number in numbers]
    start = build.reshape(_integers(context, starts, "block"), (len(numbers), 1))
    whole = build.cast(
        limit, Format(limit.format.signed, limit.format.integer, limit.format.integer)
    )
    return build.apply(
        "select",
        build.apply("compare", whole, limit, relation="eq"),
        below,
        build.apply("compare", limit, start, relation="gt"),
    )


def _aggregate(
    context: Context, layer: Any, types: _Types, tag: str, x: Tensor, count: Tensor
) -> _Means:
    """Source: `aggregate`, `distribute_aggregate`, `compute_weights_aggregates`."""
    build, (_, features) = context.build, x.shape
    aggregators, _ = _sizes(layer, tag)
    places = range(types.blocks * types.width)
    present = _present(context, types, count)
    if len(places) != types.vertices:  # a reuse factor that is no power of two
        inside = [min(place, types.vertices - 1) for place in places]
        x = build.apply("gather", x, _integers(context, inside, "number"))
    edges = _edge_weights(context, layer, types, tag, x)
    zero = build.number(0, edges, edges.format, "zero")
    edges = build.apply("select", present, edges, zero)
    weighted = build.apply(
        "mul",
        build.reshape(x, (len(places), 1, features)),
        build.reshape(edges, (len(places), aggregators, 1)),
    )
    weighted = build.cast(weighted, x.format)
    edge = _block_means(context, types, edges, types.edge_sum)
    mean = _block_means(context, types, weighted, types.aggregate)
    if layer.get_attr("mean_by_nvert"):
        norm = _norm(context, types, count)
        edge = build.apply("mul", edge, norm)
        mean = build.apply("mul", mean, build.reshape(norm, (1, 1)))
    else:
        edge = _shifted(context, edge, types.block_bits)
        mean = _shifted(context, mean, types.block_bits)
    return _Means(
        edges=_vertices(context, types, edges),
        edge=build.cast(edge, types.edge),
        features=build.cast(mean, types.aggregate),
    )


def _vertices(context: Context, types: _Types, x: Tensor) -> Tensor:
    """The rows of vertices, without those that fill up the blocks."""
    if x.shape[0] == types.vertices:
        return x
    return context.build.apply("gather", x, _integers(context, range(types.vertices), "number"))


def _edge_weights(context: Context, layer: Any, types: _Types, tag: str, x: Tensor) -> Tensor:
    """(V, A): a table entry for every distance, addressed by the distance's bits.

    Source: `compute_edge_weight`, `get_edge_weight`.
    """
    build, (vertices, features) = context.build, x.shape
    aggregators, _ = _sizes(layer, tag)
    weights = _weights(
        context, layer, f"aggregator_distance{tag}_weights", (aggregators, 1, features), (2, 1, 0)
    )
    columns = build.apply("transpose", x, perm=(1, 0))
    products = build.apply("mul", build.reshape(columns, (features, vertices, 1)), weights)
    biases, fmt = context.weight(layer, f"aggregator_distance{tag}_biases")
    bias = build.integers(np.broadcast_to(biases, (vertices, aggregators)), fmt, "bias")
    distance = _chain(
        context, build.cast(products, _DISTANCE), build.cast(bias, _DISTANCE), _DISTANCE
    )
    address = build.cast(distance, Format(False, _DISTANCE.width, _DISTANCE.integer))
    table = tables.garnet_table(_DISTANCE, types.edge)
    return build.apply("lookup", address, build.integers(table, types.edge, "edge_table"))


def _block_means(context: Context, types: _Types, x: Tensor, fmt: Format) -> Tensor:
    """Sums over the vertices of every block, divided by the template's power of two, added up.

    Source: `Means::add_means_normalized`.
    """
    build, rest = context.build, x.shape[1:]
    blocks = build.reshape(x, (types.blocks, types.width, *rest))
    perm = (1, 0, *range(2, 2 + len(rest)))
    local = _chain(context, build.apply("transpose", blocks, perm=perm), None, fmt)
    return _chain(
        context, _shifted(context, local, types.vertex_bits - types.block_bits), None, fmt
    )


def _shifted(context: Context, x: Tensor, bits: int) -> Tensor:
    """x >> bits in x's own type. Source: `normalize_log2`; ap_fixed_base.h, `operator>>`."""
    shifted = context.build.apply("shift", x, bits=-bits)
    return context.build.cast(shifted, x.format.lossless)


def _chain(context: Context, terms: Tensor, start: Tensor | None, fmt: Format) -> Tensor:
    """s = start or 0; s = cast(s + term) for every term, which is not cast itself."""
    build = context.build
    if _casts_alone(terms.format, fmt):
        inputs = (build.cast(terms, fmt), *((start,) if start else ()))
        order = tuple(range(terms.shape[0]))
        return build.apply("accumulate", *inputs, format=fmt, kind="chain", order=order)
    total = start
    for number in range(terms.shape[0]):
        term = build.apply("gather", terms, _integers(context, (number,), "number"))
        term = build.reshape(term, terms.shape[1:])
        total = build.cast(build.apply("add", total, term) if total else term, fmt)
    assert total is not None
    return total


def _casts_alone(term: Format, fmt: Format) -> bool:
    """True if cast(s + x) == cast(s + cast(x)) for every s of the format and x of the term's."""
    dropped = term.fraction - fmt.fraction
    if dropped > 0 and fmt.rounding not in _SHIFT_INVARIANT:
        return False
    if fmt.overflow is Overflow.WRAP:
        return True
    low, high = term.min_mantissa, term.max_mantissa
    if dropped > 0:
        low, high = low >> dropped, -(-high >> dropped)
    else:
        low, high = low << -dropped, high << -dropped
    return fmt.min_saturated <= low and high <= fmt.max_mantissa


def _norm(context: Context, types: _Types, count: Tensor) -> Tensor:
    """cast((V / blocks) / count), a division of integers; counts below 1 are not meaningful.

    Source: `Means::set_means_normalized`; ap_fixed_base.h, `operator/`.
    """
    build, most = context.build, types.vertices // types.blocks
    factors = _integers(context, range(1, most + 1), "factor")
    limit = build.number(most, factors, Format.spanning(0, most, 0), "vertices")
    fits = build.apply("compare", limit, build.apply("mul", count, factors), relation="ge")
    quotient = build.apply("sum", build.reshape(fits, (most, 1)))
    return build.cast(quotient, types.norm)


def _output_base(context: Context, layer: Any, types: _Types, tag: str, means: _Means) -> Tensor:
    """(A, O). Source: `compute_output_base_core`."""
    build, (aggregators, outputs) = context.build, _sizes(layer, tag)
    features = means.features.shape[1]
    biases = _weights(
        context, layer, f"input_transform{tag}_biases", (outputs, aggregators), (1, 0)
    )
    weights = _weights(
        *(context, layer, f"input_transform{tag}_weights"),
        (outputs, aggregators, features),
        (2, 1, 0),
    )
    start = build.apply("mul", build.reshape(means.edge, (aggregators, 1)), biases)
    columns = build.apply("transpose", means.features, perm=(1, 0))
    terms = build.apply("mul", build.reshape(columns, (features, aggregators, 1)), weights)
    return _chain(context, terms, build.cast(start, types.aggregate), types.aggregate)


def _distribute(context: Context, layer: Any, types: _Types, tag: str, means: _Means) -> Tensor:
    """(V, O). Source: `distribute`, `compute_vertex_output`."""
    build, (aggregators, outputs) = context.build, _sizes(layer, tag)
    base = _output_base(context, layer, types, tag, means)
    columns = build.apply("transpose", means.edges, perm=(1, 0))
    terms = build.apply(
        "mul",
        build.reshape(columns, (aggregators, types.vertices, 1)),
        build.reshape(base, (aggregators, 1, outputs)),
    )
    biases, fmt = context.weight(layer, f"output_transform{tag}_biases")
    start = build.integers(np.broadcast_to(biases, (types.vertices, outputs)), fmt, "bias")
    terms = build.cast(terms, types.result)
    return _chain(context, terms, build.cast(start, types.result), types.result)


def _collapsed(
    context: Context, layer: Any, types: _Types, tag: str, means: _Means, count: Tensor
) -> Tensor:
    """(O,). Source: `set_output`, `OutputBiasNormalizer`."""
    build, (aggregators, _) = context.build, _sizes(layer, tag)
    base = _output_base(context, layer, types, tag, means)
    terms = build.apply("mul", build.reshape(means.edge, (aggregators, 1)), base)
    bias = context.constant(layer, f"output_transform{tag}_biases")
    if not layer.get_attr("mean_by_nvert"):
        own = bias.format
        bias = build.apply("mul", build.cast(bias, types.aggregate), count)
        bias = _shifted(context, build.cast(bias, types.aggregate), types.vertex_bits)
        bias = build.cast(bias, own)
    return _chain(context, terms, build.cast(bias, types.result), types.result)


LAYERS: dict[str, Lowering] = {
    "GarNet": lower_garnet,
    "GarNetStack": lower_garnet_stack,
}
