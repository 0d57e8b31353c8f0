"""The reports of a project's folder as latency and resources, with kind and tool."""

import json
import shutil
from pathlib import Path

import pytest

from samebits import errors
from samebits.firmware.results import NotRun, Quantity
from samebits.firmware.vendor_reports import hls_results, rtl_results

from ..networks import hand_written, rtl_record

DATA = Path(__file__).parents[1] / "data" / "vendor_reports"
NOTHING = {"PATH": "/nowhere"}
REPORTS = {
    "csynth": ("vitis_hls_2023.2_csynth.xml", "net_prj/solution1/syn/report/net_csynth.xml"),
    "cosim": ("vitis_hls_2023.2_cosim.rpt", "net_prj/solution1/sim/report/net_cosim.rpt"),
    "vivado": ("vivado_2023.2_util.rpt", "vivado_synth.rpt"),
    "util": ("vivado_2023.2_util.rpt", "vivado_post_route_util.rpt"),
    "timing": ("vivado_2023.2_timing_met.rpt", "vivado_post_route_timing.rpt"),
    "power": ("vivado_2023.2_power.rpt", "vivado_post_route_power.rpt"),
}


def _project(folder: Path, *names: str) -> Path:
    made = hand_written(folder / "hls")
    facts = json.loads((made / "samebits.json").read_text())
    facts |= {"project_name": "net", "part": "xcvu13p-flga2577-2-e", "clock_period_ns": 4.0}
    (made / "samebits.json").write_text(json.dumps(facts))
    for name in names:
        source, target = REPORTS[name]
        (made / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DATA / source, made / target)
    return made


def _value(found: object) -> float:
    assert isinstance(found, Quantity)
    return found.value


def _kind(found: object) -> str:
    assert isinstance(found, Quantity)
    return found.kind


def test_nothing_was_run(tmp_path: Path) -> None:
    results = hls_results(_project(tmp_path), NOTHING)
    (latency,) = results.latencies
    assert latency.cycles == NotRun(reason="Vitis HLS not found")
    assert [one.used for one in results.resources] == [
        {"LUT": NotRun(reason="Vitis HLS not found")},
        {"LUT": NotRun(reason="Vivado not found")},
    ]


def test_a_tool_that_is_there_and_was_not_run(tmp_path: Path) -> None:
    (tmp_path / "vitis_hls").write_text("#!/bin/sh\n")
    (tmp_path / "vitis_hls").chmod(0o755)
    folder = _project(tmp_path)
    (latency,) = hls_results(folder, {"PATH": str(tmp_path)}).latencies
    reason = f"vitis_hls is installed but has left no report in {folder}"
    assert latency.cycles == NotRun(reason=reason)


def test_c_synthesis_and_vivado(tmp_path: Path) -> None:
    results = hls_results(_project(tmp_path, "csynth", "vivado"), NOTHING)
    (latency,) = results.latencies
    assert latency.source == "hls/, Vitis HLS"
    assert latency.cycles == Quantity(
        value=12, unit="cycles", kind="estimated", tool="Vitis HLS 2023.2"
    )
    assert (_value(latency.latency_ns), _value(latency.initiation_interval)) == (48.0, 2)
    assert latency.notes == ("11 to 12 cycles; the longest counts",)
    assert latency.fmax_mhz is not None
    assert _value(latency.fmax_mhz) == 1000 / 2.811
    hls, vivado = results.resources
    assert {name: _value(one) for name, one in hls.used.items()} == {
        "LUT": 23456,
        "FF": 6001,
        "DSP": 3,
        "BRAM36": 2.0,
    }
    assert vivado.used["BRAM36"] == Quantity(
        value=1.5, unit="BRAM36", kind="synthesised", tool="Vivado 2023.2"
    )
    assert (vivado.device, vivado.notes) == ("", ("after synthesis, design state Synthesized",))


def test_co_simulation_measures_and_routing_tells_the_clock(tmp_path: Path) -> None:
    results = hls_results(_project(tmp_path, *REPORTS), NOTHING)
    _, cosim, routed = results.latencies
    assert (cosim.source, _value(cosim.cycles)) == ("hls/, C/RTL co-simulation", 13)
    assert isinstance(cosim.cycles, Quantity)
    assert cosim.cycles.kind == "measured"
    assert _value(cosim.latency_ns) == 52.0
    assert routed.source == "hls/, Vivado after routing"
    assert routed.cycles == cosim.cycles
    # the routed clock is met: that of cycles measured in the co-simulation is synthesised now
    assert [_kind(each.latency_ns) for each in (cosim, routed)] == ["assumed", "synthesised"]
    assert routed.notes == (
        "timing after routing is met: worst setup slack 0.125 ns, hold 0.021 ns, at 2.5 ns "
        "(ap_clk)",
        "cycles: measured, Vitis HLS 2023.2",
    )
    assert routed.fmax_mhz is not None
    assert round(_value(routed.fmax_mhz), 2) == 421.05
    assert results.resources[1].notes == (
        "after routing, design state Synthesized",
        "power 13.566 W (static 2.956 W), estimated by Vivado 2023.2 with confidence Low",
    )


def test_a_failed_co_simulation_gives_no_latency(tmp_path: Path) -> None:
    folder = _project(tmp_path, "csynth", "cosim")
    path = folder / REPORTS["cosim"][1]
    text = path.read_text()
    path.write_text(text.replace("Pass|", "Fail|"))
    cosim = hls_results(folder, NOTHING).latencies[1]
    assert isinstance(cosim.cycles, NotRun)
    assert cosim.cycles.reason.startswith("the co-simulation of the Verilog FAILED: the RTL does")
    path.write_text(text.replace(" 12|", " NA|").replace(" 13|", " NA|"))
    cosim = hls_results(folder, NOTHING).latencies[1]
    assert cosim.cycles == NotRun(reason="the co-simulation passed, but printed no latency (NA)")


def test_one_event_measures_no_interval(tmp_path: Path) -> None:
    folder = _project(tmp_path, "csynth")
    path = folder / REPORTS["cosim"][1]
    path.parent.mkdir(parents=True)
    shutil.copy(DATA / "vivado_hls_2020.1_cosim.rpt", path)
    cosim = hls_results(folder, NOTHING).latencies[1]
    assert _value(cosim.cycles) == 10
    assert isinstance(cosim.initiation_interval, NotRun)


def test_reports_of_another_device_bring_its_totals(tmp_path: Path) -> None:
    folder = _project(tmp_path, "csynth", "vivado")
    facts = json.loads((folder / "samebits.json").read_text())
    (folder / "samebits.json").write_text(json.dumps({**facts, "part": "xcu250-figd2104-2L-e"}))
    for row in hls_results(folder, NOTHING).resources:
        assert row.device == "xcvu13p-flga2577-2-e"
        assert _value(row.totals["LUT"]) == 1728000
        assert _value(row.totals["BRAM36"]) == 2688


def test_a_routed_design_without_its_timing_is_an_error(tmp_path: Path) -> None:
    folder = _project(tmp_path, "csynth", "util")
    with pytest.raises(errors.ToolError, match=r"vivado_post_route_timing\.rpt: cannot be read"):
        hls_results(folder, NOTHING)


def test_empty_memories_make_every_number_void(tmp_path: Path) -> None:
    folder = _project(tmp_path, "csynth", "vivado")
    (folder / "vivado.log").write_text(
        "CRITICAL WARNING: [Synth 8-4445] could not open $readmem data file './t.dat'; please\n"
    )
    with pytest.raises(errors.ToolError, match="1 memories have no contents"):
        hls_results(folder, NOTHING)


def test_rtl_without_reports_has_none(tmp_path: Path) -> None:
    assert rtl_results(rtl_record(tmp_path)) == rtl_results(rtl_record(tmp_path / "nothing"))
    assert rtl_results(rtl_record(tmp_path)).latencies == ()


def test_rtl_in_vivado_and_quartus(tmp_path: Path) -> None:
    output = tmp_path / "output_net_top"
    (output / "reports").mkdir(parents=True)
    for stage, timing in (("post_synth", "timing_met"), ("post_route", "timing_violated")):
        shutil.copy(
            DATA / f"vivado_2023.2_{timing}.rpt", output / "reports" / f"net_top_{stage}_timing.rpt"
        )
        shutil.copy(
            DATA / "vivado_2023.2_util.rpt", output / "reports" / f"net_top_{stage}_util.rpt"
        )
    for name in ("fit", "sta"):
        shutil.copy(DATA / f"quartus_20.1.{name}.summary", output / f"net_top.{name}.summary")
    results = rtl_results(rtl_record(tmp_path))
    vivado, quartus = results.latencies
    assert vivado.notes == (
        "timing after routing is VIOLATED: worst setup slack -0.625 ns, hold 0.021 ns, at 2.5 ns "
        "(clk), 48 of 4,321 endpoints are late",
        "cycles: synthesised, alkaid 0.8.2",
    )
    assert vivado.fmax_mhz == Quantity(
        value=320.0, unit="MHz", kind="synthesised", tool="Vivado 2023.2"
    )
    assert (_value(vivado.cycles), _value(vivado.latency_ns)) == (9, 22.5)
    assert _kind(vivado.latency_ns) == "assumed"  # a clock that is not met
    assert quartus.fmax_mhz is not None
    assert round(_value(quartus.fmax_mhz), 3) == round(1000 / 2.62, 3)
    assert results.resources[1].device == "5CSEBA6U23I7"
    assert _value(results.resources[1].totals["ALM"]) == 41910
    (output / "reports" / "net_top_post_route_timing.rpt").write_text("Timing Summary Report\n")
    with pytest.raises(errors.ToolError, match="no Design Timing Summary; truncated"):
        rtl_results(rtl_record(tmp_path))
