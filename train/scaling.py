"""The fixed-point format of the raw features, and their standardisation in hardware.

The firmware receives raw features x in one fixed-point format (hls4ml has one type per tensor).
Before the first dense layer every feature is centred and scaled to about unit width:

    z = x * scale + shift,    exact standardisation: scale = 1/sigma, shift = -mean/sigma

* `po2`: scale is the nearest power of two (a shift of the bits, no logic), shift stands on the grid
  of the rounded z. The arithmetic is exact in float32, so Keras, ONNX Runtime and firmware give
  equal bits.
* `fold`: the multiplication is folded into the network as a first layer of its own: scale keeps 8
  significant bits (one constant multiplier per feature), shift as above. The product of a 22-bit
  feature and an 8-bit scale is wider than float32's 24 bits: Keras and ONNX Runtime round it, and
  can differ from the firmware by one step of z at a tie.

Folding 1/sigma into the weights of the first dense layer itself would break their 6-bit grid: every
one of its F x units products would multiply a raw feature (22 bits) by a weight as many bits wider
as sigma's spread between features takes (12 for the jets), instead of 8 bits by 6.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from samebits import errors

__all__ = [
    "InputFormat",
    "InputScaling",
    "Kind",
    "choose_input_format",
    "choose_scaling",
    "exact_standardisation",
    "hardware_view",
]

Kind = Literal["po2", "fold"]
MAX_INPUT_BITS = 23  # the widest format that QKeras's float32 straight-through form keeps exactly
FOLD_SIGNIFICANT_BITS = 8
SCALED_INTEGER_BITS = 3  # of z with its sign: -4 to 4 standard deviations

FloatArray = npt.NDArray[np.float32]
WideArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class InputFormat:
    """The fixed-point type of a raw feature: `width` bits, `integer` of them before the point.

    `integer` counts the sign. Rounds half to even and saturates, as AP_RND_CONV and AP_SAT do.
    """

    width: int
    integer: int
    signed: bool

    def __post_init__(self) -> None:
        if not 1 + self.signed <= self.width <= MAX_INPUT_BITS:
            raise errors.FormatError(
                f"input format {self}: width must be {1 + self.signed} to {MAX_INPUT_BITS} bits"
            )
        if self.integer - self.signed < 0:
            raise errors.FormatError(
                f"input format {self}: QKeras needs at least {int(self.signed)} integer bits"
            )

    @property
    def lsb(self) -> float:
        """Distance between two neighbouring values."""
        return float(2.0 ** (self.integer - self.width))

    @property
    def low(self) -> float:
        """Smallest value."""
        return float(-(2.0 ** (self.integer - 1))) if self.signed else 0.0

    @property
    def high(self) -> float:
        """Largest value."""
        return float(2.0 ** (self.integer - self.signed)) - self.lsb

    def quantize(self, features: npt.ArrayLike) -> FloatArray:
        """The nearest value of the format, half to even, saturating; any shape."""
        steps = np.rint(np.asarray(features, np.float64) / self.lsb)
        return np.asarray(np.clip(steps * self.lsb, self.low, self.high), np.float32)

    def __str__(self) -> str:
        kind = "ap_fixed" if self.signed else "ap_ufixed"
        return f"{kind}<{self.width},{self.integer},AP_RND_CONV,AP_SAT>"


@dataclass(frozen=True, eq=False)
class InputScaling:
    """z = x * scale + shift per feature; `scale`, `shift` (F,) float32, rounded as `kind` says."""

    kind: str
    scale: FloatArray
    shift: FloatArray


def choose_input_format(
    features: FloatArray,
    feature_names: tuple[str, ...],
    *,
    resolution: float = 1 / 32,
    width: int | None = None,
) -> InputFormat:
    """The narrowest format that holds every feature of the training part (N, F) and resolves each.

    The integer bits cover the largest absolute value; values beyond it saturate later. The step is
    at most `resolution` times the smallest standard deviation; with `width` given, it follows from
    it.

    Raises:
        DataError: the features differ so much in size that no format of 23 bits serves.
    """
    largest = np.abs(features).max(axis=0).astype(np.float64)
    sigma = _sigma(features)
    signed = bool(features.min() < 0)
    integer = max(0, math.frexp(float(largest.max()))[1]) + signed
    fraction = max(0, -math.floor(math.log2(resolution * float(sigma.min()))))
    if width is not None:
        if width < integer + 1:
            name = feature_names[int(largest.argmax())]
            raise errors.DataError(
                f"input_bits is {width}, but feature {name!r} reaches {largest.max():g} and needs "
                f"{integer} bits before the point alone; give at least {integer + 1}, or none at "
                "all"
            )
        return InputFormat(width, integer, signed)
    if integer + fraction > MAX_INPUT_BITS:
        large, fine = feature_names[int(largest.argmax())], feature_names[int(sigma.argmin())]
        raise errors.DataError(
            f"no single input format of at most {MAX_INPUT_BITS} bits serves all features: "
            f"{large!r} "
            f"reaches {largest.max():g} ({integer} integer bits) and {fine!r} varies by only "
            f"{sigma.min():g} ({fraction} fraction bits). Change the unit of one of them, or set "
            "input_bits "
            f"(at most {MAX_INPUT_BITS}) and accept a coarser step"
        )
    return InputFormat(integer + fraction, integer, signed)


def exact_standardisation(features: FloatArray) -> InputScaling:
    """Float32 standardisation by mean and standard deviation of the training part (N, F)."""
    sigma = _sigma(features)
    scale = 1 / sigma
    return _scaling("float", scale, -_mean(features) * scale)


def choose_scaling(features: FloatArray, kind: Kind, scaled_bits: int) -> InputScaling:
    """Standardisation of the training part (N, F) in numbers that hardware has.

    `scaled_bits` is the width of the rounded z, `SCALED_INTEGER_BITS` of them before the point.
    """
    exact = 1 / _sigma(features)
    if kind == "po2":
        scale = 2.0 ** np.rint(np.log2(exact))
    else:
        unit = 2.0 ** (np.floor(np.log2(exact)) + 1 - FOLD_SIGNIFICANT_BITS)
        scale = np.rint(exact / unit) * unit
    step = 2.0 ** (SCALED_INTEGER_BITS - scaled_bits)
    return _scaling(kind, scale, np.rint(-_mean(features) * scale / step) * step)


def hardware_view(
    features: npt.ArrayLike, input_format: InputFormat, scaling: InputScaling, scaled_bits: int
) -> FloatArray:
    """Raw features (N, F) as the first dense layer sees them: rounded at the input, standardised,
    rounded to `scaled_bits` bits, and turned back into the units of the raw features."""
    step = 2.0 ** (SCALED_INTEGER_BITS - scaled_bits)
    limit = 2.0 ** (SCALED_INTEGER_BITS - 1)
    scale, shift = scaling.scale.astype(np.float64), scaling.shift.astype(np.float64)
    z = input_format.quantize(features).astype(np.float64) * scale + shift
    rounded = np.clip(np.rint(z / step) * step, -limit, limit - step)
    return np.asarray((rounded - shift) / scale, np.float32)


def _scaling(kind: str, scale: WideArray, shift: WideArray) -> InputScaling:
    return InputScaling(kind, scale.astype(np.float32), shift.astype(np.float32))


def _mean(features: FloatArray) -> WideArray:
    return np.asarray(features.mean(axis=0, dtype=np.float64))


def _sigma(features: FloatArray) -> WideArray:
    """Standard deviations (F,); a constant feature counts as having that of its size, or 1."""
    sigma = features.std(axis=0, dtype=np.float64)
    size = np.abs(_mean(features))
    constant = sigma <= 1e-6 * size
    return np.asarray(np.where(constant | (sigma == 0), np.where(size > 0, size, 1.0), sigma))
