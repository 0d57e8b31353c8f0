"""Quartus's fitter and timing summaries, and oneAPI's JSON."""

import json
import shutil
from pathlib import Path

import pytest

from samebits import errors
from samebits.firmware.vendor_reports import (
    FitReport,
    OneApiReport,
    StaReport,
    Usage,
    parse_fit,
    parse_oneapi,
    parse_sta,
)

DATA = Path(__file__).parents[1] / "data" / "vendor_reports"
FIT = (DATA / "quartus_20.1.fit.summary").read_text()
STA = (DATA / "quartus_20.1.sta.summary").read_text()
PROJECT = DATA / "oneapi" / "net.fpga.prj"


def _written(folder: Path, text: str) -> Path:
    path = folder / "net.summary"
    path.write_text(text)
    return path


def test_the_fitter() -> None:
    assert parse_fit(DATA / "quartus_20.1.fit.summary") == FitReport(
        version="20.1.1",
        device="5CSEBA6U23I7",
        alm=Usage(5447, 41910),
        registers=Usage(2724, None),
        dsp=Usage(1, 112),
        ram=Usage(339, 553),
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Successful - ", "Failed - ", "the fitter ended with 'Failed - Mon Jan  1 12:00:00 2024'"),
        ("Total DSP Blocks : 1 / 112", "Total", "no line 'Total DSP Blocks'; truncated"),
        (": 2724", ": N/A", "Total registers is 'N/A', not a number"),
    ],
)
def test_a_fitter_summary_that_makes_no_sense_is_an_error(
    old: str, new: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(errors.ToolError) as caught:
        parse_fit(_written(tmp_path, FIT.replace(old, new, 1)))
    assert said in str(caught.value)


def test_the_worst_slack_of_all_corners_counts() -> None:
    report = parse_sta(DATA / "quartus_20.1.sta.summary")
    assert report == StaReport(-0.120, 0.112, "Slow 1100mV -40C Model Setup 'clk'")
    assert not report.met


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (STA[: STA.index("-3.210") - 9], "an analysis without slack and TNS; truncated"),
        (STA[: STA.index("Type  : Slow 1100mV 100C Model Hold")], "no Hold analysis"),
        (STA.replace(": 0.327", ": later"), "is 'later', not a number of ns"),
        ("nothing", "an analysis without slack and TNS; truncated"),
    ],
)
def test_a_timing_summary_that_makes_no_sense_is_an_error(
    text: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(errors.ToolError) as caught:
        parse_sta(_written(tmp_path, text))
    assert said in str(caught.value)


def test_oneapi() -> None:
    assert parse_oneapi(PROJECT) == OneApiReport(
        used={"ALUT": 12000, "REG": 23000, "RAM": 14, "DSP": 6, "MLAB": 210},
        available={"ALUT": 933120, "REG": 1866240, "RAM": 11721, "DSP": 5760, "MLAB": 46656},
        fitted={"ALM": 8123, "ALUT": 10200, "REG": 21000, "RAM": 14, "DSP": 6, "MLAB": 190},
        fmax_mhz=318.4,
    )


def test_oneapi_without_quartus_has_no_fit(tmp_path: Path) -> None:
    shutil.copytree(PROJECT, tmp_path / "net.report.prj")
    folder = tmp_path / "net.report.prj" / "reports" / "resources" / "json"
    path = folder / "quartus.ndjson"
    fields = json.loads(path.read_text())
    fields["quartusFitClockSummary"]["nodes"][0]["clock fmax"] = "TBD"
    path.write_text(json.dumps(fields))
    report = parse_oneapi(tmp_path / "net.report.prj")
    assert (report.fitted, report.fmax_mhz) == (None, None)
    path.write_text(path.read_text()[:40])
    with pytest.raises(errors.ToolError, match=r"quartus\.ndjson: truncated or damaged"):
        parse_oneapi(tmp_path / "net.report.prj")
    (folder / "summary.ndjson").write_text('{"name": "Available", "data": [1, 2, 3, 4, 5]}')
    with pytest.raises(errors.ToolError, match="no row 'Total' with 5 numbers; truncated"):
        parse_oneapi(tmp_path / "net.report.prj")
