"""`Target`: what the firmware is built for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from samebits import errors

from .ir import Overflow, Rounding

__all__ = ["TABLE_SIZE", "Target", "check_clock"]

TABLE_SIZE = 1024  # of hls4ml's tables, unless another one is asked for
_BACKENDS = ("Vitis", "Vivado")
_IO_TYPES = ("io_parallel", "io_stream")
_STRATEGIES = ("Latency", "Resource", "distributed_arithmetic")
_PRECISION = re.compile(
    r"(?:ap_)?u?(?:int<[1-9]\d*>"
    rf"|fixed<[1-9]\d*,\s*-?\d+(?:,\s*(?:{'|'.join(Rounding.__members__)})"
    rf"(?:,\s*(?:{'|'.join(Overflow.__members__)}))?)?>)"
)


def check_clock(clock_mhz: float) -> None:
    """Raises UsageError unless it is a clock that an FPGA may have."""
    if not (isinstance(clock_mhz, int | float) and 1 <= clock_mhz <= 2000):
        raise errors.UsageError(
            f"clock_mhz must be a clock between 1 and 2000 MHz, got {clock_mhz}"
        )


@dataclass(frozen=True, slots=True)
class Target:
    """Backend, part, clock and hls4ml's knobs.

    Args:
        backend: "Vitis" or "Vivado".
        io_type: "io_parallel" or "io_stream".
        part: the FPGA's full name.
        clock_mhz: target clock in MHz.
        strategy: "Latency", "Resource" or "distributed_arithmetic" (needs da4ml).
        reuse_factor: how many times one multiplier is used per inference.
        precision: what the model does not say itself: a default such as "fixed<16,6>", or
            {layer: precision} with "default" for the rest. None: "fixed<32,16>" for models with
            quantizers, "fixed<16,6>" for float models.
        table_size: entries of the tables of sigmoid, tanh, softmax and recurrent layers, a power of
            two, or {layer: entries} with "default" for the rest.

    Raises:
        UsageError: a value that makes no sense; the message names the choices.

    >>> Target(clock_mhz=320).clock_ns
    3.125
    """

    backend: str = "Vitis"
    io_type: str = "io_parallel"
    part: str = "xcvu13p-flga2577-2-e"
    clock_mhz: float = 200
    strategy: str = "Latency"
    reuse_factor: int = 1
    precision: str | Mapping[str, str] | None = field(default=None)
    table_size: int | Mapping[str, int] = TABLE_SIZE

    def __post_init__(self) -> None:
        _choose("backend", self.backend, _BACKENDS)
        _choose("io_type", self.io_type, _IO_TYPES)
        _choose("strategy", self.strategy, _STRATEGIES)
        if not self.part or not isinstance(self.part, str):
            raise errors.UsageError(f"part must be the FPGA's name, got {self.part!r}")
        check_clock(self.clock_mhz)
        if not (isinstance(self.reuse_factor, int) and self.reuse_factor >= 1):
            raise errors.UsageError(
                f"reuse_factor must be a whole number from 1, got {self.reuse_factor}"
            )
        if self.strategy == "distributed_arithmetic" and self.reuse_factor != 1:
            raise errors.UsageError(
                "strategy distributed_arithmetic has no multipliers to reuse: reuse_factor must "
                f"be 1, got {self.reuse_factor}"
            )
        given = self.precision if isinstance(self.precision, Mapping) else {"": self.precision}
        for layer, text in given.items():
            if text is not None and not (isinstance(text, str) and _PRECISION.fullmatch(text)):
                where = f" of {layer}" if layer not in ("", "default") else ""
                raise errors.UsageError(
                    f"precision{where} must be like fixed<16,6> or ufixed<8,3,RND_CONV,SAT>, "
                    f"got {text!r}"
                )

        for layer, size in self.table_sizes.items():
            if type(size) is not int or size & (size - 1) or not 2**6 <= size <= 2**16:
                where = "" if layer == "default" else f" of {layer}"
                raise errors.UsageError(
                    f"table_size{where} must be a power of two from 64 to 65536, got {size!r}"
                )

        # 200 and 200.0 are one clock and must be one text
        object.__setattr__(self, "clock_mhz", float(self.clock_mhz))

    @property
    def clock_ns(self) -> float:
        """The clock period in ns."""
        return 1000 / self.clock_mhz

    @property
    def table_sizes(self) -> Mapping[str, int]:
        """By layer, and of all others under "default"."""
        size = self.table_size
        return size if isinstance(size, Mapping) else {"default": size}

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; the table size only where it is not hls4ml's."""
        fields = asdict(self)
        if isinstance(self.table_size, Mapping):
            fields["table_size"] = dict(self.table_size)
        elif self.table_size == TABLE_SIZE:
            del fields["table_size"]
        if isinstance(self.precision, Mapping):
            fields["precision"] = dict(self.precision)
        return fields


def _choose(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise errors.UsageError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
