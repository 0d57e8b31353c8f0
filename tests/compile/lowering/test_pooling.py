"""Pooling against loops that repeat hls4ml's kernels one number at a time."""

from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest

from samebits.compile.ir import Rounding

from .converted import refusal
from .layer_lists import (
    Kind,
    convert,
    draw_kind,
    events,
    exactly,
    fixed,
    integer,
    simulate,
)

Image = Any  # object arrays of fractions, (H, W, C)


def pad_value(data: Kind) -> Fraction:
    """nnet_pooling.h, `pad_val`: only the top bit is set."""
    fmt = data.format
    top = Fraction(2) ** (fmt.width - 1 - fmt.fraction)
    return -top if fmt.signed else top


def divided(x: Fraction, kind: Kind, by: int, unsigned: bool) -> Fraction:
    """`x / by` of the headers: the mantissa towards zero; ap_private.h errs where an ap_int
    narrower than the unsigned divisor is negative."""
    width, scale = kind.format.width, Fraction(2) ** -kind.format.fraction
    mantissa = int(x / scale)
    if unsigned and kind.integer and kind.format.signed and width < 32:
        quotient = (mantissa % 2**33) // by % 2**width
        return Fraction(quotient - 2**width if quotient >= 2 ** (width - 1) else quotient)
    return (abs(mantissa) // by) * (1 if mantissa >= 0 else -1) * scale


def running_sum(values: list[Fraction], accum: Kind) -> Fraction:
    """nnet_pooling.h, `avg`: y += x[i]. An ap_int takes the integer part of x[i]."""
    total = Fraction(0)
    for value in values:
        total = accum.cast(total + (accum.cast(value) if accum.integer else value))
    return total


def tree(values: list[Fraction], accum: Kind) -> Fraction:
    """nnet_common.h, `reduce` with `Op_add`."""
    if len(values) == 1:
        return values[0]
    left = 1
    while left * 2 < len(values):
        left *= 2
    return accum.cast(tree(values[:left], accum) + tree(values[left:], accum))


class Pooling:
    """One random pooling layer: its hls4ml description and its result."""

    def __init__(self, rng: np.random.Generator, io_type: str, first: bool = False) -> None:
        self.io_type, self.first, self.two = io_type, first, first or bool(rng.random() < 0.6)
        self.op, self.channels = str(rng.choice(["Max", "Average"])), int(rng.integers(1, 4))
        self.data, self.accum, self.result = (draw_kind(rng) for _ in range(3))
        if rng.random() < 0.3:  # an accumulator that drops bits of its terms
            rounding = str(rng.choice([*Rounding.__members__]))
            self.data, self.accum = fixed(9, 4), fixed(9, 8, modes=f"{rounding},WRAP")
        self.count_pad = bool(rng.random() < 0.4)
        self.same = io_type == "io_parallel" and bool(rng.random() < 0.5)
        self.axes = [self._axis(rng) for _ in range(2)]
        if not self.two:
            self.axes[0] = (1, 1, 1, 0, 0, 1)

    def _axis(self, rng: np.random.Generator) -> tuple[int, ...]:
        size, pool, stride = int(rng.integers(3, 7)), int(rng.integers(1, 4)), 0
        equal = self.first or (self.io_type == "io_stream" and self.two)
        stride = pool if equal or rng.random() < 0.4 else int(rng.integers(1, 4))
        if not self.same:
            return size, pool, stride, 0, 0, (size - pool) // stride + 1
        total = max(pool - (size % stride or stride), 0)
        return size, pool, stride, total // 2, total - total // 2, ceil(size / stride)

    @property
    def shape(self) -> tuple[int, ...]:
        sizes = tuple(axis[0] for axis in self.axes)[not self.two :]
        return (self.channels, *sizes) if self.first else (*sizes, self.channels)

    def layer(self) -> dict[str, Any]:
        names = (("in_height", "pool_height", "stride_height", "pad_top", "pad_bottom"), "height")
        other = (("in_width", "pool_width", "stride_width", "pad_left", "pad_right"), "width")
        described: dict[str, Any] = {}
        for (keys, side), values in zip((names, other), self.axes, strict=True):
            described |= dict(zip((*keys, f"out_{side}"), values, strict=True))
        described |= {"n_in": described["in_width"], "n_out": described["out_width"]}
        return described | {
            "class_name": f"{self.op}Pooling{2 if self.two else 1}D",
            "name": "pool",
            "inputs": ["x0"],
            "n_filt": self.channels,
            "count_pad": self.count_pad,
            "data_format": "channels_first" if self.first else "channels_last",
        }

    def expected(self, x: Image) -> Image:
        (height, ph, sh, top, _, oh), (width, pw, sw, left, _, ow) = self.axes
        if self.first:
            x = np.moveaxis(x, 0, -1)
        x = x.reshape(height, width, self.channels)
        result = np.empty((oh, ow, self.channels), dtype=object)
        for i, j, c in np.ndindex(result.shape):
            window, inside = [], 0
            for k, m in np.ndindex(ph, pw):
                row, column = i * sh + k - top, j * sw + m - left
                if 0 <= row < height and 0 <= column < width:
                    window.append(x[row, column, c])
                    inside += 1
                else:
                    window.append(pad_value(self.data) if self.op == "Max" else Fraction(0))
            result[i, j, c] = self.result.cast(self.pooled(window, inside))
        result = np.moveaxis(result, -1, 0) if self.first else result
        return result if self.two else result[0]

    def pooled(self, window: list[Fraction], inside: int) -> Fraction:
        accum, size = self.accum, len(window)
        if self.io_type == "io_stream":
            window = [accum.cast(value) for value in window]
            if self.op == "Max":
                return max(window)
            return accum.cast(divided(tree(window, accum), accum, size, False))
        if self.op == "Max":
            return accum.cast(max(window))
        count = size if self.count_pad else inside
        total = running_sum(window, accum)
        if not self.first:
            return accum.cast(divided(total, accum, count, True))
        # nnet_pooling.h, `pooling2d_cf`: over all places, then times places / pixels in data_T
        mean = self.result.cast(accum.cast(divided(total, accum, size, True)))
        sides = [self.data.cast(Fraction(axis[1])) for axis in self.axes]
        fmt = self.data.format
        area = type(fmt)(fmt.signed, 2 * fmt.width, 2 * fmt.integer)
        share = divided(sides[0] * sides[1], Kind(area, self.data.integer), count, True)
        return mean * self.data.cast(share)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("case", ["parallel", "channels_first", "stream", "encoded"])
def test_windows(case: str, seed: int) -> None:
    rng = np.random.default_rng([seed, 1])
    io_type = "io_parallel" if case in ("parallel", "channels_first") else "io_stream"
    pooling = Pooling(rng, io_type, case == "channels_first")
    settings: dict[str, Any] = {}
    if case == "encoded" and all(axis[1] == axis[2] for axis in pooling.axes):
        settings = {"backend": "Vivado", "ConvImplementation": "Encoded"}
    kinds = {"pool": {"result": pooling.result, "accum": pooling.accum}}
    model = convert(
        [(pooling.shape, pooling.data)], [pooling.layer()], ["pool"], kinds, io_type, **settings
    )
    x = events(rng, pooling.data, pooling.shape)
    (got,) = simulate(model, [x])
    expected = np.array([pooling.expected(event) for event in exactly(x)])
    assert got.shape == expected.shape
    assert (exactly(got) == expected).all()


@pytest.mark.parametrize("seed", range(16))
def test_global(seed: int) -> None:
    rng = np.random.default_rng([seed, 2])
    io_type = "io_stream" if seed % 2 else "io_parallel"
    op, two, channels = str(rng.choice(["Max", "Average"])), rng.random() < 0.5, 2
    data, accum, result = (draw_kind(rng) for _ in range(3))
    height, width = (int(n) for n in rng.integers(2, 5, 2))
    shape = (height, width, channels) if two else (width, channels)
    layer = {
        "class_name": f"Global{op}Pooling{2 if two else 1}D",
        "name": "pool",
        "inputs": ["x0"],
        **{"in_height": height, "in_width": width, "n_in": width, "n_filt": channels},
        "data_format": "channels_last",
    }
    kinds = {"pool": {"result": result, "accum": accum}}
    model = convert([(shape, data)], [layer], ["pool"], kinds, io_type)
    x = events(rng, data, shape)
    (got,) = simulate(model, [x])
    for event, values in zip(exactly(x), exactly(got), strict=True):
        for c in range(channels):
            window = list(event[..., c].flat)
            if io_type == "io_stream":
                window = [accum.cast(value) for value in window]
                if op == "Max":
                    pooled = max(window)
                else:
                    pooled = divided(running_sum(window, accum), accum, len(window), True)
            elif op == "Max":
                pooled = accum.cast(max(window))
            else:
                total = running_sum(window, accum)
                pooled = accum.cast(divided(total, accum, len(window), True))
            assert values[c] == result.cast(pooled)


def test_padding_wins_over_small_unsigned_numbers() -> None:
    pooling = Pooling(np.random.default_rng(0), "io_parallel")
    pooling.two, pooling.op, pooling.channels = False, "Max", 1
    pooling.axes = [(1, 1, 1, 0, 0, 1), (3, 2, 2, 0, 1, 2)]
    byte = fixed(8, 4, signed=False)
    kinds = {"pool": {"result": byte, "accum": byte}}
    model = convert([((3, 1), byte)], [pooling.layer()], ["pool"], kinds)
    (got,) = simulate(model, [np.array([[[1.0], [2.0], [3.0]]])])
    assert got.tolist() == [[[2.0], [8.0]]]


def test_a_negative_ap_int_is_divided_as_the_headers_do() -> None:
    # -5 / 2 is -3 and -5 / 3 is nonsense: seen in the headers themselves
    for size, wanted in ((2, -3.0), (3, -349527.0)):
        layer = {
            "class_name": "GlobalAveragePooling1D",
            "name": "pool",
            "inputs": ["x0"],
            **{"n_in": size, "n_filt": 1, "data_format": "channels_last"},
        }
        kinds = {"pool": {"result": integer(20), "accum": integer(20)}}
        model = convert([((size, 1), integer(20))], [layer], ["pool"], kinds)
        x = np.zeros((1, size, 1))
        x[0, 0, 0] = -5
        (got,) = simulate(model, [x])
        assert got.tolist() == [[wanted]]


def refused(changes: dict[str, Any], shape: tuple[int, ...] = (4, 4, 1), **settings: Any) -> str:
    pooling = Pooling(np.random.default_rng(0), "io_parallel", first=True)
    pooling.op, pooling.channels, pooling.first, pooling.count_pad = "Average", 1, False, False
    pooling.axes = [(4, 2, 2, 0, 0, 2), (4, 2, 2, 0, 0, 2)]
    kind = fixed(8, 4)
    kinds = {"pool": {"result": kind, "accum": settings.pop("accum", kind)}}
    data = settings.pop("data", kind)
    layer = pooling.layer() | changes
    return refusal(convert([(shape, data)], [layer], ["pool"], kinds, **settings))


def test_refused_channels_first() -> None:
    changes = {"class_name": "AveragePooling1D", "data_format": "channels_first"}
    assert refused(changes, (1, 4)) == (
        "layer pool (Pooling1D): hls4ml has no io_parallel kernel for channels_first; "
        "use channels_last"
    )
    assert refused({"data_format": "channels_first"}, io_type="io_stream") == (
        "layer pool (Pooling2D): hls4ml has no io_stream kernel for channels_first; "
        "use channels_last"
    )
    changes = {"data_format": "channels_first", "stride_width": 1, "out_width": 3}
    assert refused(changes, (1, 4, 4)) == (
        "layer pool (Pooling2D): pool (2, 2) with strides (2, 1): hls4ml's kernel for "
        "channels_first takes windows of the strides' size; its C simulation is undefined there; "
        "use strides equal to the pool"
    )


def test_refused_streams() -> None:
    assert refused({"pad_left": 1, "pad_right": 1, "out_width": 3}, io_type="io_stream") == (
        "layer pool (Pooling2D): hls4ml's C simulation aborts on pooling with padding in "
        "io_stream; pad with a ZeroPadding layer, or use io_parallel"
    )
    assert refused({"stride_width": 1, "out_width": 3}, io_type="io_stream") == (
        "layer pool (Pooling2D): hls4ml's C simulation aborts on pooling whose strides are not its "
        "pool in io_stream (except for one axis with linebuffer); use io_parallel"
    )
    assert refused({}, io_type="io_stream", ConvImplementation="Encoded") == (
        "layer pool (Pooling2D): hls4ml's C simulation aborts on pooling with implementation "
        "'encoded' in Vitis; use linebuffer"
    )


def test_refused_windows() -> None:
    assert refused({"out_width": 3}) == (
        "layer pool (Pooling2D): 4 pixels with padding 0 + 0 make 2 windows of 2 with stride 2, "
        "its result has 3; hls4ml's C simulation is undefined there"
    )
    assert refused({"pad_left": 2, "out_width": 3}) == (
        "layer pool (Pooling2D): a window lies outside the image; hls4ml's C simulation divides by "
        "zero there"
    )


def test_refused_integer_accumulator_of_fractions() -> None:
    assert refused({}, data=fixed(8, 0), accum=integer(8)) == (
        "layer pool (Pooling2D): its accumulator is an ap_int, its input ap_fixed<8,0,TRN,WRAP> "
        "has no integer bits; hls4ml's C simulation is undefined there; use an ap_fixed accumulator"
    )
