"""What hls4ml's kernels compute, number by number, transcribed from its headers.

Weights are given as the flat C++ arrays; `accum` and `product` are functions of exact fractions.
"""

from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

Numbers = Sequence[Fraction]
Window = list[Fraction]
Accum = Callable[[Fraction], Fraction]
Product = Callable[[Fraction, Any], Fraction]


def _round_up(a: int, b: int) -> int:
    return (a + b - 1) // b


def dense_latency(
    data: Numbers, weights: Sequence[Any], biases: Numbers, accum: Accum, product: Product
) -> Window:
    n_in, n_out = len(data), len(biases)
    mult = [Fraction(0)] * (n_in * n_out)
    for ii in range(n_in):
        cache = data[ii]
        for jj in range(n_out):
            index = ii * n_out + jj
            mult[index] = accum(product(cache, weights[index]))
    acc = [accum(bias) for bias in biases]
    for ii in range(n_in):
        for jj in range(n_out):
            acc[jj] = accum(acc[jj] + mult[ii * n_out + jj])
    return acc


def dense_resource(
    data: Numbers,
    weights: Sequence[Any],
    biases: Numbers,
    accum: Accum,
    product: Product,
    reuse: int,
    unrolled: bool = False,
) -> Window:
    """dense_resource_rf_leq_nin, _rf_gt_nin_rem0 and _rf_gt_nin; `unrolled`: no zero weights."""
    n_in, n_out = len(data), len(biases)
    if reuse > n_in and reuse % n_in:
        return _resource_rf_gt_nin(data, weights, biases, accum, product, reuse)
    acc = [accum(bias) for bias in biases]

    def add(out_index: int, in_index: int, w_index: int) -> None:
        if not unrolled or weights[w_index] != 0:
            term = accum(product(data[in_index], weights[w_index]))
            acc[out_index] = accum(acc[out_index] + term)

    block_factor = _round_up(n_in * n_out, reuse)
    if reuse <= n_in:
        multscale = block_factor // n_out
        for ir in range(reuse):
            w_index = in_index = ir
            out_index = acc_step = 0
            for _ in range(block_factor):
                add(out_index, in_index, w_index)
                w_index += reuse
                in_index += reuse
                if in_index >= n_in:
                    in_index = ir
                if acc_step + 1 >= multscale:
                    acc_step = 0
                    out_index += 1
                else:
                    acc_step += 1
        return acc
    rufactor = min(reuse, n_in * n_out)
    in_index = outstep = 0
    outidx = []
    for ir in range(rufactor):
        outidx.append(outstep)
        if (ir + 1) % n_in == 0:
            outstep += 1
    for ir in range(rufactor):
        w_index, out_index = ir, outidx[ir]
        for _ in range(block_factor):
            add(out_index, in_index, w_index)
            w_index += rufactor
            if w_index >= n_in * n_out:
                break
            out_index += rufactor // n_in
        in_index += 1
        if in_index >= n_in:
            in_index = 0
    return acc


def _resource_rf_gt_nin(
    data: Numbers,
    weights: Sequence[Any],
    biases: Numbers,
    accum: Accum,
    product: Product,
    reuse: int,
) -> Window:
    n_in, n_out = len(data), len(biases)
    multfactor = min(n_in, reuse)
    multiplier_limit = _round_up(n_in * n_out, multfactor)
    block_factor = _round_up(n_in * n_out, reuse)
    acc = [accum(bias) for bias in biases]
    for ir in range(reuse):
        tmpmult: dict[int, Fraction] = {}
        for im in range(block_factor):
            w_index = ir + reuse * im
            if w_index < n_in * n_out:
                tmpmult[im] = accum(product(data[w_index % n_in], weights[w_index]))
        mult = [Fraction(0)] * multiplier_limit
        for im in range(block_factor):
            out_index = (ir + reuse * im) // multfactor
            if out_index < multiplier_limit:
                mult[out_index] = accum(mult[out_index] + tmpmult[im])
        for im in range(multiplier_limit):
            acc[im] = accum(acc[im] + mult[im])
    return acc


def depthwise_latency(
    data: Numbers, weights: Sequence[Any], biases: Numbers, accum: Accum, product: Product
) -> Window:
    n_in, n_out = len(data), len(biases)
    mult = [accum(product(data[ii], weights[ii])) for ii in range(n_in)]
    acc = [accum(bias) for bias in biases]
    for ii in range(n_in // n_out):
        for jj in range(n_out):
            acc[jj] = accum(acc[jj] + mult[ii * n_out + jj])
    return acc


def depthwise_resource(
    data: Numbers,
    weights: Sequence[Any],
    biases: Numbers,
    accum: Accum,
    product: Product,
    reuse: int,
) -> Window:
    """depthwise_product_resource_rf_leq_nout, _rf_gt_nout_rem0 and _gt_nout."""
    n_in, n_out = len(data), len(biases)
    acc = [accum(bias) for bias in biases]

    def add(out_index: int, in_index: int) -> None:
        term = accum(product(data[in_index], weights[in_index]))
        acc[out_index] = accum(acc[out_index] + term)

    if reuse <= n_out:
        for ir in range(reuse):
            in_index = out_index = ir
            for _ in range(_round_up(n_in, reuse)):
                add(out_index, in_index)
                in_index += reuse
                out_index += reuse
                if out_index >= n_out:
                    out_index -= n_out
        return acc
    rufactor = min(reuse, n_in)
    step = 0 if reuse % n_out == 0 else reuse % n_out
    for ir in range(rufactor):
        in_index, out_index = ir, ir % n_out
        for _ in range(_round_up(n_in, rufactor)):
            add(out_index, in_index)
            in_index += rufactor
            out_index += step
            if out_index >= n_out:
                out_index -= n_out
    return acc


def im2col(
    image: Any, filt: tuple[int, int], stride: tuple[int, int], pads: tuple[int, int, int, int]
) -> list[Window]:
    """fill_buffer as `_compute_conv2d_im2col` generates it; `image` [row][column][channel]."""
    height, width, n_chan = len(image), len(image[0]), len(image[0][0])
    top, bottom, left, right = pads
    out_height = (height + top + bottom - filt[0]) // stride[0] + 1
    out_width = (width + left + right - filt[1]) // stride[1] + 1
    windows = []
    for oh in range(out_height):
        for ow in range(out_width):
            window = []
            for kh in range(filt[0]):
                for kw in range(filt[1]):
                    row, column = oh * stride[0] - top + kh, ow * stride[1] - left + kw
                    inside = 0 <= row < height and 0 <= column < width
                    pixel = image[row][column] if inside else [Fraction(0)] * n_chan
                    window += pixel
            windows.append(window)
    return windows


def line_buffer(image: Any, filt: tuple[int, int], stride: tuple[int, int]) -> list[Window]:
    """compute_output_buffer_2d, or _1d where the filter has one row: counters, shift registers."""
    height, width = len(image), len(image[0])
    shift_x, shift_y = filt[1] - 1, filt[0] - 1
    registers = [deque([None] * width, maxlen=width) for _ in range(filt[0] - 1)]
    kernel: list[list[Any]] = [[None] * filt[1] for _ in range(filt[0])]
    px = py = sx = sy = 0
    windows = []
    for row in range(height):
        for column in range(width):
            shift: list[Any] = [None] * filt[0]
            shift[filt[0] - 1] = image[row][column]
            for ih in range(1, filt[0]):
                popped = registers[ih - 1][-1]
                registers[ih - 1].appendleft(shift[filt[0] - ih])
                shift[filt[0] - ih - 1] = popped
            for ih in range(filt[0]):
                kernel[ih] = [*kernel[ih][1:], shift[ih]]
            ready = sx == shift_x and px > shift_x - 1
            if filt[0] > 1:
                ready = ready and sy == shift_y and py > shift_y - 1
            if ready:
                windows.append([x for line in kernel for pixel in line for x in pixel])
            if px + 1 == width:
                px = sx = 0
                if py + 1 == height:
                    py = sy = 0
                else:
                    py += 1
                    sy = sy - stride[0] + 1 if sy == shift_y else sy + 1
            else:
                px += 1
                sx = sx - stride[1] + 1 if sx == shift_x else sx + 1
    return windows


def pointwise_stream(image: Any, stride: tuple[int, int]) -> list[Window]:
    windows = []
    for ih, line in enumerate(image):
        for iw, pixel in enumerate(line):
            if ih % stride[0] == 0 and iw % stride[1] == 0:
                windows.append(list(pixel))
    return windows


def encoded(
    image: Any,
    filt: tuple[int, int],
    stride: tuple[int, int],
    instructions: list[int],
    minimum: tuple[int, int],
) -> list[Window]:
    """compute_output_encoded: one queue for each place of the window."""
    height, width = len(image), len(image[0])
    size = filt[0] * filt[1]
    queues: list[deque[Any]] = [deque() for _ in range(size)]
    windows = []
    for ih in range(height):
        sh = _scale_index(filt[0], stride[0], height, ih, minimum[0] == height)
        for iw in range(width):
            sw = _scale_index(filt[1], stride[1], width, iw, minimum[1] == width)
            pixel_idx = instructions[sh * minimum[1] + sw]
            for f in range(size):
                if pixel_idx >> f & 1:
                    queues[f].append(image[ih][iw])
            if pixel_idx >> (size - 1) & 1:
                windows.append([x for queue in queues for x in queue.popleft()])
    return windows


def _scale_index(k: int, s: int, w: int, idx: int, unscaled: bool) -> int:
    if unscaled:
        return idx
    n_w = ((w - k) // s) * s + k
    if k >= s:
        s_w = (_round_up(k, s) - 1) * s + k
        if idx < k - s:
            return idx
        if idx >= n_w:
            return s_w
        r = n_w - idx
        if r <= k - s:
            return s_w - r
        return k - s + (idx - (k - s)) % s
    s_w = (_round_up(s, k) - 1) * s + k
    if idx < s - k:
        return idx
    if idx >= n_w:
        return s_w
    r = n_w - idx
    if r <= s - k:
        return s_w - r
    return s - k + (idx - (s - k)) % s
