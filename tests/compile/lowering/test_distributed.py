"""Distributed arithmetic: exact sums of products, from weights that the graph no longer has.

da4ml's part is played here by a generator of additions in its C++; where da4ml is installed, the
whole way is tried too.
"""

import importlib.util
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hls4ml.model.graph import to_multi_model_graph
from hls4ml.model.types import FixedPrecisionType, Source

from samebits import Design, Target, errors
from samebits.compile.ir import Format, Overflow, Rounding
from samebits.compile.lowering import lower
from samebits.compile.lowering.distributed import exact_constant
from samebits.compile.passes import simplify
from samebits.sim.numpy_engine import NumpyEngine

from ...models import quantized_mlp
from ...oracle import lsb
from .converted import (
    Layer,
    caster,
    convert,
    flat,
    given,
    grid,
    layer_of,
    numbers,
    precision,
    refusal,
)

RESULT = "fixed<8,4,RND_CONV,SAT>"


def additions(
    name: str, kernel: Any, bias: Any, read_as: Sequence[str], quantized: Sequence[str | None] = ()
) -> str:
    """A function in da4ml's C++ that applies a kernel, one shifted addition after the other.

    Inputs whose type is "" are zero and not read; `quantized` are the types hls4ml puts in front.
    """
    n_in, n_out = kernel.shape
    lines, wide = [], "ap_fixed<60,30>"
    for i, kind in enumerate(quantized):
        value = f"{kind} model_inp_q_{i} = model_inp[{i}]" if kind else f"ap_ufixed<1, 0> q_{i} = 0"
        lines.append(value.replace(" q_", " model_inp_q_") + ";")
    for i, kind in enumerate(read_as):
        source = f"model_inp_q_{i}" if quantized else f"model_inp[{i}]"
        lines += [f"{kind} v{i} = {source}; // 0.0"] * bool(kind)
    count, outputs = n_in, []
    for j in range(n_out):
        lines.append(f"{wide} v{count} = 0.0; // 0.0")
        for i, kind in enumerate(read_as):
            mantissa = int(kernel[i, j] * 256) * bool(kind)
            for bit in range(abs(mantissa).bit_length()):
                if abs(mantissa) >> bit & 1:
                    sign = "-" if mantissa < 0 else "+"
                    term = f"v{count} {sign} bit_shift<{bit - 8}>(v{i})"
                    lines.append(f"{wide} v{count + 1} = {term}; // 1.0")
                    count += 1
        if bias[j]:
            sign, size = "-" if bias[j] < 0 else "+", abs(float(bias[j]))
            lines.append(f"{wide} v{count + 1} = v{count} {sign} ap_ufixed<30,10>({size}); // 1.0")
            count += 1
        outputs.append(f"model_out[{j}] = {wide}(v{count});")
        count += 1
    body = "\n    ".join(["#pragma HLS INLINE", *lines, "", *outputs])
    head = f"void {name}(inp_t model_inp[{n_in}], out_t model_out[{n_out}]) {{ // a -> b"
    return f"template <typename inp_t, typename out_t>\n{head}\n    {body}\n}}\n"


def distribute(
    model: Any, code: Callable[[Any, Any], str], keep: Sequence[str] = ()
) -> dict[str, Any]:
    """Turns the layer `layer` into what hls4ml makes of it for the strategy; its weights."""
    layer = layer_of(model, "layer")
    weights = {name: np.array(layer.weights[name].data) for name in ("weight", "bias")}
    layer.set_attr("strategy", "distributed_arithmetic")
    layer.set_attr("da_codegen", Source(code(weights["weight"], weights["bias"].ravel())))
    for name in {"weight", "bias"} - {*keep}:
        del layer.attributes[name]
        del layer.attributes[f"{name}_t"]
    return {f"layer/{name}": data for name, data in weights.items()}


def plain(kernel: Any, bias: Any) -> str:
    """The code of a dense or convolution layer that reads its inputs as they are."""
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return additions("dense_da_2", matrix, bias, ["ap_fixed<7,3>"] * len(matrix))


def assert_exact(
    model: Any, weights: dict[str, Any], kernel: Any, rng: np.random.Generator
) -> None:
    graph = lower(model, weights)
    tensor = graph.tensors[graph.inputs[0]]
    low, high = tensor.format.min_mantissa, tensor.format.max_mantissa
    mantissas = rng.integers(low, high, (6, *tensor.shape), endpoint=True)
    mantissas[0].flat[:2] = low, high
    x = mantissas * float(lsb(tensor.format))
    wanted = [flat(kernel(numbers(event))) for event in x]
    for each in (graph, simplify(graph)):
        (got,) = NumpyEngine(each).run([x], each.outputs)
        assert got.reshape(len(x), -1).tolist() == wanted


def products(row: Sequence[Fraction], kernel: Any, bias: Any) -> list[Fraction]:
    """The exact sums."""
    return [
        sum((x * Fraction(float(w)) for x, w in zip(row, column, strict=True)), Fraction(float(b)))
        for column, b in zip(kernel.reshape(-1, kernel.shape[-1]).T, bias, strict=True)
    ]


def dense(rng: np.random.Generator, io_type: str = "io_parallel", n_in: int = 4) -> Any:
    layer: Layer = {"name": "layer", "class_name": "Dense", "inputs": ["x"], "n_in": n_in}
    layer |= {"n_out": 3, "weight_data": grid(rng, n_in, 3), "bias_data": grid(rng, 3)}
    config = {"x": {"Precision": "fixed<7,3>"}, "layer": {"Precision": {"result": RESULT}}}
    return convert([given("x", n_in), layer], ["layer"], config, io_type=io_type)


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_dense_is_one_exact_sum_and_one_cast(io_type: str, rng: np.random.Generator) -> None:
    model = dense(rng, io_type)
    weights = distribute(model, plain)
    result = caster(precision(layer_of(model, "layer"), "result"))

    def kernel(x: Any) -> list[Fraction]:
        return [result(y) for y in products(x, weights["layer/weight"], weights["layer/bias"])]

    assert_exact(model, weights, kernel, rng)
    graph = lower(model, weights)
    assert [node.op for node in graph.nodes if node.op == "cast"] == ["cast"]
    assert graph.layers[0].weights == (
        np.count_nonzero(weights["layer/weight"]) + np.count_nonzero(weights["layer/bias"]),
        15,
    )


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_convolution(io_type: str, rng: np.random.Generator) -> None:
    """Windows of 2 of 3 pixels of 2 channels; in io_stream the weights stay in the graph."""
    layer: Layer = {"name": "layer", "class_name": "Conv1D", "inputs": ["x"]}
    layer |= {"in_width": 5, "out_width": 3, "n_chan": 2, "n_filt": 3, "filt_width": 2}
    layer |= {"stride_width": 2, "pad_left": 1, "pad_right": 0, "padding": "same"}
    layer |= {"data_format": "channels_last"}
    layer |= {"weight_data": grid(rng, 2, 2, 3), "bias_data": grid(rng, 3)}
    config = {"x": {"Precision": "fixed<7,3>"}, "layer": {"Precision": {"result": RESULT}}}
    model = convert([given("x", 5, 2), layer], ["layer"], config, io_type=io_type)
    given_weights = distribute(model, plain, keep=["weight", "bias"] * (io_type == "io_stream"))
    result = caster(precision(layer_of(model, "layer"), "result"))

    def kernel(x: Any) -> list[Fraction]:
        padded = [[Fraction(0)] * 2, *x]
        windows = [padded[k] + padded[k + 1] for k in (0, 2, 4)]
        kernel, bias = given_weights["layer/weight"], given_weights["layer/bias"]
        return [result(y) for window in windows for y in products(window, kernel, bias)]

    assert_exact(model, {} if io_type == "io_stream" else given_weights, kernel, rng)


def test_einsum_dense_casts_to_its_accumulator_before_and_after_the_bias(
    rng: np.random.Generator,
) -> None:
    """nnet_einsum_dense.h: `da_kernel` writes accum_t, the bias stays in the graph."""
    layer: Layer = {"name": "layer", "class_name": "EinsumDense", "inputs": ["x"]}
    layer |= {"equation": "ij,kji->ki", "inp_shape": (2, 4), "out_shape": (3, 2)}
    layer |= {"weight_data": grid(rng, 3, 4, 2), "bias_data": grid(rng, 3, 2)}
    types = {
        "accum": "fixed<8,4,RND,SAT>",
        "bias": "fixed<6,2>",
        "result": "fixed<9,5,TRN_ZERO,SAT_SYM>",
    }
    config = {"x": {"Precision": "fixed<7,3>"}, "layer": {"Precision": types}}
    model = convert([given("x", 2, 4), layer], ["layer"], config)
    node = layer_of(model, "layer")
    accum, result = caster(precision(node, "accum")), caster(precision(node, "result"))

    def code(kernel: Any, bias: Any) -> str:
        read_as = ["ap_fixed<7,3>"] * 4
        return "\n".join(
            additions(f"einsum_2_da_{i}_of_2", kernel[i], [0] * 3, read_as) for i in range(2)
        )

    weights = distribute(model, code, keep=["bias"])
    del weights["layer/bias"]

    def kernel(x: Any) -> list[Fraction]:
        bias = np.asarray(layer["bias_data"])
        made = [products(x[i], weights["layer/weight"][i], [0] * 3) for i in range(2)]
        return [
            result(accum(accum(made[i][k]) + Fraction(float(bias[k, i]))))
            for k in range(3)
            for i in range(2)
        ]

    assert_exact(model, weights, kernel, rng)
    own = {"layer/weight": layer["weight_data"]}  # in the order of the equation
    assert_exact(model, own, kernel, rng)
    own = {"layer/weight": layer["weight_data"][::-1]}
    assert "are not those that its generated code" in refusal(model, errors.ModelError, own)
    own = {"layer/weight": layer["weight_data"].reshape(3, 8)}
    assert refusal(model, errors.UsageError, own) == (
        "layer layer (EinsumDense): layer/weight has shape (3, 8), wanted (2, 4, 3)"
    )


def test_a_fused_quantizer_casts_every_input_by_itself(rng: np.random.Generator) -> None:
    model = dense(rng)
    kinds = ["ap_fixed<5, 2, AP_RND, AP_SAT>", None, "ap_ufixed<4, 2, AP_RND_CONV, AP_WRAP>"]
    kinds.append("ap_fixed<7, 3, AP_TRN, AP_WRAP>")
    read_as = ["ap_fixed<5,2>", "", "ap_ufixed<4,2>", "ap_fixed<7,3>"]

    def code(kernel: Any, bias: Any) -> str:
        return additions("dense_da_2", kernel, bias, read_as, kinds)

    weights = distribute(model, code)
    first = caster(Format(True, 5, 2, Rounding.RND, Overflow.SAT))
    third = caster(Format(False, 4, 2, Rounding.RND_CONV))
    result = caster(precision(layer_of(model, "layer"), "result"))

    def kernel(x: Any) -> list[Fraction]:
        row = [first(x[0]), Fraction(0), third(x[2]), x[3]]
        return [result(y) for y in products(row, weights["layer/weight"], weights["layer/bias"])]

    assert_exact(model, weights, kernel, rng)


def test_inputs_are_cast_to_the_types_that_they_are_read_with(rng: np.random.Generator) -> None:
    model = dense(rng)
    read_as = ["ap_fixed<5,2>", "ap_fixed<8,3>", "ap_fixed<7,3>", ""]
    weights = distribute(model, lambda k, b: additions("dense_da_2", k, b, read_as))
    narrow = caster(Format(True, 5, 2))
    result = caster(precision(layer_of(model, "layer"), "result"))

    def kernel(x: Any) -> list[Fraction]:
        row = [narrow(x[0]), x[1], x[2], Fraction(0)]  # what is not read counts as zero
        return [result(y) for y in products(row, weights["layer/weight"], weights["layer/bias"])]

    assert_exact(model, weights, kernel, rng)


def test_after_a_quantizer_inputs_are_not_cast_again(rng: np.random.Generator) -> None:
    quantizer: Layer = {"name": "q", "class_name": "FixedPointQuantizer", "inputs": ["x"]}
    masks = np.array([[1, 1, 0, 1]]), np.array([[5, 4, 4, 3]]), np.array([[2, 2, 1, 3]])
    quantizer |= {"mask_kbi": masks, "RND": "RND", "SAT": "SAT", "overrides": {}, "fusible": None}
    layer: Layer = {"name": "layer", "class_name": "Dense", "inputs": ["q"], "n_in": 4, "n_out": 3}
    layer |= {"weight_data": grid(rng, 4, 3), "bias_data": grid(rng, 3)}
    model = convert([given("x", 4), quantizer, layer], ["layer"])
    layer_of(model, "x").get_output_variable().type.precision = FixedPrecisionType(7, 3, True)
    read_as = ["ap_fixed<5,2>", "ap_fixed<4,2>", "ap_ufixed<4,1>", "ap_fixed<3,3>"]
    weights = distribute(model, lambda k, b: additions("dense_da_3", k, b, read_as))
    casts = [
        caster(Format(bool(k), b, i, Rounding.RND, Overflow.SAT))
        for k, b, i in zip(*(mask[0].tolist() for mask in masks), strict=True)
    ]
    result = caster(precision(layer_of(model, "layer"), "result"))

    def kernel(x: Any) -> list[Fraction]:
        row = [cast(number) for cast, number in zip(casts, x, strict=True)]
        return [result(y) for y in products(row, weights["layer/weight"], weights["layer/bias"])]

    assert_exact(model, weights, kernel, rng)
    of_layer = [node for node in lower(model, weights).nodes if node.output.startswith("layer/")]
    assert [node.op for node in of_layer if node.op in ("cast", "gather")] == ["cast"]


def test_weights_as_da4ml_takes_them(rng: np.random.Generator) -> None:
    """The kernel as float32; a bias finer than 32 fraction bits as the code has it."""
    model = dense(rng)
    weights = distribute(model, plain)
    exact = lower(model, weights)
    weights["layer/weight"] = weights["layer/weight"] * (1 + 2.0**-40)
    weights["layer/bias"] = weights["layer/bias"] + 2.0**-33
    graph = lower(model, weights)
    assert [a.tolist() for a in graph.constants.values()] == [
        a.tolist() for a in exact.constants.values()
    ]


def test_without_the_weights(rng: np.random.Generator) -> None:
    model = dense(rng)
    weights = distribute(model, plain)
    message = (
        "layer layer (Dense): hls4ml has removed its {} for the strategy distributed_arithmetic; "
        "give the arrays from before, weights={{'layer/weight': ..., 'layer/bias': ...}}, or "
        "convert the model with another strategy"
    )
    assert refusal(model, errors.UnsupportedError, None) == message.format("weight")
    del weights["layer/bias"]
    assert refusal(model, errors.UnsupportedError, weights) == message.format("bias")
    with pytest.raises(errors.UnsupportedError, match="hls4ml has removed its weight"):
        Design.from_hls4ml(model)


def test_with_other_weights(rng: np.random.Generator) -> None:
    model = dense(rng)
    weights = distribute(model, plain)
    where = "layer layer (Dense): "
    other = weights | {"layer/weight": weights["layer/weight"][::-1]}
    assert refusal(model, errors.ModelError, other) == (
        f"{where}the weights given for it are not those that its generated code multiplies with; "
        "give them as they stood in the graph"
    )
    other = weights | {"layer/bias": weights["layer/bias"] + 2.0**-30}
    assert refusal(model, errors.ModelError, other) == (
        f"{where}the bias given for it is not the one that its generated code adds; give it as it "
        "stood in the graph"
    )
    other = weights | {"layer/weight": weights["layer/weight"][:-1]}
    assert refusal(model, errors.UsageError, other) == (
        f"{where}layer/weight has shape (3, 3), wanted (4, 3)"
    )
    other = weights | {"layer/bias": weights["layer/bias"] * np.nan}
    assert refusal(model, errors.ModelError, other) == (f"{where}layer/bias holds NaN or infinity")
    assert refusal(model, errors.UsageError, weights | {"dense/bias": np.zeros(3)}) == (
        "weights['dense/bias']: there is no such layer; wanted 'layer/weight' or 'layer/bias' with "
        "one of x, layer"
    )


def test_code_that_does_not_fit(rng: np.random.Generator) -> None:
    model = dense(rng)
    weights = distribute(model, plain)
    layer = layer_of(model, "layer")
    written = layer.get_attr("da_codegen").code
    layer.set_attr("da_codegen", Source(written * 2))
    assert refusal(model, errors.ModelError, weights) == (
        "layer layer (Dense): it holds 2 functions that da4ml generated, wanted 1; convert the "
        "model again"
    )
    layer.set_attr("da_codegen", Source(written.replace("v5 = v4 +", "v5 = v4 *")))
    with pytest.raises(errors.UnsupportedError, match="cannot follow Binary"):
        lower(model, weights)


def test_exact_constant() -> None:
    mantissas, fmt = exact_constant(np.array([[0.5, -1.25], [3.0, 0.0]]))
    assert mantissas.tolist() == [[2, -5], [12, 0]]
    assert str(fmt) == "ap_fixed<5,3,TRN,WRAP>"
    mantissas, fmt = exact_constant(np.array([2.0**-70]))
    assert (mantissas.tolist(), fmt.fraction) == ([1], 70)


def test_a_design_from_hls4ml(rng: np.random.Generator) -> None:
    model = dense(rng)
    weights = distribute(model, plain)
    design = Design.from_hls4ml(model, weights)
    assert design.target.strategy == "distributed_arithmetic"
    x = rng.normal(0, 2, (20, 4))
    (exact,) = NumpyEngine(lower(model, weights)).run([x], design.graph.outputs)
    assert np.array_equal(design.simulate(x), exact)


def test_a_multigraph_is_the_chain_of_its_parts(rng: np.random.Generator) -> None:
    layers = [given("x", 4)]
    for name, n_in, n_out in (("a", 4, 5), ("b", 5, 3), ("c", 3, 2)):
        inputs = [layers[-1]["name"]]
        layer = {"name": name, "class_name": "Dense", "inputs": inputs, "n_in": n_in}
        layer |= {"n_out": n_out, "weight_data": grid(rng, n_in, n_out)}
        layers.append(layer | {"bias_data": grid(rng, n_out)})
    whole = convert(layers, ["c"])
    x = rng.normal(0, 3, (30, 4))
    expected = Design.from_hls4ml(whole).trace(x)
    parts = Design.from_hls4ml(to_multi_model_graph(whole, ["b", "c"]))
    assert parts.graph.inputs == ("x",)
    got = parts.trace(x)
    assert list(got) == list(expected) == ["a", "b", "c"]
    assert all(np.array_equal(got[name], expected[name]) for name in got)


def test_da4ml_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(errors.MissingToolError) as caught:
        Design.from_onnx(quantized_mlp().model(), Target(strategy="distributed_arithmetic"))
    assert str(caught.value) == (
        'strategy distributed_arithmetic needs da4ml; install it: pip install "samebits[da]"'
    )


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_from_onnx_through_da4ml(io_type: str, rng: np.random.Generator) -> None:
    pytest.importorskip("da4ml")
    model = quantized_mlp().model()
    design = Design.from_onnx(model, Target(io_type=io_type, strategy="distributed_arithmetic"))
    assert [note for note in design.facts["notes"] if "strategy" in note] == []
    exact = Design.from_onnx(model, Target(io_type=io_type))  # its accumulators lose nothing
    size = design.graph.tensors[design.graph.inputs[0]].shape
    x = rng.normal(0, 2, (200, *size))
    assert np.array_equal(design.simulate(x), exact.simulate(x))
