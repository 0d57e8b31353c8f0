"""Waveforms as FST, GTKWave's compressed format, from the VCD that Verilator writes.

Verilator's own FST writer needs the headers of lz4, which no PyPI package brings; pylibfst is
GTKWave's library in a wheel.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from samebits import errors

__all__ = ["check_waveform", "is_fst", "write_fst"]

_SUFFIX = ".fst"
_VARIABLES = ("wire", "reg", "integer", "parameter")


def is_fst(path: Path) -> bool:
    """Whether a waveform of this name is FST; all others are VCD."""
    return path.suffix == _SUFFIX


def check_waveform(path: Path) -> None:
    """Raises MissingToolError if a waveform of this name cannot be written here."""
    if is_fst(path) and importlib.util.find_spec("pylibfst") is None:
        raise errors.MissingToolError(
            f"{path}: FST waveforms need pylibfst, which has wheels for Linux on x86-64: "
            'pip install "samebits[rtl]", or give a name that ends in .vcd'
        )


def write_fst(vcd: Path, fst: Path) -> None:
    """Writes an FST file with the scopes, signals and value changes of a VCD file.

    Raises:
        MissingToolError: pylibfst is not installed.
        ToolError: the VCD is not as Verilator writes it, or the FST cannot be written.
    """
    check_waveform(fst)
    from pylibfst import ffi, lib  # type: ignore[import-untyped]

    writer = lib.fstWriterCreate(str(fst).encode(), 1)
    if writer == ffi.NULL:
        raise errors.ToolError(f"{fst}: cannot be written")
    try:
        lib.fstWriterSetFileType(writer, lib.FST_FT_VERILOG)
        lines = vcd.read_text(encoding="ascii").splitlines()
        start, signals = _header(lib, writer, lines)
        for line in lines[start:]:
            _change(lib, writer, signals, line)
    except (ValueError, LookupError) as error:
        raise errors.ToolError(f"{vcd}: is no waveform of Verilator ({error!r})") from None
    finally:
        lib.fstWriterClose(writer)


_Signals = dict[str, tuple[int, int]]  # VCD code -> FST handle and bits


def _header(lib: Any, writer: Any, lines: list[str]) -> tuple[int, _Signals]:
    """The number of the first line behind the header, and the signals."""
    signals: _Signals = {}
    for number, line in enumerate(lines):
        match line.split():
            case ["$timescale", scale, "$end"]:
                lib.fstWriterSetTimescaleFromString(writer, scale.encode())
            case ["$version", *words, "$end"]:
                lib.fstWriterSetVersion(writer, " ".join(words).encode())
            case ["$scope", "module", name, "$end"]:
                lib.fstWriterSetScope(writer, lib.FST_ST_VCD_MODULE, name.encode(), b"")
            case ["$upscope", "$end"]:
                lib.fstWriterSetUpscope(writer)
            case ["$var", kind, width, code, *name, "$end"] if kind in _VARIABLES:
                known, _ = signals.get(code, (0, 0))  # one signal may have several names
                handle = lib.fstWriterCreateVar(
                    writer,
                    getattr(lib, f"FST_VT_VCD_{kind.upper()}"),
                    lib.FST_VD_IMPLICIT,
                    int(width),
                    " ".join(name).encode(),
                    known,
                )
                signals[code] = handle, int(width)
            case ["$enddefinitions", "$end"]:
                return number + 1, signals
            case [] | ["$date", *_]:
                pass
            case _:
                raise ValueError(line)
    raise ValueError("no $enddefinitions")


def _change(lib: Any, writer: Any, signals: _Signals, line: str) -> None:
    match line[:1]:
        case "":
            pass
        case "#":
            lib.fstWriterEmitTimeChange(writer, int(line[1:]))
        case "b" | "0" | "1":
            bits, code = line[1:].split() if line[0] == "b" else (line[0], line[1:])
            handle, width = signals[code]
            if len(bits) > width:
                raise ValueError(line)
            lib.fstWriterEmitValueChange(writer, handle, bits.zfill(width).encode())
        case _:
            raise ValueError(line)
