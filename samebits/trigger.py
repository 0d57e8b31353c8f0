"""A design as a trigger: rate and efficiency of cuts on its score, for every model there is of it.

The firmware's scores are those of the NumPy engine, which has the firmware's bits; beside them
stand the models that the folder holds: the trained networks, or model.onnx under ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.firmware.results import Facts, Text
from samebits.references import scores_of
from samebits.sim.trigger import (
    Beam,
    EfficiencyDifference,
    RateCurve,
    RatePoint,
    ThresholdScan,
    compare_at_rates,
    point_at_rate,
    rate_curve,
    threshold_scan,
)
from samebits.sim.turn_on import TurnOn, turn_on

if TYPE_CHECKING:
    from samebits.design import Design
    from samebits.menu import MenuFacts

__all__ = [
    "Signal",
    "TriggerFacts",
    "TriggerModel",
    "measure_trigger",
    "record_trigger",
    "score_place",
    "trigger_facts",
]

_CURVE_RATES = 24


class TriggerModel(Facts):
    """One model: its rate curve, a point for each asked rate, and turn-on curves.

    `scan` has the efficiency over the whole range of rates. `turn_ons` has a curve for each asked
    rate (None where that cannot be reached), by signal.
    """

    curve: RateCurve
    points: tuple[RatePoint, ...]
    turn_ons: dict[str, tuple[TurnOn | None, ...]]
    scan: ThresholdScan | None = None


class TriggerFacts(Facts):
    """Rates and efficiencies of all models on the same events; the firmware comes last.

    `score` says in words what is cut on; `crossings_khz` is the rate of taking every crossing.
    `differences` are those at the asked rates, `difference_curve` those over all rates;
    `no_differences` says why there are none.
    """

    score: Text
    bunches: int
    luminosity_ratio: float
    crossings_khz: float
    unbiased: Text
    unbiased_events: int
    signals: dict[str, int]
    offline: str = ""
    models: dict[str, TriggerModel]
    differences: tuple[EfficiencyDifference, ...] = ()
    difference_curve: tuple[EfficiencyDifference, ...] = ()
    no_differences: str = ""


@dataclass(frozen=True)
class Signal:
    """Signal events as `Design.simulate` takes them, and their offline quantity if there is one."""

    events: Any
    offline: NDArray[Any] | None = None


def measure_trigger(
    design: Design,
    unbiased: Any,
    signals: Mapping[str, Signal],
    beam: Beam,
    rates_khz: Sequence[float],
    *,
    score: str | None = None,
    weights: Any = None,
    edges: Sequence[float] = (),
    unbiased_name: str = "unbiased events",
    offline_name: str = "",
    seed: int = 0,
) -> TriggerFacts:
    """The trigger's numbers of a design.

    Args:
        unbiased: events that stand for one bunch crossing each, as `Design.simulate` takes them.
        signals: signal events by name.
        rates_khz: the rates to find cuts for.
        score: the class, or the index of the output's element, whose score is cut on; None: the
            only one.
        weights: (N,) of the unbiased events.
        edges: bins of the turn-on curves, for signals with an offline quantity.

    Raises:
        UsageError: no signal, no rate, or a score that is not there.
        DataError: events or weights of wrong shape.
    """
    if not signals or not rates_khz:
        raise errors.UsageError("give at least one signal and one rate")
    place, words = score_place(design, score)
    noise = {name: values[:, place] for name, values in scores_of(design, unbiased).items()}
    peaks: dict[str, dict[str, NDArray[Any]]] = {}
    for signal, given in signals.items():
        found = scores_of(design, given.events)
        peaks[signal] = {name: found[name][:, place] for name in noise}
    return trigger_facts(
        noise,
        peaks,
        {signal: given.offline for signal, given in signals.items()},
        beam,
        rates_khz,
        score=words,
        weights=weights,
        edges=edges,
        unbiased_name=unbiased_name,
        offline_name=offline_name,
        seed=seed,
    )


def trigger_facts(
    noise: Mapping[str, NDArray[Any]],
    peaks: Mapping[str, Mapping[str, NDArray[Any]]],
    offline: Mapping[str, NDArray[Any] | None],
    beam: Beam,
    rates_khz: Sequence[float],
    *,
    score: str,
    weights: Any = None,
    edges: Sequence[float] = (),
    unbiased_name: str = "unbiased events",
    offline_name: str = "",
    seed: int = 0,
) -> TriggerFacts:
    """The trigger's numbers of models whose scores are known.

    Args:
        noise: by model (N,) scores of the same unbiased events; the first is the reference of the
            differences.
        peaks: by signal, then by model, (M,) scores.
        offline: by signal (M,) the quantity of turn-on curves, or None.

    Raises:
        UsageError: a rate that is not above 0. DataError: scores or weights of wrong shape.
    """
    models = list(noise)
    measured = {}
    for name in models:
        points = tuple(
            point_at_rate(noise[name], {s: peaks[s][name] for s in peaks}, beam, rate, weights)
            for rate in rates_khz
        )
        turn_ons = {
            signal: tuple(_turn_on(quantity, peaks[signal][name], p, edges) for p in points)
            for signal, quantity in offline.items()
            if quantity is not None
        }
        measured[name] = TriggerModel(
            curve=rate_curve(noise[name], beam, weights),
            points=points,
            turn_ons=turn_ons,
            scan=threshold_scan(noise[name], {s: peaks[s][name] for s in peaks}, beam, weights),
        )
    asked = [
        rate
        for number, rate in enumerate(rates_khz)
        if any(one.points[number].threshold is not None for one in measured.values())
    ]
    spread = _spread(measured, beam)
    differences = [
        difference
        for signal, scores in peaks.items()
        if len(models) > 1
        for difference in compare_at_rates(
            noise,
            scores,
            beam,
            [*asked, *spread],
            reference=models[0],
            name=signal,
            weights=weights,
            seed=seed,
        )
    ]
    return TriggerFacts(
        score=score,
        bunches=beam.bunches,
        luminosity_ratio=beam.luminosity_ratio,
        crossings_khz=beam.crossings_khz,
        unbiased=unbiased_name,
        unbiased_events=len(noise[models[0]]),
        signals={name: len(scores[models[0]]) for name, scores in peaks.items()},
        offline=offline_name,
        models=measured,
        differences=tuple(d for rate in asked for d in differences if d.asked_khz == rate),
        difference_curve=tuple(d for d in differences if d.asked_khz in spread),
    )


def _spread(models: Mapping[str, TriggerModel], beam: Beam) -> list[float]:
    """Rates from the first that all models reach up to every crossing, evenly in their logarithm"""
    tightest = max(one.curve.rates_khz[0] for one in models.values())
    return [float(rate) for rate in np.geomspace(tightest, beam.crossings_khz, _CURVE_RATES)]


def record_trigger(
    design: Design,
    facts: TriggerFacts | None,
    command: str = "",
    menu: MenuFacts | None = None,
) -> None:
    """Puts the trigger's numbers, or its menu's, of a saved design into its report.json."""
    from samebits import record
    from samebits.stages import recorded_facts

    assert design.folder is not None
    found = {"trigger": facts, "menu": menu}
    sections = {name: value for name, value in found.items() if value is not None}
    new = record.updated(recorded_facts(design), command, **sections)
    record.write(design.folder, new)


def _turn_on(
    offline: NDArray[Any], scores: NDArray[Any], point: RatePoint, edges: Sequence[float]
) -> TurnOn | None:
    if point.threshold is None:
        return None
    return turn_on(offline, scores >= point.threshold, edges)


def score_place(design: Design, score: str | None) -> tuple[int, str]:
    """Which element of the flattened output is cut on, and how it is called.

    Raises:
        UsageError: no such score, or several and none named.
        UnsupportedError: several outputs.
    """
    if len(design.graph.outputs) > 1:
        raise errors.UnsupportedError("a trigger on a network with several outputs")
    (output,) = design.graph.tensors_of(design.graph.outputs)
    size = int(np.prod(output.shape, dtype=int))
    classes = _class_names(design, size)
    if score is None:
        if size == 1:
            return 0, "the output"
        known = f": {', '.join(classes)}" if classes else f", 0 to {size - 1}"
        raise errors.UsageError(f"the network has {size} scores; choose one with --score{known}")
    if score in classes:
        return classes.index(score), f"score of {score}"
    if score.isdecimal() and int(score) < size:
        return int(score), f"output {score}"
    known = f"{', '.join(classes)}, or " if classes else ""
    hint = "" if classes else "; samebits report --data FILE with class_names gives them names"
    raise errors.UsageError(f"no score {score!r}; there are {known}0 to {size - 1}{hint}")


def _class_names(design: Design, size: int) -> list[str]:
    """What the classes of so many scores are called; empty where nobody knows.

    The training says it, or model.onnx (exported or calibrated by samebits), or the labelled events
    of the last report.
    """
    from samebits.recipe import recipe_of
    from samebits.report.facts import MetricsFacts
    from samebits.stages import recorded_facts

    found = _names_in_model(design)
    if design.folder is not None:
        recipe, _ = recipe_of(design)
        if recipe is not None and "data" in recipe.sections:
            found = [str(name) for name in recipe.sections["data"]["class_names"]]
        metrics = None if found else recorded_facts(design).metrics
        if isinstance(metrics, MetricsFacts):
            found = list(next(iter(metrics.models.values())).class_names)
    return found if len(found) == size else []


def _names_in_model(design: Design) -> list[str]:
    import json

    import onnx

    if design.model_bytes is None:
        return []
    found = onnx.load_model_from_string(design.model_bytes).metadata_props
    text = next((item.value for item in found if item.key == "samebits.classes"), "[]")
    try:
        return [str(name) for name in json.loads(text)]
    except (ValueError, TypeError):
        return []
