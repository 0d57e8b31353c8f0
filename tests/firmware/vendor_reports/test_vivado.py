"""Vivado's utilization, timing and power, and memories whose contents were not found."""

from pathlib import Path

import pytest

from samebits import errors
from samebits.firmware.vendor_reports import (
    PowerReport,
    TimingReport,
    Usage,
    UtilizationReport,
    check_memories,
    parse_power,
    parse_timing,
    parse_utilization,
)

DATA = Path(__file__).parents[1] / "data" / "vendor_reports"
UTILIZATION, TIMING, POWER = (
    (DATA / f"vivado_2023.2_{name}.rpt").read_text() for name in ("util", "timing_met", "power")
)
READERS = {
    "util": (parse_utilization, UTILIZATION),
    "timing": (parse_timing, TIMING),
    "power": (parse_power, POWER),
}


def _written(folder: Path, text: str) -> Path:
    path = folder / "report.rpt"
    path.write_text(text)
    return path


def test_utilization() -> None:
    assert parse_utilization(DATA / "vivado_2023.2_util.rpt") == UtilizationReport(
        tool="Vivado",
        version="2023.2",
        part="xcvu13p-flga2577-2-e",
        state="Synthesized",
        lut=Usage(12345, 1728000),
        ff=Usage(4321, 3456000),
        dsp=Usage(0, 12288),
        bram36=Usage(1.5, 2688),
    )


def test_seven_series_name_slices_and_old_reports_have_fewer_columns(tmp_path: Path) -> None:
    text = UTILIZATION.replace("CLB LUTs*", "Slice LUTs").replace("CLB Reg", "Slice Reg")
    lines = []
    for line in text.splitlines():
        cells = line.split("|")
        lines.append("|".join(cells[:4] + cells[5:]) if len(cells) == 8 else line)
    report = parse_utilization(_written(tmp_path, "\n".join(lines)))
    assert (report.lut, report.ff) == (Usage(12345, 1728000), Usage(4321, 3456000))
    assert report.bram36 == Usage(1.5, 2688)


def test_timing_that_is_met() -> None:
    report = parse_timing(DATA / "vivado_2023.2_timing_met.rpt")
    assert report == TimingReport(
        tool="Vivado",
        version="2023.2",
        part="xcvu13p-flga2577",
        state="Routed",
        clock="ap_clk",
        period_ns=2.5,
        setup_slack_ns=0.125,
        hold_slack_ns=0.021,
        failing_endpoints=0,
        endpoints=4321,
        met=True,
    )
    assert report.fmax_mhz == pytest.approx(1000 / 2.375)


def test_timing_that_is_violated() -> None:
    report = parse_timing(DATA / "vivado_2023.2_timing_violated.rpt")
    assert (report.met, report.setup_slack_ns, report.failing_endpoints) == (False, -0.625, 48)
    assert report.fmax_mhz == 320.0


def test_of_several_clocks_the_one_with_the_worst_slack_counts(tmp_path: Path) -> None:
    path = DATA / "vivado_2023.2_timing_clocks.rpt"
    report = parse_timing(path)
    assert (report.clock, report.period_ns) == ("fast", 2.5)
    between = path.read_text().replace("     0.300", "    -0.100", 1)
    between = between.replace("All user specified timing constraints are met.", NOT_MET)
    with pytest.raises(errors.ToolError, match="is between the clocks fast, slow: no clock"):
        parse_timing(_written(tmp_path, between))


NOT_MET = "Timing constraints are not met."


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("WNS(ns)", "WNS(ps)", "no column WNS(ns); slacks must be in ns"),
        ("    0.125", "       NA", "WNS(ns) is 'NA', not a number"),
        ("All user specified timing constraints are met.", "", "no verdict behind the Design"),
        ("    0.125", "   -0.125", "says that timing is met, but a slack is negative; damaged"),
        (
            "All user specified timing constraints are met.",
            "There are no user specified timing constraints.",
            "the design has no clock constraint, so that no path has been timed",
        ),
        ("Period(ns)", "Period(ps)", "no column Period(ns) in the Clock Summary"),
        ("ap_clk  {0.000 1.250} ", "", "no clock in the Clock Summary"),
    ],
)
def test_a_timing_report_that_makes_no_sense_is_an_error(
    old: str, new: str, said: str, tmp_path: Path
) -> None:
    assert old in TIMING
    with pytest.raises(errors.ToolError) as caught:
        parse_timing(_written(tmp_path, TIMING.replace(old, new, 1)))
    assert said in str(caught.value)


def test_power() -> None:
    assert parse_power(DATA / "vivado_2023.2_power.rpt") == PowerReport(
        tool="Vivado",
        version="2023.2",
        part="xcvu13p-flga2577-2-e",
        total_w=13.566,
        dynamic_w=10.610,
        static_w=2.956,
        confidence="Low",
    )


@pytest.mark.parametrize("name", READERS)
def test_a_report_cut_anywhere_is_refused_or_says_the_same(name: str, tmp_path: Path) -> None:
    read, text = READERS[name]
    whole = read(_written(tmp_path, text))
    refused = 0
    for keep in range(0, len(text), 31):
        try:
            assert read(_written(tmp_path, text[:keep])) == whole
        except errors.ToolError:
            refused += 1
    assert refused > 20


def test_a_missing_row_names_itself(tmp_path: Path) -> None:
    for keep, row in ((500, "'CLB LUTs' or 'Slice LUTs'"), (1500, "'DSPs'")):
        with pytest.raises(errors.ToolError) as caught:
            parse_utilization(_written(tmp_path, UTILIZATION[:keep]))
        assert f"report.rpt: no row {row}; truncated" in str(caught.value)
    with pytest.raises(errors.ToolError, match="is empty: truncated; run the tool again"):
        parse_power(_written(tmp_path, "\n"))
    with pytest.raises(errors.ToolError, match="cannot be read: No such file or directory"):
        parse_power(tmp_path / "none.rpt")


@pytest.mark.parametrize(
    "line",
    [
        "CRITICAL WARNING: [Synth 8-4445] could not open $readmem data file './net_table.dat'; "
        "please make sure the file is added to project and has read permission, ignoring [n.v:31]",
        "%Warning: table.mem:0: $readmem file not found",
        "n.v:35: ERROR: Can not open file `table.mem` for \\$readmemb.",
    ],
)
def test_memories_without_contents_are_an_error(line: str, tmp_path: Path) -> None:
    log = f"INFO: [Synth 8-6157] synthesizing module 'net'\n{line}\nINFO: done\n"
    with pytest.raises(errors.ToolError) as caught:
        check_memories(tmp_path / "vivado.log", log)
    assert str(caught.value) == (
        f"{tmp_path / 'vivado.log'}: 1 memories have no contents, because a data file was not "
        "found; tables and weights in them are missing from the netlist, and every number of this "
        f"run is too small:\n  {line}"
    )


def test_memories_that_were_read_are_none(tmp_path: Path) -> None:
    log = "INFO: [Synth 8-3876] $readmem data file './net_table.dat' is read successfully [n.v:3]"
    check_memories(tmp_path / "vivado.log", log)  # raises nothing
