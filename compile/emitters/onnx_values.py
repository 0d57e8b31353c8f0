"""`Values`: where every tensor of the fixed-point graph stands in the ONNX graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

from ..ir import Carrier, Graph
from ..ops import Array
from ..ops.arith import as_carrier
from .onnx_layout import CHANNELS_LAST, Linear, View
from .onnx_writer import ELEMENT_TYPES, OnnxWriter

__all__ = ["Values"]


class Values:
    """Where every tensor of the graph stands in the ONNX graph, in which carrier and order."""

    def __init__(
        self,
        graph: Graph,
        write: OnnxWriter,
        carriers: dict[str, Carrier],
        peaks: Mapping[str, int],
        kept: Collection[str],
    ) -> None:
        self.graph, self._write, self._carriers, self.peaks = graph, write, carriers, peaks
        self._views: dict[tuple[str, Carrier], View] = {}
        self._names: dict[tuple[str, Carrier], str] = {}
        self._images: dict[str, View] = {}
        self._events: list[str] = []
        self.linear: dict[str, Linear] = {}
        self.windows: dict[str, tuple[str, Array]] = {}  # the tensor, and positions in it
        users = Counter(name for node in graph.nodes for name in node.inputs)
        self._single = {name for name, count in users.items() if count == 1} - set(kept)
        self.producers = {node.output: node for node in graph.nodes}
        self.per_event = set(graph.inputs)
        for node in graph.nodes:
            if not self.per_event.isdisjoint(node.inputs):
                self.per_event.add(node.output)

    def put(self, tensor: str, made: str | View) -> None:
        """Says where a tensor stands in its carrier."""
        if isinstance(made, str):
            made = View.plain(made, self.graph.tensors[tensor].shape)
        if made.carrier is not None:
            self._carriers[tensor] = made.carrier
        self._views[tensor, self._carriers[tensor]] = replace(made, carrier=None)

    def get(self, tensor: str, carrier: Carrier) -> str:
        """The name of a tensor, in its own shape and order, in a carrier that holds it."""
        key = tensor, carrier
        if key not in self._names:
            if tensor in self.graph.constants:
                integers = as_carrier(self.graph.constants[tensor], carrier)[None]
                self._names[key] = self._write.constant(integers)
            else:
                shape = self.graph.tensors[tensor].shape
                self._names[key] = self._write.plain(self.view(tensor, carrier), shape)
        return self._names[key]

    def view(self, tensor: str, carrier: Carrier) -> View:
        """Where a tensor stands, in a carrier that holds it."""
        key = tensor, carrier
        if tensor in self.graph.constants:
            return View.plain(self.get(tensor, carrier), self.graph.tensors[tensor].shape)
        if key not in self._views:
            own = self._views[tensor, self._carriers[tensor]]
            self._views[key] = own.renamed(self._write.cast(own.name, ELEMENT_TYPES[carrier]))
        return self._views[key]

    def image(self, tensor: str) -> View | None:
        """An image (rows, columns, channels) in float32, channels first; None if it is none."""
        if self._carriers.get(tensor) is not Carrier.FLOAT32:
            return None
        if tensor not in self._images:
            view = self.view(tensor, Carrier.FLOAT32)
            if len(view.order) == 3 and view.perm == CHANNELS_LAST:
                return view
            if view.moved or len(view.order) not in (2, 3):
                return None
            height, width, channels = (1, *view.order)[-3:]
            name = self._write.reshape(view.name, view.stored, (height, width, channels))
            name = self._write.node("Transpose", name, perm=[0, 3, 1, 2])
            self._images[tensor] = View(name, (channels, height, width), CHANNELS_LAST)
        return self._images[tensor]

    def linear_of(self, tensor: str) -> Linear | None:
        """The linear operation that makes a tensor, if nothing else needs that tensor."""
        return self.linear.get(tensor) if tensor in self._single else None

    def stored(self, tensor: str) -> View | None:
        """Where a tensor stands in its own carrier; None for a constant."""
        return self._views.get((tensor, self._carriers.get(tensor, Carrier.FLOAT32)))

    def events(self) -> str:
        """The name of the list (N,)."""
        if not self._events:
            first = self.graph.inputs[0]
            self._events.append(self._write.node("Shape", first, start=0, end=1))
        return self._events[0]
