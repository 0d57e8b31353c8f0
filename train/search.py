"""Hyperparameters searched: Bayesian over any number of them, or a grid of one or two.

    def setup(values):
        layers = (Dense(values["units"]), "relu", Dense(5), "softmax")
        options = fit_options(learning_rate=values["rate"], epochs=10)
        return Setup(Network((16,), layers), options, weight_bits=values["bits"])

    space = {"units": Choice(8, 16, 32), "rate": Range(1e-4, 1e-1, log=True), "bits": Range(3, 8)}
    found = bayesian_search(setup, space, train, validation, trials=50, file="search.journal")
    found.best.values

Every trial is `train_network`; its score is that of the quantized network on the validation part.
With `cost` the search has two objectives, and `found.front` is what no trial beats in both; for bit
operations it is `lambda trained: ebops_of_model(trained.model)`, from `samebits.bit_operations`.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from samebits import errors

from .bench import Trained, train_network
from .config import FitOptions
from .diagnosis import loss_without_inputs
from .network import Network
from .optimize import Pass, Samples

__all__ = [
    "Choice",
    "Found",
    "Range",
    "Setup",
    "Trial",
    "bayesian_search",
    "grid_search",
]

STUDY = "samebits"
FIRST_RANDOM = 10  # trials before the sampler learns from them
WARM_TRIALS, WARM_PASSES = 5, 3  # before trials are compared with each other
MEAN = 0.95  # of the loss of the best constant answer: what has not learned anything

Value = float | int | str | bool
Cost = Callable[[Trained], float]


@dataclass(frozen=True)
class Range:
    """Numbers from low to high: whole ones if both are; `log`: equal ratios are equally likely."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise errors.UsageError(
                f"search: Range({self.low:g}, {self.high:g}, log={self.log}): wanted low below "
                "high, and above 0 with log"
            )

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True, init=False)
class Choice:
    """One of some values."""

    values: tuple[Value, ...]

    def __init__(self, *values: Value) -> None:
        if len(set(values)) < len(values) or not values:
            raise errors.UsageError(f"search: Choice{values}: wanted different values, at least 1")
        object.__setattr__(self, "values", values)


Space = Mapping[str, Range | Choice]


@dataclass(frozen=True)
class Setup:
    """What one trial trains; as the arguments of `train_network`."""

    network: Network
    options: FitOptions
    weight_bits: int = 6
    activation_bits: int = 6
    formats: Mapping[str, str] | None = None
    pruning: float = 0.0


@dataclass(frozen=True)
class Trial:
    """One training: `score` and `cost` are None unless it is "done"; `why` tells what happened.

    The score is the accuracy on the validation part, for regression the root mean squared error.
    """

    number: int
    values: Mapping[str, Value]
    state: Literal["done", "stopped", "failed"]
    score: float | None
    cost: float | None
    seconds: float
    why: str = ""


@dataclass(frozen=True)
class Found:
    """All trials, in order. `rising`: a larger score is better."""

    trials: tuple[Trial, ...]
    names: tuple[str, ...]
    rising: bool
    has_cost: bool

    @property
    def done(self) -> tuple[Trial, ...]:
        """The trials with a score."""
        return tuple(trial for trial in self.trials if trial.state == "done")

    @property
    def best(self) -> Trial:
        """The trial with the best score; of equal ones the cheapest, then the first.

        Raises:
            DataError: no trial was finished.
        """
        if not self.done:
            reasons = "; ".join(dict.fromkeys(t.why for t in self.trials if t.why))
            raise errors.DataError(f"search: none of {len(self.trials)} trials was done: {reasons}")
        return min(self.done, key=lambda t: (-self.merit(t), t.cost or 0.0, t.number))

    @property
    def front(self) -> tuple[Trial, ...]:
        """The trials that no other beats in score without a higher cost; the cheapest first."""
        front: list[Trial] = []
        for trial in sorted(self.done, key=lambda t: (t.cost or 0.0, -self.merit(t), t.number)):
            if not front or self.merit(trial) > self.merit(front[-1]):
                front.append(trial)
        return tuple(front)

    def merit(self, trial: Trial) -> float:
        """The score, with its sign turned where a smaller one is better."""
        assert trial.score is not None
        return trial.score if self.rising else -trial.score

    def table(self) -> str:
        """A line of text for each trial."""
        head = ["trial", *self.names, "score", *(["cost"] if self.has_cost else []), "s", "state"]
        rows = [head]
        for trial in self.trials:
            score = "-" if trial.score is None else f"{trial.score:.4g}"
            cost = ["-" if trial.cost is None else f"{trial.cost:,.0f}"] if self.has_cost else []
            cells = [_text(trial.values[name]) for name in self.names]
            state = f"{trial.state}{': ' if trial.why else ''}{trial.why}"
            rows.append([str(trial.number), *cells, score, *cost, f"{trial.seconds:.1f}", state])
        widths = [max(len(row[i]) for row in rows) for i in range(len(head) - 1)]
        return "\n".join(
            "  ".join([*(c.rjust(w) for c, w in zip(row, widths, strict=False)), row[-1]])
            for row in rows
        )

    def draw(self, path: str | Path) -> None:
        """A curve or a heat map of a grid of one or two; else score against cost, or trials."""
        from .search_plot import draw

        draw(self, Path(path))


def bayesian_search(
    setup: Callable[[Mapping[str, Any]], Setup],
    space: Space,
    train: Samples,
    validation: Samples,
    *,
    trials: int = 50,
    cost: Cost | None = None,
    file: str | Path | None = None,
    seed: int = 0,
    on_trial: Callable[[Trial], None] | None = None,
) -> Found:
    """Trials chosen by optuna's TPE from those before, until there are `trials` of them.

    Bad trials are stopped early. Without `cost`: when the validation loss of the float network is
    above the median of the earlier trials at the same pass (from the fifth trial and the third pass
    on). With `cost`, where small networks must not be judged by large ones: when it is still above
    95 % of the loss of the best constant answer after half of the passes. A loss that is no longer
    finite is a failed trial, and the search goes on.

    Args:
        cost: what else becomes small.
        file: a journal of the trials; the same search goes on from there after an interruption.
            One process at a time.
        on_trial: called after each trial.

    Source: Bergstra et al., NeurIPS 2011 (TPE); Ozaki et al., GECCO 2020 (several objectives); the
    median rule is that of Golovin et al., KDD 2017.

    Raises:
        MissingToolError: optuna is not installed.
        UsageError: the file belongs to another search.
    """
    optuna = _optuna()
    ready = _Runner(setup, train, validation, cost, on_trial)
    kind = {name: _described(one) for name, one in space.items()}
    study = _study(file, {"space": kind, "cost": cost is not None}, ready.directions)
    while (count := _finished(study)) < trials:
        # a sampler of its own for every trial: an interrupted search goes on as it would have
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=FIRST_RANDOM, seed=(seed * 100_003 + count) % 2**32
        )
        trial = study.ask()
        values = {name: _suggested(trial, name, one) for name, one in space.items()}
        ready.run(study, trial, values)
    return _found(study, tuple(space), ready)


def grid_search(
    setup: Callable[[Mapping[str, Any]], Setup],
    grid: Mapping[str, Sequence[Value]],
    train: Samples,
    validation: Samples,
    *,
    cost: Cost | None = None,
    file: str | Path | None = None,
    on_trial: Callable[[Trial], None] | None = None,
) -> Found:
    """A trial for every combination of the values of one or two parameters; none is stopped early.

    Raises:
        UsageError: more than two parameters; the file belongs to another search.
    """
    if not 1 <= len(grid) <= 2 or not all(grid.values()):
        raise errors.UsageError(
            f"search: a grid takes one or two parameters with values, got {len(grid)} "
            f"({', '.join(grid)}); for more use bayesian_search"
        )
    space = {name: Choice(*values) for name, values in grid.items()}
    ready = _Runner(setup, train, validation, cost, on_trial, stops=False)
    kind = {name: _described(one) for name, one in space.items()}
    study = _study(file, {"grid": kind, "cost": cost is not None}, ready.directions)
    known = [trial.params for trial in study.trials if trial.state.is_finished()]
    for point in itertools.product(*grid.values()):
        values = dict(zip(grid, point, strict=True))
        if values not in known:
            study.enqueue_trial(values)
            trial = study.ask()
            ready.run(study, trial, {n: _suggested(trial, n, one) for n, one in space.items()})
    return _found(study, tuple(grid), ready)


class _Stopped(Exception):
    """A trial that is not worth its time; the message says why."""


class _Runner:
    """Runs trials and tells optuna."""

    def __init__(
        self,
        setup: Callable[[Mapping[str, Any]], Setup],
        train: Samples,
        validation: Samples,
        cost: Cost | None,
        on_trial: Callable[[Trial], None] | None,
        stops: bool = True,
    ) -> None:
        self.setup, self.train, self.validation = setup, train, validation
        self.cost, self.on_trial, self.stops = cost, on_trial, stops
        self.rising = np.issubdtype(np.asarray(train.targets).dtype, np.integer)

    @property
    def directions(self) -> list[str]:
        """Of the objectives, in optuna's words."""
        first = "maximize" if self.rising else "minimize"
        return [first] if self.cost is None else [first, "minimize"]

    def run(self, study: Any, trial: Any, values: Mapping[str, Any]) -> None:
        """One training from its values to what the study keeps of it."""
        states = _optuna().trial.TrialState
        same = [t for t in study.trials if t.state is states.COMPLETE and t.params == trial.params]
        if same:  # equal seeds give equal weights
            why = f"as trial {same[0].number}"
            self._tell(study, trial, states.COMPLETE, why, 0.0, same[0].values)
            return
        job = self.setup(values)
        losses: list[float] = []
        constant = loss_without_inputs(self.validation.targets, job.options.loss)
        earlier = [t.user_attrs["losses"] for t in study.trials if "losses" in t.user_attrs]

        def on_pass(stage: str, entry: Pass) -> None:
            if stage != "float":
                return
            losses.append(entry.validation_loss)
            why = self._hopeless(losses, earlier, constant, job.options.epochs)
            if why:
                raise _Stopped(why)

        start = time.perf_counter()
        why, result = "", None
        state = states.COMPLETE
        try:
            trained = train_network(
                job.network,
                self.train,
                self.validation,
                job.options,
                weight_bits=job.weight_bits,
                activation_bits=job.activation_bits,
                formats=job.formats,
                pruning=job.pruning,
                on_pass=on_pass,
            )
            result = [trained.scores(self.validation)["quantized"]]
            if self.cost is not None:
                result.append(float(self.cost(trained)))
        except _Stopped as reason:
            why, state = str(reason), states.PRUNED
        except errors.DataError as error:
            why, state = str(error), states.FAIL
        except BaseException:
            study.tell(trial, state=states.FAIL)
            raise
        if state is not states.FAIL:
            trial.set_user_attr("losses", losses)
        self._tell(study, trial, state, why, time.perf_counter() - start, result)

    def _tell(
        self, study: Any, trial: Any, state: Any, why: str, seconds: float, result: Any
    ) -> None:
        trial.set_user_attr("why", why)
        trial.set_user_attr("seconds", seconds)
        study.tell(trial, result, state=state)
        if self.on_trial:
            self.on_trial(_trial(study.trials[trial.number]))

    def _hopeless(
        self, losses: list[float], earlier: list[list[float]], constant: float, passes: int
    ) -> str:
        now = len(losses)
        if not self.stops:
            return ""
        if self.cost is not None:
            if now == math.ceil(passes / 2) and min(losses) > MEAN * constant:
                return f"predicts the mean after {now} passes"
            return ""
        others = [min(one[:now]) for one in earlier if len(one) >= now]
        if now < WARM_PASSES or len(others) < WARM_TRIALS:
            return ""
        middle = float(np.median(others))
        if min(losses) > middle:
            return f"loss {min(losses):.4g} above the median {middle:.4g} after {now} passes"
        return ""


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise errors.MissingToolError(
            'the search needs optuna, which is not installed: pip install "samebits[train]"'
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _study(file: str | Path | None, kind: Mapping[str, Any], directions: list[str]) -> Any:
    """The study in the file, or a new one; trials that were cut short count as failed."""
    optuna = _optuna()
    text = json.dumps(kind, sort_keys=True)
    storage = None
    try:
        if file is not None:
            path = Path(file)
            path.parent.mkdir(parents=True, exist_ok=True)
            backend = optuna.storages.journal.JournalFileBackend(str(path))
            storage = optuna.storages.JournalStorage(backend)
        study = optuna.create_study(
            storage=storage, study_name=STUDY, directions=directions, load_if_exists=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise errors.UsageError(
            f"search: {file}: cannot be used as a journal ({type(error).__name__}: {error}); "
            "give another file"
        ) from None
    held = study.user_attrs.get("kind", text)
    if held != text or [d.name.lower() for d in study.directions] != directions:
        raise errors.UsageError(
            f"search: {file}: holds another search ({held}); give another file, or remove it"
        )
    study.set_user_attr("kind", text)
    for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _finished(study: Any) -> int:
    """Trials that came to an end of their own."""
    return sum("why" in trial.user_attrs for trial in study.get_trials(deepcopy=False))


def _found(study: Any, names: tuple[str, ...], ready: _Runner) -> Found:
    kept = [_trial(trial) for trial in study.trials if "why" in trial.user_attrs]
    return Found(tuple(kept), names, bool(ready.rising), ready.cost is not None)


def _trial(trial: Any) -> Trial:
    states = {"COMPLETE": "done", "PRUNED": "stopped", "FAIL": "failed"}
    state: Any = states[trial.state.name]
    values = list(trial.values or []) if state == "done" else []
    return Trial(
        trial.number,
        dict(trial.params),
        state,
        values[0] if values else None,
        values[1] if len(values) > 1 else None,
        float(trial.user_attrs["seconds"]),
        trial.user_attrs["why"],
    )


def _suggested(trial: Any, name: str, one: Range | Choice) -> Any:
    if isinstance(one, Choice):
        return trial.suggest_categorical(name, one.values)
    if one.whole:
        return trial.suggest_int(name, one.low, one.high, log=one.log)
    return trial.suggest_float(name, one.low, one.high, log=one.log)


def _described(one: Range | Choice) -> Mapping[str, Any]:
    return {"kind": type(one).__name__, **asdict(one)}


def _text(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
