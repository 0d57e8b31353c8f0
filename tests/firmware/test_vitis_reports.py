"""Reports of Vitis HLS and Vivado: read exactly, or refused; never a zero that nobody reported."""

from pathlib import Path

import pytest

from samebits import errors
from samebits.firmware.vitis_reports import (
    HlsReport,
    NotRun,
    Usage,
    VitisReports,
    VivadoReport,
    read_reports,
)

from .networks import hand_written

NOTHING = {"PATH": "/nowhere"}

# The elements that Vitis HLS 2023.2 writes, with invented numbers.
CSYNTH = """\
<profile>
  <ReportVersion><Version>2023.2</Version></ReportVersion>
  <UserAssignments>
    <unit>ns</unit>
    <ProductFamily>virtexuplus</ProductFamily>
    <Part>xcvu13p-flga2577-2-e</Part>
    <TopModelName>net</TopModelName>
    <TargetClockPeriod>4.00</TargetClockPeriod>
    <ClockUncertainty>1.08</ClockUncertainty>
  </UserAssignments>
  <PerformanceEstimates>
    <PipelineType>yes</PipelineType>
    <SummaryOfTimingAnalysis>
      <unit>ns</unit>
      <EstimatedClockPeriod>2.811</EstimatedClockPeriod>
    </SummaryOfTimingAnalysis>
    <SummaryOfOverallLatency>
      <unit>clock cycles</unit>
      <Best-caseLatency>11</Best-caseLatency>
      <Worst-caseLatency>12</Worst-caseLatency>
      <PipelineInitiationInterval>1</PipelineInitiationInterval>
      <Interval-min>1</Interval-min>
      <Interval-max>2</Interval-max>
    </SummaryOfOverallLatency>
  </PerformanceEstimates>
  <AreaEstimates>
    <Resources>
      <BRAM_18K>4</BRAM_18K><DSP>3</DSP><FF>6001</FF><LUT>23456</LUT><URAM>0</URAM>
    </Resources>
    <AvailableResources>
      <BRAM_18K>5376</BRAM_18K><DSP>12288</DSP><FF>3456000</FF><LUT>1728000</LUT><URAM>1280</URAM>
    </AvailableResources>
  </AreaEstimates>
</profile>
"""

UTILIZATION = """\
Copyright 1986-2022 Xilinx, Inc. All Rights Reserved.
---------------------------------------------------------------
| Tool Version : Vivado v.2023.2 (lin64) Build 4029153
| Command      : report_utilization -file vivado_synth.rpt
| Design       : net
| Device       : xcvu13p-flga2577-2-e
| Design State : Synthesized
---------------------------------------------------------------

1. CLB Logic
------------

+----------------------------+-------+-------+------------+-----------+-------+
|          Site Type         |  Used | Fixed | Prohibited | Available | Util% |
+----------------------------+-------+-------+------------+-----------+-------+
| CLB LUTs*                  | 12345 |     0 |          0 |   1728000 |  0.71 |
|   LUT as Logic             | 12300 |     0 |          0 |   1728000 |  0.71 |
|   LUT as Memory            |    45 |     0 |          0 |    791040 | <0.01 |
|     LUT as Shift Register  |    45 |     0 |            |           |       |
| CLB Registers              |  4321 |     0 |          0 |   3456000 |  0.13 |
+----------------------------+-------+-------+------------+-----------+-------+
* Warning! The Final LUT count, after physical optimizations, is typically lower. CLB LUTs | 7 |

2. BLOCKRAM
-----------

+-------------------+------+-------+------------+-----------+-------+
|     Site Type     | Used | Fixed | Prohibited | Available | Util% |
+-------------------+------+-------+------------+-----------+-------+
| Block RAM Tile    |  1.5 |     0 |          0 |      2688 |  0.06 |
|   RAMB18          |    3 |     0 |          0 |      5376 |  0.06 |
+-------------------+------+-------+------------+-----------+-------+

3. ARITHMETIC
-------------

+-----------+------+-------+------------+-----------+-------+
| Site Type | Used | Fixed | Prohibited | Available | Util% |
+-----------+------+-------+------------+-----------+-------+
| DSPs      |    0 |     0 |          0 |     12288 |  0.00 |
+-----------+------+-------+------------+-----------+-------+

7. Primitives
-------------

+----------+------+---------------------+
| Ref Name | Used | Functional Category |
+----------+------+---------------------+
| DSPs     |   99 |                 CLB |
+----------+------+---------------------+
"""


def _project(tmp_path: Path, csynth: str | None, utilization: str | None = None) -> Path:
    folder = hand_written(tmp_path / "hls")
    if csynth is not None:
        report = folder / "net_prj" / "solution1" / "syn" / "report" / "net_csynth.xml"
        report.parent.mkdir(parents=True)
        report.write_text(csynth)
    if utilization is not None:
        (folder / "vivado_synth.rpt").write_text(utilization)
    return folder


def test_both_reports(tmp_path: Path) -> None:
    reports = read_reports(_project(tmp_path, CSYNTH, UTILIZATION), NOTHING)
    assert reports == VitisReports(
        HlsReport(
            tool="Vitis HLS",
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
        ),
        VivadoReport(
            tool="Vivado",
            version="2023.2",
            part="xcvu13p-flga2577-2-e",
            lut=Usage(12345, 1728000),
            ff=Usage(4321, 3456000),
            dsp=Usage(0, 12288),
            bram36=Usage(1.5, 2688),
        ),
    )
    assert [r.kind for r in (reports.hls, reports.vivado) if not isinstance(r, NotRun)] == [
        "estimated by Vitis HLS",
        "synthesised",
    ]


def test_vivado_hls_names_its_dsps_differently(tmp_path: Path) -> None:
    report = read_reports(_project(tmp_path, CSYNTH.replace("DSP>", "DSP48E>")), NOTHING).hls
    assert isinstance(report, HlsReport)
    assert report.dsp == Usage(3, 12288)


def test_without_reports_nothing_looks_like_a_measurement(tmp_path: Path) -> None:
    folder = _project(tmp_path, None)
    reports = read_reports(folder, NOTHING)
    assert reports == VitisReports(NotRun("Vitis HLS not found"), NotRun("Vivado not found"))
    assert str(reports.hls) == "not run: Vitis HLS not found"
    for name in ("vitis-run", "vivado"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    reports = read_reports(folder, {"PATH": str(tmp_path)})
    assert str(reports.hls) == (
        f"not run: vitis-run is installed but has left no report in {folder}"
    )
    assert str(reports.vivado) == (
        f"not run: vivado is installed but has left no report in {folder}"
    )


@pytest.mark.parametrize("word", ["undef", "?", "-"])
def test_an_open_latency_is_none_with_the_reason(word: str, tmp_path: Path) -> None:
    csynth = CSYNTH.replace(">11<", f">{word}<").replace(">12<", f">{word}<")
    report = read_reports(_project(tmp_path, csynth), NOTHING).hls
    assert isinstance(report, HlsReport)
    assert (report.latency_cycles_min, report.latency_cycles_max) == (None, None)
    assert (report.interval_cycles_min, report.interval_cycles_max) == (1, 2)
    assert report.unresolved == (
        "Vitis HLS gives no latency: it depends on a loop or stream whose length is not known at "
        "compile time; C/RTL co-simulation measures it"
    )


@pytest.mark.parametrize("keep", [0, 1, 300, 900, len(CSYNTH) - 5])
def test_a_truncated_c_synthesis_report_is_an_error(keep: int, tmp_path: Path) -> None:
    folder = _project(tmp_path, CSYNTH[:keep])
    with pytest.raises(errors.ToolError, match=r"net_csynth\.xml: truncated or damaged \("):
        read_reports(folder, NOTHING)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<LUT>23456</LUT>", "", "no element AreaEstimates/Resources/LUT; truncated, or from anot"),
        ("<LUT>23456<", "<LUT><", "AreaEstimates/Resources/LUT is '', not a number"),
        (">6001<", ">many<", "AreaEstimates/Resources/FF is 'many', not a number"),
        (">4.00<", ">nan<", "UserAssignments/TargetClockPeriod is 'nan', not a number"),
    ],
)
def test_a_c_synthesis_report_with_a_gap_is_an_error(
    old: str, new: str, said: str, tmp_path: Path
) -> None:
    assert old in CSYNTH
    folder = _project(tmp_path, CSYNTH.replace(old, new, 1))
    with pytest.raises(errors.ToolError) as caught:
        read_reports(folder, NOTHING)
    assert said in str(caught.value)


def test_a_truncated_utilization_report_is_an_error(tmp_path: Path) -> None:
    for keep, row in ((500, "'CLB LUTs' or 'Slice LUTs'"), (1500, "'DSPs'"), (0, "'CLB LUTs'")):
        folder = _project(tmp_path / str(keep), None, UTILIZATION[:keep])
        with pytest.raises(errors.ToolError) as caught:
            read_reports(folder, NOTHING)
        assert f"vivado_synth.rpt: no row {row}" in str(caught.value)
