"""Building, fitting, pruning, storing: tiny networks on separable data."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from samebits import errors
from samebits.train import fit as fitting
from samebits.train.config import training_config
from samebits.train.data import Dataset
from samebits.train.models import build_float_mlp, build_mlp, copy_weights
from samebits.train.pruning import full_from, sparsity_at
from samebits.train.scaling import InputFormat, InputScaling
from samebits.train.store import load_model, save_model
from samebits.train.tensorflow import load

CONFIG = training_config(hidden=(8, 6), epochs=6, batch_size=32, learning_rate=2e-2)


def blobs(events: int, seed: int) -> Dataset:
    """Three classes around three points, features of very different size."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, events)
    centres = np.array([[0, 0, 1], [2, 0, -1], [0, 2, 0]], np.float64)
    features = (centres[labels] + 0.4 * rng.normal(size=(events, 3))) * [100, 1, 0.05]
    return Dataset(
        features.astype(np.float32), ("a", "b", "c"), "blobs", "", labels, ("x", "y", "z")
    )


TRAIN, VALIDATION = blobs(600, 1), blobs(200, 2)
PREPARED = fitting.prepare(TRAIN, CONFIG)


def test_quantized_reaches_the_float_network_and_is_reproducible() -> None:
    seen: list[fitting.Epoch] = []
    float_model, float_result = fitting.fit_float(TRAIN, VALIDATION, PREPARED, CONFIG)
    first, result = fitting.fit_quantized(
        TRAIN, VALIDATION, PREPARED, CONFIG, start=float_model, on_epoch=seen.append
    )
    second, _ = fitting.fit_quantized(TRAIN, VALIDATION, PREPARED, CONFIG, start=float_model)
    assert float_result.validation_accuracy > 0.95
    assert result.validation_accuracy > float_result.validation_accuracy - 0.03
    assert tuple(seen) == result.history
    assert [epoch.number for epoch in seen] == [1, 2, 3, 4, 5, 6]
    best = result.history[result.best_epoch - 1]
    assert best.validation_loss == min(epoch.validation_loss for epoch in seen)
    kept = float(
        np.mean(fitting.predict(first, VALIDATION.features).argmax(axis=1) == VALIDATION.labels)
    )
    assert kept == result.validation_accuracy == pytest.approx(best.validation_accuracy)
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        assert np.array_equal(one, other)
    scaling = first.get_layer("scaling").get_weights()
    assert np.array_equal(scaling[0], PREPARED.scaling.scale)
    assert np.array_equal(scaling[1], PREPARED.scaling.shift)


def test_scaling_costs_are_paired_with_the_same_network() -> None:
    model, result = fitting.fit_float(TRAIN, VALIDATION, PREPARED, CONFIG)
    costs = fitting.scaling_costs(model, VALIDATION, PREPARED)
    assert [cost.kind for cost in costs] == ["po2", "fold"]
    for cost in costs:
        assert cost.difference == cost.accuracy - result.validation_accuracy
        assert abs(cost.difference) < cost.changed + 1e-9 < 0.05


def test_copied_weights_give_the_same_function() -> None:
    """Two float networks behind different scalings; only float32's rounding differs."""
    source = build_float_mlp(PREPARED.exact, 3, hidden=(8, 6), seed=1)
    target = build_float_mlp(PREPARED.scaling, 3, hidden=(8, 6), seed=2)
    before = fitting.predict(target, TRAIN.features)
    copy_weights(source, target, PREPARED.exact, PREPARED.scaling)
    wanted, got = (fitting.predict(model, TRAIN.features) for model in (source, target))
    assert np.abs(before - wanted).max() > 0.01
    assert np.abs(got - wanted).max() < 1e-5


def test_pruning_reaches_the_wanted_share_in_every_layer() -> None:
    config = training_config(**{**CONFIG.model_dump(), "pruning": 0.6})
    model, result = fitting.fit_quantized(TRAIN, VALIDATION, PREPARED, config)
    assert result.sparsity >= 0.6
    assert result.best_epoch > full_from(config.epochs)
    for name in ("dense_1", "dense_2", "dense_out"):
        kernel = model.get_layer(name).kernel.numpy()
        assert np.count_nonzero(kernel == 0) >= round(0.6 * kernel.size)


def test_pruning_schedule() -> None:
    shares = [sparsity_at(epoch, 11, 0.8) for epoch in range(11)]
    assert shares[:3] == [0, 0, 0]
    assert shares == sorted(shares)
    assert shares[4] == pytest.approx(0.8 * (1 - 0.5**3))
    assert shares[6:] == [0.8] * 5
    assert full_from(11) == 6
    assert full_from(1) == 0


@pytest.mark.parametrize("width", [12, 22, 23])
def test_the_input_layer_is_the_input_format(width: int) -> None:
    """QKeras's straight-through float32 form equals exact rounding up to the widest format."""
    input_format = InputFormat(width, 11, True)
    scaling = InputScaling("po2", np.ones(4, np.float32), np.zeros(4, np.float32))
    model = build_mlp(input_format, scaling, 2, hidden=(3,))
    inner = load().keras.Model(model.input, model.get_layer("input_format").output)
    rng = np.random.default_rng(3)
    steps = rng.integers(-(2 ** (width - 1)) - 5, 2 ** (width - 1) + 5, (5000, 4))
    ties = (steps + rng.choice([0, 0.5, 0.25], steps.shape)) * input_format.lsb
    x = np.concatenate([ties, rng.uniform(-3000, 3000, (5000, 4))]).astype(np.float32)
    assert np.array_equal(fitting.predict(inner, x), input_format.quantize(x))


def test_wrong_feature_count_is_refused() -> None:
    model = build_float_mlp(PREPARED.exact, 3, hidden=(4,))
    narrow = Dataset(TRAIN.features[:, :2], ("a", "b"), "n", "", TRAIN.labels, TRAIN.class_names)
    with pytest.raises(errors.DataError) as caught:
        fitting.fit(model, narrow, narrow, CONFIG)
    assert str(caught.value) == (
        "training of 'float_mlp': the network takes 3 features, the data have 2"
    )


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_store_round_trip(tmp_path: Path, suffix: str) -> None:
    model = build_mlp(PREPARED.input_format, PREPARED.scaling, 3, hidden=(4,))
    path = save_model(model, tmp_path / f"model{suffix}")
    again = load_model(path)
    assert np.array_equal(
        fitting.predict(again, TRAIN.features), fitting.predict(model, TRAIN.features)
    )
    assert os.listdir(tmp_path) == [path.name]


def test_lambda_layers_are_refused_before_they_are_built(tmp_path: Path) -> None:
    keras = load().keras
    x = keras.Input((2,))
    model = keras.Model(x, keras.layers.Lambda(lambda value: value * 2, name="twice")(x))
    for suffix in (".keras", ".h5"):
        path = save_model(model, tmp_path / f"model{suffix}")
        with pytest.raises(errors.ModelError, match="'twice' is a Lambda layer and could run any"):
            load_model(path)


def test_foreign_classes_are_refused(tmp_path: Path) -> None:
    model = build_mlp(PREPARED.input_format, PREPARED.scaling, 3, hidden=(4,))
    path = save_model(model, tmp_path / "model.keras")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    config["config"]["layers"][1]["module"] = "os.path"
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(errors.ModelError, match=r"'QActivation' comes from the module 'os\.path'"):
        load_model(path)


def test_files_that_are_no_models(tmp_path: Path) -> None:
    damaged = tmp_path / "model.keras"
    damaged.write_bytes(b"not a zip file")
    with pytest.raises(errors.ModelError, match="is damaged or not a Keras model"):
        load_model(damaged)
    (tmp_path / "model.h5").write_bytes(b"")
    with pytest.raises(errors.ModelError, match="is damaged or not a Keras model"):
        load_model(tmp_path / "model.h5")
    with pytest.raises(errors.ModelError, match=r"none\.keras does not exist"):
        load_model(tmp_path / "none.keras")
    with pytest.raises(errors.UsageError, match=r"the suffix is '\.pkl'; wanted \.keras or \.h5"):
        load_model(tmp_path / "model.pkl")
