"""The page's colours are told apart: light, dark and printed."""

import re
from pathlib import Path

import pytest

from samebits.report import plots
from samebits.report.html import _shade


def schemes() -> list[dict[str, str]]:
    """The custom properties of the style sheet: light, dark and in print."""
    css = (Path(plots.__file__).parent / "report.css").read_text(encoding="utf-8")
    found = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): (#\w+)", scheme)) for scheme in found]


def luminance(colour: str) -> float:
    """Relative luminance. Source: WCAG 2.2, definition of relative luminance."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a: str, b: str) -> float:
    """Contrast ratio by WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_text_has_contrast_in_light_dark_and_print() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    found = schemes()
    assert len(found) == 3
    boxes = ("good", "bad", "open")
    for scheme in found:
        pairs = [(text, "paper") for text in ("ink", "soft", "accent", *boxes)]
        pairs += [("ink", "tint"), ("soft", "tint")]
        pairs += [(text, f"{box}-tint") for text in ("ink", *boxes) for box in boxes]
        poor = [pair for pair in pairs if contrast(scheme[pair[0]], scheme[pair[1]]) < 4.5]
        assert poor == []


def test_numbers_on_the_heat_map_have_contrast() -> None:
    for step in range(101):
        background, text = re.findall(r"#\w+", _shade(step / 100))
        assert contrast(background, text) >= 4.5


def test_lines_of_three_models_have_contrast_on_paper() -> None:
    assert all(contrast(plots.colour_of(k), "#ffffff") >= 3 for k in range(3))
