"""samebits compiles quantized networks to FPGA trigger firmware and proves that the bits are the same."""

__version__ = "0.1.0"
