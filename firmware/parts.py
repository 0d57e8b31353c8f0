"""FPGA parts: what each device offers, found by the start of a part's full name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from samebits import errors

__all__ = ["CLOSURE_LIMITS", "PARTS", "RESOURCES", "Part", "family_of", "part_of"]

RESOURCES = ("LUT", "FF", "DSP", "BRAM36")

CLOSURE_LIMITS: Mapping[str, float] = MappingProxyType(
    {"LUT": 0.70, "FF": 0.50, "DSP": 0.80, "BRAM36": 0.80}
)
"""Shares of a part above which timing closure becomes hard.

Source: FINN, src/finn/util/platforms.py, `DEFAULT_RES_LIMITS`: "recommended resource limits from
Xilinx for timing closure".
"""


@dataclass(frozen=True, slots=True)
class Part:
    """A device and its totals.

    `name` is the full part name asked for; `source` says where the totals come from.
    """

    name: str
    device: str
    family: str
    lut: int
    ff: int
    dsp: int
    bram36: int
    source: str

    @property
    def totals(self) -> dict[str, int]:
        """The totals by resource name, in the order of `RESOURCES`."""
        return dict(zip(RESOURCES, (self.lut, self.ff, self.dsp, self.bram36), strict=True))


_GUIDE = "AMD UltraScale+ FPGA product selection guide (XMP103)"
_ZYNQ_GUIDE = "AMD Zynq UltraScale+ product selection guide (XMP104)"
_REPORT = "the row 'Available' of Vivado HLS reports"


def _part(
    device: str, family: str, totals: tuple[int, int, int, int], source: str
) -> tuple[str, Part]:
    return device, Part(device, device, family, *totals, source)


_PLUS, _ULTRA, _SEVEN = "UltraScale+", "UltraScale", "7 series"
PARTS: Mapping[str, Part] = MappingProxyType(
    dict(
        [
            _part("xcvu13p", _PLUS, (1_728_000, 3_456_000, 12_288, 2_688), _GUIDE),
            _part("xcvu9p", _PLUS, (1_182_240, 2_364_480, 6_840, 2_160), _GUIDE),
            _part("xcku15p", _PLUS, (522_720, 1_045_440, 1_968, 984), _GUIDE),
            _part("xczu7ev", _PLUS, (230_400, 460_800, 1_728, 312), _ZYNQ_GUIDE),
            _part("xczu9eg", _PLUS, (274_080, 548_160, 2_520, 912), _REPORT),
            _part("xczu28dr", _PLUS, (425_280, 850_560, 4_272, 1_080), _REPORT),
            # the Alveo cards carry the VU9P and the VU13P (DS962)
            _part("xcu200", _PLUS, (1_182_240, 2_364_480, 6_840, 2_160), "AMD Alveo U200 (DS962)"),
            _part("xcu250", _PLUS, (1_728_000, 3_456_000, 12_288, 2_688), "AMD Alveo U250 (DS962)"),
            _part("xcku115", _ULTRA, (663_360, 1_326_720, 5_520, 2_160), _REPORT),
            _part(
                "xc7z020",
                _SEVEN,
                (53_200, 106_400, 220, 140),
                "FINN, src/finn/util/platforms.py, `Zynq7020_Platform`",
            ),
        ]
    )
)
"""Known devices by the start of their part names."""


def part_of(name: str) -> Part:
    """The part with this full name.

    >>> part_of("xcvu13p-flga2577-2-e").lut
    1728000

    Raises:
        UsageError: a device that is not in the table.
    """
    device = name.strip().lower().split("-")[0]
    # older names have no dash: xc7z020clg400-1
    known = next((start for start in PARTS if device == start), None)
    if known is None and device.startswith("xc7"):
        known = next((start for start in PARTS if device.startswith(start)), None)
    if known is None:
        raise errors.UsageError(
            f"unknown part {name!r}; samebits knows the devices {', '.join(PARTS)}; "
            "write the part's full name, for example xcvu13p-flga2577-2-e"
        )
    found = PARTS[known]
    return Part(name.strip(), *(getattr(found, field) for field in Part.__slots__[1:]))


_FAMILIES = (
    # an Alveo card is called after itself: xcu50, xcu250; a Kria module is xck26, xck24
    (re.compile(r"xc(vu\d+p|ku\d+p|zu\d+(cg|eg|ev|dr)|au\d+p|u\d+[cn]?|k2[46])"), _PLUS),
    (re.compile(r"xc(vu|ku)\d+"), _ULTRA),
    (re.compile(r"xc7(a|k|v|vx|vh|s|z)\d+"), _SEVEN),
)


def family_of(name: str) -> str:
    """The family of any AMD part, also of those whose totals are not known here.

    >>> family_of("xcvu19p-fsva3824-2-e"), family_of("xc7k325tffg900-2")
    ('UltraScale+', '7 series')

    Raises:
        UnsupportedError: a part of another family or maker.
    """
    device = name.strip().lower()
    for pattern, family in _FAMILIES:
        if pattern.match(device):
            return family
    raise errors.UnsupportedError(
        f"{name!r}: not a part of AMD's families {_PLUS}, {_ULTRA} or {_SEVEN}; write the part's "
        "full name, for example xcvu13p-flga2577-2-e"
    )
