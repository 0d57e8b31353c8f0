"""`samebits export`: what is there already."""

from pathlib import Path

import onnx

from samebits.recipe import KERAS_SHA256, network_sha256

from ...models import float_mlp
from .command import Command


def test_another_models_file_is_kept(samebits: Command, tmp_path: Path) -> None:
    source, target = tmp_path / "net.keras", tmp_path / "model.onnx"
    source.write_bytes(b"not a network, but what matters here is what is in the way")
    mine = float_mlp().save(target).read_bytes()
    result = samebits("export", source)
    assert (result.code, result.stderr) == (
        2,
        f"error: {target}: is there already and was not exported from {source}; choose another "
        "file with -o, or replace it with --force\n",
    )
    assert target.read_bytes() == mine
    assert "is there already" not in samebits("export", source, "--force").stderr
    # its own export may be replaced
    model = float_mlp().model()
    model.metadata_props.add(key=KERAS_SHA256, value=network_sha256(source))
    onnx.save(model, target)
    assert "is there already" not in samebits("export", source).stderr
