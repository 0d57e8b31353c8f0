"""The fixed-point graph: formats, tensors, nodes. NumPy and the standard library only."""

from .carrier import Carrier
from .format import Format, Overflow, Rounding
from .graph import Attr, Graph, Layer, Node, Tensor
from .interval import IntArray, Interval, as_python_ints
from .serialize import graph_from_json, graph_to_json

__all__ = [
    "Attr",
    "Carrier",
    "Format",
    "Graph",
    "IntArray",
    "Interval",
    "Layer",
    "Node",
    "Overflow",
    "Rounding",
    "Tensor",
    "as_python_ints",
    "graph_from_json",
    "graph_to_json",
]
