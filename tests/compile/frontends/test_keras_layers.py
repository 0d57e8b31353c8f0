"""Every layer of the exporter: equal to Keras where that is proved, within the bound elsewhere."""

from typing import Any

import numpy as np
import onnx
import pytest

from samebits import errors
from samebits.compile.frontends.keras import check_export, export_keras
from samebits.compile.frontends.keras.proof import prove
from samebits.train.tensorflow import load, quiet

from .keras_zoo import BOUNDED, EXACT, INPUT, KERNEL, RECURRENT, build, events, randomize

BOUNDS = {
    "hswish": 0.07,  # a step
    "then_quantized": 0.5,
    "attention": 0.01,
    "multi_head": 0.05,
    "layer_normalization": 0.01,
}


@pytest.fixture(scope="module")
def kit() -> Any:
    return load()


@pytest.mark.parametrize("name", EXACT)
def test_equality_is_proved(kit: Any, name: str) -> None:
    shape, make = EXACT[name]
    model = build(kit, shape, make)
    with quiet():
        exported = export_keras(model)
        (output,) = check_export(model, exported, events(shape)).outputs
    assert output.provable, output.reason
    assert output.different == 0
    assert output.values > 0
    assert output.bound == 0


@pytest.mark.parametrize("name", BOUNDED)
def test_a_bound_is_proved(kit: Any, name: str) -> None:
    shape, make = BOUNDED[name]
    model = build(kit, shape, make)
    with quiet():
        exported = export_keras(model)
        (output,) = check_export(model, exported, events(shape)).outputs
    assert not output.provable
    assert output.largest_difference <= output.bound < BOUNDS.get(name, 1e-3)


@pytest.mark.parametrize("name", RECURRENT)
def test_a_bound_of_recurrent_layers_is_proved(kit: Any, name: str) -> None:
    shape, make = RECURRENT[name]
    model = build(kit, shape, make)
    with quiet():
        (output,) = check_export(model, export_keras(model), events(shape)).outputs
    assert not output.provable
    assert output.largest_difference <= output.bound < 0.5
    assert output.largest_difference < 1e-5


def test_nested_models_shared_layers_several_inputs_and_outputs(kit: Any) -> None:
    keras, layers, dense = kit.keras, kit.keras.layers, kit.qkeras.QDense
    with quiet():
        i = keras.Input((5,), name="i")
        h = dense(4, activation="quantized_relu(5,2)", name="d", **KERNEL)(i)
        inner = keras.Model(i, layers.Add(name="s")([h, h]), name="inner")
        outer = keras.Sequential([dense(3, name="e", **KERNEL), layers.Dropout(0.5)], name="seq")
        inputs = [keras.Input((5,), name=name) for name in "ab"]
        a, b = (kit.qkeras.QActivation(INPUT, name=f"q{x.name}")(x) for x in inputs)
        shared = dense(5, name="shared", **KERNEL)
        u, v = inner(a), inner(shared(shared(b)))
        ends = [layers.Concatenate(name="cat")([u, v]), outer(layers.Subtract(name="sub")([u, v]))]
        model = keras.Model(inputs, [*ends, u], name="net")
        randomize(model, 5)
        exported = export_keras(model)
        data = [events((5,)), events((5,), seed=9)]
        check = check_export(model, exported, data)
        assert check == check_export(model, exported, dict(zip("ab", data, strict=True)))
    assert [value.name for value in exported.graph.input] == ["a", "b"]
    assert [value.name for value in exported.graph.output] == ["cat", "seq_e", "inner_s"]
    assert [tensor.name for tensor in check.outputs] == ["cat", "seq_e", "inner_s"]
    assert {tensor.name for tensor in check.tensors} == {
        *("qa", "qb", "shared", "shared_1", "inner_s", "inner_1_s", "sub", "cat", "seq_e")
    }
    assert all(tensor.provable and not tensor.different for tensor in check.tensors)
    with pytest.raises(errors.DataError) as caught:
        check_export(model, exported, {"a": data[0]})
    assert str(caught.value) == "check of 'net': inputs ['a'], wanted ['a', 'b']"


def test_embedding(kit: Any) -> None:
    with quiet():
        x = kit.keras.Input((3,), name="x")
        model = kit.keras.Model(x, kit.keras.layers.Embedding(7, 2, name="table")(x))
        randomize(model, 2)
        index = np.random.default_rng(1).integers(0, 7, (20, 3))
        (output,) = check_export(model, export_keras(model), index).outputs
    assert output.provable
    assert output.different == 0


def test_models_that_are_no_graphs(kit: Any) -> None:
    keras = kit.keras

    class Own(keras.Model):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return x

    with quiet():
        own = Own(name="own")
        own.build((None, 3))
        x = keras.Input((4,), name="x")
        y = keras.layers.ReLU(name="r")(x)
        dropout = keras.layers.Dropout(0.5, name="drop")
        cases = {
            "Keras model 'bare' is not built: give its first layer an input shape": (
                keras.Sequential([keras.layers.Dense(3)], name="bare")
            ),
            "Keras model 'own' is a subclass of Model with code of its own; supported: Sequential "
            "and Functional models": own,
            "Keras model 'twice': output 'drop' is the tensor 'r', which is an output already; "
            "give the network one of them": keras.Model(x, [y, dropout(y)], name="twice"),
            "Keras model 'idle': output 'drop' is an input; there is nothing to compile": (
                keras.Model(x, dropout(x), name="idle")
            ),
        }
    for message, model in cases.items():
        with pytest.raises(errors.SamebitsError) as caught:
            export_keras(model)
        assert str(caught.value) == message


def test_code_and_open_shapes_are_refused_by_layer(kit: Any) -> None:
    keras = kit.keras
    with quiet():
        x = keras.Input((4,), name="x")
        summed = keras.Model(x, keras.layers.ReLU()(x) + 1.0)
        steps = keras.Input((None, 4), name="steps")
        opened = keras.Model(steps, keras.layers.Conv1D(2, 2)(steps))
    with pytest.raises(
        errors.UnsupportedError, match=r"\n  tf.__operators__.add \(TFOpLambda\): a "
    ):
        export_keras(summed)
    with pytest.raises(errors.UnsupportedError) as caught:
        export_keras(opened)
    assert str(caught.value) == (
        "layer 'steps' has the dynamic shape (None, None, 4); firmware needs fixed sizes: give the "
        "input layer a full shape"
    )


@pytest.mark.parametrize("name", ["conv2d", "conv2d_same", "concatenate", "average2d", "residual"])
def test_a_step_too_far_is_not_claimed(kit: Any, name: str) -> None:
    """The proof must see every operand: with finer weights and data nothing is exact."""
    shape, make = EXACT[name]
    model = build(kit, shape, make)
    with quiet():
        exported = export_keras(model)
    wide = [item for item in exported.graph.initializer if item.name == "rounded_scale"]
    wide[0].CopyFrom(onnx.numpy_helper.from_array(np.float32(2.0**-20), "rounded_scale"))
    bits = next(i for i in exported.graph.initializer if i.name == "rounded_bitwidth")
    bits.CopyFrom(onnx.numpy_helper.from_array(np.float32(23), "rounded_bitwidth"))
    proofs = prove(exported, 4.0)
    output = proofs[exported.graph.output[0].name]
    assert proofs["rounded"].exact
    assert not output.exact
    assert 0 < output.largest_error < 1e-3


def test_more_than_the_bound_is_a_mismatch(kit: Any) -> None:
    shape, make = BOUNDED["float_conv2d"]
    model = build(kit, shape, make)
    with quiet():
        exported = export_keras(model)
        kernel = next(i for i in exported.graph.initializer if i.name.endswith("_kernel"))
        values = onnx.numpy_helper.to_array(kernel).copy()
        values[0, 0, 0, 0] += np.float32(0.01)
        kernel.CopyFrom(onnx.numpy_helper.from_array(values, kernel.name))
        with pytest.raises(errors.MismatchError, match="is the proved bound; largest in event"):
            check_export(model, exported, events(shape))
