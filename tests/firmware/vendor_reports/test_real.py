"""Files that the tools themselves have written: read to the numbers that hls4ml reads from them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from samebits import errors
from samebits.firmware.results import Quantity
from samebits.firmware.vendor_reports import (
    HlsReport,
    OneApiReport,
    Usage,
    UtilizationReport,
    hls_results,
    parse_csynth,
    parse_oneapi,
    parse_utilization,
)

from ..networks import hand_written

REAL = Path(__file__).parent / "real"
CSYNTH, VIVADO = REAL / "myproject_csynth.xml", REAL / "vivado_synth.rpt"
ONEAPI = REAL / "oneapi" / "myproject.fpga.prj"
TOOL = "Vivado HLS"


def test_c_synthesis_of_vivado_hls() -> None:
    assert parse_csynth(CSYNTH, TOOL) == HlsReport(
        tool=TOOL,
        version="2020.1",
        part="xc7z020-clg400-1",
        latency_cycles_min=10,
        latency_cycles_max=10,
        interval_cycles_min=8,
        interval_cycles_max=8,
        unresolved=None,
        clock_target_ns=5.0,
        clock_estimated_ns=4.049,
        lut=Usage(2532, 53200),
        ff=Usage(7969, 106400),
        dsp=Usage(73, 220),
        bram18k=Usage(0, 280),
    )


def test_utilization_of_vivado() -> None:
    assert parse_utilization(VIVADO) == UtilizationReport(
        tool="Vivado",
        version="2020.1",
        part="7z020clg400-1",
        state="Synthesized",
        lut=Usage(1526, 53200),
        ff=Usage(2428, 106400),
        dsp=Usage(66, 220),
        bram36=Usage(0, 140),
    )


def test_oneapi_with_quartus() -> None:
    assert parse_oneapi(ONEAPI) == OneApiReport(
        used={"ALUT": 2462, "REG": 7938, "RAM": 77, "DSP": 0, "MLAB": 92},
        available={"ALUT": 974400, "REG": 1948800, "RAM": 7110, "DSP": 4510, "MLAB": 24360},
        fitted={"ALM": 4520.5, "ALUT": 4182, "REG": 16419, "RAM": 36, "DSP": 40, "MLAB": 52},
        fmax_mhz=597.73,
    )


def test_the_project_that_they_were_left_in(tmp_path: Path) -> None:
    folder = hand_written(tmp_path / "hls")
    facts = json.loads((folder / "samebits.json").read_text())
    facts |= {"project_name": "myproject", "part": "xc7z020clg400-1", "clock_period_ns": 5.0}
    (folder / "samebits.json").write_text(json.dumps(facts | {"backend": "Vivado"}))
    report = folder / "myproject_prj" / "solution1" / "syn" / "report" / CSYNTH.name
    report.parent.mkdir(parents=True)
    shutil.copy(CSYNTH, report)
    shutil.copy(VIVADO, folder)
    found = hls_results(folder, {"PATH": "/nowhere"})
    (latency,) = found.latencies
    assert latency.latency_ns == Quantity(
        value=50.0,
        unit="ns",
        kind="estimated",
        tool="cycles estimated by Vivado HLS 2020.1, clock estimated: Vivado HLS 2020.1",
    )
    used = [{name: one.value for name, one in each.used.items()} for each in found.resources]
    assert used == [
        {"LUT": 2532, "FF": 7969, "DSP": 73, "BRAM36": 0},
        {"LUT": 1526, "FF": 2428, "DSP": 66, "BRAM36": 0},
    ]
    assert [each.used["LUT"].kind for each in found.resources] == ["estimated", "synthesised"]


@pytest.mark.parametrize(
    ("path", "reader"),
    [(CSYNTH, lambda path: parse_csynth(path, TOOL)), (VIVADO, parse_utilization)],
)
def test_a_file_cut_anywhere_is_refused_or_says_the_same(
    path: Path,
    reader: Callable[[Path], object],
    rng: np.random.Generator,
    tmp_path: Path,
) -> None:
    whole, text = reader(path), path.read_text()
    for end in rng.integers(0, len(text), 60).tolist():
        cut = tmp_path / path.name
        cut.write_text(text[:end])
        try:
            found = reader(cut)
        except errors.ToolError:
            continue
        assert found == whole, end
