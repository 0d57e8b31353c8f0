"""How good the models and the firmware are on labelled events, or on events with targets."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.references import FIRMWARE, scores_of

if TYPE_CHECKING:
    from samebits.design import Design
    from samebits.recipe import Recipe
    from samebits.report.facts import MetricsFacts, NotRun, RegressionFacts
    from samebits.sim.metrics import ModelComparison
    from samebits.train.data import Columns, Dataset, Features, Regression

__all__ = [
    "ACCURACY_LIMIT_POINTS",
    "auc_only",
    "class_scores",
    "classification",
    "event_weights",
    "no_decision",
    "regression",
    "target_columns",
]

ACCURACY_LIMIT_POINTS = 0.5


def classification(
    design: Design, test: Dataset, split: str, weights: NDArray[Any] | None = None, why: str = ""
) -> MetricsFacts | NotRun:
    """Metrics of every model on labelled events, and the differences to the first one.

    Args:
        split: what the events are; `why` there is no model beside the firmware.
        weights: (N,) of the events; None: all the same.
    """
    from samebits.report.facts import MetricsFacts, NotRun
    from samebits.sim.metrics import classification_metrics, compare_models

    if absent := _no_single_output(design):
        return absent
    answers = scores_of(design, test.features)
    found = class_scores(answers, len(test.class_names))
    if isinstance(found, NotRun):
        return found
    undecided = no_decision(answers)
    names, labels = test.class_names, test.labels
    models = {
        name: classification_metrics(values, labels, names, where=name, weights=weights)
        for name, values in found.items()
    }
    comparison: Any = NotRun(reason=why or "only one model")
    if len(found) > 1:
        comparison = compare_models(
            found,
            labels,
            names,
            reference=next(iter(found)),
            # the limit is for what was trained here; others set one with --gates
            gated=FIRMWARE if "float" in found and not undecided else "",
            limit_points=ACCURACY_LIMIT_POINTS,
            weights=weights,
        )
        comparison = auc_only(comparison) if undecided else comparison
    return MetricsFacts(
        split=split, tool=_tool(), models=models, comparison=comparison, no_decision=undecided
    )


def auc_only(comparison: ModelComparison) -> ModelComparison:
    """The comparison without what follows from decisions."""
    kept = tuple(d for d in comparison.differences if d.quantity != "accuracy")
    return replace(comparison, differences=kept, gate=None)


def no_decision(answers: Mapping[str, NDArray[Any]]) -> str:
    """Why these answers of one number, such as anomaly scores, decide nothing; empty if they do."""
    values = np.concatenate(list(answers.values()))
    if values.shape[1] > 1 or values.min() < 0 or values.max() <= 1:
        return ""
    return (
        "the score is never below 0 and goes beyond 1: it is neither a probability nor decided at "
        "0, so that it needs a threshold of its own (samebits trigger)"
    )


def class_scores(
    answers: Mapping[str, NDArray[Any]], classes: int
) -> dict[str, NDArray[Any]] | NotRun:
    """Scores (N, classes) of every model; of two classes the network may have one output.

    One output p between 0 and 1 stands for the columns 1 - p and p, any other number x for -x and
    x: the decision is then at 0.
    """
    from samebits.report.facts import NotRun

    sizes = {values.shape[1] for values in answers.values()}
    if sizes == {classes}:
        return dict(answers)
    if sizes == {1} and classes == 2:
        inside = all(values.min() >= 0 and values.max() <= 1 for values in answers.values())
        return {
            name: np.hstack([1 - values if inside else -values, values])
            for name, values in answers.items()
        }
    return NotRun(
        reason=f"outputs of {', '.join(map(str, sorted(sizes)))} elements are not scores of "
        f"{classes} classes; for numbers to be predicted give --target COLUMN"
    )


def regression(
    design: Design, test: Regression, split: str, weights: NDArray[Any] | None = None
) -> RegressionFacts | NotRun:
    """Errors of every model's predictions, and the differences to the first one.

    The targets are what every element of the output should be, in its order.
    """
    from samebits.report.facts import NotRun, RegressionFacts
    from samebits.sim.regression import regression_metrics

    if absent := _no_single_output(design):
        return absent
    answers = scores_of(design, test.features)
    elements = next(iter(answers.values())).shape[1]
    targets = dict(zip(test.target_names, test.targets.T, strict=True))
    if elements != len(targets):
        return NotRun(
            reason=f"the output has {elements} elements, there are {len(targets)} targets "
            f"({', '.join(targets)})"
        )
    return RegressionFacts(
        split=split, tool=_tool(), comparison=regression_metrics(answers, targets, weights)
    )


def target_columns(target: str, names: tuple[str, ...]) -> Columns:
    """What the columns of a file are with `--target A,B`, of a network with these features.

    Raises:
        UsageError: one is given twice.
    """
    from samebits.train.data import Columns

    targets = tuple(name.strip() for name in target.split(","))
    if len(set(targets)) < len(targets) or "" in targets:
        raise errors.UsageError(f"--target: wanted different names, got {target!r}")
    return Columns(names or None, targets=targets)


def event_weights(
    path: Path, column: str, recipe: Recipe | None, events: Features | None = None
) -> NDArray[Any]:
    """(N,) weights of the events of a report.

    Args:
        events: all those of the file if only the test part of the training is used.
    """
    from samebits.train.data import load_column

    weights = load_column(path, column)
    if events is None or recipe is None:
        return weights
    # where the events of the test part stand in the file
    places: Any = np.arange(len(events))[:, None]
    test = recipe.parts(replace(events, features=places)).test
    return np.asarray(weights[test.features[:, 0]])


def _no_single_output(design: Design) -> NotRun | None:
    from samebits.report.facts import NotRun

    if len(design.graph.inputs) > 1:
        return NotRun(reason="the network has several inputs")
    if len(design.graph.outputs) > 1:
        return NotRun(reason="the network has several outputs")
    return None


def _tool() -> str:
    return f"scikit-learn {importlib.metadata.version('scikit-learn')}"
