"""The graph as JSON text and arrays comes back the same, bit for bit."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Graph
from samebits.compile.ir.serialize import graph_from_json, graph_to_json

from ...strategies import MAKERS, networks, operation_cases


def check(graph: Graph) -> None:
    values, arrays = graph_to_json(graph)
    back = graph_from_json(json.loads(json.dumps(values)), arrays)
    assert (back.inputs, back.outputs, back.nodes) == (graph.inputs, graph.outputs, graph.nodes)
    assert (dict(back.tensors), back.layers) == (dict(graph.tensors), graph.layers)
    assert set(back.constants) == set(graph.constants)
    for name, mantissas in graph.constants.items():
        kept = back.constants[name]
        assert (kept.dtype, kept.shape) == (mantissas.dtype, mantissas.shape)
        assert kept.tolist() == mantissas.tolist()
    assert all(array.dtype == np.int64 for array in arrays.values())


@given(data=st.data())
def test_graphs_of_every_operation_come_back(data: st.DataObject) -> None:
    op = data.draw(st.sampled_from(sorted(MAKERS)))
    check(data.draw(st.one_of(operation_cases(op, 70), networks())).graph)


def test_wide_constants_and_layers_come_back() -> None:
    build = GraphBuilder()
    x = build.input("x", (2,), Format(True, 4, 2))
    wide = build.integers([[2**80, -(2**80)]], Format(True, 90, 4))
    y = build.apply("mul", build.reshape(x, (1, 2)), wide)
    build.layer("dense", "Dense", y, weights=(3, 4))
    check(build.graph((y.name,)))
