"""`samebits diff`: the same bits or not, at which output and layer first, and an example."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from samebits.compile.builder import GraphBuilder
from samebits.compile.emitters.onnx import to_onnx
from samebits.compile.ir import Format, Graph, Overflow, Rounding
from samebits.sim.numpy_engine import NumpyEngine

from ...models import float_mlp
from .command import Command

INPUT = Format(True, 8, 4, Rounding.RND, Overflow.SAT)
WIDE = Format(True, 20, 12)


def network(weight: int = 3, fmt: Format = INPUT, layers: bool = True, **ends: Any) -> Graph:
    """x -> first -> second -> out; `weight` stands in second, at input 1 and output 0."""
    build = GraphBuilder()
    x = build.input("x", (2,), fmt)
    weights = [np.array([[1, 2], [-1, 3]]), np.array([[2, 1], [weight, -1]])]
    for name, matrix in zip(("first", "second"), weights, strict=True):
        x = build.reshape(x, (2, 1))
        total = build.apply("dot", x, build.integers(matrix, Format(True, 4, 4)))
        x = build.cast(total, WIDE, name=f"{name}.t")
        if layers:
            build.layer(name, "Dense", x)
    y = build.cast(x, ends.get("result", Format(True, 9, 6)), name="y")
    build.layer("out", "Activation", y)
    return build.graph((y.name,))


def saved(path: Path, graph: Graph, raw: bool = False) -> Path:
    onnx.save(to_onnx(graph, raw=raw), path)
    return path


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return saved(tmp_path / "a.onnx", network())


@pytest.mark.parametrize("raw", [False, True])
def test_the_same_bits(samebits: Command, a: Path, tmp_path: Path, raw: bool) -> None:
    b = saved(tmp_path / "b.onnx", network(layers=False), raw)
    result = samebits("diff", a, b)
    assert result.code == 0
    assert result.stdout.startswith(f"{a} and {b} give the same bits: ")
    assert "(adversarial and random, seed 0)" in result.stdout


def test_the_first_layer_and_event_that_differ(samebits: Command, a: Path, tmp_path: Path) -> None:
    b, data = saved(tmp_path / "b.onnx", network(weight=4)), tmp_path / "e.npz"
    x = np.array([[1, 0], [2, 0], [0.5, 2], [-2, 1], [0, 0]], dtype=np.float32)
    np.savez(data, features=x)
    left, right = (NumpyEngine(network(w)).run([x], ["second.t", "y"]) for w in (3, 4))
    wrong = (left[1] != right[1]).any(axis=1)
    first = int(np.argmax(wrong))
    result = samebits("diff", a, b, "--data", data, "--json")
    assert result.code == 1
    found = json.loads(result.stdout)
    assert not found["same"]
    assert found["events"] == 5
    assert found["numbers"] == 10
    assert found["different_events"] == int(wrong.sum())
    assert found["shared_layers"] == ["first", "second", "out"]
    assert found["example"] == {"x": x[first].tolist()}
    layer, (output,) = found["first_layer"], found["outputs"]
    assert layer["name"] == "second"
    assert (layer["event"], layer["element"]) == (first, [0])
    assert layer["values"] == [float(left[0][first, 0]), float(right[0][first, 0])]
    assert layer["mantissas"] == [int(y[0][first, 0] * 2**8) for y in (left, right)]
    assert (output["name"], output["event"], output["element"]) == ("out", first, [0])
    assert output["values"] == [float(left[1][first, 0]), float(right[1][first, 0])]
    text = samebits("diff", a, b, "--data", data).stdout
    assert f"{a} and {b} DIFFER in {wrong.sum()} of 5 events ({data}), 10 numbers compared" in text
    assert "first layer that differs, after first:\nlayer second: " in text
    mantissa = layer["mantissas"][0]
    assert f"{mantissa & 0xFFFFF:020b} ({mantissa}, {layer['values'][0]!r}) {WIDE}" in text


def test_random_events_find_a_rare_difference(samebits: Command, a: Path, tmp_path: Path) -> None:
    """The results are the same but where the type of one saturates."""
    narrow = Format(True, 9, 6, Rounding.TRN, Overflow.SAT)
    b = saved(tmp_path / "b.onnx", network(result=narrow))
    result = samebits("diff", a, b, "--json")
    assert result.code == 1
    found = json.loads(result.stdout)
    assert found["interface"] == [
        "output out [2] ap_fixed<9,6,TRN,WRAP> against out [2] ap_fixed<9,6,TRN,SAT>"
    ]
    assert 0 < found["different_events"] < found["events"]
    assert found["first_layer"]["name"] == "out"


def test_other_formats_with_the_same_numbers(samebits: Command, a: Path, tmp_path: Path) -> None:
    b = saved(tmp_path / "b.onnx", network(result=Format(True, 20, 12)))
    data = tmp_path / "e.npz"
    np.savez(data, features=np.array([[1.0, 2.0]]))
    result = samebits("diff", a, b, "--data", data)
    assert result.code == 1
    assert result.stdout == (
        "different interface: output out [2] ap_fixed<9,6,TRN,WRAP> against out [2] "
        "ap_fixed<20,12,TRN,WRAP>\n"
        f"{a} and {b} give the same numbers, in other formats: 1 event ({data}), 2 numbers "
        "compared\n"
    )


def test_other_shapes_cannot_be_compared(samebits: Command, a: Path, tmp_path: Path) -> None:
    build = GraphBuilder()
    x = build.input("x", (3,), INPUT)
    b = saved(tmp_path / "b.onnx", build.graph((build.cast(x, WIDE).name,)))
    result = samebits("diff", a, b)
    assert result.code == 1
    assert result.stdout.startswith(
        f"different interface: input x [2] {INPUT} against x [3] {INPUT}\n"
    )
    assert result.stdout.endswith(f"{a} and {b} cannot be compared event by event\n")


def test_layers_that_the_files_do_not_share(samebits: Command, a: Path, tmp_path: Path) -> None:
    b = saved(tmp_path / "b.onnx", network(weight=5, layers=False))
    found = json.loads(samebits("diff", a, b, "--json").stdout)
    assert found["shared_layers"] == ["out"]
    assert found["first_layer"]["name"] == "out"


def test_a_model_that_is_no_firmware(samebits: Command, a: Path, tmp_path: Path) -> None:
    model = float_mlp().save(tmp_path / "model.onnx")
    result = samebits("diff", a, model)
    assert result.code == 2
    assert result.error.startswith(f"{model}: is not a firmware.onnx of samebits")
