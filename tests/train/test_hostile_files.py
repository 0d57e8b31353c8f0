"""Files of events that claim too much, hold objects, or were damaged: a clear error, no crash."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import Design, errors
from samebits.train.data import load_features

from ..fuzz.fuzzer import fuzzer
from ..models import float_mlp

hostile: Any = fuzzer("hostile")
SEED = 300
X = np.random.default_rng(SEED).normal(size=(50, 4)).astype(np.float32)


class Opened:
    """Whoever unpickles this knows it."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('a pickle was loaded')",)


def npz(path: Path, member: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("features.npy", member)
    return path


def npy(shape: str, kind: str = "'<f4'", content: bytes = b"") -> bytes:
    header = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


@pytest.mark.parametrize(
    "member",
    [
        npy("(1000000000000, 4)"),
        npy("(-4, 4)", content=bytes(64)),
        npy("(4, 4)", content=bytes(63)),
        npy("(4,4)", kind="'|O'", content=pickle.dumps([Opened()])),
        npy("(4,4)", kind="[('a','<f4',(1000000000,))]"),
        npy("__import__('os').abort()"),
        npy("(" * 5000),
        b"no array",
    ],
)
def test_arrays_that_are_not_what_they_claim(member: bytes, tmp_path: Path) -> None:
    with pytest.raises(errors.DataError):
        load_features(npz(tmp_path / "x.npz", member))


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", features=np.array([[Opened()]], dtype=object))
    with pytest.raises(errors.DataError, match="which only unsafe pickle can read"):
        load_features(tmp_path / "x.npz")
    (tmp_path / "y.npz").write_bytes(pickle.dumps(Opened()))
    with pytest.raises(errors.DataError, match=r"cannot be read as a .npz file"):
        load_features(tmp_path / "y.npz")


def test_numbers_that_were_never_written(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:  # a file of some kilobytes
        file.create_dataset("features", (10**10, 4), "f4", chunks=(1000, 4))
    with pytest.raises(errors.DataError, match=r"cannot be read as a .h5 file"):
        load_features(tmp_path / "x.h5")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["features"] = X
        file[b"odd\xff"] = X
    assert np.array_equal(load_features(tmp_path / "y.h5").features, X)


def seeds(folder: Path) -> list[Path]:
    """The same events in every kind of file."""
    h5py, arrow = pytest.importorskip("h5py"), pytest.importorskip("pyarrow")
    parquet, uproot = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("uproot")
    columns = {f"f{number}": X[:, number] for number in range(4)}
    np.savez_compressed(folder / "a.npz", features=X)
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("features", data=X, compression="gzip", chunks=(10, 4))
    parquet.write_table(arrow.table(columns), folder / "a.parquet")
    with uproot.recreate(folder / "a.root") as file:
        file["t"] = columns
    with (folder / "a.csv").open("w") as stream:
        np.savetxt(stream, X, delimiter=",")
    return sorted(folder.glob("a.*"))


@pytest.mark.parametrize("action", ["events", "stream"])
def test_damaged_files_give_events_or_a_clear_error(action: str, tmp_path: Path) -> None:
    build = tmp_path / "build"
    build.mkdir()
    Design.from_onnx(float_mlp().model()).export_onnx(build / "firmware.onnx")
    paths = []
    for number, path in enumerate(seeds(tmp_path) * 12):
        rng = np.random.default_rng(SEED + number)
        damaged = tmp_path / f"{number}{path.suffix}"
        damaged.write_bytes(hostile.damaged(path.read_bytes(), rng))
        paths.append(damaged)
    results = hostile.opened(paths, action, 20, 2000, build)
    assert len(results) == len(paths)
    assert [found for found in results if not hostile.is_good(found)] == []
    assert {found["kind"] for found in results} >= {"good", "DataError"}
