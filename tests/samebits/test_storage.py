"""Build directories: whole or not at all, loaded as saved, damage named."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import Design, Target, errors, storage

from ..models import float_mlp, quantized_mlp


@pytest.fixture(scope="module")
def design() -> Design:
    return Design.from_onnx(quantized_mlp().model())


@pytest.fixture(scope="module")
def other() -> Design:
    return Design.from_onnx(float_mlp().model())


@pytest.fixture(scope="module")
def saved(design: Design, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "build"
    design.save(folder)
    return folder


@pytest.fixture
def build(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "build"))


def content(folder: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def test_a_saved_design_loads_as_it_was(design: Design, saved: Path) -> None:
    assert {p.name for p in saved.iterdir()} == {*storage.ARTEFACTS} - {"rtl"}
    loaded = Design.load(saved)
    assert loaded.fingerprint == design.fingerprint
    assert loaded.target == design.target
    assert loaded.model_bytes == design.model_bytes
    assert loaded.facts["source"] == "net"
    assert set(loaded.facts["versions"]) == {"hls4ml"}
    x = np.random.default_rng(1).normal(0, 3, (100, 4))
    assert np.array_equal(loaded.simulate(x), design.simulate(x))
    traces = loaded.trace(x), design.trace(x)
    assert list(traces[0]) == list(traces[1])
    assert all(np.array_equal(traces[0][k], traces[1][k]) for k in traces[0])


def test_a_loaded_design_takes_the_hls_project_along(build: Path, tmp_path: Path) -> None:
    before = content(build)
    Design.load(build).save(build)
    assert content(build) == before
    Design.load(build).save(tmp_path / "copy")
    assert content(tmp_path / "copy") == before
    shutil.rmtree(build / "hls")
    Design.load(build).save(tmp_path / "without")
    with pytest.raises(errors.BuildError, match="holds no HLS project; compile the model again"):
        Design.load(tmp_path / "without").hls_project()


def test_a_changed_model_is_not_the_designs(build: Path) -> None:
    path = build / "model.onnx"
    path.write_bytes(b"another")
    with pytest.raises(errors.BuildError) as caught:
        _ = Design.load(build).model_bytes
    assert str(caught.value) == (
        f"{path}: is not the file that design.json was saved with; compile the model again"
    )
    path.unlink()
    with pytest.raises(errors.BuildError) as caught:
        Design.load(build).check_files()
    assert str(caught.value) == (
        f"{path}: cannot be read: No such file or directory; compile the model again"
    )


def test_a_file_that_the_design_was_saved_without_is_not_its_own(
    design: Design, tmp_path: Path
) -> None:
    build = tmp_path / "build"
    Design(design.graph, design.target).save(build)
    loaded = Design.load(build)
    assert loaded.model_bytes is None
    (build / "model.onnx").write_bytes(b"mine")
    with pytest.raises(errors.BuildError, match=r"model\.onnx: is not the file that"):
        loaded.check_files()


def test_a_saved_design_knows_its_files(design: Design, tmp_path: Path) -> None:
    fresh = Design(design.graph, design.target, model=design.model_bytes)
    assert fresh.check_files() is None
    fresh.save(tmp_path / "build")
    assert fresh.check_files() == (tmp_path / "build" / "firmware.onnx").read_bytes()


def test_the_same_design_may_be_written_again(design: Design, build: Path) -> None:
    (build / "report.json").write_text("kept")
    (build / "hls" / "extra").write_text("replaced")
    before = content(build)
    design.save(build)
    after = content(build)
    assert after["report.json"] == b"kept"
    assert "hls/extra" not in after
    assert after["design.json"] == before["design.json"]


def test_another_design_needs_force(other: Design, build: Path) -> None:
    before = content(build)
    with pytest.raises(errors.BuildError) as caught:
        other.save(build)
    assert str(caught.value) == (
        f"{build}: already holds another design (model.onnx, firmware.onnx, design.npz, hls, "
        "emulator, design.json); choose another folder, or replace it with --force"
    )
    assert content(build) == before
    other.save(build, force=True)
    assert Design.load(build).fingerprint == other.fingerprint


def test_another_target_is_another_design(design: Design, build: Path) -> None:
    moved = Design(design.graph, Target(clock_mhz=320))
    with pytest.raises(errors.BuildError, match="already holds another design"):
        moved.save(build)


def test_a_folder_with_a_foreign_model_is_not_overwritten(design: Design, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"mine")
    with pytest.raises(errors.BuildError, match=r"already holds another design \(model.onnx\)"):
        design.save(tmp_path)
    assert content(tmp_path) == {"model.onnx": b"mine"}


def test_a_model_exported_into_the_folder_is_no_other_design(
    design: Design, tmp_path: Path
) -> None:
    assert design.model_bytes is not None
    (tmp_path / "model.onnx").write_bytes(design.model_bytes)
    design.save(tmp_path)
    assert Design.load(tmp_path).fingerprint == design.fingerprint


def test_other_files_in_the_folder_stay(design: Design, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "scores").mkdir()
    design.save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "scores").is_dir()


def test_no_design(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(errors.BuildError) as caught:
            Design.load(folder)
        assert str(caught.value) == (
            f"{folder}: holds no design (no design.json); make one with `samebits compile`"
        )


def edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        path = folder / "design.json"
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    return damage


def cut(name: str) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return damage


def rename_constant(values: dict[str, Any]) -> None:
    name = next(iter(values["graph"]["constants"]))
    values["graph"]["constants"][name] = "constant99"


def widen(values: dict[str, Any]) -> None:
    next(iter(values["graph"]["tensors"].values()))[1][1] = 10**9


def flip_arrays(folder: Path) -> None:
    """Another byte in the arrays, and the hash that belongs to it."""
    data = bytearray((folder / "design.npz").read_bytes())
    data[data.index(b"constant0.npy") + 60] ^= 1
    (folder / "design.npz").write_bytes(data)
    digest = storage._sha256(folder / "design.npz")
    edit(lambda v: v["files"].update({"design.npz": digest}))(folder)


DAMAGES: list[tuple[str, Callable[[Path], object], str]] = [
    ("json cut", cut("design.json"), "{}/design.json: cannot be read: "),
    ("json empty", lambda f: (f / "design.json").write_text(""),
     "{}/design.json: cannot be read: "),
    ("a list", lambda f: (f / "design.json").write_text("[]"),
     "{}/design.json: has schema None, this samebits reads 1; compile the model again"),
    ("newer", edit(lambda v: v.update(schema=2)),
     "{}/design.json: has schema 2, this samebits reads 1; compile the model again"),
    ("arrays cut", cut("design.npz"),
     "{}/design.npz: does not belong to design.json; compile the model again"),
    ("arrays gone", lambda f: (f / "design.npz").unlink(),
     "{}/design.npz: cannot be read: No such file"),
    ("no graph", edit(lambda v: v.pop("graph")), "{}/design.json: is damaged (KeyError: 'graph')"),
    ("no target", edit(lambda v: v.pop("target")), "{}/design.json: is damaged (KeyError: "),
    ("no files", edit(lambda v: v.pop("files")), "{}/design.json: is damaged (KeyError: 'files')"),
    ("bad target", edit(lambda v: v["target"].update(clock_mhz=0)),
     "{}/design.json: is damaged (UsageError: clock_mhz must be"),
    ("other field", edit(lambda v: v["target"].update(colour="red")),
     "{}/design.json: is damaged (TypeError: "),
    ("other clock", edit(lambda v: v["target"].update(clock_mhz=100)),
     "{}/design.json: was changed by hand; compile the model again"),
    ("other node", edit(lambda v: v["graph"]["nodes"][0].__setitem__(0, "pad")),
     "{}/design.json: "),
    ("node cut", edit(lambda v: v["graph"]["nodes"][0].pop()), "{}/design.json: is damaged ("),
    ("node gone", edit(lambda v: v["graph"]["nodes"].pop(0)), "{}/design.json: is damaged ("),
    ("graph is text", edit(lambda v: v.update(graph="x")), "{}/design.json: is damaged ("),
    ("tensors is a list", edit(lambda v: v["graph"].update(tensors=[1])),
     "{}/design.json: is damaged ("),
    ("constant", edit(rename_constant), "{}/design.json: is damaged ("),
    ("arrays damaged", flip_arrays, "{}/design.json: is damaged (BadZipFile: "),
    ("nested without end", lambda f: (f / "design.json").write_text("[" * 10**5),
     "{}/design.json: cannot be read: "),
    ("a billion bits", edit(widen), "{}/design.json: is damaged (FormatError: Format: 1000000000 "),
    ("features", edit(lambda v: v.update(features=[1])),
     "{}/design.json: is damaged (TypeError: features are no list of texts)"),
    ("notes", edit(lambda v: v.update(notes=7)), "{}/design.json: is damaged (TypeError: "),
]  # fmt: skip


@pytest.mark.parametrize(
    ("damage", "message"), [d[1:] for d in DAMAGES], ids=[d[0] for d in DAMAGES]
)
def test_damage_is_named(damage: Callable[[Path], object], message: str, build: Path) -> None:
    damage(build)
    with pytest.raises(errors.BuildError) as caught:
        Design.load(build)
    assert str(caught.value).startswith(message.format(build))
    assert str(caught.value).count("\n") == 0


def test_a_damaged_build_is_replaced_only_with_force(design: Design, build: Path) -> None:
    cut("design.json")(build)
    with pytest.raises(errors.BuildError, match="already holds another design"):
        design.save(build)
    design.save(build, force=True)
    assert Design.load(build).fingerprint == design.fingerprint


def test_a_pickle_in_the_arrays_is_not_read(build: Path) -> None:
    np.savez(build / "design.npz", constant0=np.array([{"a": 1}], dtype=object))
    edit(lambda v: v["files"].update({"design.npz": storage._sha256(build / "design.npz")}))(build)
    with pytest.raises(errors.BuildError, match=r"is damaged .*allow_pickle=False"):
        Design.load(build)


@pytest.mark.parametrize("place", ["file", "file/build"])
def test_a_file_in_the_way(design: Design, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    folder = tmp_path / place
    with pytest.raises(errors.BuildError) as caught:
        design.save(folder)
    reason = "is a file; give a folder" if place == "file" else "cannot be written: Not a directory"
    assert str(caught.value) == f"{folder}: {reason}"
    assert content(tmp_path) == {"file": b"mine"}


def test_a_folder_that_cannot_be_written(design: Design) -> None:
    folder = Path("/proc/samebits-test")  # not even root can
    with pytest.raises(errors.BuildError) as caught:
        design.save(folder)
    assert str(caught.value) == f"{folder}: cannot be written: No such file or directory"


def full_disk(*arguments: Any, **options: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(*arguments: Any, **options: Any) -> Any:
    raise KeyboardInterrupt


STEPS = {
    "arrays": "numpy.savez_compressed",
    "models": "pathlib.Path.write_bytes",
    "design.json": "pathlib.Path.write_text",
    "hls": "samebits.firmware.hls_project.write_project",
    **{f"move {number}": "samebits.storage._move" for number in range(10)},
}
OLD_MOVES = storage.ARTEFACTS  # without an old design there is nothing to move away


@pytest.mark.parametrize("fault", [full_disk, interrupted])
@pytest.mark.parametrize(
    ("step", "old"),
    [(step, True) for step in STEPS] + [(step, False) for step in list(STEPS)[: -len(OLD_MOVES)]],
)
def test_nothing_half_written_is_left(
    design: Design,
    other: Design,
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    fault: Callable[..., Any],
    old: bool,
) -> None:
    folder = tmp_path / "new" / "build"
    if old:
        shutil.copytree(saved, folder)
    before = content(folder)
    if step.startswith("move"):
        number, real, count = int(step.split()[1]), storage._move, iter(range(99))

        def fail(source: Path, destination: Path) -> None:
            if next(count) == number:
                fault()
            real(source, destination)

        monkeypatch.setattr(STEPS[step], fail)
    elif step == "design.json":
        write_text = Path.write_text

        def write(path: Path, *arguments: Any, **options: Any) -> int:
            if path.name == "design.json":
                fault()
            return write_text(path, *arguments, **options)

        monkeypatch.setattr(Path, "write_text", write)
    else:
        monkeypatch.setattr(STEPS[step], fault)
    expected = KeyboardInterrupt if fault is interrupted else errors.BuildError
    with pytest.raises(expected) as caught:
        other.save(folder, force=True)
    if fault is full_disk:
        assert str(caught.value) == f"{folder}: cannot be written: No space left on device"
    monkeypatch.undo()
    assert content(folder) == before
    if not old:
        assert not folder.exists()
    else:
        assert Design.load(folder).fingerprint == design.fingerprint


def test_a_disk_that_fills_while_hls4ml_writes(
    design: Design, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(errors.SamebitsError, match="No space left on device"):
        design.save(tmp_path / "build")
    assert not (tmp_path / "build").exists()


def half_write(path: Path, fault: type[BaseException]) -> None:
    with storage.replace_file(path) as temporary:
        temporary.write_text("half")
        raise fault


def test_replace_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with storage.replace_file(path) as temporary:
        temporary.write_text("one")
    assert path.read_text() == "one"
    assert path.stat().st_mode & 0o777 == 0o644
    for fault in (KeyboardInterrupt, ValueError):
        with pytest.raises(fault):
            half_write(path, fault)
    with pytest.raises(errors.BuildError) as caught, storage.replace_file(path):
        full_disk()
    assert str(caught.value) == f"{path}: cannot be written: No space left on device"
    assert content(tmp_path) == {"deep/file.txt": b"one"}
    with pytest.raises(errors.BuildError) as caught, storage.replace_file(path / "below"):
        pass
    assert str(caught.value) == f"{path / 'below'}: cannot be written: File exists"


def test_several_at_once_in_one_folder(design: Design, tmp_path: Path) -> None:
    folder = tmp_path / "build"

    def write_hls(place: Path) -> None:
        place.mkdir()
        (place / "a").touch()

    def write(_: int) -> None:
        graph, target = design.graph, design.target
        for _ in range(25):
            storage.write_design(
                folder, graph, target, {}, b"", b"", {"hls": write_hls}, force=True
            )
            storage.read_design(folder)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert sorted(content(folder)) == [
        "design.json",
        "design.npz",
        "firmware.onnx",
        "hls/a",
        "model.onnx",
    ]


def test_files_are_written_all_or_none(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "build"

    def full(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(errors.BuildError) as error:
        storage.write_files(folder, {"a": lambda path: path.write_bytes(b"1"), "b": full})
    assert str(error.value) == f"{folder}: cannot be written: No space left on device"
    assert list(tmp_path.iterdir()) == []
    storage.write_files(folder, {"a": lambda path: path.write_bytes(b"1")})
    with pytest.raises(errors.BuildError):
        storage.write_files(folder, {"a": lambda path: path.write_bytes(b"2"), "b": full})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": b"1"}


def test_a_file_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    def interrupted() -> None:
        with storage.replace_file(tmp_path / "new" / "file") as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
