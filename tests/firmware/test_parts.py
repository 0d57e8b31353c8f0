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
        ("xcvu13p", "xcvu13p", (1_728_000, 3_456_000, 12_288, 2_688)),
    ],
)
def test_known_part(name: str, device: str, totals: tuple[int, ...]) -> None:
    part = part_of(name)
    assert part.name == name
    assert part.device == device
    assert tuple(part.totals.values()) == totals
    assert tuple(part.totals) == RESOURCES


@pytest.mark.parametrize("name", ["xcvu13", "xcvu13px-flga2577-2-e", "", "xc7z0", "5CGXFC9E7"])
def test_unknown_part_lists_the_known_ones(name: str) -> None:
    with pytest.raises(errors.UsageError) as error:
        part_of(name)
    assert str(error.value) == (
        f"unknown part {name!r}; samebits knows the devices xcvu13p, xcvu9p, xcku15p, xczu7ev, "
        "xczu9eg, xczu28dr, xcu200, xcu250, xcku115, xc7z020; write the part's full name, for "
        "example xcvu13p-flga2577-2-e"
    )


def test_every_part_has_a_source_and_two_flip_flops_per_lut() -> None:
    for device, part in PARTS.items():
        assert part.device == device
        assert part.source
        assert part.ff == 2 * part.lut


def test_closure_limits() -> None:
    assert dict(CLOSURE_LIMITS) == {"LUT": 0.7, "FF": 0.5, "DSP": 0.8, "BRAM36": 0.8}
    assert tuple(CLOSURE_LIMITS) == RESOURCES
