"""HGQ2 networks: Keras, the NumPy engine, firmware.onnx and the C simulation give the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("hgq", reason="HGQ2 is not installed here: make test-hgq")

import keras
from hgq import layers as q
from hgq.config import QuantizerConfig
from hgq.quantizer import Quantizer

from samebits import Design, Target, errors
from samebits.fidelity import measure_fidelity
from samebits.firmware.toolchain import find_cxx
from samebits.sim.verification import Verification

from .networks import MODES, NETWORKS, answers, network, quantizers, randomize

# also by the C simulation, whose compiler takes seconds for each
SIMULATED = ("QConv1D", "QSoftmax", "QMeanPow2")


def differing(
    model: Any, design: Design, events: np.ndarray[Any, Any], least_values: int = 6
) -> int:
    """Values of Keras that are not the simulator's."""
    found = design.simulate(events)
    pairs = zip(answers(model, events), found if isinstance(found, list) else [found], strict=True)
    count = 0
    for keras_values, values in pairs:
        assert len(np.unique(values)) >= least_values, "an answer that does not vary proves nothing"
        count += int((keras_values.reshape(values.shape) != values).sum())
    return count


def assert_equal(found: Verification) -> None:
    """Every engine ran and gave the same bits; the C simulation only where a compiler is."""
    try:
        find_cxx()
        absent = ()
    except errors.MissingToolError:
        absent = ("csim",)
    wrong = [engine for engine in found.engines if engine.status != "equal"]
    assert [engine for engine in wrong if engine.engine not in absent] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_keras_is_the_engine_is_firmware_onnx(name: str, rng: np.random.Generator) -> None:
    index = list(NETWORKS).index(name)
    model, events = network(name, rng, *MODES[index % len(MODES)])
    design = Design.from_keras(model)
    assert differing(model, design, events) == 0
    against = ("csim", "onnxruntime") if name in SIMULATED else ("onnxruntime",)
    assert_equal(design.verify(events, against, adversarial=name in SIMULATED))
    assert measure_fidelity(design).tool.startswith("keras 3.")


@pytest.mark.parametrize("name", ["QDense", "QBatchNormDense"])
def test_distributed_arithmetic(name: str, rng: np.random.Generator) -> None:
    model, events = network(name, rng)
    design = Design.from_keras(model, Target(strategy="distributed_arithmetic"))
    assert differing(model, design, events) == 0
    assert_equal(design.verify(events))


@pytest.mark.parametrize("target", [Target("Vivado"), Target(io_type="io_stream")])
def test_other_targets(target: Target, rng: np.random.Generator) -> None:
    model, events = network("QConv1D", rng, one_format=True)
    assert differing(model, Design.from_keras(model, target), events) == 0


def test_streams_have_one_format(rng: np.random.Generator) -> None:
    model, _ = network("QConv1D", rng)
    assert (
        "Heterogenous quantization for activations is only supported with IOType=io_parallel"
        in (refusal(model, Target(io_type="io_stream")))
    )


def test_saturating_quantizers_stay_whole(rng: np.random.Generator) -> None:
    """hls4ml alone would saturate to what the input's fraction bits can say."""
    with quantizers("RND", "SAT"):
        x = keras.Input((4,), name="data")
        coarse, fine = Quantizer(place="datalane"), Quantizer(place="datalane")
        last = q.QDense(4, enable_iq=False, kernel_initializer="identity")
        model = keras.Model(x, last(fine(coarse(x))))
    for quantizer, bits, integer in ((coarse, 4, 3), (fine, 6, 0)):
        quantizer.quantizer._b.assign([[bits, bits, bits, bits + 1]])
        quantizer.quantizer._i.assign(np.full((1, 4), integer))
    design = Design.from_keras(model)
    events = rng.normal(0, 2, (100, 4)).astype(np.float32)
    events[0] = 1.0, -1.0, 0.5, 3.0
    assert design.simulate(events)[0].tolist() == [63 / 64, -1.0, 0.5, 127 / 128]
    assert differing(model, design, events, 4) == 0


def test_the_layer_relu_is_a_relu(rng: np.random.Generator) -> None:
    """hls4ml alone would compare negative numbers with its threshold as if they were large."""
    with quantizers():
        x = keras.Input((6,), name="data")
        model = keras.Model(x, q.QDense(2)(keras.layers.ReLU()(q.QDense(3)(x))))
    randomize(model, rng)
    events = rng.normal(0, 2, (300, 6)).astype(np.float32)
    assert differing(model, Design.from_keras(model), events) == 0


def test_quantizers_one_behind_the_other_are_refused() -> None:
    with quantizers(one_format=True):
        x = keras.Input((6,), name="data")
        model = keras.Model(x, q.QDense(2, name="d")(Quantizer(place="datalane")(x)))
    assert refusal(model) == (
        "data: two quantizers follow it directly, and hls4ml would keep only the last; take one "
        "of them away"
    )


def test_a_signed_element_of_one_symmetric_bit_is_zero(rng: np.random.Generator) -> None:
    with quantizers("RND", "SAT_SYM"):
        x = keras.Input((2,), name="data")
        quantizer = Quantizer(place="datalane")
        model = keras.Model(x, q.QDense(1, enable_iq=False)(quantizer(x)))
    quantizer.quantizer._b.assign([[0, 3]])
    events = rng.normal(0, 2, (100, 2)).astype(np.float32)
    assert differing(model, Design.from_keras(model), events, 2) == 0


def test_saved_and_loaded(tmp_path: Path, rng: np.random.Generator) -> None:
    model, events = network("QDense", rng)
    model.save(tmp_path / "model.keras")
    design = Design.from_keras(tmp_path / "model.keras")
    design.save(tmp_path / "build")
    assert not (tmp_path / "build" / "model.onnx").exists()
    loaded = Design.load(tmp_path / "build")
    assert loaded.fingerprint == design.fingerprint == Design.from_keras(model).fingerprint
    assert differing(model, loaded, events) == 0
    assert_equal(loaded.verify(events))
    assert str(measure_fidelity(loaded)) == "not run: the design has no model.onnx"


def test_tightened_types_keep_the_bits(rng: np.random.Generator) -> None:
    model, events = network("QDense", rng)
    design = Design.from_keras(model).tighten().design
    assert differing(model, design, events) == 0


def test_a_float_network_takes_the_precision_of_the_target(rng: np.random.Generator) -> None:
    x = keras.Input((6,))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(8, activation="relu")(x))
    model = keras.Model(x, keras.layers.Dense(3, activation="softmax")(hidden))
    design = Design.from_keras(model, Target(precision="fixed<24,8>"))
    assert (
        design.facts["notes"][0]
        == "the model has no quantizers: fixed<24,8> where nothing else is given"
    )
    events = rng.normal(0, 1, (500, 6)).astype(np.float32)
    difference = np.abs(answers(model, events)[0] - design.simulate(events)).max()
    assert 0 < difference < 2**-6
    assert_equal(design.verify(events, ("onnxruntime",)))


def refusal(model: Any, target: Target | None = None) -> str:
    with pytest.raises(errors.SamebitsError) as caught:
        Design.from_keras(model, target)
    return str(caught.value)


def test_layers_without_a_reader_are_refused_by_name() -> None:
    with quantizers():
        x = keras.Input((4, 6))
        inner = keras.Sequential([keras.Input((4, 6)), q.QDense(6)], name="inner")
        model = keras.Model(x, q.QGRU(3, name="state")(q.QDense(6)(inner(x))), name="net")
    text = refusal(model)
    assert text.startswith("Keras model 'net': 3 layers cannot become firmware:\n  ")
    assert "\n  inner (Sequential): a model inside the model; call its layers\n" in text
    assert "\n  state (QGRU): hls4ml has no reader for it\n" in text


def test_quantizers_that_hls4ml_reads_wrongly_are_refused() -> None:
    scaled = QuantizerConfig("kif", "datalane", scaler=0.3)
    x = keras.Input((6,))
    with quantizers():
        model = keras.Model(x, q.QDense(3, iq_conf=scaled, name="d")(x), name="net")
    assert "d (QDense): its quantizer d_iq has a scaler or affine, which hls4ml ignores" in refusal(
        model
    )
    with quantizers():
        model = keras.Model(x, q.QDense(3)(Quantizer("dummy", "datalane", name="f")(x)))
    assert "f (Quantizer): its quantizer f is a DummyQuantizer; supported: kbi, kif" in (
        refusal(model)
    )


def test_an_input_without_a_quantizer_is_refused() -> None:
    x = keras.Input((6,))
    with quantizers():
        model = keras.Model(x, q.QDense(3)(keras.layers.ReLU()(x)))
    assert refusal(model).endswith(
        "Every input must meet a quantizer first: a layer with enable_iq=True, or "
        "hgq.quantizer.Quantizer"
    )


def test_a_layer_of_the_precision_must_exist() -> None:
    model = keras.Sequential([keras.Input((6,)), q.QDense(3, name="d")])
    assert refusal(model, Target(precision={"dd": "fixed<8,2>"})).startswith(
        "precision: there is no layer 'dd'; layers: "
    )


def test_models_that_are_not_built_or_have_code_of_their_own() -> None:
    assert refusal(keras.Sequential([q.QDense(3)], name="s")) == (
        "Keras model 's' is not built: begin it with keras.Input(shape)"
    )
    open_size = keras.Sequential([keras.Input((None, 6)), keras.layers.Dense(3)])
    assert "firmware needs fixed sizes" in refusal(open_size)
