"""samebits library: the native emulator as a shared object that experiments load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samebits.design import Design

from .console import line, print_json, steps
from .options import Build, Json

NAME = "library"


def command(
    build: Build,
    name: Annotated[str, typer.Option(help="The model's name.")],
    version: Annotated[
        str | None,
        typer.Option(help="Default: the first eight digits of the design's fingerprint."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder; default: emulator in the build directory."),
    ] = None,
    arch: Annotated[
        str, typer.Option(help="Instructions that may be used: native, x86-64-v3, ...")
    ] = "native",
    header: Annotated[
        str | None,
        typer.Option(help="What declares hls4mlEmulator::Model; default: our own declaration."),
    ] = None,
    ap_types: Annotated[
        Path | None,
        typer.Option("--ap-types", help="Folder of ap_fixed.h: callers may hold ap_fixed numbers."),
    ] = None,
    include: Annotated[
        list[Path] | None, typer.Option("-I", "--include", help="Folder with headers.")
    ] = None,
    json: Json = False,
) -> None:
    """Compile the emulator into NAME_vVERSION.so: prepare_input, predict, read_result, and C."""
    from samebits.emulator import build_library

    design = Design.load(build)
    with steps("compiling"):
        library = build_library(
            design,
            name,
            version,
            output,
            arch=arch,
            header=header,
            ap_types=ap_types,
            include=include or (),
        )
    if json:
        print_json({"library": str(library), "fingerprint": design.fingerprint})
        return
    line(f"{library}: fingerprint {design.fingerprint[:12]}")
