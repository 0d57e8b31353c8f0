"""`Design.tighten`: the proven widths in hls4ml's types, and the proof that no bit changes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from samebits import errors
from samebits.compile.frontends.hls4ml_types import (
    configuration,
    family,
    predecessors,
    with_types,
)
from samebits.compile.ir import Format, Graph, Interval, Layer
from samebits.compile.passes import simplify
from samebits.compile.passes.equivalence import Bounds, Difference, differences
from samebits.compile.passes.names import rename_inputs
from samebits.compile.passes.overflow import lift_inner_wraps, overflow_sites
from samebits.compile.passes.ranges import refine_ranges
from samebits.compile.passes.widths import narrowed, narrowest_formats
from samebits.compile.passes.zero_bits import propagate_zero_bits, zero_bits_of
from samebits.inputs import Events, check_inputs
from samebits.sim.numpy_engine import NumpyEngine
from samebits.sim.stimuli import adversarial_inputs

if TYPE_CHECKING:
    from samebits.design import Design

__all__ = ["Tightening", "TypeChange", "tighten"]

Key: TypeAlias = tuple[str, str]  # layer, type
_RETRIES = 50
_NUMBERS = 1 << 22  # simulated of each kind of event, more or less
_MANY_FEATURES = 512  # beyond, the adversarial inputs element by element are too many


@dataclass(frozen=True, slots=True)
class TypeChange:
    """One type of one layer.

    Args:
        kind: hls4ml's name of the type without `_t`: result, accum, weight, table and so on.
        narrowest: what range analysis allows.
        after: the type now; `before` where `kept` says why.
        numbers: how many numbers have the type.
    """

    layer: str
    kind: str
    before: Format
    narrowest: Format
    after: Format
    numbers: int
    kept: str = ""

    @property
    def saved_bits(self) -> int:
        """Bits saved of each number."""
        return self.before.width - self.after.width


@dataclass(frozen=True, slots=True, eq=False)
class Tightening:
    """A design with narrower types and the same bits.

    Args:
        design: the new design; the old one is as it was.
        changes: the types that range analysis found too wide, changed or kept.
        configuration: the changed types as `LayerName` of an hls4ml configuration.
        events: how many events were simulated in both designs and compared at every layer.
    """

    design: Design
    changes: tuple[TypeChange, ...]
    configuration: Mapping[str, Any]
    events: int

    @property
    def saved_bits(self) -> int:
        """Bits saved in all numbers of one event together."""
        return sum(change.saved_bits * change.numbers for change in self.changes)


def with_model_graph(design: Design, model_graph: Any) -> Design:
    """The design, or if it was loaded the same converted again."""
    from samebits.design import Design

    if design.adapter is not None:
        raise errors.UsageError("tighten: the design has an input adapter; tighten its network")
    if model_graph is not None:
        if hasattr(model_graph, "graphs"):
            raise errors.UnsupportedError(
                "tighten: a MultiModelGraph is not supported; tighten its parts one by one"
            )
        return design
    if design.model_bytes is None:
        raise errors.BuildError(
            f"{design.folder}: holds no model.onnx to convert again; tighten the design that "
            "from_hls4ml gives"
        )
    import onnx

    made = Design.from_onnx(onnx.load_from_string(design.model_bytes), design.target)
    if made.fingerprint != design.fingerprint:
        raise errors.BuildError(
            f"{design.folder}: its design is not what compiling its model.onnx gives; compile "
            "the model again"
        )
    return made


def tighten(
    design: Design, model_graph: Any, weights: Any, x: Events | None, seed: int
) -> Tightening:
    """See `Design.tighten`.

    Args:
        model_graph, weights: what the design was lowered from.
    """
    from samebits.compile.lowering import lower

    lowered = lower(model_graph, weights)
    simplified = simplify(lowered)
    bounds = Bounds(lowered, simplified)
    wanted, numbers = _proposals(model_graph, lowered, simplified)

    def attempt(types: Mapping[Key, Format]) -> tuple[Any, Graph, list[Difference]]:
        """The hls4ml graph with these types, its fixed-point graph, and where a proof ends."""
        changed = with_types(
            model_graph, {key: (fmt.width, fmt.integer) for key, fmt in types.items()}
        )
        try:
            graph = lower(changed, weights)
        except errors.SamebitsError as error:  # hls4ml has no such layer in these types
            named = re.search(r"layer (\S+) \(", str(error))
            tensor = f"{named[1]}/" if named else ""
            return changed, lowered, [Difference(tensor, str(error), Format(False, 0, 0))]
        return changed, graph, differences(lowered, graph, bounds)

    kept: dict[Key, str] = {}
    changed, graph = model_graph, lowered
    while accepted := {key: fmt for key, fmt in wanted.items() if key not in kept}:
        changed, graph, found = attempt(accepted)
        if not found:
            break
        kept |= _blame(model_graph, simplified, accepted, found)
        changed, graph = model_graph, lowered
    # several types may have been blamed for the fault of one
    for key in list(kept)[:_RETRIES]:
        tried = {**accepted, key: wanted[key]}
        again = attempt(tried)
        if not again[2]:
            (changed, graph, _), accepted = again, tried
            del kept[key]
    new = rename_inputs(simplify(graph), design.graph.inputs)
    events = _compare(design.graph, new, x, seed)
    before = _types(simplified)
    changes = tuple(
        TypeChange(
            *key, before[key], fmt, accepted.get(key, before[key]), numbers[key], kept.get(key, "")
        )
        for key, fmt in wanted.items()
    )
    return Tightening(
        design.with_graph(
            new, changed, {"tightened": {"events": events, "changes": _facts(changes)}}
        ),
        changes,
        configuration(changed, {key: (0, 0) for key in accepted}),
        events,
    )


def _types(graph: Graph) -> dict[Key, Format]:
    """The types of every layer by hls4ml's names."""
    types = {}
    for layer in graph.layers:
        types[layer.name, "result"] = graph.tensors[layer.tensor].format
        types |= {(layer.name, kind): fmt for kind, fmt in layer.types.items()}
    return types


def _proposals(
    model_graph: Any, lowered: Graph, simplified: Graph
) -> tuple[dict[Key, Format], dict[Key, int]]:
    """The narrowest format of every type that is wider, and how many numbers have the type.

    The types of inputs and outputs are the design's interface and stay.
    """
    lifted = lift_inner_wraps(simplified)
    ranges = refine_ranges(lifted)
    sites = [
        site
        for site in overflow_sites(lifted, ranges)
        if site.target == simplified.tensors[site.node.output].format
    ]
    needed = narrowest_formats(lifted, sites, ranges, propagate_zero_bits(lifted, ranges))
    wanted: dict[Key, Format] = {}
    numbers: dict[Key, int] = {}
    for layer in simplified.layers:
        kinds = _types(replace(simplified, layers=(layer,)))
        constants = {
            name: _stem(name) for name in lowered.constants if name.startswith(f"{layer.name}/")
        }
        casts = [name for name in needed if name.startswith(f"{layer.name}/")]
        for (name, kind), fmt in kinds.items():
            if kind == "result" and layer.tensor in simplified.outputs:
                continue
            tensors = [one for one, stem in constants.items() if stem == kind]
            if not tensors:  # no type of weights or tables
                tensors = [*casts, *(x for x, stem in constants.items() if stem not in layer.types)]
            tensors = [one for one in tensors if lowered.tensors[one].format == fmt]
            found = family(model_graph, name, kind)
            # by chance a ReLU's zero or result may have the format of its unused table
            named = any(constants.get(one, "").endswith(kind) for one in tensors)
            made = any(one in needed for one in tensors) and not kind.endswith("table")
            if not found or not (named or made):
                continue
            need = _joined(
                fmt,
                [
                    _of_constant(fmt, lowered, one) if one in lowered.constants else needed[one]
                    for one in tensors
                ],
            )
            if found == "integer":
                need = replace(need, width=need.integer)
            if need.width < fmt.width:
                wanted[name, kind] = need
                sizes = [int(np.prod(lowered.tensors[one].shape)) for one in tensors]
                numbers[name, kind] = max(sizes)
    return wanted, numbers


def _stem(name: str) -> str:
    """What the lowering called a constant: "dense/weight_2" is a "weight"."""
    return re.sub(r"_\d+$", "", name.rpartition("/")[2])


def _of_constant(fmt: Format, graph: Graph, name: str) -> Format:
    mantissas = graph.constants[name]
    interval = Interval.of_constant(mantissas)
    return narrowed(fmt, interval.minimum, interval.maximum, zero_bits_of(mantissas))


def _joined(fmt: Format, formats: Sequence[Format]) -> Format:
    """The narrowest format with the integer and the fraction bits of all."""
    integer = max(one.integer for one in formats)
    fraction = max(one.fraction for one in formats)
    return replace(fmt, width=integer + fraction, integer=integer)


def _blame(
    model_graph: Any, graph: Graph, accepted: Mapping[Key, Format], found: Sequence[Difference]
) -> dict[Key, str]:
    """The changes that the ends of the proof come from, with the reason; at least one.

    A difference is laid to the layer's own types of that format, else to all of its types and the
    results that it reads, else to everything.
    """
    kept: dict[Key, str] = {}
    for difference in found:
        owner = _owner(graph, difference.tensor)
        if owner is None:
            continue
        mine = {key: fmt for key, fmt in accepted.items() if key[0] == owner.name}
        blamed = [key for key, fmt in mine.items() if fmt == difference.format]
        blamed = blamed or [*mine, *_results_read(model_graph, owner.name, accepted)]
        for key in blamed:
            kept.setdefault(key, _reason(difference))
    return kept or dict.fromkeys(accepted, _reason(found[0]))


def _reason(difference: Difference) -> str:
    if not difference.tensor or difference.tensor.endswith("/"):  # a refusal names its layer itself
        return difference.reason
    return f"{difference.tensor}: {difference.reason}"


def _owner(graph: Graph, tensor: str) -> Layer | None:
    owners = [layer for layer in graph.layers if tensor.startswith(f"{layer.name}/")]
    return max(owners, key=lambda layer: len(layer.name), default=None)


def _results_read(model_graph: Any, layer: str, accepted: Mapping[Key, Format]) -> list[Key]:
    """The changed results that a layer reads, through layers whose results did not change."""
    found: list[Key] = []
    waiting, seen = predecessors(model_graph, layer), {layer}
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if (name, "result") in accepted:
            found.append((name, "result"))
        else:
            waiting += predecessors(model_graph, name)
    return found


def _compare(old: Graph, new: Graph, x: Events | None, seed: int) -> int:
    """Simulates both graphs on the same events and compares all they share; gives the events.

    Raises:
        MismatchError: a bit differs; a fault of samebits, for the proof says that none does.
    """
    tensors = old.tensors_of(old.inputs)
    parts = [[np.asarray(a, np.float64) for a in check_inputs(old, x)]] if x is not None else []
    if sum(int(np.prod(tensor.shape)) for tensor in tensors) <= _MANY_FEATURES:
        dtypes = [np.float32 if tensor.format.width <= 24 else np.float64 for tensor in tensors]
        parts += adversarial_inputs(old, dtypes, seed).values()
    rng = np.random.default_rng(seed)
    span = [max(t.format.max_mantissa, -t.format.min_mantissa) * t.format.lsb for t in tensors]
    parts.append([rng.uniform(-s, s, (512, *t.shape)) for s, t in zip(span, tensors, strict=True)])
    held = sum(int(np.prod(tensor.shape)) for tensor in old.tensors.values())
    most = max(16, _NUMBERS // max(1, held))
    parts = [[array[:: 1 + len(array) // most] for array in part] for part in parts]
    layers = new.layer_tensors
    pairs = [
        *zip(old.outputs, new.outputs, strict=True),
        *((tensor, layers[name]) for name, tensor in old.layer_tensors.items()),
    ]
    engines = NumpyEngine(old), NumpyEngine(new)
    for inputs in parts:
        a = engines[0].run(inputs, [one for one, _ in pairs])
        b = engines[1].run(inputs, [one for _, one in pairs])
        for (name, _), before, after in zip(pairs, a, b, strict=True):
            if not np.array_equal(before, after):
                raise errors.MismatchError(
                    f"tighten: {name} differs in {int((before != after).sum())} numbers although "
                    "the proof says that it cannot; please report this"
                )
    return sum(len(inputs[0]) for inputs in parts)


def _facts(changes: Sequence[TypeChange]) -> list[dict[str, Any]]:
    """The changes as JSON values."""
    return [
        {
            "layer": change.layer,
            "type": change.kind,
            "before": str(change.before),
            "after": str(change.after),
            "narrowest": str(change.narrowest),
            "saved_bits": change.saved_bits,
            "numbers": change.numbers,
            "kept": change.kept,
        }
        for change in changes
    ]
