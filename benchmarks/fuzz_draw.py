"""Random choices of the fuzzer: formats, weights, and the helpers that layers draw with."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["OVERFLOWS", "ROUNDINGS", "Draw", "Palette", "Weights", "parse_format"]

Array = NDArray[np.float64]
T = TypeVar("T")

ROUNDINGS = ("TRN", "TRN_ZERO", "RND", "RND_ZERO", "RND_INF", "RND_MIN_INF", "RND_CONV")
OVERFLOWS = ("WRAP", "SAT", "SAT_ZERO", "SAT_SYM")
DEFAULT_FORMAT = "fixed<16,6>"

# (low, high) of width and of integer bits, for the places of a precision
_WIDTHS = {"weight": (1, 9), "value": (3, 16), "accum": (6, 26), "table": (4, 18), "any": (1, 40)}
_INTEGERS = {"weight": (-1, 4), "value": (1, 8), "accum": (2, 12), "table": (0, 9)}
_PALETTE = {"weight": 3, "value": 4, "accum": 3, "table": 2, "any": 2}
_FORMAT = re.compile(r"(u?)(fixed|int)<(\d+)(?:,\s*(-?\d+))?(?:,\s*(\w+))?(?:,\s*(\w+))?")


def parse_format(text: str) -> tuple[bool, int, int]:
    """(signed, width, integer bits) of a precision as hls4ml's configuration writes it.

    >>> parse_format("ufixed<8,3,RND,SAT,0>")
    (False, 8, 3)
    """
    match = _FORMAT.fullmatch(text.split(",0>")[0].rstrip(">"))
    if match is None:
        raise ValueError(f"not a precision: {text!r}")
    width = int(match[3])
    integer = int(match[4]) if match[2] == "fixed" and match[4] else width
    return not match[1], width, integer


def _random_format(rng: np.random.Generator, role: str) -> str:
    low, high = _WIDTHS[role]
    width = int(rng.integers(low, high, endpoint=True))
    if role == "any":
        integer = int(rng.integers(-2, width + 3))
    else:
        least, most = _INTEGERS[role]
        integer = int(rng.integers(least, most, endpoint=True))
    signed = "" if rng.random() < 0.8 else "u"
    if rng.random() < 0.25:
        return f"{signed}fixed<{width},{integer}>"
    if rng.random() < 0.05:
        return f"{signed}int<{width}>"
    rounding, overflow = rng.choice(ROUNDINGS), rng.choice(OVERFLOWS)
    return f"{signed}fixed<{width},{integer},{rounding},{overflow},0>"


class Palette:
    """A few formats for each place, shared by the networks of one compiler call.

    Every ap_fixed type costs the compiler a tenth of a second; networks that share them compile
    three times as fast.
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 0xF0])
        self.formats = {
            role: [_random_format(rng, role) for _ in range(count)]
            for role, count in _PALETTE.items()
        }

    def draw(self, rng: np.random.Generator, role: str) -> str:
        """A format for a place: mostly the palette's, sometimes another place's or a new one."""
        chance = rng.random()
        if chance < 0.06:
            return _random_format(rng, role if rng.random() < 0.5 else "any")
        if chance < 0.16:
            role = str(rng.choice(list(self.formats)))
        formats = self.formats[role]
        return formats[int(rng.integers(len(formats)))]


@dataclass
class Draw:
    """What a layer is drawn with."""

    rng: np.random.Generator
    palette: Palette
    backend: str
    io_type: str

    @property
    def stream(self) -> bool:
        return self.io_type == "io_stream"

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def choice(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return int(self.rng.integers(low, max(low, high), endpoint=True))

    def number(self) -> float:
        """A parameter such as a slope: round numbers and others."""
        return self.choice([0.5, 0.25, 1.0, 0.3, 0.1, 1.7, -0.5, float(self.rng.normal())])

    def format(self, role: str) -> str:
        return self.palette.draw(self.rng, role)


@dataclass
class Weights:
    """The weights of one node: they depend on the seed, the node and the weight's name alone."""

    seed: int
    node: str
    formats: dict[str, str] = field(default_factory=dict)
    simple: bool = False

    def rng(self, key: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(f"{self.node}/{key}".encode())])

    def __call__(self, key: str, shape: Sequence[int]) -> Array:
        """Numbers on and off the grid of their format: zeros, extremes, ties, beyond the range."""
        rng = self.rng(key)
        if self.simple:
            return rng.integers(-2, 3, tuple(shape)).astype(np.float64)
        text = self.formats.get(key, DEFAULT_FORMAT)
        signed, width, integer = parse_format(DEFAULT_FORMAT if text == "auto" else text)
        lsb = 2.0 ** (integer - width)
        high = 2.0 ** (integer - signed) - lsb
        low = -(2.0 ** (integer - 1)) if signed else 0.0
        small = rng.integers(-6 * signed, 7, tuple(shape)) * lsb
        choices: list[tuple[float, Any]] = [
            (0.20, 0.0),
            (0.07, high),
            (0.07, low),
            (0.30, small),
            (0.10, np.floor(rng.uniform(low, high + lsb, tuple(shape)) / lsb) * lsb),
            (0.14, rng.normal(0, min(1.0, max(high, lsb)), tuple(shape))),
            (0.09, small + lsb / 2),
            (0.03, 1.7 * high + lsb),
        ]
        weights = np.array([weight for weight, _ in choices])
        which = rng.choice(len(choices), tuple(shape), p=weights / weights.sum())
        values = [np.broadcast_to(value, tuple(shape)) for _, value in choices]
        return np.asarray(np.choose(which, values), dtype=np.float64)
