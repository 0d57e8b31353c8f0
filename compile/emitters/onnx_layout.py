"""Where tensors stand in the ONNX graph: in another order of axes, as windows of an image, or as a
linear operation that can still take a bias and a scale.

Images stand channels first, as ONNX's Conv and MaxPool want them; what is between such nodes is
done in that order, and only an operation that asks for the tensor itself has it moved back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from ..ir import Carrier
from ..ops import Array

__all__ = ["CHANNELS_LAST", "Linear", "View", "Windows", "match_windows"]

CHANNELS_LAST = (1, 2, 0)  # of an image that stands channels first


@dataclass(frozen=True, slots=True)
class View:
    """A tensor as another one: transposed by `perm`, then reshaped.

    The ONNX tensor `name` has shape (N, *stored); `perm` counts the axes behind N.
    """

    name: str
    stored: tuple[int, ...]
    perm: tuple[int, ...]
    carrier: Carrier | None = None  # another one than was chosen for the tensor

    @classmethod
    def plain(cls, name: str, shape: Sequence[int]) -> View:
        """The tensor as it is."""
        return cls(name, tuple(shape), tuple(range(len(shape))))

    @property
    def moved(self) -> bool:
        """True if the axes are in another order."""
        return self.perm != tuple(range(len(self.perm)))

    @property
    def order(self) -> tuple[int, ...]:
        """The sizes in the tensor's own order, before it is reshaped."""
        return tuple(self.stored[axis] for axis in self.perm)

    def renamed(self, name: str) -> View:
        """Another ONNX tensor of the same shape and order."""
        return replace(self, name=name)

    def place(self, values: Array) -> Array:
        """Numbers for all elements of the tensor, in the order in which it stands."""
        back = np.argsort(np.array(self.perm, dtype=int))
        return np.asarray(values).reshape(self.order).transpose(back)

    def split(self, shape: Sequence[int]) -> list[tuple[int, ...]] | None:
        """The stored axes that make each axis of `shape`; None if one of them is cut."""
        axes, groups = list(self.perm), []
        for size in shape:
            group: list[int] = []
            while prod(self.stored[axis] for axis in group) < size and axes:
                group.append(axes.pop(0))
            if prod(self.stored[axis] for axis in group) != size:
                return None
            groups.append(tuple(group))
        if not groups or any(self.stored[axis] != 1 for axis in axes):
            return None
        return [*groups[:-1], (*groups[-1], *axes)]


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows that move over an image, rows first; `pads` as ONNX counts them."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    out: tuple[int, int]


def match_windows(elements: Array, image: tuple[int, int, int]) -> Windows | None:
    """The windows whose elements these are, None if they are no windows.

    Args:
        elements: (places in the window, windows, channels) positions in the image (rows, columns,
            channels), counted row by row; beyond its end stands padding.
    """
    height, width, channels = image
    taps, count = elements.shape[:2]
    inside = elements < height * width * channels
    pixel = elements[..., 0] // channels
    whole = elements == pixel[..., None] * channels + np.arange(channels)
    if not (whole | ~inside).all() or (inside != inside[..., :1]).any():
        return None
    inside = inside[..., 0]
    full = np.flatnonzero(inside.all(axis=0))
    if not len(full):
        return None
    row, column = pixel // width, pixel % width
    down, right = (line[:, full[0]] - line[0, full[0]] for line in (row, column))
    kernel_width = int(np.count_nonzero(down == 0))
    kernel = taps // kernel_width, kernel_width
    if kernel[0] * kernel[1] != taps:
        return None
    down, right = np.divmod(np.arange(taps), kernel_width)
    first = inside.argmax(axis=0), np.arange(count)
    tops, lefts = row[first] - down[first[0]], column[first] - right[first[0]]
    if not inside.any(axis=0).all():
        return None
    out_width = int(np.argmax(tops != tops[0])) or count
    out = count // out_width, out_width
    if out[0] * out[1] != count:
        return None
    lines = [tops.reshape(out)[:, 0], lefts.reshape(out)[0]]
    before = [-int(line[0]) for line in lines]
    strides, after = [], []
    for size, kernel_size, pad, line in zip((height, width), kernel, before, lines, strict=True):
        # of a single window no second one follows
        stride = int(line[1] - line[0]) if len(line) > 1 else max(1, size + pad - kernel_size + 1)
        strides.append(stride)
        after.append(max(0, (len(line) - 1) * stride + kernel_size - pad - size))
        if stride < 1 or not 0 <= pad < kernel_size or after[-1] >= kernel_size:
            return None
        if (size + pad + after[-1] - kernel_size) // stride + 1 != len(line):
            return None
    tops = (np.arange(out[0]) * strides[0] - before[0]).repeat(out[1])
    lefts = np.tile(np.arange(out[1]) * strides[1] - before[1], out[0])
    rows, columns = tops + down[:, None], lefts + right[:, None]
    expected = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    if (expected != inside).any() or (inside & (pixel != rows * width + columns)).any():
        return None
    pads = (before[0], before[1], after[0], after[1])
    return Windows(kernel, (strides[0], strides[1]), pads, out)


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix product or convolution with constants: 2**power * (weights * x + bias).

    It is exact in float32: every partial sum is a multiple of 2**-bits and at most `peak`, and
    peak * 2**bits is at most 2**24; a power of two changes nothing. `make` writes the nodes for a
    scale and a bias (of the result's shape, before scaling); None if that bias is not possible.
    """

    make: Callable[[float, Array | None], View | None]
    peak: int
    bits: int = 0
    power: int = 0
    bias: Array | None = None
    relu: bool = False

    def scaled(self, power: int) -> Linear | None:
        """2**power times this; None far from one."""
        total = self.power + power
        return replace(self, power=total) if -60 <= total <= 60 else None

    def plus(self, bias: Array) -> Linear | None:
        """This and integers of the result's shape; None if a partial sum may be inexact."""
        integers = [abs(int(value)) for value in np.unique(bias) if value]
        largest, lowest = max(integers, default=0), min((v & -v for v in integers), default=0)
        if self.relu or self.power < 0 or not Carrier.FLOAT64.holds(largest):
            return None
        bits = max(self.bits, self.power + 1 - lowest.bit_length() if lowest else 0)
        peak = self.peak + -(-largest >> self.power)
        if not Carrier.FLOAT32.holds(peak << bits):
            return None
        old = 0.0 if self.bias is None else self.bias
        added = old + bias.astype(np.float64) * 2.0**-self.power
        return replace(self, bias=added, peak=peak, bits=bits)

    def rectified(self) -> Linear:
        """The larger of this and zero."""
        return replace(self, relu=True)

    def rounds_to(self, power: int) -> bool:
        """True if 2**power times this, rounded, is an integer of float32 for certain."""
        total = self.power + power
        return Carrier.FLOAT32.holds((self.peak << max(0, total) >> max(0, -total)) + 1)
