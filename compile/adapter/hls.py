"""The adapter as C++ for Vitis and Vivado HLS: a header, a top function of raw words, a bridge."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors

from ..ir import Format
from .description import DetectorObject
from .plan import Choice, Linear, Plan, Row, Table
from .raw import pack

__all__ = ["HlsSources", "hls_sources", "raw_words"]

_SPACE = "samebits_adapter"
_PER_LINE = 16


@dataclass(frozen=True)
class HlsSources:
    """Files of the HLS project by their path; how many 64-bit words an event has, and columns."""

    files: dict[str, str]
    words: int
    columns: int


def hls_sources(plan: Plan, project: str, header: str, source: str) -> HlsSources:
    """The C++ of an adapter in front of an hls4ml project.

    Args:
        project: name of the project and its top function.
        header, source: the text of its firmware/<project>.h and .cpp.

    Raises:
        UnsupportedError: a top function that is not understood.
    """
    parameters = _parameters(project, header)
    names = {part.get("name") or part["stream"] for part in map(_parts, parameters)}
    if taken := sorted(names & plan.adapter.objects.keys()):
        raise errors.UnsupportedError(
            f"adapter: {project} has a parameter {taken[0]} of its own: rename the object"
        )
    raw = [*_raw_parameters(plan)]
    dataflow = re.search(r"#pragma HLS DATAFLOW", source) is not None
    files = {
        "firmware/adapter.h": _header(plan),
        f"firmware/{project}_raw.h": _top_header(project, raw, parameters[1:]),
        f"firmware/{project}_raw.cpp": _top(plan, project, raw, parameters, dataflow),
        f"{project}_raw_bridge.cpp": _bridge(plan, project, parameters[1:]),
    }
    return HlsSources(files, _word_count(plan), len(plan.names))


def raw_words(plan: Plan, fields: dict[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """Events as the bridge takes them, (N, words): words of packed objects, codes of the others."""
    packed = pack(plan.adapter, fields)
    parts: list[Any] = []
    for kind, one in plan.adapter.objects.items():
        if kind in packed:
            parts.append(packed[kind].reshape(len(packed[kind]), -1).view(np.int64))
        else:
            codes = np.stack([fields[f"{kind}_{name}"] for name in one.fields], axis=2)
            parts.append(codes.reshape(len(codes), -1))
    return np.ascontiguousarray(np.concatenate(parts, axis=1), dtype=np.int64)


def _limbs(one: DetectorObject) -> int:
    """64-bit words of one slot."""
    return len(one.fields) if one.word_bits is None else -(-one.word_bits // 64)


def _word_count(plan: Plan) -> int:
    return sum(one.count * _limbs(one) for one in plan.adapter.objects.values())


def _integer(signed: bool, width: int) -> str:
    return f"ap_int<{width}>" if signed else f"ap_uint<{width}>"


def _fixed(fmt: Format) -> str:
    name = "ap_fixed" if fmt.signed else "ap_ufixed"
    return f"{name}<{fmt.width},{fmt.integer},AP_{fmt.rounding.value},AP_{fmt.overflow.value}>"


def _header(plan: Plan) -> str:
    lines = [
        f"// Input adapter {plan.adapter.name}: raw detector integers -> network input.",
        "// Written by samebits. Every column is the exact number, cast to column_t.",
        "#ifndef SAMEBITS_ADAPTER_H_",
        "#define SAMEBITS_ADAPTER_H_",
        "",
        '#include "ap_fixed.h"',
        '#include "ap_int.h"',
        "#include <stdint.h>",
        "",
        f"namespace {_SPACE} {{",
        "",
        f"typedef {_fixed(plan.format)} column_t;",
        "",
    ]
    for kind, one in plan.adapter.objects.items():
        lines += _structure(kind, one)
    lines += [
        f"inline column_t from_bits(const ap_int<{plan.format.width + 1}> &bits) {{",
        "#pragma HLS INLINE",
        "    column_t y;",
        f"    y.range({plan.format.width - 1}, 0) = bits.range({plan.format.width - 1}, 0);",
        "    return y;",
        "}",
        "",
    ]
    tables = _tables(plan)
    for entries, name in tables.items():
        # arrays of ap_int take minutes to compile
        size = next(bits for bits in (8, 16, 32, 64) if plan.format.width < bits)
        lines.append(f"static const int{size}_t {name}[{len(entries)}] = {{")
        for start in range(0, len(entries), _PER_LINE):
            lines.append(f"    {', '.join(map(str, entries[start : start + _PER_LINE]))},")
        lines += ["};", ""]
    arguments = ", ".join(
        f"const {kind}_t {kind}[{one.count}]" for kind, one in plan.adapter.objects.items()
    )
    lines += [f"inline void columns({arguments}, column_t out[{len(plan.names)}]) {{"]
    lines += ["#pragma HLS INLINE"]
    for number, row in enumerate(plan.rows):
        lines += _loop(plan, row, number, tables)
    return "\n".join([*lines, "}", "", f"}} // namespace {_SPACE}", "", "#endif", ""])


def _structure(kind: str, one: DetectorObject) -> list[str]:
    lines = [f"struct {kind}_t {{"]
    for name, field in one.fields.items():
        unit = f" {field.unit}" if field.unit else ""
        lines.append(f"    {_integer(field.signed, field.width)} {name}; // LSB {field.lsb}{unit}")
    lines += ["};", ""]
    if one.word_bits is None:
        return lines
    word = f"ap_uint<{one.word_bits}>"
    lines += [f"inline {kind}_t unpack_{kind}(const {word} &word) {{", "#pragma HLS INLINE"]
    lines.append(f"    {kind}_t x;")
    for name, field in one.fields.items():
        assert field.place is not None
        lines.append(
            f"    x.{name}.range({field.width - 1}, 0) = "
            f"word.range({field.place[0]}, {field.place[1]});"
        )
    return [*lines, "    return x;", "}", ""]


def _tables(plan: Plan) -> dict[tuple[int, ...], str]:
    """Entries -> name; equal tables are one."""
    found: dict[tuple[int, ...], str] = {}
    for row in plan.rows:
        if isinstance(row.arithmetic, Table):
            found.setdefault(row.arithmetic.entries, f"{row.kind}_{row.text}_table")
    return found


def _loop(
    plan: Plan, row: Row, number: int, tables: dict[tuple[int, ...], str]
) -> Iterator[str] | list[str]:
    """One row's columns for its slots."""
    first, last = row.slots[0], row.slots[-1]
    stride = row.positions[1] - row.positions[0] if len(row.positions) > 1 else 1
    start = row.positions[0] - first * stride
    place = f"{start} + {stride} * i" if stride > 1 else f"{start} + i"
    lines = [
        f"row{number}: // {row.kind}: {row.take.value}",
        f"    for (int i = {first}; i < {last + 1}; i++) {{",
        "#pragma HLS UNROLL",
    ]
    field = plan.adapter.objects[row.kind].fields[row.field]
    code, source = f"{row.kind}[i].{row.field}", field.format
    if row.other is not None:
        code, source, more = _difference(plan, row, code)
        lines += more
    match row.arithmetic:
        case Linear() as linear:
            lines += _linear(linear, code, source)
        case Table(entries, dropped):
            bits = source.width - dropped
            lines += [
                f"        const ap_uint<{bits}> address = {code}.range({source.width - 1}, "
                f"{dropped});",
                f"        column_t y = from_bits({tables[entries]}[address]);",
            ]
        case Choice(category, hit, miss):
            lines.append(
                f"        column_t y = {code} == {category} ? from_bits({hit}) : from_bits({miss});"
            )
    if row.empty_field is not None:
        lines.append(
            f"        if ({row.kind}[i].{row.empty_field} == 0) y = from_bits({row.empty});"
        )
    return [*lines, f"        out[{place}] = y;", "    }"]


def _difference(plan: Plan, row: Row, code: str) -> tuple[str, Format, list[str]]:
    assert row.other is not None
    kind, slot, name = row.other
    formats = [
        plan.adapter.objects[k].fields[f].format for k, f in ((row.kind, row.field), (kind, name))
    ]
    low = formats[0].min_mantissa - formats[1].max_mantissa
    high = formats[0].max_mantissa - formats[1].min_mantissa
    if row.period is not None:
        low, high = low - row.period, high + row.period
    width = Format.spanning(low, high, 0).width
    wide = Format(True, width, width)
    lines = [
        f"        ap_int<{width}> d = ap_int<{width}>({code}) - "
        f"ap_int<{width}>({kind}[{slot}].{name});"
    ]
    if row.period is None:
        return "d", wide, lines
    period = row.period
    if period == period & -period:
        bits = period.bit_length() - 1
        lines.append(f"        const ap_int<{bits}> turned = d; // wraps")
        return "turned", Format(True, bits, bits), lines
    lines += [
        f"        if (d >= {period - period // 2})",
        f"            d = d - ap_int<{width}>({period});",
        f"        else if (d < {-(period // 2)})",
        f"            d = d + ap_int<{width}>({period});",
    ]
    return "d", wide, lines


def _linear(linear: Linear, code: str, source: Format) -> list[str]:
    ends = [source.min_mantissa * linear.factor, source.max_mantissa * linear.factor]
    low = min(*ends, 0, linear.addend, *(end + linear.addend for end in ends))
    high = max(*ends, 0, linear.addend, *(end + linear.addend for end in ends))
    width = Format.spanning(min(low, -1), high, 0).width
    sum_type, factor = f"ap_int<{width}>", _constant(linear.factor)
    plus = f" + {_constant(linear.addend)}" if linear.addend else ""
    return [
        f"        const {sum_type} exact = {code} * {factor}{plus};",
        f"        ap_fixed<{width},{width - linear.fraction}> number;",
        f"        number.range({width - 1}, 0) = exact.range({width - 1}, 0);",
        "        column_t y = number;",
    ]


def _constant(value: int) -> str:
    """An ap_int that holds the value."""
    width = Format.spanning(min(value, -1), max(value, 0), 0).width
    if width > 64:
        raise errors.UnsupportedError(f"adapter: a factor of {width} bits; HLS constants have 64")
    return (
        f"ap_int<{width}>({value}LL)" if value != -(1 << 63) else f"ap_int<64>({value + 1}LL - 1)"
    )


def _parameters(project: str, header: str) -> list[str]:
    """The parameters of the project's top function."""
    found = re.search(rf"void\s+{re.escape(project)}\s*\(([^;]*)\)\s*;", header)
    parts = [" ".join(part.split()) for part in found[1].split(",")] if found else []
    joined: list[str] = []  # a comma inside <> is no separator
    for part in parts:
        if joined and joined[-1].count("<") > joined[-1].count(">"):
            joined[-1] += f", {part}"
        else:
            joined.append(part)
    if len(joined) < 2 or not all(_PARAMETER.fullmatch(part) for part in joined):
        raise errors.UnsupportedError(
            f"adapter: the top function of {project} is not one of an input and outputs that "
            f"samebits knows: {joined}"
        )
    return joined


_PARAMETER = re.compile(
    r"(?:hls::stream\s*<\s*(?P<packet>\w+)\s*>\s*&\s*(?P<stream>\w+)"
    r"|(?P<type>\w+)\s+(?P<name>\w+)\s*(?P<size>\[[^\]]+\]))"
)


def _parts(parameter: str) -> dict[str, str]:
    found = _PARAMETER.fullmatch(parameter)
    assert found is not None
    return {key: value for key, value in found.groupdict().items() if value is not None}


def _raw_parameters(plan: Plan) -> Iterator[str]:
    for kind, one in plan.adapter.objects.items():
        if one.word_bits is None:
            yield f"const {_SPACE}::{kind}_t {kind}[{one.count}]"
        else:
            yield f"const ap_uint<{one.word_bits}> {kind}[{one.count}]"


def _top_header(project: str, raw: Sequence[str], outputs: Sequence[str]) -> str:
    guard = f"{project.upper()}_RAW_H_"
    arguments = ",\n    ".join([*raw, *outputs])
    return (
        f"// {project} behind its input adapter. Written by samebits.\n"
        f"#ifndef {guard}\n#define {guard}\n\n"
        f'#include "adapter.h"\n#include "{project}.h"\n\n'
        f"void {project}_raw(\n    {arguments}\n);\n\n#endif\n"
    )


def _top(
    plan: Plan, project: str, raw: Sequence[str], parameters: Sequence[str], dataflow: bool
) -> str:
    given, size = _parts(parameters[0]), len(plan.names)
    outputs = [_parts(parameter) for parameter in parameters[1:]]
    kinds = plan.adapter.objects
    lines = [
        f"// Top function: {project} behind its input adapter. Written by samebits.",
        f'#include "{project}_raw.h"',
        "",
        "#ifndef __SYNTHESIS__",
        f"namespace {_SPACE} {{",
        "double *seen_columns = 0; // of the C simulation: where the columns are written too",
        "}",
        "#endif",
        "",
        f"void {project}_raw(",
        "    " + ",\n    ".join([*raw, *parameters[1:]]),
        ") {",
        *(f"#pragma HLS ARRAY_PARTITION variable={kind} complete dim=0" for kind in kinds),
        *(
            f"#pragma HLS ARRAY_PARTITION variable={part['name']} complete dim=0"
            for part in outputs
            if "name" in part
        ),
        f"#pragma HLS {'DATAFLOW' if dataflow else 'PIPELINE'}",
        "",
    ]
    objects = []
    for kind, one in kinds.items():
        objects.append(kind)
        if one.word_bits is not None:
            objects[-1] = f"{kind}_objects"
            lines += [
                f"    {_SPACE}::{kind}_t {kind}_objects[{one.count}];",
                f"#pragma HLS ARRAY_PARTITION variable={kind}_objects complete dim=0",
                f"    for (int i = 0; i < {one.count}; i++) {{",
                "#pragma HLS UNROLL",
                f"        {kind}_objects[i] = {_SPACE}::unpack_{kind}({kind}[i]);",
                "    }",
            ]
    lines += [
        f"    {_SPACE}::column_t made[{size}];",
        "#pragma HLS ARRAY_PARTITION variable=made complete dim=0",
        f"    {_SPACE}::columns({', '.join(objects)}, made);",
        "#ifndef __SYNTHESIS__",
        f"    for (int i = 0; {_SPACE}::seen_columns && i < {size}; i++)",
        f"        {_SPACE}::seen_columns[i] = made[i].to_double();",
        "#endif",
        "",
    ]
    arguments = ", ".join(part.get("name") or part["stream"] for part in (given, *outputs))
    if "stream" in given:
        packet, stream = given["packet"], given["stream"]
        lines += [
            f"    hls::stream<{packet}> {stream};",
            f"    for (unsigned i = 0; i < {size} / {packet}::size; i++) {{",
            f"        {packet} packet;",
            f"        for (unsigned j = 0; j < {packet}::size; j++) {{",
            "#pragma HLS UNROLL",
            f"            packet[j] = made[i * {packet}::size + j];",
            "        }",
            f"        {stream}.write(packet);",
            "    }",
        ]
    else:
        lines += [
            f"    {given['type']} {given['name']}[{size}];",
            f"#pragma HLS ARRAY_PARTITION variable={given['name']} complete dim=0",
            f"    for (int i = 0; i < {size}; i++) {{",
            "#pragma HLS UNROLL",
            f"        {given['name']}[i] = made[i];",
            "    }",
        ]
    return "\n".join([*lines, f"    {project}({arguments});", "}", ""])


def _bridge(plan: Plan, project: str, outputs: Sequence[str]) -> str:
    """`<project>_raw_double`: 64-bit words in, columns and outputs as doubles, for simulations."""
    lines = [
        "// For the C simulation: raw words of one event in, numbers out. Written by samebits.",
        f'#include "firmware/{project}_raw.h"',
        '#include "firmware/nnet_utils/nnet_helpers.h"',
        "#include <cstdint>",
        "",
        f"namespace {_SPACE} {{",
        "extern double *seen_columns;",
        "}",
        "",
        'extern "C" {',
        "",
    ]
    parts = [_parts(parameter) for parameter in outputs]
    names = [part.get("name") or part["stream"] for part in parts]
    doubles = "".join(f", double *{name}" for name in names)
    lines.append(f"void {project}_raw_double(const int64_t *raw, double *columns{doubles}) {{")
    place = 0
    for kind, one in plan.adapter.objects.items():
        limbs, count = _limbs(one), one.count
        typename = f"{_SPACE}::{kind}_t" if one.word_bits is None else f"ap_uint<{one.word_bits}>"
        lines += [
            f"    {typename} {kind}[{count}];",
            f"    for (int i = 0; i < {count}; i++) {{",
        ]
        if one.word_bits is None:
            lines += [
                f"        {kind}[i].{name} = raw[{place} + {limbs} * i + {position}];"
                for position, name in enumerate(one.fields)
            ]
        else:
            lines += [
                f"        {kind}[i].range({min(64 * limb + 63, one.word_bits - 1)}, {64 * limb}) = "
                f"ap_uint<64>((uint64_t)raw[{place} + {limbs} * i + {limb}]);"
                for limb in range(limbs)
            ]
        lines.append("    }")
        place += limbs * count
    for part in parts:
        if "stream" in part:
            lines.append(f"    hls::stream<{part['packet']}> {part['stream']}_ap;")
        else:
            lines.append(f"    {part['type']} {part['name']}_ap{part['size']};")
    arguments = ", ".join([*plan.adapter.objects, *(f"{name}_ap" for name in names)])
    lines += [f"    {_SPACE}::seen_columns = columns;", f"    {project}_raw({arguments});"]
    for part in parts:
        if "stream" in part:
            name = part["stream"]
            lines += [
                f"    for (size_t i = 0; !{name}_ap.empty();) {{",
                f"        const {part['packet']} packet = {name}_ap.read();",
                f"        for (unsigned j = 0; j < {part['packet']}::size; j++, i++)",
                f"            {name}[i] = packet[j].to_double();",
                "    }",
            ]
        else:
            size, name = part["size"][1:-1], part["name"]
            lines.append(
                f"    for (int i = 0; i < {size}; i++) {name}[i] = {name}_ap[i].to_double();"
            )
    return "\n".join([*lines, "}", "}", ""])
