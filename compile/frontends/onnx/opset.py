"""Files of old opsets, read as the operators of opset 13 or later."""

from __future__ import annotations

import onnx
from onnx import helper

from samebits import errors

from .nodes import FLAT

__all__ = ["upgraded"]

OLDEST, WANTED = 6, 13
_MAIN = ("", "ai.onnx")
# Until opset 12 these run over `axis` and all axes behind it: the same along the last axis, all
# that firmware has, and what ONNX's converter writes instead depends on shapes it may not know.
_FLAT = ("Hardmax", "LogSoftmax", "Softmax")
_ASIDE = "samebits.aside"


def upgraded(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in opset 13 or later, where what Clip, Squeeze, ... work with are inputs.

    Raises:
        ModelError: no opset, one before 7, or a node that ONNX's version converter cannot take.
    """
    fresh = onnx.ModelProto()
    fresh.CopyFrom(model)
    opset = next((item for item in fresh.opset_import if item.domain in _MAIN), None)
    if opset is None or opset.version >= WANTED:
        return fresh
    if opset.version < OLDEST:
        raise errors.ModelError(
            f"the model is of ONNX opset {opset.version}; {OLDEST} and later are read: export it "
            "again"
        )
    if fresh.ir_version < 4:  # where every initializer is an input too
        constants = {tensor.name for tensor in fresh.graph.initializer}
        inputs = [value for value in fresh.graph.input if value.name not in constants]
        del fresh.graph.input[:]
        fresh.graph.input.extend(inputs)
        fresh.ir_version = 4
    for node in fresh.graph.node:
        if node.op_type in _FLAT and node.domain in _MAIN:
            node.domain = _ASIDE
            if not node.attribute:
                node.attribute.append(helper.make_attribute("axis", 1))
    version = opset.version
    fresh.opset_import.append(helper.make_opsetid(_ASIDE, 1))
    try:
        converted = onnx.version_converter.convert_version(fresh, WANTED)
    except Exception as error:  # the converter raises RuntimeError and its own types
        raise errors.ModelError(
            f"the model of ONNX opset {version} cannot be read as opset {WANTED}: "
            f"{str(error).strip().splitlines()[0]}; export it again with opset 13 or later"
        ) from None
    for node in converted.graph.node:
        if node.domain == _ASIDE:
            node.domain, node.doc_string = "", FLAT
    domains = [item for item in converted.opset_import if item.domain != _ASIDE]
    del converted.opset_import[:]
    converted.opset_import.extend(domains)
    converted.ir_version = max(fresh.ir_version, 8)
    converted.functions.extend(model.functions)
    return converted
