"""Reports of C synthesis and co-simulation: read exactly, or refused; never an invented zero."""

from pathlib import Path

import pytest

from samebits import errors
from samebits.firmware.vendor_reports import (
    CosimReport,
    HlsReport,
    Usage,
    parse_cosim,
    parse_csynth,
)

DATA = Path(__file__).parents[1] / "data" / "vendor_reports"
CSYNTH = (DATA / "vitis_hls_2023.2_csynth.xml").read_text()
COSIM = (DATA / "vitis_hls_2023.2_cosim.rpt").read_text()
TOOL = "Vitis HLS"


def _written(folder: Path, text: str) -> Path:
    path = folder / "net_report"
    path.write_text(text)
    return path


def test_c_synthesis() -> None:
    assert parse_csynth(DATA / "vitis_hls_2023.2_csynth.xml", TOOL) == HlsReport(
        tool=TOOL,
        version="2023.2",
        part="xcvu13p-flga2577-2-e",
        latency_cycles_min=11,
        latency_cycles_max=12,
        interval_cycles_min=1,
        interval_cycles_max=2,
        unresolved=None,
        clock_target_ns=4.0,
        clock_estimated_ns=2.811,
        lut=Usage(23456, 1728000),
        ff=Usage(6001, 3456000),
        dsp=Usage(3, 12288),
        bram18k=Usage(4, 5376),
    )


def test_vivado_hls_names_the_dsp_block(tmp_path: Path) -> None:
    text = CSYNTH.replace("DSP>", "DSP48E>").replace("<ReportVersion>", "<Other>")
    text = text.replace("</ReportVersion>", "</Other>")
    report = parse_csynth(_written(tmp_path, text), TOOL)
    assert (report.version, report.dsp) == (None, Usage(3, 12288))


@pytest.mark.parametrize("word", ["undef", "?", "-"])
def test_a_latency_left_open_is_no_zero(word: str, tmp_path: Path) -> None:
    text = CSYNTH.replace("caseLatency>11<", f"caseLatency>{word}<")
    text = text.replace("caseLatency>12<", f"caseLatency>{word}<")
    text = text.replace(">48.000 ns<", f">{word}<")
    report = parse_csynth(_written(tmp_path, text), TOOL)
    assert (report.latency_cycles_min, report.latency_cycles_max) == (None, None)
    assert (report.interval_cycles_min, report.interval_cycles_max) == (1, 2)
    assert report.unresolved == (
        "Vitis HLS gives no latency: it depends on a loop or stream whose length is not known at "
        "compile time; C/RTL co-simulation measures it"
    )


def test_what_the_tool_complains_of_is_kept(tmp_path: Path) -> None:
    text = CSYNTH.replace("<IssueType>-<", "<IssueType>Timing Violation<")
    assert parse_csynth(_written(tmp_path, text), TOOL).violation == "Timing Violation"


@pytest.mark.parametrize("keep", [0, 1, 300, 900, len(CSYNTH) - 5])
def test_a_truncated_c_synthesis_report_is_an_error(keep: int, tmp_path: Path) -> None:
    with pytest.raises(errors.ToolError, match=r"net_report: (is empty: )?truncated"):
        parse_csynth(_written(tmp_path, CSYNTH[:keep]), TOOL)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<LUT>23456</LUT>", "", "no element AreaEstimates/Resources/LUT; truncated, or from anot"),
        ("<LUT>23456<", "<LUT><", "AreaEstimates/Resources/LUT is '', not a number"),
        (">6001<", ">many<", "AreaEstimates/Resources/FF is 'many', not a number"),
        (">4.00<", ">nan<", "UserAssignments/TargetClockPeriod is 'nan', not a number"),
        (">4.00<", ">0<", "UserAssignments/TargetClockPeriod is 0"),
        ("<unit>ns</unit>\n    <Prod", "<unit>us</unit>\n    <Prod", "UserAssignments is in us, w"),
        ("<unit>clock cycles<", "<unit>ns<", "SummaryOfOverallLatency is in ns, wanted clock cycl"),
        (">48.000 ns<", ">48.000 us<", "12 cycles of 4 ns are not the 48.000 us that it says"),
        (">48.000 ns<", ">0.480 us<", "12 cycles of 4 ns are not the 0.480 us that it says"),
        (">48.000 ns<", ">soon<", "Worst-caseRealTimeLatency is 'soon', not a time"),
    ],
)
def test_a_c_synthesis_report_that_makes_no_sense_is_an_error(
    old: str, new: str, said: str, tmp_path: Path
) -> None:
    assert old in CSYNTH
    with pytest.raises(errors.ToolError) as caught:
        parse_csynth(_written(tmp_path, CSYNTH.replace(old, new, 1)), TOOL)
    assert said in str(caught.value)


def test_a_time_may_be_in_any_unit_and_of_the_estimated_clock(tmp_path: Path) -> None:
    for time in ("0.048 us", "48 ns", "33.732 ns"):
        text = CSYNTH.replace(">48.000 ns<", f">{time}<")
        assert parse_csynth(_written(tmp_path, text), TOOL).latency_cycles_max == 12


def test_co_simulation() -> None:
    assert parse_cosim(DATA / "vitis_hls_2023.2_cosim.rpt", TOOL) == CosimReport(
        TOOL, "Verilog", True, 12, 13, 1, 2
    )
    assert parse_cosim(DATA / "vivado_hls_2020.1_cosim.rpt", "Vivado HLS") == CosimReport(
        "Vivado HLS", "Verilog", True, 10, 10, None, None
    )


@pytest.mark.parametrize("keep", [0, 200, COSIM.index("|   Verilog") + 40, len(COSIM) - 30])
def test_a_truncated_co_simulation_report_is_an_error(keep: int, tmp_path: Path) -> None:
    with pytest.raises(errors.ToolError, match="truncated"):
        parse_cosim(_written(tmp_path, COSIM[:keep]), TOOL)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Latency(Clock Cycles)", "Latency(ns)", "counts in ns, Clock Cycles, wanted Clock Cycles"),
        ("Pass|", "  NA|", "no RTL was simulated: VHDL and Verilog are both NA"),
        ("Pass|", "Hang|", "status 'Hang', wanted Pass or Fail"),
        (" 13|", "1.3|", "'1.3' in the row Verilog is no number of cycles"),
    ],
)
def test_a_co_simulation_report_that_makes_no_sense_is_an_error(
    old: str, new: str, said: str, tmp_path: Path
) -> None:
    assert old in COSIM
    with pytest.raises(errors.ToolError) as caught:
        parse_cosim(_written(tmp_path, COSIM.replace(old, new, 1)), TOOL)
    assert said in str(caught.value)


def test_a_failed_co_simulation_says_so(tmp_path: Path) -> None:
    assert not parse_cosim(_written(tmp_path, COSIM.replace("Pass|", "Fail|")), TOOL).passed
