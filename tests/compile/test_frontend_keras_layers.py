"""Every layer of the exporter: equal to Keras where that is proved, within the bound elsewhere."""

from typing import Any

import pytest

from samebits.compile.frontends.keras import export_keras
from samebits.compile.frontends.keras_check import check_export
from samebits.train.tensorflow import load, quiet

from .keras_zoo import BOUNDED, EXACT, build, events


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
    assert output.largest_difference <= output.bound < (0.5 if name == "then_quantized" else 1e-3)
