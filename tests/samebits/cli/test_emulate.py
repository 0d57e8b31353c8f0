"""`samebits emulate`: the firmware's answers in every file format, without hls4ml."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from samebits import Design, event_files
from samebits.compile.builder import GraphBuilder
from samebits.compile.emitters.onnx import to_onnx
from samebits.compile.ir import Format, Graph

from ...models import float_mlp
from .command import Command

NAMES = ("pt", "eta", "phi", "mass")
FMT = Format(True, 8, 4)


@pytest.fixture
def x(events: Path) -> Any:
    return np.load(events)["features"]


@pytest.fixture
def firmware(build: Path, x: Any) -> Path:
    return build / "firmware.onnx"


def expected(build: Path, x: Any) -> Any:
    return Design.load(build).simulate(x)


def saved(path: Path, x: Any) -> Path:
    """Events in a file of any format; columns in another order than the network's."""
    columns = {name: x[:, NAMES.index(name)] for name in reversed(NAMES)}
    match path.suffix:
        case ".npz":
            np.savez(path, features=x)
        case ".h5":
            h5py = pytest.importorskip("h5py")
            with h5py.File(path, "w") as file:
                file["features"] = x[:, ::-1]
                file["feature_names"] = NAMES[::-1]
        case ".parquet":
            arrow = pytest.importorskip("pyarrow")
            parquet = pytest.importorskip("pyarrow.parquet")
            parquet.write_table(arrow.table(columns), path, row_group_size=7)
        case ".root":
            uproot = pytest.importorskip("uproot")
            with uproot.recreate(path) as file:
                file.mktree("events", {name: np.float32 for name in columns}).extend(columns)
        case ".csv":
            lines = [",".join(columns), *(",".join(map(repr, row)) for row in x[:, ::-1].tolist())]
            path.write_text("\n".join(lines) + "\n")
    return path


def scores(path: Path) -> Any:
    match path.suffix:
        case ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                (name,) = arrays
                assert name == "Softmax_0"
                return arrays[name]
        case ".parquet":
            table = pytest.importorskip("pyarrow.parquet").read_table(path)
            assert table.column_names == [f"Softmax_0_{i}" for i in range(3)]
            return np.stack([table.column(name).to_numpy() for name in table.column_names], axis=1)
        case ".root":
            with pytest.importorskip("uproot").open(path) as file:
                columns = file["scores"].arrays(library="np")
            return np.stack([columns[f"Softmax_0_{i}"] for i in range(3)], axis=1)
        case ".csv":
            assert path.read_text().startswith("Softmax_0_0,Softmax_0_1,Softmax_0_2\n")
            return np.loadtxt(path, delimiter=",", skiprows=1)


@pytest.mark.parametrize("kind", [".npz", ".h5", ".parquet", ".root", ".csv"])
def test_events_of_every_format_in_small_pieces(
    samebits: Command,
    firmware: Path,
    x: Any,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_files, "_PIECE_NUMBERS", 12)  # three events
    source, out = saved(tmp_path / f"in{kind}", x), tmp_path / "new" / "out.npz"
    named = () if kind == ".npz" else ("--columns", ",".join(NAMES))
    result = samebits("emulate", firmware, source, "-o", out, *named, "--json")
    assert result.code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["events"] == 20
    assert summary["fingerprint"] == Design.load(firmware.parent).fingerprint
    assert summary["columns"] == ([] if kind == ".npz" else list(NAMES))
    assert np.array_equal(scores(out), expected(firmware.parent, x))
    assert [p.name for p in out.parent.iterdir()] == ["out.npz"]


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("file_raw", [False, True])
@pytest.mark.parametrize("kind", [".npz", ".parquet", ".root", ".csv"])
def test_scores_of_every_format(
    samebits: Command,
    firmware: Path,
    events: Path,
    x: Any,
    kind: str,
    file_raw: bool,
    raw: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_files, "_PIECE_NUMBERS", 12)
    if file_raw:
        Design.load(firmware.parent).export_onnx(firmware, raw=True)
    out = tmp_path / f"out{kind}"
    options = ["--raw"] if raw else []
    assert samebits("emulate", firmware, events, "-o", out, *options).code == 0
    got, wanted = scores(out), expected(firmware.parent, x)
    if raw:
        fmt = Design.load(firmware.parent).graph.tensors
        fraction = fmt[Design.load(firmware.parent).graph.outputs[0]].format.fraction
        assert kind == ".csv" or got.dtype == np.int64
        wanted = np.ldexp(wanted, fraction)
    assert np.array_equal(got, wanted)


def test_answers_are_shown_without_an_output(
    samebits: Command, firmware: Path, events: Path, x: Any
) -> None:
    result = samebits("emulate", firmware, events)
    assert result.code == 0
    assert result.stdout.startswith("20 events in ")
    assert f"{expected(firmware.parent, x)[:5].astype(np.float32)}\n" in result.stdout


def test_the_names_that_the_network_was_trained_on(
    samebits: Command, firmware: Path, x: Any, tmp_path: Path
) -> None:
    model = onnx.load(firmware)
    (entry,) = (item for item in model.metadata_props if item.key == "samebits.features")
    entry.value = json.dumps(NAMES)
    onnx.save(model, firmware)
    out = tmp_path / "out.npz"
    assert samebits("emulate", firmware, saved(tmp_path / "x.csv", x), "-o", out).code == 0
    assert np.array_equal(scores(out), expected(firmware.parent, x))
    other = tmp_path / "y.csv"
    other.write_text("pt,eta,phi,energy\n1,2,3,4\n")
    assert samebits("emulate", firmware, other).error == (
        f"{other}: has no column mass, which the network takes; it has pt, eta, phi, energy"
    )


def two_in_two_out(path: Path) -> Graph:
    build = GraphBuilder()
    a, b = build.input("a", (3, 2), FMT), build.input("b", (1, 1), Format(False, 30, 20))
    plus = build.apply("add", a, b)
    graph = build.graph((plus.name, build.cast(plus, FMT, name="narrow").name))
    onnx.save(to_onnx(graph), path)
    return graph


def test_several_inputs_and_outputs(
    samebits: Command, tmp_path: Path, rng: np.random.Generator
) -> None:
    from samebits.sim.numpy_engine import NumpyEngine

    firmware, events, out = (tmp_path / name for name in ("f.onnx", "e.npz", "s.npz"))
    graph = two_in_two_out(firmware)
    a, b = rng.normal(0, 4, (30, 3, 2)).astype(np.float32), rng.uniform(0, 9, (30, 1, 1))
    np.savez(events, b=b, a=a.reshape(30, 6))
    assert samebits("emulate", firmware, events, "-o", out).code == 0
    wanted = NumpyEngine(graph).run([a, b], graph.outputs)
    with np.load(out) as arrays:
        assert list(arrays) == ["add", "narrow"]
        assert all(np.array_equal(arrays[k], y) for k, y in zip(arrays, wanted, strict=True))
    table = tmp_path / "e.csv"
    table.write_text("1,2,3\n")
    assert samebits("emulate", firmware, table).error == (
        f"{table}: the firmware has 2 inputs: give a .npz or .h5 file with one array for each "
        "(a, b)"
    )


def refusals(folder: Path) -> dict[str, tuple[Any, str]]:
    x = np.zeros((3, 4))
    nan, huge = x.copy(), x.copy()
    nan[2, 1], huge[1, 0] = np.nan, 1e300
    return {
        "nan": ({"features": nan}, "input x: event 2, feature 1 is nan, which is not finite;"),
        "huge": ({"features": huge}, "event 1, feature 0 is 1e+300, which is beyond float32;"),
        "narrow": ({"features": x[:, :3]}, "input x: got events of shape (3,), wanted (4,),"),
        "none": ({"features": x[:0]}, "holds no events; at least one is needed"),
        "text": ({"features": x.astype(str)}, "input x: holds <U32, wanted numbers"),
        "other": ({"data": x}, "has no array features; it has: data; wanted features or x"),
    }


@pytest.mark.parametrize("case", list(refusals(Path())))
def test_events_that_do_not_fit(
    samebits: Command, firmware: Path, case: str, tmp_path: Path
) -> None:
    arrays, message = refusals(tmp_path)[case]
    path, out = tmp_path / f"{case}.npz", tmp_path / "out.npz"
    np.savez(path, **arrays)
    result = samebits("emulate", firmware, path, "-o", out)
    assert result.code == 2
    assert message in result.error
    assert result.error.startswith(str(path))
    assert not out.exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_files_that_are_no_firmware(samebits: Command, events: Path, tmp_path: Path) -> None:
    model = float_mlp().save(tmp_path / "model.onnx")
    assert samebits("emulate", model, events).error == (
        f"{model}: is not a firmware.onnx of samebits (no formats in its metadata); give the "
        "firmware.onnx of a build directory, or the one that `Design.export_onnx` wrote"
    )
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(model.read_bytes()[:100])
    assert f"{damaged}: is no ONNX model that runs" in samebits("emulate", damaged, events).error
    assert samebits("emulate", tmp_path, events).error == (
        f"{tmp_path}: is a folder; give the firmware.onnx in it"
    )
    assert samebits("emulate", tmp_path / "no", events).error == f"{tmp_path / 'no'}: no such file"


def test_wrong_names_of_files(
    samebits: Command, firmware: Path, events: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.txt"
    assert samebits("emulate", firmware, events, "-o", out).error == (
        f"{out}: unknown suffix; wanted one of .npz, .npy, .parquet, .root, .csv"
    )
    assert samebits("emulate", firmware, events, "-o", events).error == (
        f"{events}: is also what is read; choose another name"
    )
    assert samebits("emulate", firmware, out).error == (
        f"{out}: got the file type '.txt', wanted one of .npz, .h5, .hdf5, .parquet, .root, .csv"
    )


def test_damaged_lines_of_text(samebits: Command, firmware: Path, tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text("1,2,3,4\n1,2,x,4\n")
    assert samebits("emulate", firmware, path).error == (
        f"{path}: line 2 has 'x' in column 3; wanted numbers between commas, 4 in every line"
    )
    path.write_text("a,b,c,d\n1,2,3,4\n\n1,2\n")
    assert samebits("emulate", firmware, path).error == (
        f"{path}: line 4 has 2 entries; wanted numbers between commas, 4 in every line"
    )
    path.write_text("1,2,3\n")
    assert samebits("emulate", firmware, path).error == (
        f"{path}: got 3 columns without names, the input x [4] ap_fixed<8,4,RND_CONV,SAT> takes 4 "
        "numbers; write a first line of names"
    )


def test_onnx_runtime_and_numpy_are_enough(firmware: Path, events: Path) -> None:
    missing = ("hls4ml", "qonnx", "tensorflow", "keras", "onnx")
    code = (
        "import sys; sys.argv = ['samebits', 'emulate', *sys.argv[1:]]\n"
        f"sys.modules.update(dict.fromkeys({missing}))\n"
        "from samebits.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "print(*(name for name in sys.modules if sys.modules[name]), sep='\\n')"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, firmware, events],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded = set(run.stdout.split())
    assert "onnxruntime" in loaded
    assert not loaded & {*missing, "uproot", "pyarrow", "h5py", "scipy"}
