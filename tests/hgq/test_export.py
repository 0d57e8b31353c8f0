"""HGQ2 networks as QONNX: ONNX Runtime gives Keras's values, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

pytest.importorskip("hgq", reason="HGQ2 is not installed here: make test-hgq")

import keras
from hgq import layers as q
from typer.testing import CliRunner

from samebits import errors
from samebits.cli import app
from samebits.compile.frontends.hgq import export_keras_3

from .networks import MODES, NETWORKS, answers, network, quantizers

REFUSED = ("QDenseT", "QMultiHeadAttention", "QLinformerAttention")
ROUNDINGS = (*MODES, ("RND_CONV", "WRAP"), ("RND_CONV", "SAT"))


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in REFUSED])
def test_onnx_runtime_is_keras(name: str, rng: np.random.Generator) -> None:
    index = list(NETWORKS).index(name)
    model, events = network(name, rng, *ROUNDINGS[index % len(ROUNDINGS)])
    exported = export_keras_3(model, ["a", "b"])
    onnx.checker.check_model(exported, full_check=True)
    session = onnxruntime.InferenceSession(exported.SerializeToString())
    found = session.run(None, {"data": events})
    for wanted, got in zip(answers(model, events), found, strict=True):
        assert len(np.unique(wanted)) > 5
        assert int((wanted != got).sum()) == 0


def test_quant_nodes_hold_the_formats_of_the_elements(rng: np.random.Generator) -> None:
    model, _ = network("QDense", rng, "RND", "SAT")
    exported = export_keras_3(model)
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in exported.graph.initializer}
    layer = model.layers[1]
    name = f"{layer.name}_iq"
    k, i, f = (np.asarray(keras.ops.convert_to_numpy(a)) for a in layer.iq.quantizer.kif)
    assert np.array_equal(constants[f"{name}_scale"], 2.0**-f)
    assert np.array_equal(constants[f"{name}_bitwidth"], k + i + f)
    assert constants[f"{layer.name}_kernel_bitwidth"].shape == (6, 4)


def test_what_onnx_cannot_say_is_refused_by_name(rng: np.random.Generator) -> None:
    with quantizers("RND_ZERO", "SAT"):
        x = keras.Input((6,))
        y = q.QDense(3, name="zero")(x)
    with quantizers():
        y = q.QDenseT(3, name="soft")(q.QDense(3, name="t", activation="tanh")(y))
    with pytest.raises(errors.UnsupportedError) as caught:
        export_keras_3(keras.Model(x, y, name="net"))
    assert str(caught.value).startswith(
        "Keras model 'net': 3 of its layers cannot be exported:\n"
        "  zero (QDense): its quantizer zero_iq rounds by RND_ZERO; supported: RND, RND_CONV, TRN\n"
        "  t (QDense): activation 'tanh'; supported: linear, relu\n"
        "  soft (QDenseT): no such layer here\n"
        "Supported: Activation, "
    )


def test_export_from_the_command_line(tmp_path: Path, rng: np.random.Generator) -> None:
    model, _ = network("QDense", rng)
    model.save(tmp_path / "tagger.keras")
    done = CliRunner().invoke(app, ["export", str(tmp_path / "tagger.keras"), "--json"])
    assert done.exit_code == 0, done.output
    (output,) = json.loads(done.stdout)["check"]["outputs"]
    assert (output["different"], output["values"], output["reason"]) == (0, 4000, "compared")
    assert (tmp_path / "model.onnx").is_file()
