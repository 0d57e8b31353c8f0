"""What the lowering refuses, each message whole: recorded networks, changed at one place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samebits import errors
from samebits.compile.lowering import LAYERS, lower

from ...corpus.runner import load_graph
from .converted import refusal

CASES = Path(__file__).parents[2] / "corpus" / "cases"
ACTIVATIONS = (
    "binary_tanh, elu, linear, relu, relu1, relu6, selu, sigmoid, softplus, softsign, tanh, "
    "ternary_tanh"
)


def network(pattern: str) -> Any:
    return load_graph(next(CASES.glob(pattern)))


def layer(model: Any, name: str) -> Any:
    return next(each for each in model.get_layers() if each.name == name)


def attributes(**values: Any) -> Callable[[Any], None]:
    def change(changed: Any) -> None:
        for name, value in values.items():
            changed.set_attr(name, value)

    return change


def weight(name: str, value: float) -> Callable[[Any], None]:
    def change(changed: Any) -> None:
        changed.weights[name].data.flat[0] = value

    return change


def fewer(name: str, count: int) -> Callable[[Any], None]:
    def change(changed: Any) -> None:
        changed.weights[name].data = changed.weights[name].data.flatten()[:count]

    return change


DENSE, SOFTMAX = "graph__multiple_outputs*", "softmax__softmax__16-6-input_shape2*"
CHANGES: list[tuple[str, str, Callable[[Any], None], str]] = [
    (
        DENSE,
        "dense",
        attributes(strategy="compressed"),
        "layer dense (Dense): strategy compressed is not supported; supported: latency, "
        "resource, resource_unrolled",
    ),
    (
        "dense_unrolled__resource_unrolled_dense*",
        "dense",
        attributes(reuse_factor=3),
        "layer dense (Dense): reuse factor 3 does not divide the 16 inputs; hls4ml's resource "
        "kernel is undefined there",
    ),
    (
        "pytorch_api*tanh*",
        "tanh",
        attributes(activation="gelu"),
        "layer tanh (Activation): activation 'gelu' is not supported; supported: " + ACTIVATIONS,
    ),
    (
        "keras_api*leaky*",
        "leaky_re_lu",
        attributes(activation="mish"),
        "layer leaky_re_lu (ParametrizedActivation): activation 'mish' is not supported; "
        "supported: elu, leaky_relu, leakyrelu, thresholded_relu, thresholdedrelu",
    ),
    (
        SOFTMAX,
        "softmax",
        attributes(implementation="fast"),
        "layer softmax (Softmax): softmax implementation 'fast' is not supported; supported: "
        "argmax, latency, legacy, stable",
    ),
    (
        SOFTMAX,
        "softmax",
        attributes(implementation="latency", exp_table_size=1000),
        "layer softmax (Softmax): table size 1000 is not a power of two; hls4ml would read "
        "beyond the table's end",
    ),
    (
        SOFTMAX,
        "softmax",
        attributes(implementation="latency", exp_table_size=1 << 20),
        "layer softmax (Softmax): a table of 1048576 entries needs 20 address bits, "
        "ap_fixed<16,6,TRN,WRAP> has 16",
    ),
    (
        SOFTMAX,
        "softmax",
        attributes(inv_table_size=1 << 20),
        "layer softmax (Softmax): a table of 1048576 entries needs 20 address bits, "
        "ap_fixed<18,8,TRN,WRAP> has 18",
    ),
    (
        "qkeras__quantised_po2*Latency*",
        "dense",
        weight("weight", 0.0),
        "layer dense (Dense): a power-of-two weight is zero or not a number, which has no exponent",
    ),
]
BROKEN: list[tuple[str, str, Callable[[Any], None], str]] = [
    (
        DENSE,
        "dense",
        weight("weight", float("nan")),
        "layer dense (Dense), weight: weight w2 holds NaN or infinity",
    ),
    (
        DENSE,
        "dense",
        weight("bias", float("inf")),
        "layer dense (Dense), bias: weight b2 holds NaN or infinity",
    ),
    (
        DENSE,
        "dense",
        fewer("weight", 10),
        "layer dense (Dense): 10 weights for 10 inputs, 5 outputs",
    ),
    (
        "batchnorm_pytorch*",
        "_0",
        fewer("scale", 7),
        "layer _0 (BatchNormalization): 7 numbers in scale for 16 elements",
    ),
    (
        "batchnorm_pytorch*",
        "_0",
        fewer("bias", 0),
        "layer _0 (BatchNormalization): 0 numbers in bias for 16 elements",
    ),
]


@pytest.mark.parametrize(("case", "name", "change", "message"), CHANGES)
def test_unsupported(case: str, name: str, change: Callable[[Any], None], message: str) -> None:
    model = network(case)
    change(layer(model, name))
    assert refusal(model) == message


@pytest.mark.parametrize(("case", "name", "change", "message"), BROKEN)
def test_broken_weights(case: str, name: str, change: Callable[[Any], None], message: str) -> None:
    model = network(case)
    change(layer(model, name))
    assert refusal(model, errors.ModelError) == message


def test_io_type() -> None:
    model = network(DENSE)
    model.config.config["IOType"] = "io_serial"
    assert refusal(model) == "unsupported io_type io_serial; supported: io_parallel, io_stream"


def test_every_unknown_layer_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(LAYERS, "Merge")
    # this recording's configuration names no backend: hls4ml takes Vivado
    assert refusal(network("graph__graph_branch*")) == (
        "unsupported layer Merge (layer0), Merge (layer1), Merge (layer2); supported: Input, "
        + ", ".join(LAYERS)
    )


def test_a_cast_on_which_the_c_simulation_aborts() -> None:
    from hls4ml.model.types import FixedPrecisionType

    model = network("qkeras__quantizer__io_parallel-Vivado-quantizer0*")
    first, second = list(model.get_layers())
    for each, width, integer, mode in ((first, 3, 0, "TRN"), (second, 4, 5, "RND")):
        precision = FixedPrecisionType(width, integer, True, f"AP_{mode}", "AP_SAT")
        each.get_output_variable().type.precision = precision
    message = (
        f"{second.name}/cast: casting ap_fixed<3,0,TRN,SAT> to ap_fixed<4,5,RND,SAT> drops more "
        "bits than there are; hls4ml's C simulation aborts there; use a result with more fraction "
        "bits"
    )
    assert refusal(model) == message


def test_a_conversion_to_a_c_int_never_aborts() -> None:
    # table indices of tiny numbers: more bits go than the product has
    from hls4ml.model.types import FixedPrecisionType

    model = network("pytorch_api*tanh*")
    model.get_input_variables()[0].type.precision = FixedPrecisionType(8, -10)
    graph = lower(model)
    assert any(node.op == "lookup" for node in graph.nodes)


def test_an_integer_from_a_fraction_without_integer_bits_is_undefined() -> None:
    from hls4ml.model.types import FixedPrecisionType, IntegerPrecisionType

    model = network("qkeras__quantizer__io_parallel*")
    activation = layer(model, "quantizer")
    activation.get_input_variable().type.precision = FixedPrecisionType(8, 0)
    activation.get_output_variable().type.precision = IntegerPrecisionType(8, True)
    assert refusal(model) == (
        "layer quantizer (Activation): its result is an ap_int made from ap_fixed<8,0,TRN,WRAP>, "
        "which has no integer bits; hls4ml's C simulation is undefined there; use an ap_fixed "
        "result"
    )


def test_an_input_type_that_the_graph_takes_for_an_ap_int() -> None:
    from hls4ml.model.types import FixedPrecisionType

    model = network("qkeras__quantizer__io_parallel-Vivado-quantizer0*")
    (variable,) = model.get_input_variables()
    variable.type.precision = FixedPrecisionType(6, 6, True, "AP_TRN_ZERO", "AP_WRAP")
    assert refusal(model) == (
        f"input {variable.name}: ap_fixed<6,6,TRN_ZERO,WRAP> is not supported as the type of an "
        "input; use an int of that width, or another rounding or overflow mode"
    )


def test_an_output_that_is_an_input() -> None:
    model = network(DENSE)
    (given,) = model.get_input_variables()
    model.outputs[0] = model.inputs[0]
    assert refusal(model) == (
        f"output {given.name} is an input of the network; hls4ml's C++ does not compile; leave "
        "that output out"
    )
