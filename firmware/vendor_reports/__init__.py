"""What the vendors' tools reported about an HLS project or RTL, where somebody has run them.

Each report is read exactly or refused: a missing number is an error, never a zero, cycles and
nanoseconds are told apart by the units in the report, and a netlist whose memories were empty
counts as no result.
"""

from .collect import HLS_REPORTS, VendorResults, hls_results, rtl_results
from .hls import CosimReport, HlsReport, parse_cosim, parse_csynth
from .quartus import FitReport, OneApiReport, StaReport, parse_fit, parse_oneapi, parse_sta
from .text import Usage
from .vivado import (
    PowerReport,
    TimingReport,
    UtilizationReport,
    check_memories,
    parse_power,
    parse_timing,
    parse_utilization,
)

__all__ = [
    "HLS_REPORTS",
    "CosimReport",
    "FitReport",
    "HlsReport",
    "OneApiReport",
    "PowerReport",
    "StaReport",
    "TimingReport",
    "Usage",
    "UtilizationReport",
    "VendorResults",
    "check_memories",
    "hls_results",
    "parse_cosim",
    "parse_csynth",
    "parse_fit",
    "parse_oneapi",
    "parse_power",
    "parse_sta",
    "parse_timing",
    "parse_utilization",
    "rtl_results",
]
