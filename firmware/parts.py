"""FPGA parts: what each device offers, found by a part's full name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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


_PLUS, _ULTRA, _SEVEN = "UltraScale+", "UltraScale", "7 series"
_GUIDE = "AMD UltraScale+ FPGA product selection guide (XMP103)"
_ULTRA_GUIDE = "AMD UltraScale FPGA product selection guide (XMP102)"
_SEVEN_GUIDE = "AMD 7 series FPGA product selection guide (XMP101)"
_ZYNQ_GUIDE = "AMD Zynq UltraScale+ product selection guide (XMP104)"
_RFSOC_GUIDE = "AMD Zynq UltraScale+ RFSoC product selection guide (XMP105)"
_REPORT = "the row 'Available' of Vivado HLS reports"
_FINN = "FINN, src/finn/util/platforms.py, `Zynq7020_Platform`"

# device, packages, (LUT, FF, DSP, BRAM36), source of the totals
_TABLE: tuple[tuple[str, str, str, tuple[int, int, int, int], str], ...] = (
    ("xcvu13p", "flga2577 fsga2577 fhga2104 fhgb2104 fhgc2104 figd2104", _PLUS,
     (1_728_000, 3_456_000, 12_288, 2_688), _GUIDE),
    ("xcvu9p", "flga2104 flgb2104 flgc2104 fsgd2104 flga2577", _PLUS,
     (1_182_240, 2_364_480, 6_840, 2_160), _GUIDE),
    ("xcvu7p", "flva2104 flvb2104 flvc2104", _PLUS, (788_160, 1_576_320, 4_560, 1_440), _GUIDE),
    ("xcku15p", "ffva1156 ffve1517 ffva1760 ffve1760", _PLUS,
     (522_720, 1_045_440, 1_968, 984), _GUIDE),
    ("xczu7ev", "fbvb900 ffvc1156 ffvf1517", _PLUS, (230_400, 460_800, 1_728, 312), _ZYNQ_GUIDE),
    ("xczu9eg", "ffvc900 ffvb1156", _PLUS, (274_080, 548_160, 2_520, 912), _REPORT),
    ("xczu19eg", "ffvb1517 ffvc1760 ffvd1760 ffve1924", _PLUS,
     (522_720, 1_045_440, 1_968, 984), _ZYNQ_GUIDE),
    ("xczu28dr", "ffve1156 fsve1156 ffvg1517 fsvg1517", _PLUS,
     (425_280, 850_560, 4_272, 1_080), _REPORT),
    ("xczu48dr", "ffve1156 fsve1156 ffvg1517 fsvg1517", _PLUS,
     (425_280, 850_560, 4_272, 1_080), _RFSOC_GUIDE),
    # the Alveo cards carry the VU9P, VU13P, VU35P (U50) and VU37P (U280, U55C)
    ("xcu200", "fsgd2104", _PLUS, (1_182_240, 2_364_480, 6_840, 2_160), "AMD Alveo U200 (DS962)"),
    ("xcu250", "figd2104", _PLUS, (1_728_000, 3_456_000, 12_288, 2_688), "AMD Alveo U250 (DS962)"),
    ("xcu50", "fsvh2104", _PLUS, (871_680, 1_743_360, 5_952, 1_344), "AMD Alveo U50 (DS965)"),
    ("xcu280", "fsvh2892", _PLUS, (1_303_680, 2_607_360, 9_024, 2_016), "AMD Alveo U280 (DS963)"),
    ("xcu55c", "fsvh2892", _PLUS, (1_303_680, 2_607_360, 9_024, 2_016), "AMD Alveo U55C (DS978)"),
    ("xcku115", "flva1517 flvd1517 flvb1760 flvd1924 flvf1924 flva2104 flvb2104", _ULTRA,
     (663_360, 1_326_720, 5_520, 2_160), _REPORT),
    ("xcku040", "sfva784 fbva676 fbva900 ffva1156", _ULTRA,
     (242_400, 484_800, 1_920, 600), _ULTRA_GUIDE),
    ("xc7vx690t", "ffg1157 ffg1158 ffg1761 ffg1926 ffg1927 ffg1930 "
     "ffv1157 ffv1158 ffv1761 ffv1926 ffv1927 ffv1930", _SEVEN,
     (433_200, 866_400, 3_600, 1_470), _SEVEN_GUIDE),
    ("xc7k325t", "fbg676 fbg900 ffg676 ffg900 fbv676 fbv900 ffv676 ffv900", _SEVEN,
     (203_800, 407_600, 840, 445), _SEVEN_GUIDE),
    ("xc7z020", "clg400 clg484", _SEVEN, (53_200, 106_400, 220, 140), _FINN),
)  # fmt: skip
PARTS: Mapping[str, Part] = MappingProxyType(
    {
        device: Part(device, device, family, *totals, source)
        for device, _, family, totals, source in _TABLE
    }
)
"""Known devices by name."""

_PACKAGES = {device: tuple(packages.split()) for device, packages, *_ in _TABLE}
# speed grade and temperature: -2-e, -2L-e, -1H-i; an engineering sample ends in -es1
_GRADES = re.compile(r"-[1-3](l|lv|h)?-[ceim](-\w+)?")
# 7 series: -2, -2L; an industrial device has an i before its package: xc7z020iclg400-1l
_GRADES_7 = re.compile(r"-[1-3]l?")
_SHOWN = 5  # full names in a message


def part_of(name: str) -> Part:
    """The part with this full name, upper or lower case.

    >>> part_of("xcvu13p-flga2577-2-e").lut
    1728000

    Raises:
        UsageError: no full name, or a device or package that is not in the table; the message has
            the nearest names.
    """
    text = name.strip().lower()
    device = _device(text)
    if device is None:
        near = difflib.get_close_matches(text.split("-")[0], PARTS, n=_SHOWN, cutoff=0.7)
        some = (
            f"nearest: {_listed(map(_example, near))}"
            if near
            else f"wanted a full name such as {_example(next(iter(PARTS)))}"
        )
        raise errors.UsageError(
            f"unknown part {name!r}; {some}; samebits knows the devices {', '.join(PARTS)}"
        )
    package, dash, grades = text.removeprefix(device).lstrip("-").partition("-")
    seven = PARTS[device].family == _SEVEN
    if seven and package not in _PACKAGES[device]:
        package = package.removeprefix("i")
    if not package or package not in _PACKAGES[device]:
        what = f"no package {package} of {device}" if package else "its package is missing"
        near = difflib.get_close_matches(package, _PACKAGES[device], n=_SHOWN, cutoff=0.6)
        packages = near or [one for one in _PACKAGES[device] if one.startswith(package)]
        shown = [_example(device, one) for one in packages or _PACKAGES[device]]
        raise errors.UsageError(f"part {name!r} is no full name: {what}; nearest: {_listed(shown)}")
    if not (_GRADES_7 if seven else _GRADES).fullmatch(dash + grades):
        wanted = "a speed grade" if seven else "a speed grade and a temperature grade"
        raise errors.UsageError(
            f"part {name!r} is no full name: it must end in {wanted}, such as "
            f"{_example(device, package)}"
        )
    return replace(PARTS[device], name=name.strip())


def _device(text: str) -> str | None:
    """The known device that a part's name in lower case begins with."""
    device = text.split("-")[0]
    if device in PARTS:
        return device
    # the names of the 7 series have no dash behind the device: xc7z020clg400-1
    sevens = [start for start, part in PARTS.items() if part.family == _SEVEN]
    return next((start for start in sevens if device.startswith(start)), None)


def _example(device: str, package: str = "") -> str:
    """A full name of the device, in its first package unless one is given."""
    package = package or _PACKAGES[device][0]
    if PARTS[device].family == _SEVEN:
        return f"{device}{package}-2"
    return f"{device}-{package}-2-e"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:_SHOWN])


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
