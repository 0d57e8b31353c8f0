"""`samebits simulate`: scores in every format, layers, and nothing half-written."""

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import Design, Target

from ...models import ModelWriter, float_mlp
from .command import Command


def expected(build: Path, events: Path) -> Any:
    return Design.load(build).simulate(np.load(events)["features"])


def test_scores_are_shown(samebits: Command, build: Path, events: Path) -> None:
    result = samebits("simulate", build, events)
    assert result.code == 0
    assert result.stdout.startswith("20 events in ")
    assert f"Softmax_0, first events:\n{expected(build, events)[:5]}\n" in result.stdout


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".csv"])
def test_scores_are_written_exactly(
    samebits: Command, build: Path, events: Path, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / "new" / f"scores{suffix}"
    result = samebits("simulate", build, events, "-o", path, "--json")
    assert result.code == 0
    assert json.loads(result.stdout)["output"] == str(path)
    assert json.loads(result.stdout)["events"] == 20
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            assert list(arrays) == ["Softmax_0"]
            got = arrays["Softmax_0"]
    else:
        got = np.load(path) if suffix == ".npy" else np.loadtxt(path, delimiter=",", skiprows=1)
    assert np.array_equal(got, expected(build, events))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_events_of_text_are_the_same_events(
    samebits: Command, build: Path, events: Path, tmp_path: Path
) -> None:
    text, scores = tmp_path / "events.csv", tmp_path / "scores.npy"
    np.savetxt(text, np.load(events)["features"], delimiter=",", fmt="%.17g")
    assert samebits("simulate", build, text, "-o", scores).code == 0
    assert np.array_equal(np.load(scores), expected(build, events))
    emulated = tmp_path / "emulated.npy"
    assert samebits("emulate", build / "firmware.onnx", text, "-o", emulated).code == 0
    assert np.array_equal(np.load(emulated), expected(build, events))


def test_a_spreadsheets_mark_before_the_names_is_no_part_of_them(
    samebits: Command, build: Path, events: Path, tmp_path: Path
) -> None:
    x, scores = np.load(events)["features"], tmp_path / "scores.npy"
    np.savetxt(tmp_path / "a.csv", x, delimiter=",", fmt="%.17g")
    text = (tmp_path / "a.csv").read_text()
    (tmp_path / "a.csv").write_text(text, encoding="utf-8-sig")
    assert samebits("simulate", build, tmp_path / "a.csv", "-o", scores).code == 0
    assert np.array_equal(np.load(scores), expected(build, events))


def test_one_tree_of_several(samebits: Command, build: Path, events: Path, tmp_path: Path) -> None:
    uproot = pytest.importorskip("uproot")
    x, path, scores = np.load(events)["features"], tmp_path / "nano.root", tmp_path / "s.npy"
    with uproot.recreate(path) as file:
        file["l1/Events"] = {f"x{i}": x[:, i] for i in range(4)}
        file["Runs"] = {"run": np.arange(2)}
    assert samebits("simulate", build, path).error.endswith(
        f"choose one of: l1/Events, Runs; as in {path}:l1/Events"
    )
    for command in (("simulate", build), ("emulate", build / "firmware.onnx")):
        assert samebits(*command, f"{path}:l1/Events", "-o", scores).code == 0
        assert np.array_equal(np.load(scores), expected(build, events))
        scores.unlink()


def test_layers_are_written(samebits: Command, build: Path, events: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace.npz"
    assert samebits("simulate", build, events, "-o", path, "--trace").code == 0
    trace = Design.load(build).trace(np.load(events)["features"])
    with np.load(path, allow_pickle=False) as arrays:
        assert set(arrays) == {"Softmax_0", *(f"layer:{name}" for name in trace)}
        assert all(np.array_equal(arrays[f"layer:{k}"], v) for k, v in trace.items())


def test_unknown_suffixes(samebits: Command, build: Path, events: Path, tmp_path: Path) -> None:
    for name, options, wanted in (
        ("a.txt", [], ".npz, .npy, .parquet, .root, .csv"),
        ("a", [], ".npz, .npy, .parquet, .root, .csv"),
        ("a.npy", ["--trace"], ".npz"),
    ):
        path = tmp_path / name
        result = samebits("simulate", build, events, "-o", path, *options)
        assert (result.code, result.error) == (2, f"{path}: unknown suffix; wanted {wanted}")
        assert not path.exists()


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
def test_nothing_half_written_is_left(
    samebits: Command,
    build: Path,
    events: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: BaseException,
) -> None:
    path = tmp_path / "out" / "scores.npy"
    path.parent.mkdir()
    path.write_bytes(b"old")

    def fail(stream: Any, *arguments: Any, **options: Any) -> None:
        stream.write(b"half")
        raise fault

    monkeypatch.setattr(np.lib.format, "write_array_header_2_0", fail)
    result = samebits("simulate", build, events, "-o", path)
    assert result.code == 2
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["scores.npy"]


def test_several_inputs_come_by_name(samebits: Command, tmp_path: Path) -> None:
    write = ModelWriter()
    for name in "ab":
        write.output(write.gemm(write.input(name), 4, 3), 3)
    build, path = tmp_path / "build", tmp_path / "x.npz"
    assert samebits("compile", write.save(tmp_path / "m.onnx"), "-o", build).code == 0
    rng = np.random.default_rng(2)
    arrays = {name: rng.normal(0, 1, (9, 4)) for name in "ab"}
    names = Design.load(build).graph.inputs
    assert set(names) == set(arrays)
    np.savez(path, **arrays)
    result = samebits("simulate", build, path, "--json", "-o", tmp_path / "y.npz")
    assert result.code == 0
    assert json.loads(result.stdout)["events"] == 9
    with np.load(tmp_path / "y.npz", allow_pickle=False) as found:
        for got, scores in zip(found.values(), Design.load(build).simulate(arrays), strict=True):
            assert np.array_equal(got, scores)
    assert samebits("verify", build, path, "--against", "onnxruntime").code == 0

    wanted = f"the network has 2 inputs: give a .npz or .h5 file with arrays {', '.join(names)}"
    np.savez(path, a=arrays["a"], c=arrays["b"])
    for command in ("simulate", "verify"):
        assert (
            samebits(command, build, path).error == f"{path}: has no array b, only a, c; {wanted}"
        )
        other = tmp_path / "y.npy"
        assert samebits(command, build, other).error == f"{other}: {wanted}"
        absent = tmp_path / "absent.npz"
        assert samebits(command, build, absent).error.startswith(f"{absent}: cannot be read as ")


def test_neither_hls4ml_nor_tensorflow_nor_onnx_is_imported(build: Path, events: Path) -> None:
    script = (
        "import sys, numpy, samebits\n"
        "design = samebits.Design.load(sys.argv[1])\n"
        "design.simulate(numpy.load(sys.argv[2])['features'])\n"
        "design.trace(numpy.zeros((1, 4)))\n"
        "heavy = {'hls4ml', 'tensorflow', 'onnx', 'onnxruntime', 'qonnx', 'keras', 'rich', 'typer',"
        " 'sklearn', 'matplotlib', 'pydantic', 'alkaid'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", script, str(build), str(events)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_import_is_immediate() -> None:
    script = (
        "import time; start = time.perf_counter(); import samebits; "
        "print(time.perf_counter() - start); import sys; print('numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    seconds, numpy = done.stdout.split()
    assert float(seconds) < 0.3
    assert numpy == "False"


def test_doubles_are_cast_alike_by_both_engines(build: Path) -> None:
    # just beside a tie of the input format: rounded to float32 first they would be on it
    design = Design.load(build)
    lsb = design.graph.tensors[design.graph.inputs[0]].format.lsb
    rng = np.random.default_rng(2)
    x = (rng.integers(-64, 64, (500, 4)) + 0.5) * lsb * (1 + rng.choice([-1e-12, 1e-12], (500, 4)))
    assert not np.array_equal(x, x.astype(np.float32))
    answer = np.asarray(design.simulate(x))
    assert np.array_equal(answer, np.asarray(design.simulate(x, engine="native")))


def test_files_keep_doubles_where_the_input_needs_them(samebits: Command, tmp_path: Path) -> None:
    build, target = tmp_path / "wide", Target(precision={"default": "fixed<30,8>"})
    model = float_mlp("Tanh").save(tmp_path / "wide.onnx")
    Design.from_onnx(model, target).save(build)
    x = np.random.default_rng(3).uniform(-100, 100, (50, 4))
    np.savez(tmp_path / "x.npz", features=x)
    header = '"a",b,c,d,"label"'
    table = np.hstack([x, x[:, :1] > 0])
    np.savetxt(tmp_path / "x.csv", table, delimiter=",", header=header, comments="", fmt="%.17g")
    wanted = np.asarray(Design.load(build).simulate(x))
    for suffix in ("npz", "csv"):
        result = samebits("simulate", build, tmp_path / f"x.{suffix}", "-o", tmp_path / "y.npy")
        assert result.code == 0
        assert np.array_equal(np.load(tmp_path / "y.npy"), wanted)
