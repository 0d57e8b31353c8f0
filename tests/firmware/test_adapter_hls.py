"""The adapter's C++ with the real ap_types headers, in front of a network that does nothing.

Two compilations of about 3 s of CPU time each.
"""

import ctypes
import importlib.util
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import errors
from samebits.compile.adapter import Adapter, add_adapter, make_plan, plan_for, read_adapter
from samebits.compile.adapter.hls import hls_sources, raw_words
from samebits.compile.adapter.raw import random_fields
from samebits.compile.ir import Format, Overflow, Rounding
from samebits.firmware import toolchain
from samebits.sim.numpy_engine import NumpyEngine

from ..compile.adapter.test_front import EXAMPLE, TEXT, identity

PARALLEL = {
    "h": "void net(\n    input_t x[{n}],\n    input_t y[{n}]\n);",
    "cpp": "void net(input_t x[{n}], input_t y[{n}]) {{\n"
    "    for (int i = 0; i < {n}; i++) y[i] = x[i];\n}}",
}
STREAM = {
    "h": "void net(hls::stream<input_t> &x, hls::stream<input_t> &y);",
    "cpp": "#pragma HLS DATAFLOW\nvoid net(hls::stream<input_t> &x, hls::stream<input_t> &y) {{\n"
    "    while (!x.empty()) y.write(x.read());\n}}",
}


def compiled(folder: Path, plan: Any, network: dict[str, str], element: str) -> Any:
    """`net_raw_double` of a project with the adapter and a network that copies."""
    fmt, size = plan.format, len(plan.names)
    modes = f"AP_{fmt.rounding.value},AP_{fmt.overflow.value}"
    column = f"ap_fixed<{fmt.width},{fmt.integer},{modes}>"
    header = (
        '#pragma once\n#include "ap_fixed.h"\n#include "hls_stream.h"\n'
        '#include "nnet_utils/nnet_types.h"\n'
        f"typedef {element.format(column=column)} input_t;\n" + network["h"].format(n=size)
    )
    source = f'#include "net.h"\n{network["cpp"].format(n=size)}\n'
    made = hls_sources(plan, "net", header, source)
    firmware = folder / "firmware"
    firmware.mkdir()
    for name, text in {**made.files, "firmware/net.h": header, "firmware/net.cpp": source}.items():
        (folder / name).write_text(text)
    spec = importlib.util.find_spec("hls4ml")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    templates = Path(spec.submodule_search_locations[0]) / "templates" / "vivado"
    (firmware / "nnet_utils").symlink_to(templates / "nnet_utils")
    unity = ("firmware/net.cpp", "firmware/net_raw.cpp", "net_raw_bridge.cpp")
    trace = "namespace nnet { bool trace_enabled; std::map<std::string, void *> *trace_outputs;"
    text = "#include <map>\n#include <string>\n" + trace + " size_t trace_type_size; }\n"
    (folder / "all.cpp").write_text(text + "".join(f'#include "{name}"\n' for name in unity))
    compiler = toolchain.find_cxx()
    headers = toolchain.headers_for(compiler, templates / "ap_types", folder / "ap", folder)
    toolchain.run_compiler(
        [*compiler.command, "-std=c++17", "-O0", "-w", "-fPIC", "-shared", *compiler.flags, "-I.",
         "-Ifirmware", *headers, "all.cpp", "-o", "raw.so"],
        what="the adapter", timeout_s=300, cwd=folder, log=folder / "log",
    )  # fmt: skip
    return made, ctypes.CDLL(str(folder / "raw.so")).net_raw_double


@pytest.mark.parametrize(
    ("adapter", "fmt", "network", "element"),
    [
        (Adapter.parse(tomllib.loads(TEXT)), Format(True, 16, 6, Rounding.TRN, Overflow.SAT),
         PARALLEL, "{column}"),
        (read_adapter(EXAMPLE), Format(True, 12, 4, Rounding.RND_CONV, Overflow.SAT),
         STREAM, "nnet::array<{column}, 5>"),
    ],
    ids=["parallel", "stream"],
)  # fmt: skip
def test_the_same_columns(
    adapter: Adapter, fmt: Format, network: Any, element: str, tmp_path: Path, rng: Any
) -> None:
    size = len(make_plan(adapter, fmt).names)
    graph = identity(size, fmt)
    plan = plan_for(adapter, graph)
    made, function = compiled(tmp_path, plan, network, element)
    fields = random_fields(adapter, 600, rng)
    for name, _, field in adapter.raw_fields():  # extremes, beyond `range` too, and empty slots
        low, high = field.format.min_mantissa, field.format.max_mantissa
        fields[name][:100] = rng.choice([low, high, 0, low + 1, high - 1], fields[name][:100].shape)
    with_adapter = add_adapter(plan, graph)
    inputs = [fields[name].astype(np.float64) for name in with_adapter.inputs]
    (wanted,) = NumpyEngine(with_adapter).run(inputs, with_adapter.outputs)
    words = raw_words(plan, fields)
    assert words.shape == (600, made.words)
    columns, outputs = np.zeros((2, 600, size))
    for event in range(600):
        function(*(ctypes.c_void_p(a[event].ctypes.data) for a in (words, columns, outputs)))
    assert np.array_equal(columns, wanted.reshape(600, size))
    assert np.array_equal(outputs, columns)


def test_a_top_function_that_is_another() -> None:
    plan = plan_for(read_adapter(EXAMPLE), identity(35, Format(True, 12, 4)))
    with pytest.raises(errors.UnsupportedError, match="the top function of net is not one of"):
        hls_sources(plan, "net", "void net(float *x, float *y);", "")
