"""The class that experiments load by name and version, and a Makefile, beside emulator.cpp."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from math import prod

from ..ir import Format, Graph, Tensor
from .interface import input_dtype, output_names

__all__ = ["MAKEFILE", "MODEL", "makefile", "model_source", "raw_type"]

MODEL, MAKEFILE = "model.cpp", "Makefile"
_FLOAT_BITS, _DOUBLE_BITS = 24, 53


def raw_type(fmt: Format) -> str:
    """The C type of raw inputs of a format."""
    return "float" if input_dtype(fmt).__name__ == "float32" else "double"


def _ap_types(fmt: Format) -> list[str]:
    """The types of ap_fixed.h whose numbers are the format's."""
    if not 0 < fmt.width <= _DOUBLE_BITS:
        return []
    sign = "" if fmt.signed else "u"
    grid = f"{fmt.width}, {fmt.integer}"
    modes = f"AP_{fmt.rounding.value}, AP_{fmt.overflow.value}"
    types = [f"ap_{sign}fixed<{grid}>", f"ap_{sign}fixed<{grid}, {modes}>"]
    if fmt.width == fmt.integer:
        types.append(f"ap_{sign}int<{fmt.width}>")
    return types


def _choice(types: Sequence[str], ap_types: Sequence[str]) -> str:
    listed = ", ".join(types)
    return f"{listed} AP({', '.join(ap_types)})" if ap_types else listed


def _quoted(text: str) -> str:
    return json.dumps(text)  # ASCII with escapes that C++ knows


def model_source(graph: Graph) -> str:
    """The C++ class with prepare_input, predict and read_result, for one event.

    The names and signatures are those of hls4mlEmulatorExtras (github.com/cms-hls4ml,
    include/hls4ml/emulator.h), whose loader asks a library for create_model and destroy_model.
    """
    inputs = graph.tensors_of(graph.inputs)
    outputs = graph.tensors_of(graph.outputs)
    names = output_names(graph)
    members, takes, gives = [], [], []
    for i, x in enumerate(inputs):
        size, raw = prod(x.shape), raw_type(x.format)
        members.append(f"    {raw} input_{i}[{size}] = {{}};")
        types = _choice([raw], _ap_types(x.format))
        takes.append(
            f'        take<{types}>(part(given, {i}, {len(inputs)}, "prepare_input"), {size}, '
            f"input_{i}, {_wanted('prepare_input: input', graph.inputs[i], x, [raw])});"
        )
    for i, (name, y) in enumerate(zip(names, outputs, strict=True)):
        size = prod(y.shape)
        members.append(f"    double output_{i}[{size}] = {{}};")
        raws = ["double", *(["float"] if y.format.width <= _FLOAT_BITS else [])]
        gives.append(
            f"        give<{_choice(raws, _ap_types(y.format))}>"
            f'(part(given, {i}, {len(outputs)}, "read_result"), {size}, output_{i}, '
            f"{_wanted('read_result: output', name, y, raws)});"
        )
    places = ", ".join(f"input_{i}" for i in range(len(inputs)))
    results = ", ".join(f"output_{i}" for i in range(len(outputs)))
    support = resources.files(__package__).joinpath("cpp_model.hpp").read_text(encoding="utf-8")
    return f"""// The class that experiments load by name and version. Written by samebits.
// One model answers one event after the other; every thread needs its own. See docs/emulator.md.

#include "emulator.cpp"

#include <any>
#include <stdexcept>
#include <string>
#include <vector>

#ifdef SAMEBITS_MODEL_HEADER
#include SAMEBITS_MODEL_HEADER
#else
// What a caller of the library knows of it: these functions in this order.
namespace hls4mlEmulator {{
class SAMEBITS_API Model {{
public:
    virtual void prepare_input(std::any input) = 0;
    virtual void predict() = 0;
    virtual void read_result(std::any result) = 0;
    virtual ~Model() = default;
}};
}}
#endif

{support}
class Emulator final : public hls4mlEmulator::Model {{
{chr(10).join(members)}

public:
    void prepare_input(std::any given) override {{
{chr(10).join(takes)}
    }}

    void predict() override {{
        const void* const inputs[] = {{{places}}};
        double* const outputs[] = {{{results}}};
        if (predicted(inputs, 1, outputs)) refuse("predict: an input is NaN or infinite");
    }}

    void read_result(std::any given) override {{
{chr(10).join(gives)}
    }}
}};

}}  // namespace

extern "C" {{

SAMEBITS_API hls4mlEmulator::Model* create_model() {{ return new Emulator; }}

SAMEBITS_API void destroy_model(hls4mlEmulator::Model* model) {{ delete model; }}

}}
"""


def _wanted(what: str, name: str, tensor: Tensor, raws: Sequence[str]) -> str:
    types = " or ".join(f"{raw}*" for raw in raws)
    ap = _ap_types(tensor.format)
    more = f" (built with SAMEBITS_AP_TYPES also {ap[0]}*)" if ap else ""
    return _quoted(f"{what} {name}: wanted {types}{more} to {prod(tensor.shape)} numbers")


def makefile(version: str) -> str:
    """A Makefile that builds NAME_vVERSION.so."""
    return f"""# NAME_vVERSION.so, the library that experiments load. Written by samebits.
#   make NAME=jets VERSION=3 ARCH=x86-64-v3
# For callers that hold ap_fixed numbers, and with the experiment's own declaration of the class:
#   make CPPFLAGS='-DSAMEBITS_AP_TYPES -I<ap_types> -DSAMEBITS_MODEL_HEADER="<file.h>" -I<dir>'
NAME ?= model
VERSION ?= {version}
ARCH ?= native
CXX ?= c++
CXXFLAGS ?= -O3 -march=$(ARCH)
LIBRARY := $(NAME)_v$(VERSION).so

$(LIBRARY): {MODEL} emulator.cpp emulator.h
\t$(CXX) -std=c++17 $(CXXFLAGS) -fno-trapping-math -ffp-contract=off -fPIC -fvisibility=hidden \\
\t\t$(CPPFLAGS) -DSAMEBITS_NAME='"$(NAME)"' -DSAMEBITS_VERSION='"$(VERSION)"' \\
\t\t-shared -Wl,-soname,$@ {MODEL} -o $@.part
\tmv $@.part $@

clean:
\trm -f $(LIBRARY)

.PHONY: clean
"""
