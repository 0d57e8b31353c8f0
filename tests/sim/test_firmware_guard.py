"""A firmware.onnx that samebits did not write, or that was damaged, is refused in clear words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from samebits import Design, errors
from samebits.sim.firmware_file import FirmwareFile

from ..fuzz.fuzzer import fuzzer
from ..models import float_mlp, quantized_mlp

hostile: Any = fuzzer("hostile")
SEED = 7_000


@pytest.fixture(scope="module")
def firmware() -> list[bytes]:
    designs = [Design.from_onnx(write().model()) for write in (quantized_mlp, float_mlp)]
    return [design.firmware_onnx().SerializeToString() for design in designs]


def in_front(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    model.graph.node.insert(0, node)


def loop(model: onnx.ModelProto) -> None:
    in_front(model, helper.make_node("Loop", ["n", "c"], ["z"], body=onnx.GraphProto(name="b")))


def subgraph(model: onnx.ModelProto) -> None:
    node = helper.make_node("Abs", [model.graph.input[0].name], ["z"], name="odd")
    node.attribute.append(helper.make_attribute("body", onnx.GraphProto(name="b")))
    in_front(model, node)


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")


def function(model: onnx.ModelProto) -> None:
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("f", "F", ["a"], ["a"], [], opsets))


def billion(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 10**9


REFUSED: list[tuple[Callable[[onnx.ModelProto], None], str]] = [
    (loop, "it has the operator Loop"),
    (subgraph, "its node odd has a graph of its own"),
    (external, "it keeps data in another file"),
    (function, "it has functions"),
    (billion, "its tensor x has the shape [0, 1000000000]"),
]


@pytest.mark.parametrize(("change", "reason"), REFUSED)
def test_what_no_firmware_has(
    change: Callable[[onnx.ModelProto], None], reason: str, firmware: list[bytes], tmp_path: Path
) -> None:
    model = onnx.load_from_string(firmware[0])
    change(model)
    path = tmp_path / "firmware.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(errors.ModelError) as caught:
        FirmwareFile(path)
    assert str(caught.value) == f"{path}: is not a firmware.onnx of samebits: {reason}"


def test_damaged_files_give_an_answer_or_a_clear_error(
    firmware: list[bytes], tmp_path: Path
) -> None:
    paths = []
    for number in range(60):
        change = hostile.mutated if number % 2 else hostile.mutated_but_valid
        path = tmp_path / f"{SEED + number}.onnx"
        rng = np.random.default_rng(SEED + number)
        path.write_bytes(change(firmware[number % len(firmware)], rng))
        paths.append(path)
    results = hostile.opened(paths, "emulate", 20, 2000)
    assert [found for found in results if not hostile.is_good(found)] == []
    assert sum(found["kind"] == "good" for found in results) > 3
