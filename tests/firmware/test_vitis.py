"""Vitis HLS and Vivado as samebits starts them, on stand-ins that write reports as they do."""

import json
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from samebits import errors
from samebits.firmware import process, vitis
from samebits.firmware.hls_project import write_project
from samebits.firmware.results import Quantity
from samebits.firmware.vendor_reports import hls_results, rtl_results
from samebits.firmware.vendor_tools import VITIS_HLS, find

from ..processes import assert_over
from .networks import classifier, hand_written, rtl_record

FAKE = Path(__file__).with_name("fake_vendor.py")
Tools = Callable[..., dict[str, str]]


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    """An environment with some of the tools on PATH."""

    def make(*names: str, fake: str = "", release: str = "2023.2") -> dict[str, str]:
        folder = tmp_path / "Vitis_HLS" / release / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            path = folder / name
            path.write_text(f"#!{sys.executable}\n{FAKE.read_text()}")
            path.write_text(path.read_text().replace("__file__", repr(str(FAKE))))
            path.chmod(0o755)
        calls = str(tmp_path / "calls")
        return {"PATH": str(folder), "FAKE": fake, "FAKE_CALLS": calls}

    return make


def _project(folder: Path, backend: str = "Vitis") -> Path:
    made = hand_written(folder / "hls")
    facts = json.loads((made / "samebits.json").read_text())
    facts |= {"project_name": "net", "backend": backend, "part": "xcvu13p-flga2577-2-e"}
    (made / "samebits.json").write_text(json.dumps(facts))
    (made / "build_prj.tcl").write_text("source project.tcl\n")
    return made


def _calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


def _texts(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_c_synthesis_in_a_folder_of_its_own(tools: Tools, tmp_path: Path) -> None:
    hls, target = _project(tmp_path), tmp_path / "synthesis" / "hls"
    before, seen = _texts(hls), list[str]()
    run = vitis.build_hls(hls, target, timeout_s=60, env=tools("vitis-run"), on_line=seen.append)
    assert _texts(hls) == before
    assert (run.folder, run.tool, dict(run.steps), run.reused) == (
        target,
        "Vitis HLS 2023.2",
        {"csynth": "Vitis HLS 2023.2"},
        False,
    )
    assert _calls(tmp_path) == ["vitis-run --mode hls --tcl build_prj.tcl"]
    cycles = hls_results(target, {}).latencies[0].cycles
    assert isinstance(cycles, Quantity)
    assert cycles.value == 12
    assert "***** C/RTL SYNTHESIS *****" in seen
    assert (target.parent / "hls.log").read_text() == (target / "build.log").read_text()
    assert sorted(p.name for p in target.parent.iterdir()) == [".hls.lock", "hls", "hls.log"]
    assert vitis.finished(target, hls) == vitis.Run(target, run.steps, run.seconds, True)


def test_a_run_is_used_again_until_something_changes(tools: Tools, tmp_path: Path) -> None:
    hls, target = _project(tmp_path), tmp_path / "synthesis" / "hls"
    env = tools("vitis-run", "vivado")

    def calls_of(*steps: str, **options: bool) -> list[str]:
        (tmp_path / "calls").unlink(missing_ok=True)
        run = vitis.build_hls(hls, target, steps, timeout_s=60, env=env, **options)
        assert run.reused == (not _calls(tmp_path))
        return [call.split()[0] for call in _calls(tmp_path)]

    assert calls_of("csynth") == ["vitis-run"]
    assert calls_of("csynth") == []
    assert calls_of("vivado") == ["vivado"], "the C synthesis is there"
    assert calls_of("csynth", "vivado") == []
    assert calls_of("route") == ["vivado"]
    assert calls_of("cosim") == ["vitis-run"]
    assert calls_of("cosim", force=True) == ["vitis-run"]
    (hls / "firmware" / "net.cpp").write_text("// new")
    assert vitis.finished(target, hls) is None
    assert calls_of("csynth") == ["vitis-run"]
    env = {**tools("vitis-run", release="2024.1"), "FAKE": ""}
    assert calls_of("csynth") == ["vitis-run"], "another release"


def test_old_command_lines(tools: Tools, tmp_path: Path) -> None:
    vitis.build_hls(
        _project(tmp_path / "a"), tmp_path / "out", timeout_s=60, env=tools("vitis_hls")
    )
    vitis.build_hls(
        _project(tmp_path / "b", "Vivado"),
        tmp_path / "out2",
        ["cosim"],
        timeout_s=60,
        env=tools("vivado_hls"),
    )
    assert _calls(tmp_path) == [
        "vitis_hls -f build_prj.tcl",
        "vivado_hls -f build_prj.tcl reset=1 csim=1 synth=1 cosim=1 validation=1 export=0 "
        "vsynth=0 fifo_opt=0",
    ]


def test_co_simulation_gets_events(tools: Tools, tmp_path: Path) -> None:
    events = [[0.5, -1e-7], [2.0, 3.0]], [[1.0], [0.25]]
    target = tmp_path / "out"
    env = tools("vitis-run")
    vitis.build_hls(_project(tmp_path), target, ["cosim"], timeout_s=60, env=env, events=events)
    assert (target / "tb_data" / "tb_input_features.dat").read_text() == "0.5 -1e-07\n2.0 3.0\n"
    assert (target / "tb_data" / "tb_output_predictions.dat").read_text() == "1.0\n0.25\n"
    assert hls_results(target, {}).latencies[1].source == "hls/, C/RTL co-simulation"


def test_vivado_constrains_the_clock_before_it_synthesises(tools: Tools, tmp_path: Path) -> None:
    target = tmp_path / "out"
    env = tools("vitis-run", "vivado")
    vitis.build_hls(_project(tmp_path), target, ["route"], timeout_s=60, env=env)
    lines = (target / "samebits_vivado.tcl").read_text().splitlines()
    assert 'puts $xdc "create_clock -period $clock_period -name ap_clk \\[get_ports ap_clk\\]"' in (
        lines
    )
    order = ["read_xdc", "synth_design", "report_timing_summary", "place_design", "route_design"]
    places = [next(i for i, text in enumerate(lines) if text.startswith(o)) for o in order]
    assert places == sorted(places)
    latencies = hls_results(target, {}).latencies
    assert [row.source for row in latencies] == ["hls/, Vitis HLS", "hls/, Vivado after routing"]


@pytest.mark.parametrize(
    ("fake", "steps", "said"),
    [
        (
            "fail",
            ["csynth"],
            "Vitis HLS of {hls} failed with exit code 1:\n"
            "ERROR: [HLS 207-3776] use of undeclared 'x'\nmore\nwhole log: {target}.log\n",
        ),
        ("silent", ["csynth"], "csynth: the tool ended well but left no report in {target}.failed"),
        ("cut", ["csynth"], "net_csynth.xml: truncated or damaged ("),
        ("memory", ["csynth"], "{target}.log: 1 memories have no contents, because a data file"),
        ("mismatch", ["cosim"], "the co-simulation of the Verilog FAILED: the RTL does not give"),
    ],
)
def test_a_run_that_fails_leaves_the_old_one(
    fake: str, steps: list[str], said: str, tools: Tools, tmp_path: Path
) -> None:
    hls, target = _project(tmp_path), tmp_path / "out"
    vitis.build_hls(hls, target, timeout_s=60, env=tools("vitis-run"))
    before = _texts(target)
    with pytest.raises(errors.ToolError) as caught:
        vitis.build_hls(
            hls, target, steps, timeout_s=60, env=tools("vitis-run", fake=fake), force=True
        )
    assert said.format(hls=hls, target=target) in str(caught.value)
    assert str(caught.value).endswith(f"what it left: {target}.failed")
    assert _texts(target) == before
    assert (tmp_path / "out.failed" / "build_opt.tcl").is_file()
    assert (tmp_path / "out.log").is_file()
    assert not list(tmp_path.glob(".partial*"))
    vitis.build_hls(hls, target, timeout_s=60, env=tools("vitis-run"), force=True)
    assert not (tmp_path / "out.failed").exists()


def test_a_tool_that_hangs_is_stopped_with_its_family(tools: Tools, tmp_path: Path) -> None:
    env = tools("vitis-run", fake="hang")
    with pytest.raises(errors.ToolError) as caught:
        vitis.build_hls(_project(tmp_path), tmp_path / "out", timeout_s=1.5, env=env)
    assert "took more than 1.5 s and was stopped; it last printed:\n***** C/RTL SYNT" in str(
        caught.value
    )
    assert_over(tmp_path / "pids", 2)


def test_no_tool(tools: Tools, tmp_path: Path) -> None:
    advice = (
        "on PATH; install it from AMD and source its settings64.sh (everything else in samebits "
        "works without it)"
    )
    hls = _project(tmp_path)
    with pytest.raises(errors.MissingToolError) as caught:
        vitis.build_hls(hls, tmp_path / "out", timeout_s=60, env=tools())
    assert str(caught.value) == f"Vitis HLS not found: no vitis-run or vitis_hls {advice}"
    with pytest.raises(errors.MissingToolError, match="Vivado not found: no vivado on PATH"):
        vitis.build_hls(hls, tmp_path / "out", ["vivado"], timeout_s=60, env=tools("vitis-run"))
    assert _calls(tmp_path) == []
    assert not (tmp_path / "out").exists()


def test_releases_are_read_off_the_folder(
    tools: Tools, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tool = find(VITIS_HLS, tools("vitis-run"))
    assert (str(tool), tool.untested) == ("Vitis HLS 2023.2", False)
    env = tools("vitis-run", release="2025.1")
    assert find(VITIS_HLS, env).untested
    vitis.build_hls(_project(tmp_path), tmp_path / "out", timeout_s=60, env=env)
    assert caplog.messages == [
        "Vitis HLS 2025.1: not among the releases that hls4ml names (>=2022.2,<=2024.1)"
    ]


def test_paths_that_the_tools_do_not_take(tools: Tools, tmp_path: Path) -> None:
    with pytest.raises(errors.BuildError, match="take no path with blanks or letters beyond ASCII"):
        vitis.build_hls(
            _project(tmp_path), tmp_path / "my thesis", timeout_s=60, env=tools("vitis-run")
        )


def test_two_at_once(tools: Tools, tmp_path: Path) -> None:
    hls, target = _project(tmp_path), tmp_path / "out"
    refused: list[str] = []
    env = tools("vitis-run", fake="hang")

    def build() -> None:
        try:
            vitis.build_hls(hls, target, timeout_s=2.0, env=env)
        except errors.SamebitsError as error:
            refused.append(str(error).splitlines()[0])

    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted("another `samebits build`" in text for text in refused) == [False, True]
    assert len(_calls(tmp_path)) == 1


def test_rtl_in_vivado(tools: Tools, tmp_path: Path) -> None:
    folder = tmp_path / "rtl"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "net_top.v").write_text("module net_top; endmodule\n")
    script = 'set project_name "net_top"\nroute_design\n'
    (folder / "build_vivado_prj.tcl").write_text(script)
    rtl = rtl_record(folder)
    run = vitis.build_rtl(rtl, tmp_path / "out", timeout_s=60, env=tools("vivado"))
    assert dict(run.steps) == {"route": "Vivado 2023.2"}
    assert _calls(tmp_path) == ["vivado -mode batch -nojournal -source build_vivado_prj.tcl"]
    (latency,) = rtl_results(rtl, run.folder).latencies
    assert latency.source == "rtl/, Vivado after routing"
    assert rtl_results(rtl).latencies == ()
    with pytest.raises(errors.ToolError, match=r"net_top_post_route_util\.rpt: no row 'DSPs'"):
        vitis.build_rtl(
            rtl, tmp_path / "out", timeout_s=60, env=tools("vivado", fake="cut"), force=True
        )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("***** C/RTL SYNTHESIS *****", "C/RTL SYNTHESIS"),
        ("INFO: [HLS 200-42] -- Implementing module 'net'", "-- Implementing module 'net'"),
        ("INFO: [HLS 200-10] Starting hardware synthesis ...", "Starting hardware synthesis ..."),
        ("Phase 2.1 Floorplanning", "Phase 2.1 Floorplanning"),
        ("Starting synth_design", "Starting synth_design"),
        ("place_design completed successfully", "place_design"),
        ("INFO: [COSIM 212-302] Starting C TB testing ...", "Starting C TB testing ..."),
        ("WARNING: [HLS 207-5292] unused parameter", None),
        ("", None),
    ],
)
def test_milestones(line: str, words: str | None) -> None:
    assert vitis.milestone(line) == words


# hls4ml's and samebits' scripts call these; each stub prints its call.
STUBS = """\
foreach name {open_project set_top add_files open_solution config_array_partition config_compile
    set_part config_schedule create_clock set_clock_uncertainty csim_design csynth_design
    export_design read_xdc synth_design opt_design place_design phys_opt_design route_design
    report_utilization report_timing_summary report_power} {
    proc $name args "puts \\[list $name {*}\\$args\\]"
}
proc cosim_design args {
    puts cosim_design
    file mkdir net_prj/solution1/sim/verilog
    close [open net_prj/solution1/sim/verilog/net.tcl w]
    close [open net_prj/solution1/sim/verilog/run_sim.tcl w]
    foreach name {csim rtl_cosim} {close [open tb_data/${name}_results.log w]}
}
"""


@pytest.mark.skipif(shutil.which("tclsh") is None, reason="needs tclsh")
def test_the_scripts_run_with_the_steps_that_were_asked_for(tools: Tools, tmp_path: Path) -> None:
    write_project(classifier(), tmp_path / "hls")
    env = tools("vitis-run", "vivado")
    run = vitis.build_hls(
        tmp_path / "hls", tmp_path / "out", ["cosim", "route"], timeout_s=60, env=env
    )

    def printed(script: str) -> list[str]:
        (run.folder / "run.tcl").write_text(f"{STUBS}source {script}\n")
        command = ["tclsh", "run.tcl"]
        return process.run(command, what=script, timeout_s=20, folder=run.folder).splitlines()

    lines = printed("build_prj.tcl")
    made = [line.split()[0] for line in lines if line.split("_")[-1] == "design"]
    assert made == ["csim_design", "csynth_design", "cosim_design"]
    assert "open_project -reset net_prj" in lines
    assert "INFO: Test PASSED" in lines
    lines = printed("samebits_vivado.tcl")
    assert "synth_design -top net -part xcvu13p-flga2577-2-e -mode out_of_context" in lines
    assert "report_timing_summary -file vivado_post_route_timing.rpt" in lines
    assert (run.folder / "samebits.xdc").read_text() == (
        "create_clock -period 4 -name ap_clk [get_ports ap_clk]\n"
    )
