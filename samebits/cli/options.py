"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samebits import errors
from samebits.compile.target import Target

__all__ = [
    "Backend",
    "Build",
    "Clock",
    "Force",
    "IoType",
    "Json",
    "Output",
    "Part",
    "Precision",
    "Reuse",
    "Seed",
    "Strategy",
    "target_of",
]

Build = Annotated[Path, typer.Argument(help="Build directory of a compiled design.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Build directory to write.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
Force = Annotated[bool, typer.Option("--force", help="Replace another design in the folder.")]
Backend = Annotated[str, typer.Option("--backend", help="Vitis or Vivado.")]
IoType = Annotated[str, typer.Option("--io-type", help="io_parallel or io_stream.")]
Part = Annotated[str, typer.Option("--part", help="Full name of the FPGA.")]
Clock = Annotated[float, typer.Option("--clock-mhz", help="Target clock in MHz.")]
Strategy = Annotated[str, typer.Option("--strategy", help="Latency or Resource.")]
Reuse = Annotated[int, typer.Option("--reuse-factor", help="Uses of one multiplier.")]
Precision = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        help="Default precision such as 'fixed<16,6>', or LAYER=PRECISION; may be repeated.",
    ),
]


def target_of(
    backend: str,
    io_type: str,
    part: str,
    clock_mhz: float,
    strategy: str,
    reuse_factor: int,
    precision: list[str] | None,
) -> Target:
    """The target that the options describe.

    Raises:
        UsageError: two defaults, or a value that makes no sense.
    """
    table: dict[str, str] = {}
    for text in precision or []:
        name, _, value = text.rpartition("=")
        if (name or "default") in table:
            raise errors.UsageError(f"--precision: {name or 'the default'} is given twice")
        table[name or "default"] = value
    return Target(backend, io_type, part, clock_mhz, strategy, reuse_factor, table or None)
