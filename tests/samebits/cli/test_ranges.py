"""`samebits ranges`, `compile --tighten` and `verify --ranges`."""

import json
from pathlib import Path

import numpy as np
import pytest

from samebits import Design

from ...models import float_mlp, quantized_mlp
from .command import Command

RELU = "Relu_0, result (Relu_0/cast), element [3]: ap_fixed<16,6,TRN,WRAP> wraps: "


@pytest.fixture(scope="module")
def wrapping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build directory in whose network a ReLU wraps; do not write to it."""
    folder = tmp_path_factory.mktemp("cli") / "build"
    Design.from_onnx(float_mlp().model()).save(folder)
    return folder


def test_the_table_names_types_and_verdicts(samebits: Command, compiled: Path) -> None:
    result = samebits("ranges", compiled)
    assert result.code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Proven ranges; inputs: all that the input formats hold")
    accum = next(x for x in lines if "Dense_MatMul_0" in x and "accum" in x)
    for words in ("fixed<17,9>", "-10.8125 .. 9.28516", "<13,5>", "cannot overflow"):
        assert words in accum
    assert "clips" in next(x for x in lines if "Relu_0" in x)
    assert any("internal x2" in line for line in lines)


def test_a_witness_is_printed_and_saved(samebits: Command, wrapping: Path, tmp_path: Path) -> None:
    result = samebits("ranges", wrapping, "--save", tmp_path / "found.npz")
    assert result.code == 0
    found = "37.8115234375 arrives and becomes -26.1884765625; ap_fixed<17,7,TRN,WRAP> would hold"
    assert f"{RELU}{found} everything; searched: x = [" in result.stdout
    with np.load(tmp_path / "found.npz") as saved:
        (event,) = saved["features"]
    trace = Design.load(wrapping).trace(event[None])
    assert trace["Relu_0"][0, 3] == -26.1884765625
    assert samebits("simulate", wrapping, tmp_path / "found.npz").code == 0


def test_json(samebits: Command, wrapping: Path) -> None:
    values = json.loads(samebits("ranges", wrapping, "--json", "--within", "-1:1").stdout)
    assert values["within"] == "-1:1"
    assert {one["status"] for one in values["ranges"].values()} == {"cannot overflow"}
    values = json.loads(samebits("ranges", wrapping, "--json", "--seconds", "0").stdout)
    assert values["ranges"]["Relu_0"]["verdict"] == "not decided"


def test_events_give_the_range(samebits: Command, wrapping: Path, events: Path) -> None:
    result = samebits("ranges", wrapping, events)
    assert "inputs: the range of the data" in result.stdout
    assert "wraps" not in result.stdout


@pytest.mark.parametrize(
    ("within", "message"),
    [
        (["1..2"], "--within must be data, format, LOW:HIGH or INPUT=LOW:HIGH, got '1..2'"),
        (["y=0:1"], "ranges: there is no input 'y'; inputs: x"),
        (["2:1"], "ranges: x: (2.0, 1.0) is not a finite range low <= high"),
        (
            ["data"],
            "--within data: there are no data: give events, or a folder with the training",
        ),
    ],
)
def test_wrong_usage(samebits: Command, compiled: Path, within: list[str], message: str) -> None:
    result = samebits("ranges", compiled, *(x for text in within for x in ("--within", text)))
    assert (result.code, result.error) == (2, message)


def test_verify_fails_where_a_type_wraps(samebits: Command, wrapping: Path, tmp_path: Path) -> None:
    arguments = "verify", wrapping, "--against", "onnxruntime", "--ranges"
    result = samebits(*arguments)
    assert result.code == 1
    assert f"error: {RELU}37.8115234375 arrives and becomes -26.1884765625; " in result.stderr
    assert result.stderr.splitlines()[-1] == (
        "ranges (inputs: all that the input formats hold): 5 cannot overflow, 1 wraps"
    )
    within = samebits(*arguments, "--within", "x=-8:8")
    assert within.code == 0
    assert within.stderr.splitlines()[-1] == "ranges (inputs: x=-8:8): 6 cannot overflow"
    values = json.loads(samebits(*arguments, "--json").stdout)
    assert values["mismatching_bits"] == 0
    assert values["ranges"]["Relu_0"]["verdict"] == "wraps"


def test_verify_takes_the_range_of_its_data(
    samebits: Command, wrapping: Path, tmp_path: Path
) -> None:
    x = np.random.default_rng(1).normal(0, 2, (50, 4)).astype(np.float32)
    np.savez(tmp_path / "good.npz", features=x)
    x[17, 2] = 45.0  # beyond the input's format: it wraps at the very door
    np.savez(tmp_path / "bad.npz", features=x)
    arguments = "--against", "onnxruntime", "--ranges"
    good = samebits("verify", wrapping, tmp_path / "good.npz", *arguments)
    assert good.code == 0
    assert "ranges (inputs: the range of the data): 6 cannot overflow" in good.stderr
    bad = samebits("verify", wrapping, tmp_path / "bad.npz", *arguments)
    assert bad.code == 1
    assert (
        "error: input x, element [2]: ap_fixed<16,6,TRN,WRAP> wraps: 45.0 arrives and becomes "
        "-19.0; ap_fixed<17,7,TRN,WRAP> would hold everything; event 17 of the data: x = ["
    ) in bad.stderr


def test_clipping_is_no_failure(samebits: Command, compiled: Path) -> None:
    result = samebits("verify", compiled, "--against", "onnxruntime", "--ranges")
    assert result.code == 0
    assert result.stderr.splitlines()[-1].endswith("13 cannot overflow, 1 clips")


def test_what_is_not_decided_is_said(
    samebits: Command, wrapping: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samebits.ranges.find_witnesses", lambda *args, **options: {})
    result = samebits("verify", wrapping, "--against", "onnxruntime", "--ranges")
    assert result.code == 0
    assert (
        "Relu_0, result (Relu_0/cast): ap_fixed<16,6,TRN,WRAP>: overflow not decided: proven 0 .. "
        "37.8115, nothing reached"
    ) in result.stderr


def test_within_needs_ranges(samebits: Command, compiled: Path) -> None:
    result = samebits("verify", compiled, "--within", "-1:1")
    assert (result.code, result.error) == (
        2, "--within says which inputs --ranges expects: give --ranges too",
    )  # fmt: skip


def test_compile_tightens(samebits: Command, tmp_path: Path) -> None:
    model = quantized_mlp().save(tmp_path / "model.onnx")
    result = samebits("compile", model, "-o", tmp_path / "out", "--tighten")
    assert result.code == 0
    assert "Types tightened: the same bits" in result.stdout
    row = next(x for x in result.stdout.splitlines() if "accum" in x and "MatMul_0" in x)
    assert "ap_fixed<17,9,TRN,WRAP>" in row
    assert "ap_fixed<13,5,TRN,WRAP>" in row
    assert (
        "Softmax_0_widened_act: result stays ap_fixed<11,6,RND_CONV,SAT>, although "
        "ap_fixed<10,5,RND_CONV,SAT> would hold its numbers: Softmax_0/exp_table: the numbers "
        "themselves are other ones in this type"
    ) in result.stdout
    assert "proved equal at every layer, and equal on " in result.stdout
    plain = samebits("compile", model, "-o", tmp_path / "plain", "--json")
    assert json.loads(plain.stdout)["tightened"] is None
    x = np.random.default_rng(4).uniform(-9, 9, (2000, 4))
    tight, wide = (Design.load(tmp_path / name) for name in ("out", "plain"))
    assert np.array_equal(tight.simulate(x), wide.simulate(x))
    assert tight.fingerprint != wide.fingerprint
