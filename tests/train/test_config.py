"""Training options and their messages."""

import pytest

from samebits import errors
from samebits.train.config import training_config


def test_defaults() -> None:
    config = training_config()
    assert config.hidden == (64, 32, 32)
    assert (config.weight_bits, config.activation_bits, config.scaling) == (6, 6, "po2")


def test_every_wrong_option_is_listed_with_its_value() -> None:
    with pytest.raises(errors.UsageError) as caught:
        training_config(learning_rate=-1.0, pruning=1.5, scaling="linear", colour="red")
    assert str(caught.value).splitlines() == [
        "training options:",
        "  learning_rate: got -1.0; input should be greater than 0",
        "  pruning: got 1.5; input should be less than or equal to 0.99",
        "  scaling: got 'linear'; input should be 'po2' or 'fold'",
        "  colour: no such option; there are hidden, weight_bits, activation_bits, epochs, "
        "batch_size, learning_rate, pruning, scaling, input_bits, seed",
    ]


@pytest.mark.parametrize("hidden", [(), (0,), (5000,), (64, -1)])
def test_impossible_layers(hidden: tuple[int, ...]) -> None:
    with pytest.raises(errors.UsageError, match="hidden"):
        training_config(hidden=hidden)
