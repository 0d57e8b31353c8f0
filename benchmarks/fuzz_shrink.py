"""The smallest network that still differs, written as a case of tests/corpus."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .fuzz_check import DIFFERENT, Checked, Prepared, check, compare
from .fuzz_csim import Simulation, Simulator
from .fuzz_draw import DEFAULT_FORMAT
from .fuzz_network import Network, Node, quiet, to_hls4ml

__all__ = ["Found", "shrink", "write_case"]

_SECONDS = 240.0
_TOGETHER = 8  # candidates of one compiler call
_EVENTS = 4


@dataclass(frozen=True)
class Found:
    """A network with its events and the C simulation's answer."""

    network: Network
    row: Checked
    prepared: Prepared
    simulation: Simulation

    def different_events(self) -> list[int]:
        """The numbers of the events that differ anywhere."""
        wrong: set[int] = set()
        expected = {**self.simulation.layers}
        expected |= {f"output {i}": y for i, y in enumerate(self.simulation.outputs)}
        for _, answer in self.prepared.answers:
            for name in expected.keys() & answer.keys():
                values = expected[name]
                different = answer[name].reshape(values.shape) != values
                rows = different.reshape(len(values), -1).any(axis=1)
                wrong.update(int(event) for event in np.flatnonzero(rows))
        return sorted(wrong)

    def first_events(self, count: int) -> Found:
        """The same with at most `count` events, spread over all."""
        events = len(self.prepared.inputs[0])
        return self.only_events(list(range(0, events, max(1, events // count)))[:count])

    def only_events(self, events: Sequence[int]) -> Found:
        """The same with some of the events."""
        keep = np.array(events, dtype=np.intp)
        prepared = replace(
            self.prepared,
            inputs=[x[keep] for x in self.prepared.inputs],
            answers=[
                (kind, {name: values[keep] for name, values in answer.items()})
                for kind, answer in self.prepared.answers
            ],
        )
        simulation = replace(
            self.simulation,
            outputs=tuple(y[keep] for y in self.simulation.outputs),
            layers={name: values[keep] for name, values in self.simulation.layers.items()},
        )
        return Found(self.network, compare(prepared, simulation), prepared, simulation)


def shrink(
    found: Found,
    simulator: Simulator,
    say: Callable[[str], None] = lambda text: None,
    onnxruntime: bool = False,
) -> Found:
    """The smallest network found within some minutes that still differs, with a few events."""
    best, end = found, time.monotonic() + _SECONDS
    improved = True
    while improved and time.monotonic() < end:
        improved = False
        candidates = _candidates(best)
        while time.monotonic() < end:
            some = list(itertools.islice(candidates, _TOGETHER))
            if not some:
                break
            smaller = [
                Found(c, r, p, s)
                for c, (r, p, s) in zip(some, check(some, simulator, onnxruntime), strict=True)
                if r.status == DIFFERENT and p is not None and s is not None
            ]
            smaller = [one for one in smaller if _size(one.network) < _size(best.network)]
            if smaller:
                best, improved = min(smaller, key=lambda one: _size(one.network)), True
                say(f"  {len(best.network.kinds)} layers, size {_size(best.network)}")
                break
    return best.only_events(best.different_events()[:_EVENTS])


def _size(network: Network) -> int:
    """Layers first, then numbers in shapes and options, then configuration."""
    size = 0
    for node in network.nodes:
        size += 1000 if node.kind != "Input" else 200
        size += sum(_magnitude(value) for value in node.options.values())
        size += sum(0 if text == DEFAULT_FORMAT else 5 for text in _formats(node).values())
        size += 5 * (len(node.config) - 1)
    return size + (0 if network.simple_weights else 50)


def _magnitude(value: Any) -> int:
    if isinstance(value, bool) or value is None:
        return int(bool(value))
    if isinstance(value, int):
        return abs(value)
    if isinstance(value, Mapping):
        return sum(_magnitude(v) for v in value.values())
    return (
        sum(_magnitude(v) for v in value)
        if isinstance(value, Sequence) and not isinstance(value, str)
        else 1
    )


def _formats(node: Node) -> Mapping[str, str]:
    found: Mapping[str, str] = node.config.get("Precision", {})
    return found


def _candidates(best: Found) -> Iterator[Network]:
    """Smaller networks, the boldest first."""
    network = best.network
    differing = [layer.name for layer in best.row.layers if layer.different]
    made = [node.name for node in network.nodes if node.kind != "Input"]
    for name in (*differing, *made):
        if name in made and network.outputs != (name,):
            yield replace(network, outputs=(name,)).used()
    formats = _result_formats(best.prepared)
    for name in reversed(made):
        cut = _cut(network, name, best.prepared, formats)
        if cut is not None:
            yield cut
    for node in network.nodes:
        for option, value in node.options.items():
            for smaller in _smaller(value):
                yield _with(network, replace(node, options={**node.options, option: smaller}))
    if not network.simple_weights:
        yield replace(network, simple_weights=True)
    for node in network.nodes:
        for key in [k for k in node.config if k != "Precision"]:
            rest = {k: v for k, v in node.config.items() if k != key}
            yield _with(network, replace(node, config=rest))
        for place, text in _formats(node).items():
            if text != DEFAULT_FORMAT:
                precision = {**_formats(node), place: DEFAULT_FORMAT}
                yield _with(network, replace(node, config={**node.config, "Precision": precision}))


def _with(network: Network, changed: Node) -> Network:
    nodes = tuple(changed if node.name == changed.name else node for node in network.nodes)
    return replace(network, nodes=nodes)


def _result_formats(prepared: Prepared) -> dict[str, str]:
    """The precision of every layer's output, as a configuration writes it."""
    return {
        layer.name: str(layer.get_output_variable().type.precision)
        for layer in prepared.model.get_layers()
    }


def _cut(
    network: Network, name: str, prepared: Prepared, formats: Mapping[str, str]
) -> Network | None:
    """The network in which a layer's output is an input."""
    if name in network.outputs or name not in formats:
        return None
    layer = next(x for x in prepared.model.get_layers() if x.name == name)
    shape = [int(size) for size in layer.get_output_variable().shape]
    # An input's name stays what it was, so that other layers keep theirs and so their weights.
    node = Node(name, "Input", (), {"shape": shape}, {"Precision": {"result": formats[name]}})
    return _with(network, node).used()


def _smaller(value: Any) -> Iterator[Any]:
    if isinstance(value, bool):
        if value:
            yield False
    elif isinstance(value, int) and value > 1:
        yield from dict.fromkeys([1, value // 2, value - 1])
    elif isinstance(value, list) and value and all(isinstance(v, int) for v in value):
        for i, size in enumerate(value):
            for smaller in _smaller(size):
                yield [*value[:i], smaller, *value[i + 1 :]]
    elif isinstance(value, list):
        for i, part in enumerate(value):
            for smaller in _smaller(part):
                yield [*value[:i], smaller, *value[i + 1 :]]


def write_case(found: Found, folder: Path) -> Path:
    """A case folder as tests/corpus/runner.py reads it; gives its path."""
    network, row = found.network, found.row
    kinds = "-".join(dict.fromkeys(kind.lower() for kind in network.kinds))
    case = folder / f"fuzz__{kinds}__seed{network.seed}"
    case.mkdir(parents=True, exist_ok=True)
    model = to_hls4ml(network, "myproject")  # a fresh one: the engine's was written already
    unsaved = _save_graph(model, case / "graph.fml")
    np.savez_compressed(
        case / "inputs.npz",
        **{f"x{i}": x for i, x in enumerate(found.prepared.inputs)},  # type: ignore[arg-type]
    )
    np.savez_compressed(
        case / "outputs.npz",
        **{f"y{i}": y for i, y in enumerate(found.simulation.outputs)},  # type: ignore[arg-type]
    )
    layers = found.simulation.layers
    np.savez_compressed(case / "trace.npz", **layers)  # type: ignore[arg-type]
    meta = {
        "case_id": case.name,
        "test_id": f"python -m benchmarks.fuzz --seed {network.seed} --networks 1 (shrunk)",
        "backend": network.backend,
        "io_type": network.io_type,
        "input_names": list(model.inputs),
        "layer_classes": sorted({layer.class_name for layer in model.get_layers()}),
        "output_exact": True,
        "compiled_with": "g++ -O0",
        "found": row.detail,
        **({"graph_not_saved": unsaved} if unsaved else {}),
        "network": [
            {"name": n.name, "kind": n.kind, "inputs": n.inputs, **_plain(n)} for n in network.nodes
        ],
        "versions": {"hls4ml": importlib.metadata.version("hls4ml")},
    }
    (case / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    return case


def _plain(node: Node) -> dict[str, Any]:
    return {"options": dict(node.options), "config": dict(node.config)}


def _save_graph(model: Any, path: Path) -> str:
    """hls4ml's own serialisation, without the attributes that it cannot write; why not, if not.

    TimeDistributed graphs it cannot write at all: meta.json describes the network.
    """
    model.config.config["OutputDir"] = "prj"
    for layer in model.get_layers():
        for name in list(layer.attributes):
            value = layer.attributes[name]
            if callable(value) or name.endswith("_quantizer") or name == "quantizer":
                del layer.attributes.attributes[name]
            elif name == "mask_kbi":
                layer.attributes[name] = tuple(np.asarray(part).tolist() for part in value)
    with quiet():
        from hls4ml.utils.serialization import serialize_model  # type: ignore[import-untyped]

        try:
            serialize_model(model, path)
        except Exception as error:  # hls4ml raises whatever comes
            path.unlink(missing_ok=True)
            return f"{type(error).__name__}: {error}"
    return ""
