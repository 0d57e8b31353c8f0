"""The report's section on a training, from what the training bench returns."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from samebits.firmware.results import NotRun, Quantity
from samebits.report.facts import ScalingOption
from samebits.report.training_facts import (
    BaselineFacts,
    TrainingCurve,
    TrainingFacts,
    TrainingRun,
    VerdictFacts,
)
from samebits.sections import measured

if TYPE_CHECKING:
    from samebits.train.baselines import Baseline
    from samebits.train.bench import Trained
    from samebits.train.data import Dataset, Split
    from samebits.train.optimize import Samples

__all__ = [
    "baseline_facts",
    "bench_section",
    "curve_facts",
    "settings_of",
    "simple_fits",
    "training_facts",
    "training_run",
    "verdict_facts",
]


def bench_section(
    trained: Trained,
    validation: Samples,
    *,
    network: str,
    bits: int,
    baselines: Iterable[Baseline] | None = None,
) -> TrainingFacts:
    """A network of the training bench as the report shows it.

    Args:
        validation: the part on which float, quantized and the simple fits are scored.
        network: its shape in words, such as "16-64-5".
        bits: of the weights.
        baselines: `fit_baselines` on the same parts; None: not run.
    """
    from samebits.train.diagnosis import beside_simple_fits
    from samebits.train.losses import score_name
    from samebits.train.pruning import sparsity

    scores = trained.scores(validation)
    simple, loss = tuple(baselines or ()), trained.options.loss
    found = beside_simple_fits(trained.verdicts, scores["float"], simple, loss, len(validation))
    regression = trained.options.loss == "mean_squared_error"
    tool = f"tf-keras {importlib.metadata.version('tf-keras')}"
    runs = []
    for name, model, curve, width, verdicts, score in (
        ("float", trained.float_model, trained.float_curve, None, found, "float"),
        ("qat", trained.model, trained.curve, bits, (), "quantized"),
    ):
        runs.append(
            TrainingRun(
                model=name,
                network=network,
                bits=width,
                epochs=len(curve.passes),
                seconds=measured(curve.seconds, "s", tool),
                seed=trained.options.seed,
                sparsity=measured(100 * sparsity(model), "%", "samebits"),
                tool=tool,
                curve=curve_facts(curve.passes),
                settings=settings_of(trained.options.model_dump(mode="json")),
                best_epoch=curve.best_pass,
                verdicts=verdict_facts(verdicts),
                score=_score(scores[score], regression),
            )
        )
    formats = {point: str(fmt) for point, fmt in trained.formats.items()}
    return TrainingFacts(
        runs=tuple(runs),
        scaling_chosen="in the network" if trained.network.standardised else "none",
        scaling_options=(),
        input_format=formats.get("input", "as hls4ml chooses"),
        formats=formats,
        baselines=NotRun(reason="no simple fits in this run")
        if baselines is None
        else baseline_facts(simple, regression),
        score_name=score_name(trained.options.loss),
    )


def curve_facts(passes: Iterable[Any]) -> TrainingCurve:
    """Passes of a fit; what is not finite ends the curve, since the report takes numbers only."""
    kept = []
    for entry in passes:
        if not (math.isfinite(entry.loss) and math.isfinite(entry.validation_loss)):
            break
        kept.append(entry)

    def column(name: str) -> tuple[float, ...]:
        values = [getattr(entry, name, None) for entry in kept]
        return tuple(float(v) for v in values if v is not None) if None not in values else ()

    return TrainingCurve(
        loss=column("loss"),
        validation_loss=column("validation_loss"),
        accuracy=column("accuracy"),
        validation_accuracy=column("validation_accuracy"),
        learning_rate=column("learning_rate"),
    )


def verdict_facts(verdicts: Iterable[Any]) -> tuple[VerdictFacts, ...]:
    """`samebits.train.diagnosis.Verdict`s as the report shows them."""
    return tuple(
        VerdictFacts(kind=v.kind, rule=v.rule, numbers=v.numbers, advice=v.advice) for v in verdicts
    )


def baseline_facts(
    baselines: Iterable[Baseline], regression: bool = False
) -> tuple[BaselineFacts, ...]:
    """`samebits.train.baselines.Baseline`s as the report shows them."""
    tool = f"scikit-learn {importlib.metadata.version('scikit-learn')}"
    return tuple(
        BaselineFacts(
            name=one.name,
            score=_score(one.score, regression),
            seconds=measured(one.seconds, "s", tool),
        )
        for one in baselines
    )


def settings_of(values: Mapping[str, Any]) -> dict[str, str]:
    """The settings that say something, as text."""
    return {
        name.replace("_", " "): f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in values.items()
        if value not in (None, 0, 0.0, "", False) and name not in ("seed", "epochs")
    }


def _score(value: float, regression: bool) -> Quantity:
    tool = f"scikit-learn {importlib.metadata.version('scikit-learn')}"
    if regression:
        return measured(value, "", tool)
    return measured(100 * value, "%", tool)


def simple_fits(split: Split[Dataset], seed: int) -> tuple[Baseline, ...]:
    """What simple fits of the training part reach on the validation part."""
    from samebits.train.baselines import fit_baselines
    from samebits.train.optimize import Samples

    train, validation = (Samples(one.features, one.labels) for one in split.parts[:2])
    return fit_baselines(train, validation, "categorical_crossentropy", seed=seed)


def training_run(
    name: str,
    network: str,
    bits: int | None,
    fit: Any,
    settings: Mapping[str, Any] | None = None,
    without_inputs: float | None = None,
    simple: Iterable[Baseline] = (),
    events: int = 0,
) -> TrainingRun:
    """A `samebits.train.fit.FitResult` as the report shows it.

    Args:
        without_inputs: the loss of the best constant answer, for the verdicts on the curve.
        simple: what simple fits reach on the same events, and how many these are.
    """
    from samebits.train.diagnosis import beside_simple_fits, diagnose

    tool = f"tf-keras {importlib.metadata.version('tf-keras')}"
    verdicts: Sequence[Any] = ()
    if fit.curve is not None and without_inputs is not None:
        verdicts = beside_simple_fits(
            diagnose(fit.curve, without_inputs),
            fit.validation_accuracy,
            simple,
            "categorical_crossentropy",
            events,
        )
    return TrainingRun(
        model=name,
        network=network,
        bits=bits,
        epochs=len(fit.history),
        seconds=measured(fit.seconds, "s", tool),
        seed=fit.seed,
        sparsity=measured(100 * fit.sparsity, "%", "samebits"),
        tool=tool,
        curve=curve_facts(fit.history if fit.curve is None else fit.curve.passes),
        settings=settings_of(settings or {}),
        best_epoch=fit.best_epoch,
        verdicts=verdict_facts(verdicts),
        score=measured(100 * fit.validation_accuracy, "%", "samebits"),
    )


def training_facts(
    runs: tuple[TrainingRun, ...], prepared: Any, costs: Any, baselines: Any = None
) -> TrainingFacts:
    """How the models were fitted, and what each kind of input scaling costs."""
    return TrainingFacts(
        runs=runs,
        scaling_chosen=prepared.scaling.kind,
        scaling_options=tuple(
            ScalingOption(
                name=cost.kind,
                accuracy=measured(100 * cost.accuracy, "%", "samebits"),
                cost_points=measured(-100 * cost.difference, "percentage points", "samebits"),
            )
            for cost in costs
        ),
        input_format=str(prepared.input_format),
        baselines=NotRun(reason="--no-baselines")
        if baselines is None
        else baseline_facts(baselines),
    )
