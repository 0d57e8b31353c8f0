"""`Design.rtl` and `Design.verify(against=["rtl"])`: the RTL of a design on disk."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import Design, errors
from samebits.estimates import estimate_facts
from samebits.firmware import toolchain, verilator
from samebits.firmware.results import Quantity
from samebits.firmware.rtl import read_rtl
from samebits.sections import verification_facts

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
    rtl = read_rtl(saved.folder / "rtl")
    cycles = rtl.latency_cycles
    assert (report.latency_cycles, report.files_sha256) == (cycles, rtl.files_sha256)
    headline = estimate_facts(saved, None, verification_facts(result))[0].headline
    assert headline is not None
    assert headline.cycles == Quantity(
        value=cycles, unit="cycles", kind="measured", tool=verilator.find_verilator().tool
    )
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
    assert report.latency_cycles is None


@simulated
def test_the_testbench_passes_and_fails(saved: Design, tmp_path: Path) -> None:
    """The Verilog testbench for other simulators, run by Verilator's own main program."""
    tool, compiler = verilator.find_verilator(), toolchain.find_cxx()
    if compiler.kind != "gcc":
        pytest.skip("Verilator's --timing is tried with g++ only")
    rtl = saved.rtl(tmp_path / "rtl")
    bench = rtl.folder / "testbench"
    command = [*tool.command, "--cc", "--exe", "--main", "--timing", "--prefix", "Vtb"]
    command += ["--top-module", f"{rtl.top}_tb", "--Mdir", str(tmp_path / "model"), "-Wno-fatal"]
    command += ["-Wno-lint", "-Wno-style", str(bench / f"{rtl.top}_tb.v"), *map(str, rtl.sources)]
    toolchain.run_compiler(
        ["env", f"VERILATOR_ROOT={tool.root}", *command], what="the testbench", timeout_s=60
    )
    include = tool.root / "include"
    names = ("verilated.cpp", "verilated_threads.cpp", "verilated_timing.cpp")
    command = [*compiler.command, "-std=c++20", "-fcoroutines", "-O0", "-w", "-pthread"]
    command += ["-Imodel", f"-I{include}", f"-I{include / 'vltstd'}", "-o", "tb"]
    command += [*map(str, (tmp_path / "model").glob("*.cpp")), *(str(include / x) for x in names)]
    toolchain.run_compiler(command, what="the testbench", timeout_s=300, cwd=tmp_path)

    def said() -> str:
        ran = subprocess.run(
            [tmp_path / "tb"], cwd=bench, capture_output=True, text=True, timeout=60, check=True
        )
        return next(line for line in ran.stdout.splitlines() if line.startswith(("PASS", "FAIL")))

    expected = (bench / "expected.hex").read_text().splitlines()
    assert said().startswith("PASS: ")
    assert said().endswith(f" answers in {len(expected)} cycles")
    spoil(bench)
    assert said() == f"FAIL: 2 failures in {len(expected)} cycles"


def spoil(bench: Path) -> None:
    """One bit of one expected answer, and one expected out_valid."""
    expected = (bench / "expected.hex").read_text().splitlines()
    valid = [i for i, line in enumerate(expected) if int(line, 16) & 1]
    for place, bit in ((valid[7], 2), (valid[9], 1)):
        expected[place] = f"{int(expected[place], 16) ^ bit:0{len(expected[place])}x}"
    (bench / "expected.hex").write_text("\n".join(expected) + "\n")


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


@pytest.mark.skipif(shutil.which("ghdl") is None, reason="no GHDL on PATH")
def test_the_vhdl_testbench_passes_and_fails(saved: Design, tmp_path: Path) -> None:
    rtl = saved.rtl(tmp_path / "rtl", language="vhdl")
    bench = rtl.folder / "testbench"
    name = f"{rtl.top}_tb"
    sources = [*map(str, rtl.sources), f"{name}.vhd"]
    for command in (["-i", "--std=08", *sources], ["-m", "--std=08", name]):
        subprocess.run(["ghdl", *command], cwd=bench, timeout=60, check=True)

    def said() -> str:
        command = ["ghdl", "-r", "--std=08", name, "--ieee-asserts=disable"]
        ran = subprocess.run(command, cwd=bench, capture_output=True, text=True, timeout=60)
        (verdict,) = re.findall(r"(?:PASS|FAIL): .*", ran.stdout + ran.stderr)
        assert ran.returncode == verdict.startswith("FAIL")
        return str(verdict)

    cycles = len((bench / "expected.hex").read_text().splitlines())
    assert said().startswith("PASS: ")
    assert said().endswith(f" answers in {cycles} cycles")
    spoil(bench)
    assert said() == f"FAIL: 2 failures in {cycles} cycles"
