"""GarNet and GarNetStack against nnet_garnet.h, vertex by vertex."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from samebits import errors
from samebits.compile.ir import Format, Overflow, Rounding
from samebits.compile.lowering import lower, tables
from samebits.compile.lowering.precision import format_of

from ...oracle import cast, lsb
from .converted import Layer, caster, compare, convert, given, grid, layer_of, precision, refusal
from .converted import weights as weights_of

FINE = Format(True, 44, 14)
DISTANCE = Format(True, 12, 4, Rounding.TRN, Overflow.SAT)
SIZES = (2, 3, 2)  # aggregators, features of the result, latent features
TYPES = {"result": "fixed<12,4,RND,SAT>"}
ODD = {
    "edge_weight": "ufixed<9,0,RND,SAT>",
    "edge_weight_aggr": "ufixed<9,2,RND_CONV,SAT>",
    "aggr": "fixed<11,4,TRN_ZERO,SAT_SYM>",
    "norm": "ufixed<6,2,TRN,SAT>",
    "result": "fixed<9,3,RND_INF,SAT>",
}
NARROW = {"aggr": "fixed<8,1,TRN,SAT>", "edge_weight": "ufixed<8,2,RND,SAT>"}


def garnet(rng: np.random.Generator, vertices: int, features: int, **more: Any) -> Layer:
    """A GarNet, or with `n_sublayers` a GarNetStack; contracted weights have 8 fraction bits."""
    made = {"name": "layer", "class_name": "GarNet", "inputs": ["x", "n"], "collapse": "mean"}
    made |= {"n_vertices": vertices, "mean_by_nvert": False, "input_format": "xn"} | more
    count, (aggregators, outputs, latent) = made.get("n_sublayers"), SIZES
    widths = [features, *([outputs] * (count or 1))]
    for number, width in enumerate(widths[:-1]):
        tag = "" if count is None else str(number)
        made[f"FLR{tag}_kernel_data"] = grid(rng, width, latent)
        made[f"FLR{tag}_bias_data"] = grid(rng, latent)
        made[f"S{tag}_kernel_data"] = grid(rng, width, aggregators)
        made[f"S{tag}_bias_data"] = grid(rng, aggregators)
        made[f"Fout{tag}_kernel_data"] = grid(rng, aggregators * latent, outputs)
        made[f"Fout{tag}_bias_data"] = grid(rng, outputs)
    names = ("n_in_features", "n_aggregators", "n_out_features", "n_propagate")
    values = (features, aggregators, outputs, latent)
    for name, value in zip(names, values, strict=True):
        made[name] = value if count is None else [value] * count
    if count is not None:
        made |= {"class_name": "GarNetStack", "n_in_features": widths[:-1]}
    return made


class Kernel:
    """The functions of nnet_garnet.h for one converted layer."""

    def __init__(self, layer: Any, types: dict[str, str]) -> None:
        self.layer, self.vertices = layer, int(layer.get_attr("n_vertices"))
        self.reuse = int(layer.get_attr("reuse_factor"))
        self.n_vertices_width = int(math.log2(self.vertices))
        self.log2_reuse = int(math.log2(self.reuse))
        bits = max(self.log2_reuse, self.n_vertices_width - self.log2_reuse)
        defaults = {
            "edge_weight": Format(False, 10, 0),
            "edge_weight_aggr": Format(False, bits + 10, bits),
            "aggr": Format(True, bits + 13, bits + 3),
            "norm": Format(False, 14, 4),
        }
        convert_type = layer.model.config.backend.convert_precision_string
        self.formats = {
            name: format_of(convert_type(types[name]), name) if name in types else default
            for name, default in defaults.items()
        }
        self.result = caster(precision(layer, "result"))
        self.data = caster(precision_of_input(layer))
        self.table = self.edge_weights_table()

    def cast(self, name: str, value: Any) -> Fraction:
        return caster(self.formats[name])(value)

    def shift(self, name: str, value: Fraction, bits: int) -> Fraction:
        step = lsb(self.formats[name])
        return (value / step // 2**bits) * step

    def edge_weights_table(self) -> list[Fraction]:
        edge, inner = self.formats["edge_weight"], Format(True, 25, 9)
        first = Fraction(2**edge.width - 1, 2**edge.width)
        table = [self.cast("edge_weight", first)]
        for iw in range(1, 4096):
            distance = (iw - 4096 if iw >= 2048 else iw) / 256
            value = cast(Fraction(math.exp(-distance * distance)), inner) * lsb(inner)
            table.append(self.cast("edge_weight", value))
        return table

    def weights(self, name: str, tag: str) -> list[Fraction]:
        op, kind = name.rsplit("_", 1)
        return weights_of(self.layer, f"{op}{tag}_{kind}")

    def aggregate(self, tag: str, x: Any, nvtx: Fraction) -> tuple[Any, Any, Any]:
        """edge_weights, edge_weight_mean, weighted_feature_mean."""
        distance = caster(DISTANCE)
        wdist = self.weights("aggregator_distance_weights", tag)
        bdist = self.weights("aggregator_distance_biases", tag)
        n_agg, n_feat = len(bdist), len(x[0])
        unroll = self.vertices >> self.log2_reuse
        edges = [[Fraction(0)] * n_agg for _ in range(self.vertices)]
        total = [Fraction(0)] * n_agg
        wtotal = [[Fraction(0)] * n_feat for _ in range(n_agg)]
        for ivv in range(self.reuse):
            if ivv * unroll >= nvtx:
                break
            local = [Fraction(0)] * n_agg
            wlocal = [[Fraction(0)] * n_feat for _ in range(n_agg)]
            for iv in range(ivv * unroll, (ivv + 1) * unroll):
                if iv == nvtx:
                    break
                for ia in range(n_agg):
                    d = distance(bdist[ia])
                    for ix in range(n_feat):
                        d = distance(d + distance(x[iv][ix] * wdist[ia * n_feat + ix]))
                    edge = self.table[int(d / lsb(DISTANCE)) % 4096]
                    local[ia] = self.cast("edge_weight_aggr", local[ia] + edge)
                    for ix in range(n_feat):
                        term = (self.data if tag in ("", "_0") else self.result)(x[iv][ix] * edge)
                        wlocal[ia][ix] = self.cast("aggr", wlocal[ia][ix] + term)
                    edges[iv][ia] = edge
            bits = self.n_vertices_width - self.log2_reuse
            for ia in range(n_agg):
                mean = self.shift("edge_weight_aggr", local[ia], bits)
                total[ia] = self.cast("edge_weight_aggr", total[ia] + mean)
                for ix in range(n_feat):
                    mean = self.shift("aggr", wlocal[ia][ix], bits)
                    wtotal[ia][ix] = self.cast("aggr", wtotal[ia][ix] + mean)
        if self.layer.get_attr("mean_by_nvert"):
            norm = self.cast("norm", int(self.vertices // self.reuse / nvtx))
            total = [value * norm for value in total]
            wtotal = [[value * norm for value in row] for row in wtotal]
        else:
            total = [self.shift("edge_weight_aggr", value, self.log2_reuse) for value in total]
            wtotal = [[self.shift("aggr", v, self.log2_reuse) for v in row] for row in wtotal]
        total = [self.cast("edge_weight", value) for value in total]
        return edges, total, [[self.cast("aggr", value) for value in row] for row in wtotal]

    def base(self, tag: str, means: Any, io: int, ia: int) -> Fraction:
        _, edge, features = means
        n_agg, n_feat = len(edge), len(features[0])
        ioa = io * n_agg + ia
        bias = self.weights("input_transform_biases", tag)[ioa]
        aggr = self.cast("aggr", edge[ia] * bias)
        for ix in range(n_feat):
            weight = self.weights("input_transform_weights", tag)[ioa * n_feat + ix]
            aggr = self.cast("aggr", aggr + features[ia][ix] * weight)
        return aggr

    def distribute(self, tag: str, means: Any) -> Any:
        biases, rows = self.weights("output_transform_biases", tag), []
        for edges in means[0]:
            row = []
            for io, bias in enumerate(biases):
                acc = self.result(bias)
                for ia, edge in enumerate(edges):
                    acc = self.result(acc + self.result(edge * self.base(tag, means, io, ia)))
                row.append(acc)
            rows.append(row)
        return rows

    def set_output(self, tag: str, means: Any, nvtx: Fraction) -> Any:
        variable = self.layer.weights[f"output_transform{tag}_biases"]
        out = []
        for io, bias in enumerate(self.weights("output_transform_biases", tag)):
            if not self.layer.get_attr("mean_by_nvert"):
                bias = self.cast("aggr", self.cast("aggr", bias) * nvtx)
                bias = self.shift("aggr", bias, self.n_vertices_width)
                bias = caster(format_of(variable.type.precision, "bias"))(bias)
            acc = self.result(bias)
            for ia, edge in enumerate(means[1]):
                acc = self.result(acc + edge * self.base(tag, means, io, ia))
            out.append(acc)
        return out

    def collapsed(self, x: Any, n: Any) -> Any:
        return self.set_output("", self.aggregate("", x, n[0]), n[0])

    def vertices_of(self, x: Any, n: Any) -> Any:
        rows = self.distribute("", self.aggregate("", x, n[0]))
        zero = [Fraction(0)] * len(rows[0])  # hls4ml leaves these unwritten
        return [row if number < n[0] else zero for number, row in enumerate(rows)]

    def stack(self, x: Any, n: Any) -> Any:
        count = int(self.layer.get_attr("n_sublayers"))
        tags = [f"_{number}" for number in range(count)] if count > 1 else ["_0", "_0"]
        self_data = self.data
        for tag in tags[:-1]:
            x = self.distribute(tag, self.aggregate(tag, x, n[0]))
            self.data = self.result
        out = self.set_output(tags[-1], self.aggregate(tags[-1], x, n[0]), n[0])
        self.data = self_data
        return out


def precision_of_input(layer: Any) -> Format:
    return format_of(layer.get_input_variable().type.precision, "input")


def network(
    rng: np.random.Generator,
    vertices: int,
    reuse: int,
    types: dict[str, str],
    count_type: str = "uint<5>",
    **more: Any,
) -> tuple[Any, Kernel]:
    layers = [given("x", vertices, 2), given("n", 1), garnet(rng, vertices, 2, **more)]
    config = {
        "x": {"Precision": {"result": "fixed<8,3,RND,SAT>"}},
        "n": {"Precision": {"result": count_type}},
        "layer": {"Precision": types, "ReuseFactor": reuse},
    }
    model = convert(layers, ["layer"], config)
    return model, Kernel(layer_of(model, "layer"), types)


def events(rng: np.random.Generator, vertices: int, counts: list[float]) -> list[Any]:
    x = rng.integers(-128, 128, (len(counts), vertices, 2)) / 32
    return [x, np.array(counts).reshape(-1, 1)]


@pytest.mark.parametrize("types", [TYPES, ODD, NARROW])
@pytest.mark.parametrize("by_count", [False, True])
@pytest.mark.parametrize(("vertices", "reuse"), [(4, 1), (8, 4), (6, 2), (9, 3), (1, 1)])
def test_collapsed(
    vertices: int, reuse: int, by_count: bool, types: dict[str, str], rng: np.random.Generator
) -> None:
    model, kernel = network(rng, vertices, reuse, types, mean_by_nvert=by_count)
    counts = sorted({1.0, vertices / 2 // 1 or 1.0, float(vertices)})
    counts += [] if by_count else [0.0]
    counts += [vertices + 2.0] if reuse != 3 else []
    compare(model, kernel.collapsed, events(rng, vertices, counts))


@pytest.mark.parametrize("types", [TYPES, ODD])
@pytest.mark.parametrize(("vertices", "reuse"), [(4, 2), (9, 3)])
def test_vertices(
    vertices: int, reuse: int, types: dict[str, str], rng: np.random.Generator
) -> None:
    model, kernel = network(rng, vertices, reuse, types, collapse=None)
    compare(model, kernel.vertices_of, events(rng, vertices, [0.0, 1.0, 3.0, vertices]))


def test_a_fraction_of_a_vertex_goes_on_to_the_end_of_its_block(rng: np.random.Generator) -> None:
    model, kernel = network(rng, 8, 2, TYPES, "fixed<8,5>")
    compare(model, kernel.collapsed, events(rng, 8, [-1.0, 0.5, 2.0, 2.5, 4.0, 4.125, 7.5]))


@pytest.mark.parametrize("types", [TYPES, ODD])
@pytest.mark.parametrize("by_count", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_stack(count: int, by_count: bool, types: dict[str, str], rng: np.random.Generator) -> None:
    model, kernel = network(rng, 4, 2, types, n_sublayers=count, mean_by_nvert=by_count)
    compare(model, kernel.stack, events(rng, 4, [1.0, 3.0, 4.0]))


def test_a_single_sublayer_runs_twice(rng: np.random.Generator) -> None:
    layer = garnet(rng, 4, SIZES[1], n_sublayers=1)
    layers = [given("x", 4, SIZES[1]), given("n", 1), layer]
    model = convert(layers, ["layer"], {"x": {"Precision": {"result": "fixed<8,3>"}}})
    kernel = Kernel(layer_of(model, "layer"), {})
    x = rng.integers(-128, 128, (3, 4, SIZES[1])) / 32
    compare(model, kernel.stack, [x, np.array([[1.0], [3.0], [4.0]])])


def test_the_table_holds_its_function() -> None:
    entries = [int(m) * FINE.lsb for m in tables.garnet_table(DISTANCE, FINE)]
    for address in (1, 255, 2047, 2048, 4095):
        distance = (address - 4096 * (address > 2047)) / 256
        assert 0 <= math.exp(-distance * distance) - entries[address] < 2**-16
    edge = Format(False, 10, 0)
    assert tables.garnet_table(DISTANCE, edge)[0] == 1023


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"collapse": "sum"},
        "GarNet): collapse 'sum' is not supported; hls4ml has a kernel for 'mean' and for none",
    ),
    (
        {"n_sublayers": 2, "collapse": None},
        "GarNetStack): a GarNetStack without collapse does "
        "not compile in hls4ml; supported: 'mean'",
    ),
    (
        {"n_sublayers": 1},
        "GarNetStack): a single sublayer with 2 features of a vertex and 3 of "
        "the result does not compile in hls4ml",
    ),
]


@pytest.mark.parametrize(("more", "message"), REFUSED)
def test_refusals(more: dict[str, Any], message: str, rng: np.random.Generator) -> None:
    model, _ = network(rng, 4, 1, TYPES, **more)
    assert refusal(model) == f"layer layer ({message}"


def test_streams_have_no_kernel(rng: np.random.Generator) -> None:
    layers = [given("x", 4, 2), given("n", 1), garnet(rng, 4, 2)]
    assert refusal(convert(layers, ["layer"], io_type="io_stream")) == (
        "layer layer (GarNet): io_stream; hls4ml has no kernel for it"
    )


def test_the_number_of_vertices_is_one_number(rng: np.random.Generator) -> None:
    layers = [given("x", 4, 2), given("n", 2), garnet(rng, 4, 2)]
    assert refusal(convert(layers, ["layer"])) == (
        "layer layer (GarNet): the number of vertices has shape (2,), wanted (1,)"
    )


def test_missing_weights(rng: np.random.Generator) -> None:
    model, _ = network(rng, 4, 1, TYPES)
    layer_of(model, "layer").weights["input_transform_weights"].data = np.ones(3)
    assert refusal(model, errors.ModelError) == (
        "layer layer (GarNet): 3 numbers in input_transform_weights, wanted (3, 2, 2)"
    )


def test_the_graph_does_not_grow_with_the_vertices(rng: np.random.Generator) -> None:
    sizes = [len(lower(network(rng, vertices, 1, TYPES)[0]).nodes) for vertices in (4, 16)]
    assert sizes[0] == sizes[1]
