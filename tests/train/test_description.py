"""Networks and trainings described in TOML."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samebits import errors
from samebits.train.augmentation import InTurn, Reflect, RotatePhi
from samebits.train.config import fit_options
from samebits.train.description import KINDS, describe, read_description
from samebits.train.layers import (
    Activation,
    Add,
    Conv,
    Dense,
    Embedding,
    Flatten,
    MaxPool,
    Recurrent,
    Standardise,
    Sum,
)
from samebits.train.network import Network
from samebits.train.optimize import Samples

WHOLE = """
[network]
inputs = [8, 8, 1]
layers = [
  "standardise", {conv = {filters = 4, window = 3, padding = "same"}}, {leaky_relu = 0.25},
  {max_pool = 2}, "flatten", {dense = {units = 10, name = "out"}}, "softmax",
]
l2 = 1e-4
initializer = "he_normal"

[fit]
epochs = 7
optimizer = "nesterov"

[fine_tuning]
learning_rate = 1e-4

[quantized]
weight_bits = 5
formats = {input = "ufixed<5,5>"}

[data]
file = "digits.npz"
features = ["a", "b"]
"""
WRONG = """
colour = 3
[network]
layers = [{dens = 3}, {dense = {unit = 3, name = 4}}, {conv = 3}, 7, {maxout = 2.5}]
l3 = 1
[fit]
epochs = 0
epoch = 3
[fine_tuning]
loss = "x"
[data]
features = []
[anomaly]
weight = 2
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "net.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_whole_description(tmp_path: Path) -> None:
    found = read_description(written(tmp_path, WHOLE), {"fit": {"seed": 3}})
    assert found.network.network() == Network(
        (8, 8, 1),
        (
            *(Standardise(), Conv(4, 3, padding="same"), Activation("leaky_relu", slope=0.25)),
            *(MaxPool(2), Flatten(), Dense(10, name="out"), "softmax"),
        ),
        l2=1e-4,
        initializer="he_normal",
    )
    assert found.fit == fit_options(epochs=7, optimizer="nesterov", seed=3)
    assert found.fine_options() == found.fit.model_copy(update={"learning_rate": 1e-4})
    assert (found.quantized.weight_bits, found.quantized.activation_bits) == (5, 6)
    assert found.quantized.formats == {"input": "ufixed<5,5>"}
    assert found.data.features == ("a", "b")
    assert found.anomaly is None


def test_what_is_described_can_be_read_again(tmp_path: Path) -> None:
    network = Network(
        (6,),
        (
            *(Standardise(), Embedding((3, 4), size=2), Dense(5, name="first"), "tanh"),
            *(Dense(5), Add("first"), Activation("leaky_relu", slope=0.5), Sum((1.0,) * 5)),
        ),
    )
    section = describe(network)
    path = written(tmp_path, "[fit]\nepochs = 2\n")
    assert read_description(path, {"network": section}).network.network() == network


def test_every_kind_of_layer_has_a_name() -> None:
    assert {"dense", "max_pool", "self_attention", "standardise", "one_hot"} <= set(KINDS)
    assert KINDS["recurrent"] is Recurrent


def test_every_mistake_is_listed(tmp_path: Path) -> None:
    path = written(tmp_path, WRONG)
    with pytest.raises(errors.UsageError) as caught:
        read_description(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}:"
    assert [line.split("; there are")[0] for line in lines[1:]] == [
        "  network.inputs: is missing",
        "  network.layers: layer 1: there is no layer 'dens'; dense is the nearest",
        "  network.layers: layer 2: dense takes no 'unit'; it takes units, name",
        "  network.layers: layer 2: dense needs 'units'",
        "  network.layers: layer 2: dense: name: got 4; Input should be a valid string",
        "  network.layers: layer 3: conv needs 'window'",
        '  network.layers: layer 4: got 7; wanted "relu", {dense = 32} or {dense = {...}}',
        "  network.layers: layer 5: maxout: units: got 2.5; Input should be a valid integer, got "
        "a number with a fractional part",
        "  network.l3: there is no such key",
        "  fit.epochs: got 0; Input should be greater than or equal to 1",
        "  fit.epoch: there is no such key",
        "  data.features: got []; Tuple should have at least 1 item after validation, not 0",
        "  anomaly.weight: there is no such key",
        "  colour: there is no such key",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[network]\ninputs = [2]\nlayers = ['softmax', {add = 'x'}]", "softmax must be the last"),
        ("[network]\ninputs = [2]\nlayers = ['softmax', {add = 'x'}]", "no layer 'x' stands"),
        (
            "[network]\ninputs = [2]\nlayers = ['relu']\n[fine_tuning]\nloss = 'x'",
            r"fine_tuning\.loss: got 'x'",
        ),
        (
            "[network]\ninputs = [2]\nlayers = [{dense = 2}]\n[anomaly]",
            r"fit\.loss: an autoencoder is trained with mean_squared_error",
        ),
        (
            "[network]\ninputs = [2]\nlayers = [{dense = 2}]\n[anomaly]\n"
            "[fit]\nloss = 'mean_squared_error'\n[quantized]\nwhiten = true",
            r"quantized: an autoencoder takes neither distil nor whiten",
        ),
        ("[network", "is not TOML"),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(errors.UsageError, match=message):
        read_description(written(tmp_path, text))


def test_each_description_is_trained_its_own_way(tmp_path: Path) -> None:
    text = '[network]\ninputs = [2]\nlayers = [{dense = 2}]\n[fit]\nloss = "mean_squared_error"\n'
    x = np.zeros((1, 2), np.float32)
    with pytest.raises(errors.UsageError, match="no section anomaly; call train"):
        read_description(written(tmp_path, text)).train_trigger(x, x)
    autoencoder = read_description(written(tmp_path, text + "[anomaly]\n"))
    with pytest.raises(errors.UsageError, match="call train_trigger"):
        autoencoder.train(Samples(x, x), Samples(x, x))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match=r"none\.toml: cannot be read"):
        read_description(tmp_path / "none.toml")


def test_augmentation_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "net.toml"
    text = '[network]\ninputs = [8, 3]\nlayers = ["flatten", {dense = 2}, "softmax"]\n'
    path.write_text(text)
    assert read_description(path).augmentation.function() is None
    path.write_text(text + "[augmentation]\nreflect = [1]\nrotate_phi = [2]\n")
    assert read_description(path).augmentation.function() == InTurn((Reflect(1), RotatePhi(2)))
    path.write_text(
        text + '[augmentation]\nflip = [0]\n[fit]\nloss = "mean_squared_error"\n[anomaly]\n'
    )
    with pytest.raises(errors.UsageError, match="augmentation: an autoencoder takes none"):
        read_description(path)
