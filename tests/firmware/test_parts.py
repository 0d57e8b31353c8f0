"""Parts by their full names."""

import pytest

from samebits import errors
from samebits.firmware.parts import CLOSURE_LIMITS, PARTS, RESOURCES, part_of


@pytest.mark.parametrize(
    ("name", "device", "totals"),
    [
        ("xcvu13p-flga2577-2-e", "xcvu13p", (1_728_000, 3_456_000, 12_288, 2_688)),
        ("xcvu9p-flga2104-2L-e", "xcvu9p", (1_182_240, 2_364_480, 6_840, 2_160)),
        ("XCVU9P-flga2104-2l-e", "xcvu9p", (1_182_240, 2_364_480, 6_840, 2_160)),
        ("xcku15p-ffva1760-2-e", "xcku15p", (522_720, 1_045_440, 1_968, 984)),
        ("xczu7ev-ffvc1156-2-e", "xczu7ev", (230_400, 460_800, 1_728, 312)),
        ("xcku115-flvb2104-2-i", "xcku115", (663_360, 1_326_720, 5_520, 2_160)),
        ("xcu250-figd2104-2L-e", "xcu250", (1_728_000, 3_456_000, 12_288, 2_688)),
        ("xc7z020clg400-1", "xc7z020", (53_200, 106_400, 220, 140)),
        ("xc7z020-clg400-1", "xc7z020", (53_200, 106_400, 220, 140)),
        ("xc7z020iclg400-1L", "xc7z020", (53_200, 106_400, 220, 140)),
        ("xc7vx690tffg1927-2", "xc7vx690t", (433_200, 866_400, 3_600, 1_470)),
        ("xcvu9p-fsgd2104-2-i-es1", "xcvu9p", (1_182_240, 2_364_480, 6_840, 2_160)),
        ("xcu50-fsvh2104-2-e", "xcu50", (871_680, 1_743_360, 5_952, 1_344)),
    ],
)
def test_known_part(name: str, device: str, totals: tuple[int, ...]) -> None:
    part = part_of(name)
    assert part.name == name
    assert part.device == device
    assert tuple(part.totals.values()) == totals
    assert tuple(part.totals) == RESOURCES


DEVICES = (
    "samebits knows the devices xcvu13p, xcvu9p, xcvu7p, xcku15p, xczu7ev, xczu9eg, xczu19eg, "
    "xczu28dr, xczu48dr, xcu200, xcu250, xcu50, xcu280, xcu55c, xcku115, xcku040, xc7vx690t, "
    "xc7k325t, xc7z020"
)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("xcvu13", "nearest: xcvu13p-flga2577-2-e"),
        (
            "xcvu13px-flga2577-2-e",
            "nearest: xcvu13p-flga2577-2-e, xcvu9p-flga2104-2-e, xcvu7p-flva2104-2-e",
        ),
        ("xc7z0", "nearest: xc7z020clg400-2"),
        ("", "wanted a full name such as xcvu13p-flga2577-2-e"),
        ("5CGXFC9E7", "wanted a full name such as xcvu13p-flga2577-2-e"),
    ],
)
def test_unknown_part_lists_the_nearest_and_the_known_devices(name: str, nearest: str) -> None:
    with pytest.raises(errors.UsageError) as error:
        part_of(name)
    assert str(error.value) == f"unknown part {name!r}; {nearest}; {DEVICES}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "xcvu9p",
            "its package is missing; nearest: xcvu9p-flga2104-2-e, xcvu9p-flgb2104-2-e, "
            "xcvu9p-flgc2104-2-e, xcvu9p-fsgd2104-2-e, xcvu9p-flga2577-2-e",
        ),
        (
            "xcvu13p-flga257-2-e",
            "no package flga257 of xcvu13p; nearest: xcvu13p-flga2577-2-e, xcvu13p-fsga2577-2-e",
        ),
        ("xcvu13p-fl", "no package fl of xcvu13p; nearest: xcvu13p-flga2577-2-e"),
        (
            "xcvu13p-flga2577",
            "it must end in a speed grade and a temperature grade, such as xcvu13p-flga2577-2-e",
        ),
        (
            "xcvu13p-flga2577-2",
            "it must end in a speed grade and a temperature grade, such as xcvu13p-flga2577-2-e",
        ),
        ("xc7z020", "its package is missing; nearest: xc7z020clg400-2, xc7z020clg484-2"),
        ("xc7z020clg400", "it must end in a speed grade, such as xc7z020clg400-2"),
    ],
)
def test_the_beginning_of_a_name_is_no_part(name: str, message: str) -> None:
    with pytest.raises(errors.UsageError) as error:
        part_of(name)
    assert str(error.value) == f"part {name!r} is no full name: {message}"


def test_every_part_has_a_source_and_two_flip_flops_per_lut() -> None:
    for device, part in PARTS.items():
        assert part.device == device
        assert part.source
        assert part.ff == 2 * part.lut


def test_closure_limits() -> None:
    assert dict(CLOSURE_LIMITS) == {"LUT": 0.7, "FF": 0.5, "DSP": 0.8, "BRAM36": 0.8}
    assert tuple(CLOSURE_LIMITS) == RESOURCES
