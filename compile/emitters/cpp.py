"""The native emulator: the fixed-point graph as one C++17 source, weights inside, integers only.

Events go through in blocks: every tensor is rows of B events, so that loops over events become
vector instructions, and matrix products of 8- and 16-bit factors become the processor's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from samebits import errors

from ..ir import Format, Graph, Overflow, Tensor
from .cpp_elements import Step
from .cpp_matrix import has_tail, matrix_product
from .cpp_model import MAKEFILE, MODEL, makefile, model_source, raw_type
from .cpp_operations import EMITTERS, VIEWS
from .cpp_program import Program
from .interface import output_names

__all__ = ["EMITTERS", "HEADER", "SOURCE", "CppSource", "to_cpp"]

_SUPPORT = ("cpp_support.hpp", "cpp_lanes.hpp", "cpp_border.hpp")
HEADER, SOURCE = "emulator.h", "emulator.cpp"

_BLOCKS = {64: 1 << 18, 32: 1 << 18, 16: 1 << 26, 1: 1 << 29}  # events at once -> most memory
_OVER = {
    Overflow.WRAP: "wrap",
    Overflow.SAT: "sat",
    Overflow.SAT_SYM: "sat",
    Overflow.SAT_ZERO: "sat_zero",
}


@dataclass(frozen=True, slots=True)
class CppSource:
    """The texts of the emulator: header and source, the class around them, a Makefile."""

    header: str
    source: str
    model: str
    makefile: str

    def write(self, folder: Path) -> None:
        """Writes all into a folder, which need not exist."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / HEADER).write_text(self.header, encoding="utf-8")
        (folder / SOURCE).write_text(self.source, encoding="utf-8")
        (folder / MODEL).write_text(self.model, encoding="utf-8")
        (folder / MAKEFILE).write_text(self.makefile, encoding="utf-8")


def to_cpp(graph: Graph, metadata: Mapping[str, str] | None = None) -> CppSource:
    """The graph as a C++17 header and source without dependencies, and a C interface.

    Args:
        metadata: facts that the emulator tells of itself, beside its inputs and outputs.

    Raises:
        UnsupportedError: an operation without an emitter, integers beyond 127 bits, or more than
            512 MB for an event.
    """
    missing = sorted({node.op for node in graph.nodes} - EMITTERS.keys())
    if missing:
        raise errors.UnsupportedError(
            f"C++: no emitter for {', '.join(missing)}; supported: {', '.join(EMITTERS)}"
        )
    program = Program(graph)
    steps: list[str] = []
    done = -1
    for group in _groups(program):
        lines = _lines(program, group)
        if lines:
            steps.append("\n".join(lines))
        done += len(group)
        program.release(done)
    block = next((b for b, most in _BLOCKS.items() if b * program.event_bytes <= most), 0)
    if not block:
        raise errors.UnsupportedError(
            f"C++: one event needs {program.event_bytes >> 20} MB, more than {_BLOCKS[1] >> 20} MB"
        )
    metadata = metadata or {}
    return CppSource(
        _header(graph),
        _source(program, steps, block, metadata),
        model_source(graph),
        makefile(_version(metadata)),
    )


def _version(metadata: Mapping[str, str]) -> str:
    """What tells the design from another one where nobody names a version."""
    return metadata.get("samebits.fingerprint", "0")[:8]


def _groups(program: Program) -> list[list[Step]]:
    """Nodes in order; element-wise ones of one shape together, also behind a matrix product."""
    groups: list[list[Step]] = []
    for node in program.graph.nodes:
        step = Step(program, node)
        last = groups[-1] if groups else []
        if (
            last
            and step.elementwise
            and last[-1].elementwise
            and last[-1].site.output.shape == step.site.output.shape
        ):
            last.append(step)
        else:
            groups.append([step])
    together: list[list[Step]] = []
    for group in groups:
        if together and group[0].elementwise and has_tail(together[-1], group):
            together[-1] += group
        else:
            together.append(group)
    return together


def _lines(program: Program, group: list[Step]) -> list[str]:
    op = group[0].node.op
    if op in VIEWS and VIEWS[op](group[0]):
        return []
    if group[0].elementwise:
        return program.fused(group)
    if len(group) > 1:
        return matrix_product(group[0], group[1:])
    return EMITTERS[op](group[0])


def _format_type(name: str, fmt: Format) -> str:
    # clang's -Wall names those that an overflow or a rounding has no use for
    return f"""struct {name} {{
    [[maybe_unused]] static constexpr bool is_signed = {str(fmt.signed).lower()};
    [[maybe_unused]] static constexpr int width = {fmt.width}, fraction = {fmt.fraction};
    [[maybe_unused]] static constexpr Round round = Round::{fmt.rounding.value.lower()};
    [[maybe_unused]] static constexpr Over over = Over::{_OVER[fmt.overflow]};
    [[maybe_unused]] static constexpr bool like_ap_int = {str(fmt.like_ap_int).lower()};
    static constexpr int128 low() {{ return {Program.literal(fmt.min_saturated, "int128")}; }}
    static constexpr int128 high() {{ return {Program.literal(fmt.max_mantissa, "int128")}; }}
}};"""


def _shown(name: str) -> str:
    """A name in a comment, which no newline in it may end."""
    return name if name.isprintable() and not name.endswith("\\") else json.dumps(name)


def _header(graph: Graph) -> str:
    inputs = [
        f"//   inputs[{i}]: {_shown(x.name)}, {raw_type(x.format)}[events][{_size(x.shape)}], "
        f"{x.format}"
        for i, x in enumerate(graph.tensors_of(graph.inputs))
    ]
    outputs = [
        f"//   outputs[{i}]: {_shown(name)}, double[events][{_size(graph.tensors[tensor].shape)}], "
        f"{graph.tensors[tensor].format}"
        for i, (name, tensor) in enumerate(zip(output_names(graph), graph.outputs, strict=True))
    ]
    listing = "\n".join([*inputs, *outputs])
    return f"""// The firmware's answers on a processor, bit for bit. Written by samebits.
#ifndef SAMEBITS_EMULATOR_H
#define SAMEBITS_EMULATOR_H

#include <stddef.h>

#ifdef __GNUC__
#define SAMEBITS_API __attribute__((visibility("default")))
#else
#define SAMEBITS_API
#endif

#ifdef __cplusplus
extern "C" {{
#endif

typedef struct samebits_port {{
    const char* name;
    const char* format; // of the firmware
    const char* type;   // of the numbers here, "float" or "double"
    size_t size;        // numbers in an event
}} samebits_port;

typedef struct samebits_model {{
    const char* name;
    const char* version;
    const char* fingerprint; // of the design
    size_t inputs, outputs;
    const samebits_port *input, *output;
}} samebits_model;

// What this library is.
SAMEBITS_API const samebits_model* samebits_model_info(void);

// The same and more as JSON: also shapes, and what the emulator was made from.
SAMEBITS_API const char* samebits_describe(void);

// Answers to `events` events; safe to call from several threads at once, allocates nothing.
{listing}
// 0, or 1 if an input holds NaN or infinity; the outputs are then incomplete.
SAMEBITS_API int samebits_predict(const void* const* inputs, size_t events, double* const* outputs);

#ifdef __cplusplus
}}
#endif

#endif
"""


def _source(program: Program, steps: list[str], block: int, metadata: Mapping[str, str]) -> str:
    graph = program.graph
    support = "\n".join(
        resources.files(__package__).joinpath(name).read_text(encoding="utf-8") for name in _SUPPORT
    )
    inputs, outputs = graph.tensors_of(graph.inputs), graph.tensors_of(graph.outputs)
    formats = [
        _format_type(f"Input{i}", x.format) for i, x in enumerate(graph.tensors_of(graph.inputs))
    ]
    reads = []
    for i, x in enumerate(graph.tensors_of(graph.inputs)):
        array = program.array(x.name)
        size = _size(x.shape)
        raw = raw_type(x.format)
        reads.append(
            f"    if (!mantissas<B, Input{i}>(static_cast<const {raw}*>(inputs[{i}]) "
            f"+ first * {size}, {size}, events, {array.row('0')})) return false;"
        )
    writes = []
    for i, tensor in enumerate(graph.tensors_of(graph.outputs)):
        size = _size(tensor.shape)
        cell = program.array(tensor.name)
        repeated = ", 0" if cell.constant else ""  # one number for all events
        writes.append(
            f"    values<B>({cell.row('0')}, {size}, events, {tensor.format.fraction}, "
            f"outputs[{i}] + first * {size}{repeated});"
        )
    functions = "\n\n".join(
        f"template <int B> STEP void step_{number}([[maybe_unused]] unsigned char* memory) "
        f"{{\n{body}\n}}"
        for number, body in enumerate(steps)
    )
    calls = "\n".join(f"    step_{number}<B>(memory);" for number in range(len(steps)))
    described = json.dumps(_description(graph, metadata), ensure_ascii=True)
    text = json.dumps(described)  # a C string: JSON escapes of ASCII text are C's
    return f"""// The firmware's answers on a processor, bit for bit. Written by samebits.
// C++17, no dependencies: c++ -std=c++17 -O3 -march=native -fno-trapping-math -fPIC -shared

#include "{HEADER}"

{support}
namespace {{

constexpr int BLOCK = {block};
constexpr std::size_t EVENT_BYTES = {max(program.event_bytes, 16)};
alignas(64) thread_local unsigned char workspace[EVENT_BYTES * BLOCK];

{program.constants_text()}

{chr(10).join(formats)}

{functions}

template <int B>
STEP bool run(
    unsigned char* memory, const void* const* inputs, std::size_t first, int events,
    double* const* outputs
) {{
{chr(10).join(reads)}
{calls}
{chr(10).join(writes)}
    return true;
}}

// Not samebits_predict itself, which another library loaded before may have taken the place of.
int predicted(const void* const* inputs, std::size_t events, double* const* outputs) {{
    unsigned char* const memory = once(workspace);
    std::size_t first = 0;
    for (; events - first >= {max(1, block // 4)};) {{
        const int count = events - first < BLOCK ? int(events - first) : BLOCK;
        if (!run<BLOCK>(memory, inputs, first, count, outputs)) return 1;
        first += std::size_t(count);
    }}
    for (; first < events; ++first) {{
        if (!run<1>(memory, inputs, first, 1, outputs)) return 1;
    }}
    return 0;
}}

#ifndef SAMEBITS_NAME
#define SAMEBITS_NAME "model"
#endif
#ifndef SAMEBITS_VERSION
#define SAMEBITS_VERSION {json.dumps(_version(metadata))}
#endif

constexpr samebits_port ports_in[] = {{
{_ports(graph.inputs, inputs, [raw_type(x.format) for x in inputs])}
}};
constexpr samebits_port ports_out[] = {{
{_ports(output_names(graph), outputs, ["double"] * len(outputs))}
}};
constexpr samebits_model about = {{
    SAMEBITS_NAME, SAMEBITS_VERSION, {json.dumps(metadata.get("samebits.fingerprint", ""))},
    {len(graph.inputs)}, {len(graph.outputs)}, ports_in, ports_out
}};

}}  // namespace

extern "C" {{

const samebits_model* samebits_model_info(void) {{ return &about; }}

const char* samebits_describe(void) {{
    return {text};
}}

int samebits_predict(const void* const* inputs, std::size_t events, double* const* outputs) {{
    return predicted(inputs, events, outputs);
}}

}}
"""


def _ports(names: Sequence[str], tensors: Sequence[Tensor], types: Sequence[str]) -> str:
    lines = []
    for name, tensor, kind in zip(names, tensors, types, strict=True):
        words = ", ".join(json.dumps(text) for text in (name, str(tensor.format), kind))
        lines.append(f"    {{{words}, {_size(tensor.shape)}}},")
    return "\n".join(lines)


def _description(graph: Graph, metadata: Mapping[str, str]) -> dict[str, object]:
    def port(name: str, tensor: str) -> dict[str, object]:
        described = graph.tensors[tensor]
        return {"name": name, "shape": list(described.shape), "format": str(described.format)}

    return {
        "inputs": [
            {**port(name, name), "type": raw_type(graph.tensors[name].format)}
            for name in graph.inputs
        ],
        "outputs": [
            {**port(name, tensor), "type": "double"}
            for name, tensor in zip(output_names(graph), graph.outputs, strict=True)
        ],
        **metadata,
    }


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for axis in shape:
        size *= axis
    return size
