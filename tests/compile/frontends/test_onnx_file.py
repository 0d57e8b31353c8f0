"""Files that are not ONNX, each with its own message."""

from pathlib import Path

import pytest

from samebits import errors
from samebits.compile.frontends.onnx import read_onnx


def test_a_keras_file_is_sent_to_export(tmp_path: Path) -> None:
    with pytest.raises(errors.ModelError) as caught:
        read_onnx(tmp_path / "model.keras")
    assert str(caught.value) == (
        f"{tmp_path}/model.keras: is a Keras model, wanted ONNX; make it with "
        f"`samebits export {tmp_path}/model.keras`"
    )
