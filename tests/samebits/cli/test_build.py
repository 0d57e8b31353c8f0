"""samebits build, on stand-ins for Vitis HLS and Vivado."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from samebits import Design
from samebits.estimates import estimate_facts

from ...processes import assert_over
from .command import Command

FAKE = Path(__file__).parents[2] / "firmware" / "fake_vendor.py"
NOT_THERE = (
    "Vitis HLS not found: no vitis-run or vitis_hls on PATH; install it from AMD and source its "
    "settings64.sh (everything else in samebits works without it)"
)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "2023.2" / "bin"
    folder.mkdir(parents=True)
    for name in ("vitis-run", "vivado"):
        text = f"#!{sys.executable}\n{FAKE.read_text()}".replace("__file__", repr(str(FAKE)))
        for old in ('"net"', "net_prj", "net.v"):
            text = text.replace(old, old.replace("net", "myproject"))
        text = text.replace("verilog/net", "verilog/myproject")
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_CALLS", str(tmp_path / "calls"))
    return folder


def test_without_the_tool(samebits: Command, build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    result = samebits("build", build, "--vitis")
    assert (result.code, result.stdout) == (2, "")
    assert result.stderr == f"not run: {NOT_THERE}\n"
    result = samebits("build", build, "--vitis", "--json")
    assert result.code == 2
    assert json.loads(result.stdout) == [{"status": "not run", "reason": NOT_THERE}]
    assert not (build / "synthesis").exists() or list((build / "synthesis").iterdir()) == []


def test_what_to_run_must_be_said(samebits: Command, build: Path) -> None:
    assert samebits("build", build).error == (
        "say what to run: --vitis (and --cosim, --vivado, --route) on hls/, --rtl on rtl/"
    )
    assert samebits("build", build, "--vitis", "--timeout-hours", 0).error == (
        "--timeout-hours must be above 0, got 0"
    )
    assert samebits("build", build, "--rtl").error == (
        f"{build}: has no RTL; write it with `samebits rtl {build}`"
    )


@pytest.mark.usefixtures("tools")
def test_reports_are_read_and_come_into_the_estimates(samebits: Command, build: Path) -> None:
    result = samebits("build", build, "--vitis", "--cosim", "--json")
    (summary,) = json.loads(result.stdout)
    assert (result.code, summary["status"], summary["reused"]) == (0, "done", False)
    assert summary["steps"] == {"csynth": "Vitis HLS 2023.2", "cosim": "Vitis HLS 2023.2"}
    cosim = summary["latency"][1]
    assert (cosim["source"], cosim["cycles"]["value"]) == ("hls/, C/RTL co-simulation", 13)
    features = (build / "synthesis" / "hls" / "tb_data" / "tb_input_features.dat").read_text()
    assert len(features.splitlines()) >= 40
    again = samebits("build", build, "--vitis")
    assert "nothing has changed since, used again" in again.stderr
    assert "hls/, Vitis HLS" in again.stdout
    latency, _ = estimate_facts(Design.load(build))
    assert "hls/, C/RTL co-simulation" in [row.source for row in latency.estimates]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_tool_with_its_family(
    number: signal.Signals, build: Path, tools: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "FAKE": "hang"}
    command = [sys.executable, "-m", "samebits", "build", str(build), "--vitis"]
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as caller:
        until = time.monotonic() + 40
        while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text():
            assert time.monotonic() < until
            time.sleep(0.05)
        time.sleep(0.2)
        caller.send_signal(number)
        _, said = caller.communicate(timeout=20)
    assert caller.returncode == 2
    assert said.endswith(
        "error: interrupted; finished files were kept, nothing half-written is left\n"
    )
    assert_over(tmp_path / "pids", 2)
    left = sorted(path.name for path in (build / "synthesis").iterdir())
    assert left == [".hls.lock", "hls.log"]
    assert "C/RTL SYNTHESIS" in (build / "synthesis" / "hls.log").read_text()
