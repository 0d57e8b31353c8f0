"""A training that was interrupted ends with the very weights of one that was not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samebits import errors
from samebits.train.augmentation import Flip
from samebits.train.bench import train_network
from samebits.train.build import build
from samebits.train.config import FitOptions, fit_options
from samebits.train.layers import BatchNorm, Dense, Dropout
from samebits.train.lbfgs import Answers
from samebits.train.network import Network
from samebits.train.optimize import Curve, Pass, Samples, fit_samples
from samebits.train.steps import AUGMENTATION, NOISE, ORDER, Steps, generator
from samebits.train.tensorflow import load

NETWORK = Network((4,), (Dense(6), BatchNorm(), "relu", Dropout(0.3), Dense(3), "softmax"))


def events(count: int, seed: int) -> Samples:
    x = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    return Samples(x, np.abs(x[:, :3]).argmax(axis=1))


TRAIN, VALIDATION = events(300, 1), events(100, 2)


def options(folder: Path | None, **changes: object) -> FitOptions:
    values = {"epochs": 4, "batch_size": 32, "learning_rate": 0.02, "input_noise": 0.1, "seed": 5}
    return fit_options(**{**values, "checkpoints": folder, **changes})


def interrupted(entry: Pass) -> None:
    if entry.number == 2:
        raise KeyboardInterrupt


def fitted(chosen: FitOptions, **further: object) -> tuple[list[np.ndarray], Curve]:
    model = build(NETWORK, seed=5)
    curve = fit_samples(model, TRAIN, VALIDATION, chosen, augment=Flip(0), **further)
    return model.get_weights(), curve


def test_every_epoch_and_purpose_has_random_numbers_of_its_own() -> None:
    drawn = {
        tuple(generator(seed, epoch, stream).integers(0, 2**32, 4))
        for seed in (1, 2)
        for epoch in range(3)
        for stream in (ORDER, NOISE, AUGMENTATION)
    }
    assert len(drawn) == 2 * 3 * 3
    steps = Steps(build(NETWORK, seed=5), options(None), TRAIN)
    first, again, second = (steps._events(epoch, None)[0] for epoch in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)


def test_lbfgs_goes_on(tmp_path: Path) -> None:
    plain = Network((4,), (Dense(6), "tanh", Dense(3), "softmax"))

    def run(folder: Path | None, **further: object) -> tuple[list[np.ndarray], Curve]:
        model = build(plain, seed=5)
        chosen = fit_options(optimizer="lbfgs", epochs=12, seed=5, checkpoints=folder)
        curve = fit_samples(model, TRAIN, VALIDATION, chosen, **further)  # type: ignore[arg-type]
        return model.get_weights(), curve

    whole, curve = run(None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, on_pass=interrupted)
    seen: list[int] = []
    parts, resumed = run(tmp_path, on_pass=lambda entry: seen.append(entry.number))
    assert seen == list(range(3, len(curve.passes) + 1))
    assert (resumed.passes, resumed.best_pass) == (curve.passes, curve.best_pass)
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))
    answers = Answers([1], [0.5], [np.ones(2, np.float32)])
    with pytest.raises(errors.UsageError, match="of another SciPy or machine"):
        answers.at(np.zeros(2), lambda: (0.0, np.ones(2, np.float32)))


def test_two_and_two_epochs_are_four(tmp_path: Path) -> None:
    pruning = 0.5
    whole, curve = fitted(options(None), pruning=pruning)
    with pytest.raises(KeyboardInterrupt):
        fitted(options(tmp_path), pruning=pruning, on_pass=interrupted)
    load().keras.utils.set_random_seed(77)  # another process has other random states
    load().tf.random.normal((3,))
    seen: list[int] = []
    parts, resumed = fitted(
        options(tmp_path), pruning=pruning, on_pass=lambda entry: seen.append(entry.number)
    )
    assert seen == [3, 4]
    assert resumed.passes == curve.passes
    assert resumed.best_pass == curve.best_pass
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))
    again, _ = fitted(options(tmp_path), pruning=pruning, on_pass=interrupted)  # nothing is left
    assert all(np.array_equal(a, b) for a, b in zip(whole, again, strict=True))


@pytest.mark.parametrize("optimizer", ["nesterov", "adagrad", "rmsprop"])
def test_a_finished_training_is_made_longer(tmp_path: Path, optimizer: str) -> None:
    same = {"schedule": "plateau", "plateau_patience": 1, "optimizer": optimizer}
    whole, _ = fitted(options(None, **same))
    fitted(options(tmp_path, **same, epochs=2))
    parts, _ = fitted(options(tmp_path, **same))
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_both_stages_of_a_training_go_on(tmp_path: Path) -> None:
    small = Network((4,), (Dense(3), "softmax"))
    wanted = train_network(small, TRAIN, VALIDATION, options(None, epochs=2))
    kept = options(tmp_path, epochs=2)

    def killed(stage: str, entry: Pass) -> None:
        if stage == "quantized":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_network(small, TRAIN, VALIDATION, kept, on_pass=killed)
    seen: list[str] = []
    found = train_network(
        small, TRAIN, VALIDATION, kept, on_pass=lambda stage, entry: seen.append(stage)
    )
    assert seen == []  # one epoch of fine-tuning, and it was written before it was told
    for a, b in zip(wanted.model.get_weights(), found.model.get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    fitted(options(tmp_path, epochs=1))
    with pytest.raises(errors.UsageError) as wrong:
        fit_samples(
            build(NETWORK, seed=5), VALIDATION, VALIDATION, options(tmp_path, batch_size=16)
        )
    assert str(wrong.value) == (
        f"checkpoint {tmp_path / 'float_network.npz'} is of another training: epochs was 1, is 4; "
        "batch_size was 32, is 16; other training events; augmentation was Flip(axis=0, "
        "share=0.5), is None. Delete it to train from the start, or give another folder"
    )
    (tmp_path / "float_network.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(errors.DataError, match="is damaged, or of another samebits"):
        fitted(options(tmp_path))


def test_tensorboard_files_hold_every_pass(tmp_path: Path) -> None:
    _, curve = fitted(options(None, tensorboard=tmp_path, epochs=2))
    (file,) = (tmp_path / "float_network").iterdir()
    tf = load().tf
    found = {
        (value.tag, event.step): float(tf.make_ndarray(value.tensor))
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    }
    for entry in curve.passes:
        assert found["loss/validation", entry.number] == np.float32(entry.validation_loss)
        assert found["accuracy/training", entry.number] == np.float32(entry.accuracy)
    assert len(found) == 2 * 5
