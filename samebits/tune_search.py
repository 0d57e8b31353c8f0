"""The search for the formats of fewest bit operations within a budget of quality."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.tune_engine import Engine, Formats, Knob

__all__ = ["Budget", "Configuration", "Judge", "Search", "pareto"]

_BEYOND = 0.65
_SMALLEST_STEP = 1e-5  # of the scores' variance; what changes them less counts as that


@dataclass(frozen=True)
class Budget:
    """The quality that may be lost against the network as it is; None: no limit.

    Args:
        auc_drop: of the class that loses most.
        accuracy_drop_points: percentage points.
        ebops_share: the bit operations that may be left. The network of that size that changes the
            scores least is searched then; the limits above are only confirmed.
    """

    auc_drop: float | None = None
    accuracy_drop_points: float | None = None
    ebops_share: float | None = None

    def __post_init__(self) -> None:
        limits = [x for x in (self.auc_drop, self.accuracy_drop_points) if x is not None]
        if not limits and self.ebops_share is None:
            raise errors.UsageError(
                "tune: give --max-auc-drop, --max-accuracy-drop or both, or --max-ebops-share"
            )
        if not all(0 < limit < float("inf") for limit in limits):
            raise errors.UsageError("tune: --max-auc-drop and --max-accuracy-drop must be above 0")
        if self.ebops_share is not None and not 0 < self.ebops_share < 1:
            raise errors.UsageError(
                f"tune: --max-ebops-share is {self.ebops_share:g}; wanted more than 0, less than 1"
            )

    def share(self, auc_drop: float, accuracy_drop_points: float) -> float:
        """What part of the budget is used up: the larger one of the two; above 1 it is exceeded."""
        parts = [0.0]
        if self.auc_drop is not None:
            parts.append(auc_drop / self.auc_drop)
        if self.accuracy_drop_points is not None:
            parts.append(accuracy_drop_points / self.accuracy_drop_points)
        return max(parts)


@dataclass(frozen=True)
class Configuration:
    """A network in some formats: bit operations, and quality on the events of the search.

    `accuracy` is in %, `auc` that of every class, one against the rest; `distance` is the mean
    squared change of the scores against the network as it is, in units of their variance.
    """

    formats: Formats
    ebops: int
    bops: float
    accuracy: float
    auc: tuple[float, ...]
    distance: float


class Judge:
    """Accuracy in % and AUC per class of scores (N, C) for fixed labels.

    One score for two classes is that of the second class: above 1/2 where all scores lie within
    0 to 1, above 0 elsewhere, it is chosen.

    Raises:
        DataError: a class without events.
        UsageError: outputs that are not scores of the classes.
    """

    def __init__(self, labels: NDArray[np.int64], class_names: Sequence[str]) -> None:
        self.labels = labels
        self.class_names = tuple(class_names)
        self._signal = [labels == i for i in range(len(class_names))]
        absent = [n for n, s in zip(class_names, self._signal, strict=True) if not s.any()]
        if absent:
            raise errors.DataError(
                f"tune: no event of class {', '.join(absent)}: AUC is undefined; give more events"
            )

    def columns(self, answers: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Scores (N, C) of one network's outputs.

        Raises:
            UsageError: outputs that are no scores of the classes.
        """
        if len(answers) > 1:
            raise errors.UsageError("tune: the network has several outputs; wanted one, of scores")
        scores = answers[0].reshape(len(answers[0]), -1)
        count = len(self.class_names)
        if scores.shape[1] == 1 and count == 2:
            middle = 0.5 if scores.min() >= 0 and scores.max() <= 1 else 0.0
            return np.concatenate([2 * middle - scores, scores], axis=1)
        if scores.shape[1] != count:
            raise errors.UsageError(
                f"tune: outputs of shape {answers[0].shape[1:]} are not scores of the {count} "
                f"classes {', '.join(self.class_names[:8])}"
            )
        return scores

    def __call__(self, answers: Sequence[NDArray[np.float64]]) -> tuple[float, tuple[float, ...]]:
        scores = self.columns(answers)
        accuracy = 100 * float((scores.argmax(axis=1) == self.labels).mean())
        columns = [1] if answers[0][0].size == 1 else range(scores.shape[1])
        return accuracy, tuple(_auc(scores[:, i], self._signal[i]) for i in columns)


def _auc(scores: NDArray[np.float64], signal: NDArray[np.bool_]) -> float:
    """P(signal above background) + P(equal) / 2: the Mann-Whitney statistic."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    won = np.add.reduceat(signal[order].astype(np.int64), starts)
    lost = np.diff(np.append(starts, len(scores))) - won
    below = np.cumsum(lost) - lost
    return float((won * (2 * below + lost)).sum() / (2 * won.sum() * lost.sum()))


@dataclass
class Search:
    """Greedy descent, then exchanges; what was evaluated before is not evaluated again.

    1. From the formats of the training, the step with the most bit operations saved for the change
       of the scores is made, until none is left within the budget. A step takes the lowest or the
       highest bit from one quantizer. Changes of the scores rank steps with less noise than changes
       of an accuracy or AUC, which are small differences of counts.
    2. From there, a bit is given back to one quantizer and the descent is done again without it;
       if the result is smaller, it is the new start, until no exchange helps.
    3. Bits that save no bit operations (of biases) are taken where that costs no quality.
    4. The descent goes on beyond the budget, for the front of quality against bit operations.

    Args:
        most: new evaluations at most.
        explored: budgets up to which the front is followed.
        whole: no integer bits below 0, which QKeras does not have.
        known: evaluations to start with, by formats; the search adds its own.
        on_new: called after each new evaluation.
    """

    engine: Engine
    judge: Judge
    budget: Budget
    most: int = 4000
    explored: float = 4.0
    whole: bool = False
    known: dict[Formats, Configuration] = field(default_factory=dict)
    on_new: Callable[[int], None] | None = None
    new: int = 0

    def __post_init__(self) -> None:
        self._scores = self.judge.columns(self.engine.outputs(self._trained))
        self._variance = float(self._scores.var()) or 1.0
        self.start = self.evaluate(self._trained)

    @property
    def _trained(self) -> Formats:
        return tuple((k.format.width, k.format.integer) for k in self.engine.knobs)

    def evaluate(self, formats: Formats) -> Configuration:
        """One configuration, from memory if it is known."""
        found = self.known.get(formats)
        if found is None:
            ebops, bops = self.engine.operations(formats)
            answers = self.engine.outputs(formats)
            change = self.judge.columns(answers) - self._scores
            found = self.known[formats] = Configuration(
                formats,
                ebops,
                bops,
                *self.judge(answers),
                float((change**2).mean()) / self._variance,
            )
            self.new += 1
            if self.on_new:
                self.on_new(self.new)
        return found

    def drops(self, found: Configuration) -> tuple[float, float]:
        """AUC lost by the class that loses most, and points of accuracy lost."""
        lost = max(a - b for a, b in zip(self.start.auc, found.auc, strict=True))
        return lost, self.start.accuracy - found.accuracy

    def share(self, found: Configuration) -> float:
        """The part of the budget that a configuration uses."""
        return self.budget.share(*self.drops(found))

    def quality(self, found: Configuration) -> float:
        """What the front shows against bit operations: the budget used, or the scores' change."""
        limits = self.budget.auc_drop, self.budget.accuracy_drop_points
        return -found.distance if limits == (None, None) else -self.share(found)

    def smallest(self, budgets: float = 1.0) -> Configuration:
        """The configuration of fewest bit operations, of those known, within so many budgets."""
        inside = [one for one in self.known.values() if self.share(one) <= budgets]
        return min(inside, key=lambda one: (_cost(one), _bits(one), self.share(one)))

    def run(self) -> Configuration:
        """The configuration of fewest bit operations that was found within the budget.

        Raises:
            UsageError: none is as small as was asked for.
        """
        if self.budget.ebops_share is not None:
            return self._of_size(int(self.budget.ebops_share * self.start.ebops))
        best = self._descend(self.start, 1.0)
        improved = True
        while improved and self.new < self.most:
            improved = False
            for position in range(len(self.engine.knobs)):
                for wider in self._wider(best.formats, position):
                    self.engine.settle(wider)
                    found = self._descend(self.evaluate(wider), 1.0, frozen=position)
                    if self.share(found) <= 1 and _cost(found) < _cost(best):
                        best, improved = found, True
                        break
        best = self._trimmed(best)
        self._descend(best, self.explored)
        return self.smallest()

    def _of_size(self, ebops: int) -> Configuration:
        """The configuration of so many bit operations at most that changes the scores least."""
        # some way beyond: a training may leave a network with more bit operations
        best = self._descend(self.start, math.inf, until=int(_BEYOND * ebops))
        inside = [one for one in self.known.values() if one.ebops <= ebops]
        if not inside:
            raise errors.UsageError(
                f"tune: --max-ebops-share {self.budget.ebops_share:g} asks for {ebops:,} EBOPs; "
                f"the smallest network found has {best.ebops:,}; ask for more, or raise "
                "--evaluations"
            )
        return min(inside, key=lambda one: (one.distance, _cost(one)))

    def _trimmed(self, best: Configuration) -> Configuration:
        """With fewer bits of quantizers, as many bit operations, and no less quality."""
        self.engine.settle(best.formats)
        position = 0
        while position < len(self.engine.knobs) and self.new < self.most:
            found = [self.evaluate(one) for one in self._narrower(best.formats, position)]
            good = [one for one in found if self.share(one) <= max(0.0, self.share(best))]
            if good:
                best = min(good, key=_cost)
                self.engine.settle(best.formats)
            else:
                position += 1
        return best

    def _descend(
        self, found: Configuration, limit: float, frozen: int | None = None, until: int = -1
    ) -> Configuration:
        """Steps to fewer bit operations while at most `limit` budgets are used, down to `until`."""
        while self.new < self.most and found.ebops > until:
            choices = []
            for position in range(len(self.engine.knobs)):
                if position == frozen:
                    continue
                for formats in self._narrower(found.formats, position):
                    if self.new >= self.most and formats not in self.known:
                        continue
                    one = self.evaluate(formats)
                    if self.share(one) <= limit and _cost(one) < _cost(found):
                        saved = found.ebops - one.ebops + 1e-3 * (found.bops - one.bops)
                        change = max(one.distance - found.distance, _SMALLEST_STEP)
                        choices.append((saved / change, one))
            if not choices:
                return found
            found = max(choices, key=lambda choice: choice[0])[1]
            self.engine.settle(found.formats)
        return found

    def _narrower(self, formats: Formats, position: int) -> list[Formats]:
        """Without the lowest bit, and without the highest one, of one knob."""
        width, integer = formats[position]
        knob: Knob = self.engine.knobs[position]
        if width <= knob.least_width:
            return []
        found = [_replaced(formats, position, (width - 1, integer))]
        if not self.whole or integer > knob.format.signed:
            found.append(_replaced(formats, position, (width - 1, integer - 1)))
        if self.whole and width - 1 < integer:  # a step above 1, which QKeras does not have
            del found[0]
        return found

    def _wider(self, formats: Formats, position: int) -> list[Formats]:
        """With a bit more of one knob, of those that it was trained with."""
        width, integer = formats[position]
        trained = self.engine.knobs[position].format
        found = []
        if width - integer < trained.fraction:
            found.append(_replaced(formats, position, (width + 1, integer)))
        if integer < trained.integer:
            found.append(_replaced(formats, position, (width + 1, integer + 1)))
        return found


def pareto(
    found: Sequence[Configuration], quality: Callable[[Configuration], float]
) -> list[Configuration]:
    """Those that no other has more quality with no more bit operations; the fewest first."""
    front: list[Configuration] = []
    for one in sorted(found, key=lambda one: (one.ebops, -quality(one))):
        if not front or quality(one) > quality(front[-1]):
            front.append(one)
    return front


def _cost(one: Configuration) -> tuple[int, float]:
    return one.ebops, one.bops


def _bits(one: Configuration) -> int:
    return sum(width for width, _ in one.formats)


def _replaced(formats: Formats, position: int, one: tuple[int, int]) -> Formats:
    return (*formats[:position], one, *formats[position + 1 :])
