"""What two designs do as triggers, and to a regression: measured on the same events, or recorded.

Both stand in the report's own sections, with the two designs in the place of models.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits.firmware.results import NotRun
from samebits.references import FIRMWARE
from samebits.trigger import Signal, TriggerFacts, score_place, trigger_facts

if TYPE_CHECKING:
    from samebits.design import Design
    from samebits.menu import MenuFacts
    from samebits.report.facts import RegressionFacts, ReportFacts
    from samebits.sim.trigger import Beam
    from samebits.train.data import Regression

__all__ = ["TriggerEvents", "both_menus", "both_regressions", "both_triggers", "measure_both"]

Names = tuple[str, str]
Pair = tuple["Design", "Design"]
_RECORDED = (
    "the numbers are those that each design recorded; with --unbiased, --signal, --bunches and "
    "--rate-khz both are measured on the same events"
)


@dataclass(frozen=True)
class TriggerEvents:
    """What rates are measured with, as `measure_trigger` takes it; events as either design reads
    them."""

    unbiased: tuple[Any, Any]
    signals: tuple[Mapping[str, Signal], Mapping[str, Signal]]
    beam: Beam
    rates_khz: Sequence[float]
    score: str | None = None
    weights: Any = None
    edges: Sequence[float] = ()
    unbiased_name: str = "unbiased events"
    offline_name: str = ""
    seed: int = 0


def measure_both(names: Names, designs: Pair, given: TriggerEvents) -> TriggerFacts:
    """Rates and efficiencies of both firmwares on the same events, b minus a with intervals.

    Raises:
        UsageError: a score that one of them does not have. DataError: events of wrong shape.
    """
    noise: dict[str, NDArray[Any]] = {}
    peaks: dict[str, dict[str, NDArray[Any]]] = {name: {} for name in given.signals[0]}
    words = []
    for which, (name, design) in enumerate(zip(names, designs, strict=True)):
        place, told = score_place(design, given.score)
        words.append(told)

        def scores(events: Any, design: Design = design, place: int = place) -> NDArray[Any]:
            answer = np.asarray(design.simulate(events))
            return answer.reshape(len(answer), -1)[:, place]

        noise[name] = scores(given.unbiased[which])
        for signal, one in given.signals[which].items():
            peaks[signal][name] = scores(one.events)
    return trigger_facts(
        noise,
        peaks,
        {signal: one.offline for signal, one in given.signals[0].items()},
        given.beam,
        given.rates_khz,
        score=" and ".join(dict.fromkeys(words)),
        weights=given.weights,
        edges=given.edges,
        unbiased_name=given.unbiased_name,
        offline_name=given.offline_name,
        seed=given.seed,
    )


def both_triggers(names: Names, a: ReportFacts, b: ReportFacts) -> TriggerFacts | NotRun:
    """The firmware's recorded rates of both, if they are of the same events and rates."""
    if isinstance(a.trigger, NotRun) or isinstance(b.trigger, NotRun):
        return _not_recorded(names, a.trigger, b.trigger, "samebits trigger")
    conditions = [
        {
            "unbiased events": (t.unbiased, t.unbiased_events),
            "bunches": t.bunches,
            "luminosity ratio": t.luminosity_ratio,
            "score": t.score,
            "signals": t.signals,
            "rates": [point.asked_khz for point in t.models[FIRMWARE].points],
            "offline quantity": t.offline,
        }
        for t in (a.trigger, b.trigger)
    ]
    if other := _others(*conditions):
        return NotRun(reason=f"measured under other conditions: {other}")
    models = {
        name: t.models[FIRMWARE] for name, t in zip(names, (a.trigger, b.trigger), strict=True)
    }
    gone: dict[str, Any] = {"differences": (), "difference_curve": ()}
    return a.trigger.model_copy(update={**gone, "models": models, "no_differences": _RECORDED})


def both_menus(names: Names, a: ReportFacts, b: ReportFacts) -> MenuFacts | NotRun:
    """The firmware's recorded menus of both, if they have the same seeds and events."""
    if isinstance(a.menu, NotRun) or isinstance(b.menu, NotRun):
        return _not_recorded(names, a.menu, b.menu, "samebits trigger --menu")
    conditions = [
        {
            "unbiased events": (m.unbiased, m.unbiased_events),
            "bunches": m.bunches,
            "luminosity ratio": m.luminosity_ratio,
            "signals": m.signals,
            "seeds": m.seeds,
        }
        for m in (a.menu, b.menu)
    ]
    if other := _others(*conditions):
        return NotRun(reason=f"measured under other conditions: {other}")
    models = {name: m.models[FIRMWARE] for name, m in zip(names, (a.menu, b.menu), strict=True)}
    return a.menu.model_copy(update={"models": models, "differences": ()})


def both_regressions(
    names: Names, answers: Sequence[NDArray[Any]], test: Regression, split: str
) -> RegressionFacts | NotRun:
    """Errors of both firmwares' predictions (N, elements) on the same events, b minus a."""
    from samebits.report.facts import RegressionFacts
    from samebits.sim.regression import regression_metrics

    flat = [answer.reshape(len(answer), -1) for answer in answers]
    targets = dict(zip(test.target_names, test.targets.T, strict=True))
    if flat[0].shape[1] != len(targets):
        return NotRun(
            reason=f"the output has {flat[0].shape[1]} elements, there are {len(targets)} targets "
            f"({', '.join(targets)})"
        )
    return RegressionFacts(
        split=split,
        tool=f"scikit-learn {importlib.metadata.version('scikit-learn')}",
        comparison=regression_metrics(dict(zip(names, flat, strict=True)), targets),
    )


def _others(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    return ", ".join(name for name in a if a[name] != b[name])


def _not_recorded(names: Names, a: object, b: object, command: str) -> NotRun:
    missing = [name for name, part in zip(names, (a, b), strict=True) if isinstance(part, NotRun)]
    return NotRun(reason=f"not measured for {' and '.join(missing)}: run `{command}` on both")
