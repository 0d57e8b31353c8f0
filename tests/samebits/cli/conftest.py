"""Fixtures of the command line's tests: the command and one compiled build directory."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from samebits import Design

from ...models import quantized_mlp
from .command import Command


@pytest.fixture
def samebits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Command]:
    signals = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
    before = [signal.getsignal(number) for number in signals]
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    yield Command(capsys, monkeypatch)
    for number, handler in zip(signals, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build directory; do not write to it."""
    folder = tmp_path_factory.mktemp("cli") / "build"
    model = quantized_mlp().save(folder.parent / "model.onnx")
    Design.from_onnx(model).save(folder)
    return folder


@pytest.fixture
def build(compiled: Path, tmp_path: Path) -> Path:
    """A build directory of the test's own."""
    return Path(shutil.copytree(compiled, tmp_path / "build"))


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """Twenty events of four features."""
    path = tmp_path / "events.npz"
    x = np.random.default_rng(4).normal(0, 2, (20, 4)).astype(np.float32)
    np.savez(path, features=x)
    return path
