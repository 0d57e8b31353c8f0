"""Casts as the real ap_fixed headers do them: a C++ program compiled against hls4ml's ap_types.

A format is a plain tuple `(signed, width, integer, rounding, overflow)`, the modes by their names
("TRN", "TRN_ZERO", "RND", "RND_ZERO", "RND_INF", "RND_MIN_INF", "RND_CONV"; "WRAP", "SAT",
"SAT_ZERO", "SAT_SYM", "WRAP_SM"). A mantissa is the integer m of the value
m * 2**-(width - integer): negative for negative values, never the raw bit pattern. The headers know
no width 0.

`ap_int<width>` and `ap_uint<width>` are formats too: rounding "INT", integer == width, any
overflow.

One call is one compilation: give it all cases at once. A pair of formats costs 0.02 to 0.05 s of
compile time, a mantissa next to nothing. Nothing is kept between calls.

The headers' own assertions are off, so that every cast has a result; hls4ml's C simulation leaves
them on and is aborted by some casts: `header_aborts` tells which.

Source of the arithmetic: hls4ml/templates/vivado/ap_types/ap_fixed_base.h, constructor from double
(line 519) and operator= (line 657); this program only calls them.
"""

import functools
import importlib.util
import signal
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from samebits import errors
from samebits.firmware import toolchain

Fmt = tuple[bool, int, int, str, str]

_COMPILE_TIMEOUT_S = 300.0
_RUN_TIMEOUT_S = 120.0

_HEAD = """\
#include <ap_fixed.h>
#include <cstdint>
#include <cstdio>
#include <cstring>

static bool get(void *p, size_t size) { return std::fread(p, size, 1, stdin) == 1; }

template <class T> void put(const T &t, int words) {
    for (int i = 0; i < words; i++) {
        uint64_t w = static_cast<uint64_t>(t.V.get_pVal(i));
        std::fwrite(&w, sizeof w, 1, stdout);
    }
}

static uint64_t count;

template <class S, class D> void from_fixed() {
    for (uint64_t n = 0; n < count; n++) {
        S s;
        for (int i = 0; i < (S::width + 63) / 64; i++) {
            uint64_t w;
            if (!get(&w, sizeof w)) return;
            s.V.set_pVal(i, w);
        }
        s.V.clearUnusedBits();
        D d(s);
        put(d, (D::width + 63) / 64);
    }
}

template <class D> void from_double() {
    for (uint64_t n = 0; n < count; n++) {
        double x;
        if (!get(&x, sizeof x)) return;
        D d(x);
        put(d, (D::width + 63) / 64);
    }
}

int main() {
    uint64_t which;
    while (get(&which, sizeof which)) {
        if (!get(&count, sizeof count)) return 1;
        switch (which) {
"""

_TAIL = """\
        default: return 2;
        }
    }
    return 0;
}
"""


def header_cast(cases: Sequence[tuple[Fmt, Fmt, Sequence[int]]]) -> list[list[int]]:
    """The mantissas that `target = source` gives, one list per case `(source, target, mantissas)`.

    Raises ValueError for a mantissa that the source cannot hold, ToolError where the program fails.
    """
    calls, blobs = _cast_calls(cases)
    return _run(calls, [target for _, target, _ in cases], [len(m) for *_, m in cases], blobs)


def header_from_double(cases: Sequence[tuple[Fmt, Sequence[float]]]) -> list[list[int]]:
    """The mantissas that `target = double` gives, one list per case `(target, doubles)`."""
    calls = [f"from_double<{_ctype(target)}>()" for target, _ in cases]
    blobs = [struct.pack(f"<{len(values)}d", *values) for _, values in cases]
    return _run(calls, [target for target, _ in cases], [len(v) for _, v in cases], blobs)


def header_aborts(cases: Sequence[tuple[Fmt, Fmt, Sequence[int]]]) -> list[bool]:
    """Whether an assertion of the headers aborts the program, for each case of `header_cast`."""
    calls, blobs = _cast_calls(cases)
    unique = _numbered(calls)
    with tempfile.TemporaryDirectory(prefix="ap_oracle_") as folder:
        program = _compile(Path(folder), unique, asserts=True)
        inputs = [
            struct.pack("<2Q", unique[call], len(case[2])) + blob
            for call, case, blob in zip(calls, cases, blobs, strict=True)
        ]
        codes = [_start(program, stdin).returncode for stdin in inputs]
    if not set(codes) <= {0, -signal.SIGABRT}:
        raise errors.ToolError(f"the ap_fixed program ended with {sorted(set(codes))}")
    return [code != 0 for code in codes]


def ap_types_folder() -> Path:
    """The folder of the ap_fixed headers that hls4ml ships, found without importing hls4ml."""
    spec = importlib.util.find_spec("hls4ml")
    if spec is None or not spec.submodule_search_locations:
        raise errors.MissingToolError("hls4ml is not installed: the oracle is its ap_types headers")
    return Path(spec.submodule_search_locations[0]) / "templates" / "vivado" / "ap_types"


@functools.cache
def _compiler() -> toolchain.Compiler:
    return toolchain.find_cxx()


def _cast_calls(cases: Sequence[tuple[Fmt, Fmt, Sequence[int]]]) -> tuple[list[str], list[bytes]]:
    """The C++ call and the input words of each case."""
    calls, blobs = [], []
    for source, target, mantissas in cases:
        calls.append(f"from_fixed<{_ctype(source, bare=True)}, {_ctype(target)}>()")
        blobs.append(b"".join(_to_words(m, source) for m in mantissas))
    return calls, blobs


def _numbered(calls: list[str]) -> dict[str, int]:
    return {call: number for number, call in enumerate(dict.fromkeys(calls))}


def _ctype(fmt: Fmt, *, bare: bool = False) -> str:
    """The C++ type; `bare` leaves out the modes, which a source's value does not depend on."""
    signed, width, integer, rounding, overflow = fmt
    if rounding == "INT":
        return f"ap_int<{width}>" if signed else f"ap_uint<{width}>"
    name = "ap_fixed" if signed else "ap_ufixed"
    modes = "" if bare else f", AP_{rounding}, AP_{overflow}"
    return f"{name}<{width}, {integer}{modes}>"


def _n_words(fmt: Fmt) -> int:
    return (fmt[1] + 63) // 64


def _to_words(mantissa: int, fmt: Fmt) -> bytes:
    signed, width = fmt[:2]
    low, high = (-(1 << (width - 1)), 1 << (width - 1)) if signed else (0, 1 << width)
    if not low <= mantissa < high:
        raise ValueError(f"mantissa {mantissa} does not fit {_ctype(fmt)}")
    return mantissa.to_bytes(8 * _n_words(fmt), "little", signed=signed)


def _from_words(blob: bytes, fmt: Fmt) -> int:
    signed, width = fmt[:2]
    raw = int.from_bytes(blob, "little") & ((1 << width) - 1)
    return raw - (1 << width) if signed and raw >> (width - 1) else raw


def _run(
    calls: list[str], targets: list[Fmt], counts: list[int], blobs: list[bytes]
) -> list[list[int]]:
    unique = _numbered(calls)
    stdin = b"".join(
        struct.pack("<2Q", unique[call], count) + blob
        for call, count, blob in zip(calls, counts, blobs, strict=True)
    )
    with tempfile.TemporaryDirectory(prefix="ap_oracle_") as folder:
        ran = _start(_compile(Path(folder), unique, asserts=False), stdin)
    if ran.returncode:
        message = ran.stderr.decode(errors="replace")[-500:]
        raise errors.ToolError(f"the ap_fixed program ended with {ran.returncode}: {message}")
    stdout = ran.stdout
    expected = sum(8 * _n_words(t) * n for t, n in zip(targets, counts, strict=True))
    if len(stdout) != expected:
        raise errors.ToolError(f"the ap_fixed program wrote {len(stdout)} of {expected} bytes")
    results, position = [], 0
    for target, count in zip(targets, counts, strict=True):
        size = 8 * _n_words(target)
        stops = range(position + size, position + size * count + 1, size)
        results.append([_from_words(stdout[stop - size : stop], target) for stop in stops])
        position += size * count
    return results


def _compile(folder: Path, calls: dict[str, int], *, asserts: bool) -> Path:
    compiler = _compiler()
    body = "".join(f"        case {n}: {call}; break;\n" for call, n in calls.items())
    source, program = folder / "oracle.cpp", folder / "oracle"
    source.write_text(_HEAD + body + _TAIL)
    includes = toolchain.headers_for(compiler, ap_types_folder(), folder / "ap_types")
    flags = ["-std=c++14", "-O0", "-w", *([] if asserts else ["-DNDEBUG"])]
    toolchain.run_compiler(
        [*compiler.command, *compiler.flags, *flags, *includes, str(source), "-o", str(program)],
        what="the ap_fixed program",
        timeout_s=_COMPILE_TIMEOUT_S,
    )
    return program


def _start(program: Path, stdin: bytes) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([program], input=stdin, capture_output=True, timeout=_RUN_TIMEOUT_S)
