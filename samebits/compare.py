"""Two designs side by side: formats, bits, metrics, latency, resources, versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits.compare_physics import (
    TriggerEvents,
    both_menus,
    both_regressions,
    both_triggers,
    measure_both,
)
from samebits.compile.emitters.interface import output_names
from samebits.firmware.results import Facts, Measured, NotRun, Text
from samebits.menu import MenuFacts
from samebits.report.facts import LayerFacts, MetricsFacts, RegressionFacts, ReportFacts
from samebits.sections import layer_facts
from samebits.trigger import TriggerFacts
from samebits.verify import comparison_events

if TYPE_CHECKING:
    from samebits.design import Design
    from samebits.train.data import Features

__all__ = ["BitsFacts", "ComparisonFacts", "NumberRow", "OutputBits", "TextRow", "compare"]

Array = NDArray[Any]
_ABSENT = "absent"
_LATENCY = {
    "cycles": "latency",
    "initiation_interval": "initiation interval",
    "latency_ns": "latency in time",
    "fmax_mhz": "fastest clock",
}


class TextRow(Facts):
    """Something that differs between a and b, in words."""

    what: Text
    a: str
    b: str


class NumberRow(Facts):
    """One number of both by the same tool."""

    what: Text
    source: Text
    a: Measured
    b: Measured


class OutputBits(Facts):
    """One output on the same events: how many numbers, events and decisions differ.

    A decision is the largest element's place; `decisions` is None for one element per event.
    """

    name: Text
    numbers: int
    different_numbers: int
    different_events: int
    decisions: int | None
    largest_difference: float


class BitsFacts(Facts):
    """Both designs on the same events; `first_layer`: the first shared layer that differs."""

    events: int
    what: Text
    different_events: int
    outputs: tuple[OutputBits, ...]
    first_layer: str


class ComparisonFacts(Facts):
    """All of a comparison. `metrics` holds both models under `names`, with a the reference."""

    names: tuple[str, str]
    folders: tuple[str, str]
    fingerprints: tuple[str, str]
    settings: tuple[TextRow, ...]
    versions: tuple[TextRow, ...]
    layers: tuple[TextRow, ...]
    shared_layers: int
    bits: BitsFacts | NotRun
    metrics: MetricsFacts | NotRun
    regression: RegressionFacts | NotRun
    trigger: TriggerFacts | NotRun
    menu: MenuFacts | NotRun
    latency: tuple[NumberRow, ...] | NotRun
    resources: tuple[NumberRow, ...] | NotRun

    @property
    def same(self) -> bool:
        """True if both are the same firmware: the same fixed-point graph and target."""
        return self.fingerprints[0] == self.fingerprints[1]


def compare(
    a: Design,
    b: Design,
    data: str | None = None,
    x: Any = None,
    *,
    target: str | None = None,
    label: str | None = None,
    trigger: TriggerEvents | None = None,
    seed: int = 0,
) -> ComparisonFacts:
    """Two saved designs side by side.

    Args:
        data: labelled events, a file or "jets"; None: the test part of what they were trained on,
            or no metrics.
        x: events for the bits, as for `Design.simulate`; None: the labelled ones, or adversarial
            inputs where there are none.
        target: columns of the data, A or A,B, that a regression gives; label: that of class labels.
        trigger: events to measure rates with; None: what both have recorded.

    Raises:
        BuildError: a damaged build directory.
        DataError: data that cannot be used.
    """
    from samebits.stages import recorded_facts

    assert a.folder is not None
    assert b.folder is not None
    names = _two_names(a.folder, b.folder)
    recorded = recorded_facts(a), recorded_facts(b)
    test, split, why = _labelled(a, b, names, data, target, label)
    bits = _bits(a, b, test, split, x, seed)
    layers, shared = _layers(layer_facts(a.graph), layer_facts(b.graph))
    return ComparisonFacts(
        names=names,
        folders=(str(a.folder), str(b.folder)),
        fingerprints=(a.fingerprint, b.fingerprint),
        settings=_different(a.target.to_json(), b.target.to_json()),
        versions=_different(_versions(a), _versions(b)),
        layers=layers,
        shared_layers=shared,
        bits=bits,
        metrics=_metrics(names, a.network, b.network, test, split, why),
        regression=_regression(names, a.network, b.network, test, split, why),
        trigger=(
            both_triggers(names, *recorded)
            if trigger is None
            else measure_both(names, (a, b), trigger)
        ),
        menu=both_menus(names, *recorded),
        latency=_latency(names, *recorded),
        resources=_resources(names, *recorded),
    )


def _two_names(a: Path, b: Path) -> tuple[str, str]:
    """The folders' names, longer ones where these are the same."""
    one, other = a.resolve(), b.resolve()
    if one.name != other.name:
        return one.name, other.name
    if one == other:
        return f"{one.name} (a)", f"{other.name} (b)"
    return f"{one.parent.name}/{one.name}", f"{other.parent.name}/{other.name}"


def _versions(design: Design) -> dict[str, Any]:
    versions = dict(design.facts.get("versions", {}))
    return {"samebits": design.facts.get("samebits", "unknown"), **versions}


def _different(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[TextRow, ...]:
    return tuple(
        TextRow(what=name, a=str(a.get(name, _ABSENT)), b=str(b.get(name, _ABSENT)))
        for name in (*a, *(name for name in b if name not in a))
        if a.get(name) != b.get(name)
    )


def _layers(
    a: tuple[LayerFacts, ...], b: tuple[LayerFacts, ...]
) -> tuple[tuple[TextRow, ...], int]:
    """What differs between layers of the same name, or which there are not; shared layers."""
    left, right = ({layer.name: layer for layer in layers} for layers in (a, b))
    rows = []
    for name in (*left, *(name for name in right if name not in left)):
        if name not in left or name not in right:
            words = (
                _ABSENT if name not in side else f"{side[name].class_name}"
                for side in (left, right)
            )
            rows.append(TextRow(what=name, a=next(words), b=next(words)))
            continue
        one, other = _of_layer(left[name]), _of_layer(right[name])
        rows += [
            TextRow(what=f"{name}: {row.what}", a=row.a, b=row.b) for row in _different(one, other)
        ]
    return tuple(rows), len(set(left) & set(right))


def _of_layer(layer: LayerFacts) -> dict[str, str]:
    values = {
        "kind": layer.class_name,
        "shape": " x ".join(map(str, layer.shape)) or "scalar",
        "result": layer.result_format,
        "weights": layer.weight_format,
        "bias": layer.bias_format,
        "accumulator": layer.accumulator_format,
    }
    if layer.weights_total is not None:
        values["weights not zero"] = f"{layer.weights_nonzero} of {layer.weights_total}"
    return {name: value for name, value in values.items() if value is not None}


def _labelled(
    a: Design,
    b: Design,
    names: tuple[str, str],
    data: str | None,
    target: str | None,
    label: str | None,
) -> tuple[Features | None, str, str]:
    """Events with labels or targets that both can take, what they are, and why there are none."""
    from samebits.quality import target_columns
    from samebits.recipe import recipe_of
    from samebits.test_part import TEST, labelled_events, log_reading

    recipes = [recipe_of(design)[0] for design in (a, b)]
    trained = [recipe for recipe in recipes if recipe is not None]
    if data is None and not trained:
        return None, "", "no labelled data: give --data"
    same = len(trained) < 2 or trained[0].same_parts(trained[1])
    if data is None and not same:
        return None, "", "the two were trained on other parts or other data: give --data"
    columns = None if target is None else target_columns(target, a.feature_names)
    recipe = trained[0] if trained else None
    test, split = labelled_events(data, recipe, a.feature_names, columns, label)
    if test is not None and not same and test.sha256 in [one.data_sha256 for one in trained]:
        return None, "", f"one of the two was trained on {data}: give other events"
    if test is None:
        return None, "", "the events have neither class labels nor targets"
    if split == TEST:
        for design, recipe in zip((a, b), recipes, strict=True):
            assert design.folder is not None
            log_reading(design.folder, recipe, "samebits compare")
        if None in recipes:
            # the other one may have been trained on these events: the words say whose they are
            split = f"the test part of {names[recipes[0] is None]}'s data"
    return test, split, ""


def _no_pair(a: Design, b: Design) -> str:
    """Why the two cannot answer the same events; empty if they can."""
    graphs = a.graph, b.graph
    inputs = [[g.tensors[name].shape for name in g.inputs] for g in graphs]
    outputs = [[t.shape for t in g.tensors_of(g.outputs)] for g in graphs]
    for which, found in (("inputs", inputs), ("outputs", outputs)):
        if found[0] != found[1]:
            return f"other {which}: {_shapes(found[0])} against {_shapes(found[1])}"
    if a.feature_names and b.feature_names and a.feature_names != b.feature_names:
        return "the networks were trained on other features"
    return ""


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(" x ".join(map(str, shape)) or "scalar" for shape in shapes)


def _bits(
    a: Design, b: Design, test: Features | None, split: str, x: Any, seed: int
) -> BitsFacts | NotRun:
    """Both on the same events."""
    if why := _no_pair(a, b):
        return NotRun(reason=why)
    if x is not None:
        events, what = comparison_events(a, x, False, seed)[0], "events"
    elif test is not None and len(a.graph.inputs) == 1:
        events, what = comparison_events(a, test.features, False, seed)[0], split
    else:
        pairs = [comparison_events(design, None, True, seed)[0] for design in (a, b)]
        events = [np.concatenate(arrays) for arrays in zip(*pairs, strict=True)]
        what = "adversarial inputs of both formats"
    left, right = (d.engine.run(events, d.graph.outputs) for d in (a, b))
    different = np.any(
        [(x != y).reshape(len(x), -1).any(axis=1) for x, y in zip(left, right, strict=True)], axis=0
    )
    return BitsFacts(
        events=len(different),
        what={"test": "test part of the data"}.get(what, what),
        different_events=int(different.sum()),
        outputs=tuple(
            _output(name, x, y)
            for name, x, y in zip(output_names(a.graph), left, right, strict=True)
        ),
        first_layer=_first_layer(a, b, [array[different][:256] for array in events]),
    )


def _output(name: str, a: Array, b: Array) -> OutputBits:
    x, y = (values.reshape(len(values), -1) for values in (a, b))
    wrong = x != y
    decides = x.shape[1] > 1
    return OutputBits(
        name=name,
        numbers=x.size,
        different_numbers=int(wrong.sum()),
        different_events=int(wrong.any(axis=1).sum()),
        decisions=int((x.argmax(axis=1) != y.argmax(axis=1)).sum()) if decides else None,
        largest_difference=float(np.abs(x - y).max(initial=0.0)),
    )


def _first_layer(a: Design, b: Design, events: list[Array]) -> str:
    """The first layer of both, in the order of the data, that differs on these events."""
    if not len(events[0]):
        return ""
    left, right = a.graph.layer_tensors, b.graph.layer_tensors
    names = [
        name
        for name in left
        if name in right and a.graph.tensors[left[name]].shape == b.graph.tensors[right[name]].shape
    ]
    pairs = zip(
        names,
        a.engine.run(events, [left[name] for name in names]),
        b.engine.run(events, [right[name] for name in names]),
        strict=True,
    )
    return next((name for name, x, y in pairs if not np.array_equal(x, y)), "")


def _metrics(
    names: tuple[str, str], a: Design, b: Design, test: Features | None, split: str, why: str
) -> MetricsFacts | NotRun:
    import importlib.metadata

    from samebits.quality import auc_only, class_scores, no_decision
    from samebits.sim.metrics import classification_metrics, compare_models
    from samebits.train.data import Dataset

    why = why or _no_single_pair(a, b)
    if not isinstance(test, Dataset) or why:
        return NotRun(reason=why or "the events have no class labels")
    answers = {
        name: answer.reshape(len(answer), -1)
        for name, answer in zip(names, _answers(a, b, test), strict=True)
    }
    scores = class_scores(answers, len(test.class_names))
    if isinstance(scores, NotRun):
        return scores
    undecided = no_decision(answers)
    comparison = compare_models(
        scores, test.labels, test.class_names, reference=names[0], gated=names[1]
    )
    return MetricsFacts(
        split=split,
        tool=f"scikit-learn {importlib.metadata.version('scikit-learn')}",
        no_decision=undecided,
        models={
            name: classification_metrics(values, test.labels, test.class_names, where=name)
            for name, values in scores.items()
        },
        # the gate is a report's own
        comparison=auc_only(comparison) if undecided else replace(comparison, gate=None),
    )


def _regression(
    names: tuple[str, str], a: Design, b: Design, test: Features | None, split: str, why: str
) -> RegressionFacts | NotRun:
    from samebits.train.data import Regression

    why = why or _no_single_pair(a, b)
    if not isinstance(test, Regression) or why:
        return NotRun(reason=why or "the events have no targets: give --data and --target")
    return both_regressions(names, _answers(a, b, test), test, split)


def _no_single_pair(a: Design, b: Design) -> str:
    """Why the two have no answer each to the same events; empty if they have."""
    if why := _no_pair(a, b):
        return why
    several = len(a.graph.inputs) > 1 or len(a.graph.outputs) > 1
    return "the networks have several inputs or outputs" if several else ""


def _answers(a: Design, b: Design, test: Features) -> list[Array]:
    inputs, _, _ = comparison_events(a, test.features, False, 0)
    return [design.engine.run(inputs, design.graph.outputs)[0] for design in (a, b)]


def _latency(
    names: tuple[str, str], a: ReportFacts, b: ReportFacts
) -> tuple[NumberRow, ...] | NotRun:
    left, right = a.latency, b.latency
    if isinstance(left, NotRun) or isinstance(right, NotRun):
        return _no_report(names, (left, right))
    sides = [{e.source: e for e in facts.estimates} for facts in (left, right)]
    rows = []
    for source in dict.fromkeys((*sides[0], *sides[1])):
        for field, words in _LATENCY.items():
            pair = [getattr(side.get(source), field, None) for side in sides]
            rows += _numbers(words, source, pair[0], pair[1])
    return tuple(rows)


def _resources(
    names: tuple[str, str], a: ReportFacts, b: ReportFacts
) -> tuple[NumberRow, ...] | NotRun:
    left, right = a.resources, b.resources
    if isinstance(left, NotRun) or isinstance(right, NotRun):
        return _no_report(names, (left, right))
    sides = [{e.source: e.used for e in facts.estimates} for facts in (left, right)]
    rows = []
    for source in dict.fromkeys((*sides[0], *sides[1])):
        used = [side.get(source, {}) for side in sides]
        for name in dict.fromkeys((*used[0], *used[1])):
            rows += _numbers(name, source, used[0].get(name), used[1].get(name))
    return tuple(rows)


def _no_report(names: tuple[str, str], sides: tuple[object, object]) -> NotRun:
    absent = [name for name, side in zip(names, sides, strict=True) if isinstance(side, NotRun)]
    which = "both" if len(absent) > 1 else absent[0]
    return NotRun(reason=f"run `samebits report` on {which} first")


def _numbers(what: str, source: str, a: Measured | None, b: Measured | None) -> list[NumberRow]:
    """A row, unless neither has a number."""
    if (a is None or isinstance(a, NotRun)) and (b is None or isinstance(b, NotRun)):
        return []
    absent = NotRun(reason="this tool was not run")
    return [NumberRow(what=what, source=source, a=a or absent, b=b or absent)]
