"""samebits compiles quantized networks to FPGA trigger firmware and proves the bits are the same.

>>> import samebits
>>> design = samebits.Design.from_onnx("model.onnx")  # doctest: +SKIP
>>> design.verify().mismatching_bits  # doctest: +SKIP
0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samebits.calibration import calibrate
    from samebits.compile.target import Target
    from samebits.design import Design

__version__ = "0.1.0"
__all__ = ["Design", "Target", "__version__", "calibrate"]


def __getattr__(name: str) -> Any:
    # imported on first use, so that `import samebits` and the command line's help are immediate
    if name == "Design":
        from samebits.design import Design

        return Design
    if name == "Target":
        from samebits.compile.target import Target

        return Target
    if name == "calibrate":
        from samebits.calibration import calibrate

        return calibrate
    raise AttributeError(f"module 'samebits' has no attribute {name!r}")
