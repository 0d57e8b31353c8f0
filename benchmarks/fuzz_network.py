"""A random network: drawn by seed, made into an hls4ml `ModelGraph`."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .fuzz_draw import DEFAULT_FORMAT, Draw, Palette, Weights
from .fuzz_layers import KINDS, DoesNotFit, Kind, Shape

__all__ = ["BATCH", "Network", "Node", "draw_network", "quiet", "to_hls4ml"]

BATCH = 16  # networks that share a palette of formats, and a compiler call
_LARGEST = 192  # elements of a tensor
# What hls4ml can derive precisions for in a network with HGQ's quantizers (passes/bit_exact.py).
_HGQ = (
    *("Dense", "Conv1D", "Conv2D", "Activation", "Pooling1D", "Pooling2D", "Merge", "Reshape"),
    *("GlobalPooling1D", "GlobalPooling2D", "BatchNormalization", "Softmax", "Concatenate"),
    *("Einsum", "EinsumDense", "Transpose", "FixedPointQuantizer"),
)
_STRATEGIES = ("Latency", "Latency", "Resource", "Resource", "ResourceUnrolled")


@dataclass(frozen=True)
class Node:
    """One layer: `options` say what `KINDS[kind]` builds, `config` is its hls4ml configuration."""

    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """Layers in order, inputs among them. `simple_weights` makes all weights small integers."""

    seed: int
    backend: str
    io_type: str
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    simple_weights: bool = False

    @property
    def inputs(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.kind == "Input")

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(node.kind for node in self.nodes if node.kind != "Input")

    def used(self) -> Network:
        """Without the layers that no output needs."""
        needed = set(self.outputs)
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
        return replace(self, nodes=tuple(n for n in self.nodes if n.name in needed))


class _Drawing:
    """A network while it is drawn."""

    def __init__(self, seed: int, only: str | None, backend: str | None, io_type: str | None):
        rng = np.random.default_rng([seed, 0xA1])
        # one backend for the networks of one compiler call
        shared = np.random.default_rng([seed // BATCH, 0xB2])
        backend = backend or str(shared.choice(["Vivado", "Vitis"]))
        io_types = ["io_parallel", "io_stream"]
        if only and not KINDS[only].streams:
            io_types = ["io_parallel"]
        io_type = io_type or str(rng.choice(io_types))
        self.seed, self.only = seed, only
        self.draw = Draw(rng, Palette(seed // BATCH), backend, io_type)
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {}
        self.formats: dict[str, str] = {}

    def name(self, kind: str) -> str:
        return f"{kind.lower()}_{len(self.nodes)}"

    def add_input(self, shape: Shape, precision: str | None = None) -> str:
        draw = self.draw
        precision = precision or draw.format("value" if draw.chance(0.9) else "any")
        name = f"x{sum(node.kind == 'Input' for node in self.nodes)}"
        config = {"Precision": {"result": precision}}
        self.nodes.append(Node(name, "Input", (), {"shape": list(shape)}, config))
        self.shapes[name], self.formats[name] = shape, precision
        return name

    def add(self, kind_name: str, inputs: tuple[str, ...], options: Mapping[str, Any]) -> str:
        kind = KINDS[kind_name]
        name = self.name(kind_name)
        config = self._config(kind, options, [self.formats[i] for i in inputs])
        node = Node(name, kind_name, inputs, dict(options), config)
        weights = Weights(self.seed, name)
        _, shape = kind.build(options, [self.shapes[i] for i in inputs], weights)
        if int(np.prod(shape)) > _LARGEST or not all(size > 0 for size in shape):
            raise DoesNotFit
        self.nodes.append(node)
        self.shapes[name] = shape
        self.formats[name] = config["Precision"].get("result", DEFAULT_FORMAT)
        return name

    def _config(
        self, kind: Kind, options: Mapping[str, Any], inputs: Sequence[str]
    ) -> dict[str, Any]:
        draw = self.draw
        precision = {}
        for place, role in kind.precisions.items():
            chance = draw.rng.random()
            if chance < 0.08:
                precision[place] = "auto"
            elif chance < 0.93:
                precision[place] = draw.format(role)
        config: dict[str, Any] = {"Precision": precision}
        for attribute, role in kind.types.items():
            if draw.chance(0.6):
                config[attribute] = draw.format(role)
        if kind.strategies:
            strategy = draw.choice(_STRATEGIES)
            config["Strategy"] = strategy
            if strategy != "Latency":
                config["ReuseFactor"] = draw.choice([1, 1, 1, 2, 2, 3, 4, 6, 8, 12, 24, 100])
                if strategy == "Resource" and kind.compresses and draw.chance(0.2):
                    config["Compression"] = True
            elif draw.chance(0.3):
                config["ReuseFactor"] = draw.integer(1, 6)
        if kind.configure:
            kind.configure(draw, options, config, inputs)
        return config

    def step(self, kind_name: str, forced: Mapping[str, Any] | None = None) -> None:
        """Adds one layer of a kind somewhere. Raises DoesNotFit if that cannot be."""
        kind, draw = KINDS[kind_name], self.draw
        if (draw.stream and not kind.streams) or (
            kind.backends and draw.backend not in kind.backends
        ):
            raise DoesNotFit
        inputs = self._inputs(kind)
        options = kind.draw(draw, [self.shapes[name] for name in inputs])
        for shape, precision in options.pop("new_inputs", ()):
            inputs = (*inputs, self.add_input(shape, precision or self.formats[inputs[0]]))
        self.add(kind_name, inputs, {**options, **(forced or {})})

    def _inputs(self, kind: Kind) -> tuple[str, ...]:
        draw, names = self.draw, list(self.shapes)
        if kind.source is not None:
            shape, precision = kind.source(draw)
            return (self.add_input(shape, precision),)
        latest = names[-1] if draw.chance(0.75) else draw.choice(names)
        if kind.ranks and kind.arity == 2 and len(self.shapes[latest]) not in kind.ranks:
            latest = self._reshaped(latest, draw.choice(kind.ranks))
        if kind.arity == 1:
            if kind.ranks and len(self.shapes[latest]) not in kind.ranks:
                fitting = [n for n in names if len(self.shapes[n]) in kind.ranks]
                if not fitting:
                    latest = self._reshaped(latest, draw.choice(kind.ranks))
                else:
                    latest = draw.choice(fitting)
            return (latest,)
        partners = [n for n in names if kind.pairs(self.shapes[latest], self.shapes[n], draw)]
        others = [n for n in partners if n != latest]
        if not others:
            other = self.add_input(self.shapes[latest])
            if not kind.pairs(self.shapes[latest], self.shapes[other], draw):
                raise DoesNotFit
            others = [other]
        pair = (latest, draw.choice(others))
        return pair if draw.chance(0.5) else pair[::-1]

    def _reshaped(self, name: str, rank: int) -> str:
        """The tensor in another rank, by a Reshape layer."""
        size = int(np.prod(self.shapes[name]))
        shape = [size]
        while len(shape) < rank:
            divisors = [d for d in range(1, shape[0] + 1) if shape[0] % d == 0]
            divisor = divisors[min(len(divisors) - 1, self.draw.integer(0, len(divisors) - 1))]
            shape = [shape[0] // divisor, divisor, *shape[1:]]
        return self.add("Reshape", (name,), {"shape": shape})

    def network(self) -> Network:
        draw = self.draw
        ranks = KINDS[self.only].ranks if self.only else ()
        for _ in range(2 if draw.chance(0.25) else 1):
            self.add_input(_input_shape(draw, draw.choice(ranks) if ranks else draw.integer(1, 3)))
        wanted = draw.integer(1, 5)
        names = [name for name, kind in KINDS.items() if kind.weight]
        quantized = self.only == "FixedPointQuantizer"
        if self.only is None and not draw.stream:
            quantized = draw.chance(0.06)
        if quantized:
            names = [name for name in names if name in _HGQ]
        weights = np.array([KINDS[name].weight for name in names])
        if self.only:
            self._try(self.only, attempts=20)
        for _ in range(40):
            if len(self.nodes) >= wanted + 1:
                break
            kind = str(draw.rng.choice(names, p=weights / weights.sum()))
            if self.only and draw.chance(0.3):
                kind = self.only
            self._try(kind)
            if quantized and draw.chance(0.6) and self.nodes[-1].kind != "FixedPointQuantizer":
                self._try("FixedPointQuantizer")
        read = {name for node in self.nodes for name in node.inputs}
        if all(node.kind == "Input" for node in self.nodes):
            self.add("Activation", (self.nodes[0].name,), {"activation": "relu"})
        for node in [n for n in self.nodes if n.kind == "Reshape" and n.name not in read]:
            # hls4ml drops a reshape at the end, and then an input would be an output
            self.add("Activation", (node.name,), {"activation": "relu"})
            read.add(node.name)
        made = [node.name for node in self.nodes if node.kind != "Input"]
        outputs = [name for name in made if name not in read]
        reshapes = {node.name for node in self.nodes if node.kind == "Reshape"}
        extra = [name for name in made if name in read - reshapes and draw.chance(0.06)]
        network = Network(
            self.seed, draw.backend, draw.io_type, tuple(self.nodes), (*extra, *outputs)
        )
        return network.used()

    def _try(self, kind: str, attempts: int = 1) -> None:
        for _ in range(attempts):
            nodes, shapes = list(self.nodes), dict(self.shapes)
            try:
                self.step(kind)
                for follower, options in KINDS[kind].followers(self.draw):
                    self.add(follower, (list(self.shapes)[-1],), options)
                return
            except DoesNotFit:
                self.nodes, self.shapes = nodes, shapes


def _input_shape(draw: Draw, rank: int) -> Shape:
    if rank == 1:
        return (draw.integer(1, 12),)
    if rank == 2:
        return (draw.integer(2, 7), draw.integer(1, 5))
    return (draw.integer(2, 6), draw.integer(2, 6), draw.integer(1, 4))


def draw_network(
    seed: int, only: str | None = None, backend: str | None = None, io_type: str | None = None
) -> Network:
    """The network of a seed; `only`: it has a layer of this kind if at all possible."""
    return _Drawing(seed, only, backend, io_type).network()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what hls4ml prints and warns of."""
    with (
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def to_hls4ml(network: Network, name: str) -> Any:
    """The converted hls4ml `ModelGraph`, with all of hls4ml's own passes run.

    Raises whatever hls4ml raises, and DoesNotFit if the layers' shapes do not fit together.
    """
    shapes: dict[str, Shape] = {}
    layers, layer_names = [], {}
    for node in network.nodes:
        kind = KINDS[node.kind]
        formats = dict(node.config.get("Precision", {}))
        formats["table"] = node.config.get("table_t", DEFAULT_FORMAT)
        weights = Weights(network.seed, node.name, formats, network.simple_weights)
        layer, shapes[node.name] = kind.build(
            node.options, [shapes[name] for name in node.inputs], weights
        )
        layers.append({"name": node.name, "inputs": list(node.inputs), **layer})
        layer_names[node.name] = {**node.config, "Precision": dict(node.config["Precision"])}
    with quiet():
        from hls4ml.model.graph import ModelGraph  # type: ignore[import-untyped]
        from hls4ml.utils.config import create_config  # type: ignore[import-untyped]

        config = create_config(
            output_dir=name, project_name=name, backend=network.backend, io_type=network.io_type
        )
        config["HLSConfig"] = {
            "Model": {
                "Precision": {"default": DEFAULT_FORMAT},
                "ReuseFactor": 1,
                "Strategy": "Latency",
            },
            "LayerName": layer_names,
        }
        inputs = [node.name for node in network.inputs]
        return ModelGraph.from_layer_list(config, layers, inputs, list(network.outputs))
