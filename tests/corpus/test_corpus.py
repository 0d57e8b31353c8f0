"""hls4ml's own networks as its C simulation computed them: exact, or refused with the reason."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from samebits.compile.lowering import BACKENDS, LAYERS

from .runner import EXACT, UNSUPPORTED, Result, main, run_case, run_folder, summary

CASES = Path(__file__).parent / "cases"
WIDER_THAN_ONNX = 3  # cases with integers beyond 63 bits
SUPPORTED = {"Input", *LAYERS}


def whole_folder() -> Path | None:
    """The whole collection: $SAMEBITS_CORPUS, or shared/corpus beside the repository."""
    named = os.environ.get("SAMEBITS_CORPUS")
    folder = Path(named) if named else Path(__file__).parents[3] / "shared" / "corpus"
    return folder if folder.is_dir() else None


def check(results: list[Result]) -> None:
    print(summary(results))
    assert not [result for result in results if not result.good]
    assert not [x for x in results if x.backend in BACKENDS and x.status != EXACT]
    assert not [x for x in results if x.status == EXACT and not x.compared]
    for result in results:
        if result.backend not in BACKENDS:
            assert result.detail == (
                f"unsupported backend {result.backend}; supported: Vivado, Vitis"
            )


def test_recorded_cases_are_exact_or_refused() -> None:
    """The NumPy engine against the recordings, firmware.onnx against it at all four levels."""
    results = list(run_folder(CASES, onnxruntime=True))
    check(results)
    without = [result for result in results if "no firmware.onnx" in result.detail]
    assert all("needs integers beyond 63 bits" in result.detail for result in without)
    assert len(without) == WIDER_THAN_ONNX
    assert Counter(result.status for result in results) == {EXACT: 136, UNSUPPORTED: 2}


def test_the_cases_reach_every_layer_that_can_be_lowered() -> None:
    seen = {
        layer for result in run_folder(CASES) if result.status == EXACT for layer in result.layers
    }
    assert seen == SUPPORTED - NOT_RECORDED


NOT_RECORDED = {
    "TernaryTanh",  # hls4ml 1.3 makes it an Activation in every recorded network
    "TimeDistributed",  # hls4ml cannot write such a graph to a file
    *("Constant", "DACombinational", "SimpleRNN"),  # tests/compile/lowering has them
}


def test_whole_collection() -> None:
    folder = whole_folder()
    if folder is None:
        pytest.skip("no collection: set SAMEBITS_CORPUS to a folder of recorded cases")
    check(list(run_folder(folder)))


def test_a_wrong_bit_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = next(CASES.glob("trace__trace__relu*"))
    copy = tmp_path / case.name
    copy.mkdir()
    for file in case.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert run_case(copy, onnxruntime=True).status == EXACT
    for file in ("outputs.npz", "trace.npz"):
        whole = dict(np.load(case / file))
        name = sorted(whole)[-1]
        wrong = whole[name].copy()
        wrong.flat[7] += 2.0**-10
        np.savez(copy / file, **{**whole, name: wrong})
        result = run_case(copy)
        assert result.status == "MISMATCH"
        assert f"1 of {wrong.size} differ; first event" in result.detail
        assert main([str(tmp_path)]) == 1
        assert "    1  MISMATCH" in capsys.readouterr().out
        (copy / file).write_bytes((case / file).read_bytes())
    assert main([str(tmp_path)]) == 0


def test_an_empty_folder_is_no_success(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 2
