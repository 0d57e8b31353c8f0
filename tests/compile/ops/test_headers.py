"""Casts and doubles as hls4ml's own ap_fixed headers do them, in every mode and at widths 1 to 70.

Two compilations for the whole module; the oracle is tests/apfixed/header_oracle.py.
"""

from itertools import product

import numpy as np
import pytest

from samebits import errors
from samebits.compile.ir import Carrier, Format, Overflow, Rounding
from samebits.compile.ops.arith import as_carrier, cast_mantissas
from samebits.compile.ops.boundary import to_mantissas
from samebits.firmware import toolchain

from ...apfixed.header_oracle import Fmt, header_cast, header_from_double

MODES = list(product(Rounding, Overflow))
WIDTHS = range(1, 71)


@pytest.fixture(scope="module", autouse=True)
def _compiler() -> None:
    try:
        toolchain.find_cxx()
    except errors.MissingToolError as error:
        pytest.skip(f"the ap_fixed headers cannot be compiled: {error}")


def plain(fmt: Format) -> Fmt:
    return (fmt.signed, fmt.width, fmt.integer, fmt.rounding.value, fmt.overflow.value)


def by_width(offset: int) -> list[Format]:
    """One format of every width, the modes in turn."""
    return [
        Format(width % 3 != offset % 3, width, (width * 7 + offset) % (width + 4) - 2, *modes)
        for width, modes in zip(WIDTHS, (MODES * 3)[offset:], strict=False)
    ]


def some_mantissas(source: Format, target: Format, rng: np.random.Generator) -> list[int]:
    """Everything that is small; else ends, ties of the target's grid, and random bits."""
    low, high = source.min_mantissa, source.max_mantissa
    if high - low < 256:
        return list(range(low, high + 1))
    bits = max(0, source.fraction - target.fraction)
    edges = [0, low, high, target.max_mantissa << bits, target.min_mantissa << bits]
    near = [
        edge + k * (1 << bits >> 1) + d for edge in edges for k in range(-3, 4) for d in (-1, 0, 1)
    ]
    raw = [int.from_bytes(rng.bytes(9), "little") for _ in range(60)]
    near += [r % (high - low + 1) + low for r in raw]
    return [m for m in near if low <= m <= high]


def test_casts_equal_the_headers(rng: np.random.Generator) -> None:
    pairs = [
        (source, Format(*shape, *modes))
        for modes in MODES
        for source, shape in (
            (Format(True, 8, 4), (True, 5, 3)),
            (Format(True, 7, 2), (False, 4, 2)),
            (Format(True, 40, 10), (True, 20, 8)),
        )
    ]
    pairs += list(zip(by_width(0), by_width(13)[::-1], strict=True))
    cases = [(s, t, some_mantissas(s, t, rng)) for s, t in pairs]
    expected = header_cast([(plain(s), plain(t), some) for s, t, some in cases])
    for (source, target, some), want in zip(cases, expected, strict=True):
        x = as_carrier(np.array(some, dtype=object), Carrier.PYTHON)
        got = cast_mantissas(x, source, target).tolist()
        wrong = [(m, g, w) for m, g, w in zip(some, got, want, strict=True) if g != w]
        assert not wrong, f"{source} -> {target}: (mantissa, ours, headers) {wrong[:3]}"


def test_doubles_equal_the_headers(rng: np.random.Generator) -> None:
    targets = [Format(*shape, *modes) for modes in MODES for shape in ((True, 8, 4), (False, 3, 5))]
    targets += by_width(5)
    cases = []
    for fmt in targets:
        edges = np.array([0, fmt.min_mantissa, fmt.max_mantissa, 1 << fmt.width], dtype=np.float64)
        grid = (edges[:, None] + np.arange(-3, 4) / 2).ravel() * fmt.lsb
        near = np.concatenate([grid, np.nextafter(grid, np.inf), np.nextafter(grid, -np.inf)])
        wild = np.ldexp(rng.standard_normal(40), rng.integers(-80, 80, 40))
        ends = [5e-324, -5e-324, 1e308, -1e308, np.inf, -np.inf, -0.0]
        cases.append((fmt, np.concatenate([near, wild, ends])))
    expected = header_from_double([(plain(fmt), values.tolist()) for fmt, values in cases])
    for (fmt, values), want in zip(cases, expected, strict=True):
        got = [int(m) for m in to_mantissas(values, fmt, Carrier.PYTHON)]
        wrong = [(v, g, w) for v, g, w in zip(values, got, want, strict=True) if g != w]
        assert not wrong, f"{fmt}: (double, ours, headers) {wrong[:3]}"
