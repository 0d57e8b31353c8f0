"""Descriptions of networks, the formats chosen for them, and what is built."""

from __future__ import annotations

import numpy as np
import pytest

from samebits import errors
from samebits.train.build import build
from samebits.train.formats import choose_formats, fold_batch_norm, parse_format
from samebits.train.layers import (
    Activation,
    Add,
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    Standardise,
)
from samebits.train.network import Network, points
from samebits.train.optimize import outputs
from samebits.train.scaling import InputFormat

RESIDUAL = Network(
    (6, 6, 1),
    (
        Conv(4, 3, padding="same"),
        BatchNorm(),
        Conv(4, 3, padding="same"),
        BatchNorm(),
        Add("batch_norm_1"),
        Activation("leaky_relu"),
        AveragePool(2),
        Dropout(0.2),
        Flatten(),
        Dense(5),
        "elu",
        Dense(3),
        "softmax",
    ),
    l2=1e-4,
)


def test_names_and_points() -> None:
    network = Network((4,), (Standardise(), Dense(3, name="first"), "tanh", Dense(2), "linear"))
    assert network.names == ("scaling", "first", "tanh_1", "dense_2", "linear_1")
    assert points(network) == (
        *("input", "scaling", "first.kernel", "first.bias", "tanh_1.input", "tanh_1"),
        *("dense_2.kernel", "dense_2.bias", "linear_1"),
    )


def test_every_mistake_is_listed() -> None:
    with pytest.raises(errors.UsageError) as caught:
        Network(
            (4, 0),
            (Dense(0), "softmax", BatchNorm(), Add("relu_7"), Dropout(1.5), Activation("gelu")),  # type: ignore[arg-type]
            l1=-1,
        )
    assert str(caught.value).splitlines() == [
        "network:",
        "  inputs: got (4, 0); wanted one to three positive sizes of an event",
        "  penalties: got l1=-1, l2=0; wanted 0 or more",
        "  dense_1: units is 0; wanted 1 or more",
        "  softmax_1: softmax must be the last layer",
        "  batch_norm_1: must stand right behind a Dense or Conv layer, where it can be folded",
        "  add_1: no layer 'relu_7' stands before it; there are input, dense_1, "
        "softmax_1, batch_norm_1",
        "  dropout_1: share is 1.5; wanted more than 0, less than 1",
        "  gelu_1: there is no function 'gelu'; wanted relu, leaky_relu, elu, sigmoid, tanh, "
        "softmax, linear",
    ]


def test_shapes_that_do_not_fit_are_refused_by_layer() -> None:
    with pytest.raises(errors.UsageError, match=r"layer 'conv_1' cannot take .* shape \(4,\)"):
        build(Network((4,), (Conv(2, 3),)))


def test_folded_batch_norms_change_nothing_but_float_rounding() -> None:
    model = build(RESIDUAL, seed=1)
    rng = np.random.default_rng(2)
    for name in ("batch_norm_1", "batch_norm_2"):
        model.get_layer(name).set_weights(list(rng.uniform(0.5, 2, (4, 4))))
    plain, folded = fold_batch_norm(RESIDUAL, model)
    assert "batch_norm_1" not in plain.names
    assert dict(plain)["add_1"] == Add("conv_1", name="add_1")
    x = rng.normal(size=(50, 6, 6, 1)).astype(np.float32)
    assert np.abs(outputs(model, x) - outputs(folded, x)).max() < 1e-5


def test_formats_have_the_least_error_and_can_be_given() -> None:
    model = build(RESIDUAL, seed=1)
    plain, folded = fold_batch_norm(RESIDUAL, model)
    x = np.random.default_rng(3).normal(size=(200, 6, 6, 1)).astype(np.float32)
    given = {"input": "fixed<8,3>", "dense_1.kernel": "fixed<4,1>"}
    table = choose_formats(plain, folded, x, weight_bits=5, activation_bits=7, given=given)
    assert tuple(table) == points(plain)
    assert table["input"] == InputFormat(8, 3, True)
    assert table["dense_1.kernel"] == InputFormat(4, 1, True)
    assert table["conv_2.bias"].width == 7
    kernel = np.asarray(folded.get_layer("conv_1").kernel)
    chosen = table["conv_1.kernel"]
    errors_of = {
        integer: np.mean((InputFormat(5, integer, True).quantize(kernel) - kernel) ** 2)
        for integer in range(1, 6)
    }
    assert errors_of[chosen.integer] == min(errors_of.values())
    with pytest.raises(
        errors.UsageError, match=r"no point relu_9; there are input, conv_1\.kernel"
    ):
        choose_formats(plain, folded, x, given={"relu_9": "fixed<4,1>"})


def test_every_point_of_a_quantized_network_is_on_its_grid() -> None:
    plain, folded = fold_batch_norm(RESIDUAL, build(RESIDUAL, seed=1))
    x = np.random.default_rng(3).normal(size=(100, 6, 6, 1)).astype(np.float32)
    table = choose_formats(plain, folded, x)
    model = build(plain, table)
    names = {"input": "input_format", "softmax_1.input": "logits"}
    from samebits.train.tensorflow import load

    for point, form in table.items():
        if point.endswith((".kernel", ".bias")):
            continue
        layer = model.get_layer(names.get(point, f"{point}_rounded"))
        values = outputs(load().keras.Model(model.input, layer.output), x)
        assert np.array_equal(values, form.quantize(values)), point


def test_unfolded_batch_norms_and_wrong_tables_are_refused() -> None:
    with pytest.raises(errors.UsageError, match="'batch_norm_1' cannot be quantized; fold it"):
        build(RESIDUAL, {})
    network = Network((2,), (Dense(1),))
    with pytest.raises(errors.UsageError) as caught:
        build(network, {"input": InputFormat(8, 3, True), "relu_1": InputFormat(8, 3, True)})
    assert str(caught.value) == (
        "formats: missing dense_1.kernel, dense_1.bias, dense_1; unknown relu_1; wanted input, "
        "dense_1.kernel, dense_1.bias, dense_1"
    )


@pytest.mark.parametrize("text", ["fixed<6>", "float", "fixed<6,-1>", "ufixed<30,2>"])
def test_formats_that_do_not_exist(text: str) -> None:
    with pytest.raises(errors.FormatError):
        parse_format(text)


def test_pooling_over_one_axis() -> None:
    network = Network((8, 2), (Conv(3, 3), "relu", MaxPool(2), AveragePool(3), Flatten()))
    assert build(network).output_shape == (None, 3)
