"""`Design.rtl` and `Design.verify(against=["rtl"])`: the RTL of a design on disk."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import Design, errors
from samebits.firmware import toolchain, verilator
from samebits.firmware.rtl import read_rtl

from ..models import quantized_mlp

pytest.importorskip("alkaid", reason="alkaid is in the extra rtl")


def why_not() -> str:
    try:
        verilator.find_verilator()
        toolchain.find_cxx()
    except errors.ToolError as error:
        return str(error)
    return ""


simulated = pytest.mark.skipif(bool(why_not()), reason=why_not() or "never skipped")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Design:
    design = Design.from_onnx(quantized_mlp().model())
    design.save(tmp_path_factory.mktemp("rtl") / "build")
    return design


@simulated
def test_same_bits_and_one_wrong_bit(
    saved: Design, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result = saved.verify(against=["rtl"])
    (report,) = result.engines
    assert report.status == "equal", report.detail
    assert saved.folder is not None
    cycles = read_rtl(saved.folder / "rtl").latency_cycles
    assert report.detail.startswith(
        f"answers {cycles} cycles after every event, one event per clock: "
    )
    assert report.bits == sum(result.events.values()) * sum(
        int(np.prod(t.shape)) * t.format.width for t in saved.graph.tensors_of(saved.graph.outputs)
    )

    run = verilator.RtlSimulation.run

    def broken(simulation: Any, *arguments: Any) -> Any:
        out_valid, outputs = run(simulation, *arguments)
        outputs[0].flat[-200] ^= 1
        return out_valid, outputs

    recorded: list[tuple[int, Path]] = []

    def record(simulation: Any, inputs: Any, seed: Any, event: int, path: Path) -> int:
        recorded.append((event, path))
        return 77

    monkeypatch.setattr(verilator.RtlSimulation, "run", broken)
    monkeypatch.setattr(verilator.RtlSimulation, "__init__", _like(saved))
    monkeypatch.setattr("samebits.firmware.rtl_stream.record", record)
    path = tmp_path / "first.vcd"
    x = np.random.default_rng(0).normal(0, 1, (500, 4))
    result = saved.verify(x, against=["rtl"], adversarial=False, vcd=path)
    (report,) = result.engines
    assert report.status == "MISMATCH"
    assert result.mismatching_bits == 1
    ((event, where),) = recorded
    assert where == path
    assert f"event {event}, element" in report.detail
    assert report.detail.endswith(f"; {path}: its waveform, with the answer after time 77")


def _like(design: Design) -> Any:
    """What makes a simulation of the program that is built, with or without waveforms."""
    made = verilator.RtlSimulation.__init__

    def init(simulation: Any, rtl: Any, folder: Any, *, trace: bool = False) -> None:
        made(simulation, rtl, folder)

    return init


@simulated
def test_an_out_valid_that_comes_too_late(saved: Design, monkeypatch: pytest.MonkeyPatch) -> None:
    run = verilator.RtlSimulation.run

    def late(simulation: Any, *arguments: Any) -> Any:
        out_valid, outputs = run(simulation, *arguments)
        return np.roll(out_valid, 1), outputs

    monkeypatch.setattr(verilator.RtlSimulation, "run", late)
    x = np.zeros((50, 4))
    (report,) = saved.verify(x, against=["rtl"], adversarial=False).engines
    assert report.status == "MISMATCH"
    assert "out_valid is" in report.detail


def test_rtl_of_another_design_or_none(tmp_path: Path) -> None:
    design = Design.from_onnx(quantized_mlp().model())
    with pytest.raises(errors.UsageError, match="give a folder, or save the design first"):
        design.rtl()
    design.save(tmp_path / "build")
    made = design.rtl(latency_cycles=3, clock_mhz=320)
    assert made.folder == tmp_path / "build" / "rtl"
    assert (made.latency_cycles, made.clock_mhz) == (3, 320)
    assert made.tools.keys() == {"samebits", "alkaid", "hls4ml"}
    facts = made.folder / "rtl.json"
    facts.write_text(facts.read_text().replace(design.fingerprint, "0" * 64))
    if not why_not():
        with pytest.raises(errors.BuildError, match="is the RTL of another design"):
            design.verify(against=["rtl"])
    # a design that takes the place of another one leaves no RTL behind
    design.save(tmp_path / "build", force=True)
    assert not (tmp_path / "build" / "rtl").exists()
