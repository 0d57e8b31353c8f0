"""`Graph`: what is made before it is used, and what is left after pruning."""

from typing import Any

import numpy as np
import pytest

from samebits import errors
from samebits.compile.ir import Format, Graph, Layer, Node, Tensor

FMT = Format(True, 4, 4)


def graph(nodes: list[tuple[str, str]], outputs: tuple[str, ...], **changes: Any) -> Graph:
    """Nodes as (input, output) pairs of one operation; x is the input, c a constant."""
    names = {"x", "c", *(name for node in nodes for name in node)}
    parts: dict[str, Any] = {
        "inputs": ("x",),
        "outputs": outputs,
        "nodes": tuple(Node("shift", (a,), b, {"bits": 1}) for a, b in nodes),
        "tensors": {name: Tensor(name, (2,), FMT) for name in names},
        "constants": {"c": np.array([1, 2])},
    }
    return Graph(**{**parts, **changes})


@pytest.mark.parametrize(
    ("nodes", "outputs", "changes", "message"),
    [
        ([("y", "z"), ("x", "y")], ("z",), {}, "graph: node shift -> z uses y before it is made"),
        ([("x", "y"), ("x", "y")], ("y",), {}, "graph: y is made twice"),
        ([("x", "x")], ("x",), {}, "graph: x is made twice"),
        ([("x", "y")], ("q",), {}, "graph: tensor q is used but never made"),
        (
            [("x", "y")],
            ("y",),
            {"layers": (Layer("dense", "Dense", "q"),)},
            "graph: tensor q is used but never made",
        ),
    ],
)
def test_broken_graphs_are_refused(
    nodes: list[tuple[str, str]], outputs: tuple[str, ...], changes: Any, message: str
) -> None:
    with pytest.raises(errors.FormatError) as caught:
        graph(nodes, outputs, **changes)
    assert str(caught.value) == message


def test_pruned_keeps_what_outputs_and_layers_need() -> None:
    full = graph(
        [("x", "a"), ("a", "b"), ("x", "unused"), ("c", "d"), ("x", "out")],
        ("out",),
        layers=(Layer("first", "Dense", "b"),),
    )
    pruned = full.pruned()
    assert [node.output for node in pruned.nodes] == ["a", "b", "out"]
    assert set(pruned.tensors) == {"x", "a", "b", "out"}
    assert dict(pruned.constants) == {}
    assert pruned.layer_tensors == {"first": "b"}


def test_an_input_that_nothing_uses_stays_and_a_constant_may_be_an_output() -> None:
    pruned = graph([], ("c",)).pruned()
    assert pruned.inputs == ("x",)
    assert set(pruned.tensors) == {"x", "c"}
    assert pruned.constant("c").tolist() == [1, 2]
    assert repr(pruned) == "Graph(0 nodes, 0 layers, inputs ['x'], outputs ['c'])"
