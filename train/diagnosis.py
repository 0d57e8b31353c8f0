"""What a loss curve says, in words: each verdict with its rule and the numbers behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .baselines import Baseline
from .losses import score_text
from .passes import Curve, Pass

__all__ = ["Verdict", "beside_simple_fits", "diagnose", "loss_without_inputs"]

Kind = Literal[
    "exploded",
    "exploded and recovered",
    "predicts the mean",
    "underfitting",
    "overfitting",
    "worse than a simple fit",
    "no problem found",
]
EXPLOSION = 3.0  # times the lowest loss so far, or times the loss without inputs
GAIN = 0.05  # of the loss without inputs, that a network must have gained
FALLING = 0.05  # of what was learned in all, in the last part of the learning: not done yet
LATE, ROUNDING = 0.25, 1e-9  # that part, of the sum of the learning rates
MEMORY = 0.25  # training loss over validation loss, at the end
GAP = 1.25  # validation loss over its own lowest value, at the end
SETTLED = 4  # passes that a verdict on the end of a curve needs


@dataclass(frozen=True)
class Verdict:
    """One thing found in a curve: `rule` is how it is decided, `numbers` what stood there."""

    kind: Kind
    rule: str
    numbers: str
    advice: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.numbers} (rule: {self.rule}). {self.advice}"


def loss_without_inputs(targets: npt.NDArray[Any], loss: str) -> float:
    """The lowest loss that one constant answer reaches on these targets.

    Cross entropies: the entropy of the classes' shares, in nats; mean squared error: the variance,
    averaged over the outputs; KL divergence: the mean one from the mean distribution.

    >>> round(loss_without_inputs(np.array([0, 1, 1, 0]), "categorical_crossentropy"), 4)
    0.6931
    """
    if loss == "mean_squared_error":
        return float(np.var(np.asarray(targets, np.float64), axis=0).mean())
    if loss == "kl_divergence":
        shares = np.asarray(targets, np.float64)
        return _entropy(shares.mean(axis=0)) - float(np.mean([_entropy(row) for row in shares]))
    if loss == "binary_crossentropy":
        means = np.asarray(targets, np.float64).reshape(len(targets), -1).mean(axis=0)
        return float(np.mean([_entropy(np.array([mean, 1 - mean])) for mean in means]))
    return _entropy(np.unique(targets, return_counts=True)[1] / len(targets))


def diagnose(curve: Curve, without_inputs: float) -> tuple[Verdict, ...]:
    """What is wrong with a fit; at least one verdict, `no problem found` if no rule applies.

    `without_inputs` is `loss_without_inputs` of the validation targets. The rules, in their order;
    L is the training loss, V the validation loss, L0 the loss without inputs:

    1. exploded: L or V is not finite in the last pass; or L was above 3 times its lowest earlier
       value (that of the untrained network included) and above L0, and did not recover
    2. exploded and recovered: the same, and at the end L is below 3 times that value, or below half
       of L0, and in any case below 95 % of L0
    3. predicts the mean: the lowest V is above 95 % of L0
    4. overfitting: at the end V is more than 25 % above its lowest value while L has fallen since;
       or L is below a quarter of V, and V - L above 5 % of L0
    5. underfitting: in the last quarter of the learning, by the sum of the learning rates, the
       lowest V still fell by more than 5 % of all that it is below L0 (a rate that falls to zero
       flattens every curve at its end); a network that is too small has a flat curve, which only
       other fits can tell

    1 ends the search; 3 excludes 4 and 5.
    """
    found = _explosion(curve, without_inputs)
    if any(verdict.kind == "exploded" for verdict in found):
        return tuple(found)
    mean = _mean(curve.passes, without_inputs)
    found += mean or [
        *_overfitting(curve.passes, without_inputs),
        *_underfitting(curve.passes, without_inputs),
    ]
    if found:
        return tuple(found)
    best = min(entry.validation_loss for entry in curve.passes)
    last = curve.passes[-1]
    return (
        Verdict(
            "no problem found",
            "no other rule applies",
            f"lowest validation loss {best:.4g} (without inputs {without_inputs:.4g}), at the end "
            f"{last.validation_loss:.4g}, training loss {last.loss:.4g}",
            "A network that is too small has such a curve, too: compare with simple fits.",
        ),
    )


def beside_simple_fits(
    verdicts: tuple[Verdict, ...],
    score: float,
    baselines: Iterable[Baseline],
    loss: str,
    events: int,
) -> tuple[Verdict, ...]:
    """The verdicts, and one more if a simple fit does better than the network on the same events.

    Decisions: the network's wrong ones are more than 1.25 times those of the best simple fit, and
    the difference is above two standard errors. Numbers: the same factor between the errors.

    Args:
        score: of the network, as `samebits.train.losses.score` has it.
        events: on which it and the simple fits were scored.
    """
    regression = loss == "mean_squared_error"
    best = (min if regression else max)(baselines, key=lambda one: one.score, default=None)
    if best is None:
        return verdicts
    mine, others = (score, best.score) if regression else (1 - score, 1 - best.score)
    error = 0.0 if regression else 2 * float(np.sqrt(mine * (1 - mine) / events))
    if mine <= GAP * others or mine - others <= error:
        return verdicts
    found = Verdict(
        "worse than a simple fit",
        f"{'errors' if regression else 'wrong decisions'} above {GAP:g} times those of the best "
        "simple fit" + ("" if regression else ", by more than two standard errors"),
        f"{best.name} {score_text(best.score, loss)}, the network {score_text(score, loss)}, on "
        f"{events} events",
        "Take the simple fit as it is, or a larger network, other layers, more epochs.",
    )
    return (*(one for one in verdicts if one.kind != "no problem found"), found)


def _explosion(curve: Curve, without_inputs: float) -> list[Verdict]:
    rule = f"training loss above {EXPLOSION:g} times its lowest earlier value and above L0"
    advice = "Lower the learning rate, or set clip_norm."
    last = curve.passes[-1]
    if not curve.finite:
        numbers = f"training loss {last.loss:g}, validation loss {last.validation_loss:g}"
        return [
            Verdict("exploded", "a loss is not finite", f"{numbers} in pass {last.number}", advice)
        ]
    lowest = curve.untrained
    peak: tuple[Pass, float] | None = None
    for entry in curve.passes:
        high = entry.loss > max(EXPLOSION * lowest, without_inputs)
        if high and (peak is None or entry.loss > peak[0].loss):
            peak = entry, lowest
        lowest = min(lowest, entry.loss)
    if peak is None:
        return []
    entry, before = peak
    limit = min(max(EXPLOSION * before, without_inputs / 2), (1 - GAIN) * without_inputs)
    recovered = last.loss <= limit
    numbers = (
        f"a loss of {before:.4g} rose to {entry.loss:.4g} in pass {entry.number} (without "
        f"inputs {without_inputs:.4g}); at the end {last.loss:.4g}"
    )
    return [Verdict("exploded and recovered" if recovered else "exploded", rule, numbers, advice)]


def _mean(passes: Sequence[Pass], without_inputs: float) -> list[Verdict]:
    best = min(entry.validation_loss for entry in passes)
    if best <= (1 - GAIN) * without_inputs:
        return []
    return [
        Verdict(
            "predicts the mean",
            f"lowest validation loss above {100 * (1 - GAIN):g} % of the loss without inputs",
            f"{best:.4g}, without inputs {without_inputs:.4g}",
            "The inputs do not reach the answer: look at their scale, the learning rate, the "
            "initialisation, and whether labels belong to their events.",
        )
    ]


def _overfitting(passes: Sequence[Pass], without_inputs: float) -> list[Verdict]:
    best = min(passes, key=lambda entry: entry.validation_loss)
    last = passes[-1]
    if len(passes) < SETTLED:
        return []
    rise = last.validation_loss > GAP * best.validation_loss
    if not rise or last.loss >= best.loss:
        apart = last.validation_loss - last.loss > GAIN * without_inputs
        if last.loss >= MEMORY * last.validation_loss or not apart:
            return []
        return [
            Verdict(
                "overfitting",
                f"training loss at the end below {100 * MEMORY:g} % of the validation loss, and "
                f"further below it than {100 * GAIN:g} % of the loss without inputs",
                f"training loss {last.loss:.4g}, validation loss {last.validation_loss:.4g} "
                f"(without inputs {without_inputs:.4g})",
                "The events of the training are known by heart. More events, dropout, l2 or fewer "
                "units help.",
            )
        ]
    return [
        Verdict(
            "overfitting",
            f"validation loss at the end above {GAP:g} times its lowest value, while the training "
            "loss fell",
            f"validation loss {best.validation_loss:.4g} in pass {best.number}, "
            f"{last.validation_loss:.4g} at the end; training loss {best.loss:.4g}, then "
            f"{last.loss:.4g}",
            "The weights of the best pass are kept. More events, dropout, l2 or fewer units help.",
        )
    ]


def _underfitting(passes: Sequence[Pass], without_inputs: float) -> list[Verdict]:
    if len(passes) < SETTLED:
        return []
    learned = np.cumsum([entry.learning_rate for entry in passes])
    first = 1 + int(np.searchsorted(learned, (1 - LATE - ROUNDING) * learned[-1]))
    before = min(entry.validation_loss for entry in passes[:first])
    after = min((entry.validation_loss for entry in passes[first:]), default=before)
    if before - after <= FALLING * (without_inputs - min(before, after)):
        return []
    return [
        Verdict(
            "underfitting",
            f"in the last {100 * LATE:g} % of the learning (the sum of the learning rates) the "
            f"lowest validation loss fell by more than {100 * FALLING:g} % of all that it is below "
            "the loss without inputs",
            f"{before:.4g} before pass {passes[first].number}, {after:.4g} from there on "
            f"(without inputs {without_inputs:.4g})",
            "Train for more epochs, or with a higher learning rate.",
        )
    ]


def _entropy(shares: npt.NDArray[np.float64]) -> float:
    shares = shares[shares > 0]
    return float(-np.sum(shares * np.log(shares)))
