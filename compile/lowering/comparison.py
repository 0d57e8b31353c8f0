"""`compare`: which of two ap_fixed numbers C++ takes for the larger one."""

from __future__ import annotations

from typing import Literal

from ..ir import Format, Tensor
from .context import Context

__all__ = ["compare"]

_INT_WIDTH = 32


def compare(context: Context, x: Tensor, y: Tensor, relation: Literal["gt", "lt"]) -> Tensor:
    """x > y or x < y as ap_fixed compares them.

    The words are brought to one fraction and then compared as C compares integers: a signed and an
    unsigned one of at least 32 bits, the unsigned one not the shorter, as two unsigned ones. A
    negative number is then the largest.

    Source: ap_fixed_base.h, `OP_CMP_AF`; ap_private.h, `operator>`, `operator<`.
    """
    build = context.build
    if x.format.signed != y.format.signed:
        fraction = max(x.format.fraction, y.format.fraction)
        left, right = x.format.width, y.format.width
        if x.format.fraction < y.format.fraction:
            left = max(1, left + y.format.fraction - x.format.fraction + 1)
        else:
            right = max(1, right + x.format.fraction - y.format.fraction)
        signed, unsigned = (left, right) if x.format.signed else (right, left)
        if max(left, right) >= _INT_WIDTH and unsigned >= signed:
            width = max(left, right) + 1
            word = Format(False, width, width - fraction)
            x, y = (build.cast(each, word) if each.format.signed else each for each in (x, y))
    larger, smaller = (x, y) if relation == "gt" else (y, x)
    return build.apply("compare", larger, smaller, relation="gt")
