"""Fitting on plain arrays: every loss, optimiser and schedule; the best weights are kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from .checkpoints import Checkpoint, describe, read_checkpoint, write_checkpoint
from .config import FitOptions
from .event_log import EventLog
from .lbfgs import Answers, minimise
from .losses import check_targets, score
from .passes import Curve, Pass, Samples
from .preprocessing import mark
from .pruning import full_from, prune, sparsity_at
from .steps import Augment, Steps
from .tensorflow import load, quiet

__all__ = ["Augment", "Curve", "Pass", "Samples", "fit_samples", "outputs", "score"]


def fit_samples(
    model: Any,
    train: Samples,
    validation: Samples,
    options: FitOptions,
    *,
    pruning: float = 0.0,
    augment: Augment | None = None,
    until: float = 0.0,
    on_pass: Callable[[Pass], None] | None = None,
) -> Curve:
    """Train `model` in place and keep the weights of the lowest validation loss.

    Equal seeds on the same machine and versions give equal weights. With `pruning` only passes at
    full sparsity can be the best. A loss that is not finite ends the training. `augment` changes
    the shuffled training part anew in every epoch (`samebits.train.augmentation`). A training loss
    below `until` ends the training.

    With `options.checkpoints` every epoch is written to FOLDER/<name of the network>.npz before
    `on_pass` is told, and a training that finds its file there goes on from it, bit-identically.

    Raises:
        DataError: inputs or targets do not fit the network; a damaged checkpoint.
        UsageError: the checkpoint is of another training; lbfgs where it cannot work.
    """
    for part in (train, validation):
        check_targets(model, part, options.loss)
    if train.outside != validation.outside:
        raise errors.DataError(
            f"training of {model.name!r}: the training part went through {train.outside or 'no'} "
            f"preprocessing, the validation part through {validation.outside or 'no'}"
        )
    load().keras.utils.set_random_seed(options.seed)
    with quiet():
        fit = _Fit(model, train, validation, options, pruning, augment, until)
    log = EventLog(options.tensorboard / model.name) if options.tensorboard else None

    def told(entry: Pass) -> None:
        if log is not None:
            log.write(entry)
        if on_pass is not None:
            on_pass(entry)

    try:
        with quiet():
            return fit.run(told)
    finally:
        fit.steps.release()
        mark(model, train.outside)
        if log is not None:
            log.close()


class _Fit:
    """A training: what it has done so far, and how it goes on."""

    def __init__(
        self,
        model: Any,
        train: Samples,
        validation: Samples,
        options: FitOptions,
        pruning: float,
        augment: Augment | None,
        until: float,
    ) -> None:
        self.model, self.validation, self.options = model, validation, options
        self.pruning, self.augment, self.until = pruning, augment, until
        self.steps = Steps(model, options, train)
        self.passes: list[Pass] = []
        self.lbfgs, self.answers = options.optimizer == "lbfgs", Answers()
        self.best = model.get_weights()
        self.path = options.checkpoints and options.checkpoints / f"{model.name}.npz"
        self.described: dict[str, Any] = {}
        if self.path:
            name = getattr(augment, "__qualname__", repr(augment))
            self.described = describe(
                model, train, validation, options, pruning=pruning, augmentation=name
            )
        self.start = time.perf_counter()

    def run(self, told: Callable[[Pass], None]) -> Curve:
        """Trains to the end and puts the best weights in place."""
        if self.lbfgs and (self.pruning or self.augment):
            raise errors.UsageError("lbfgs takes neither pruning nor augmentation; choose adam")
        untrained = self.steps.loss(self.validation)[0]
        self._resume()
        if self.lbfgs:
            if not self._done():
                minimise(
                    self.steps,
                    self.validation,
                    self.options.epochs,
                    lambda entry: self._add(entry, told),
                    self.answers,
                    len(self.passes),
                )
        else:
            while len(self.passes) < self.options.epochs and not self._done():
                self._add(self._epoch(len(self.passes)), told)
        self.model.set_weights(self.best)
        seconds = time.perf_counter() - self.start
        return Curve(tuple(self.passes), self._best_of(self.passes), seconds, untrained)

    def _epoch(self, number: int) -> Pass:
        steps, rate = self.steps, self.steps.optimizer.learning_rate
        if self.options.schedule == "plateau":
            rate.assign(_plateau_rate(self.passes, self.options))
        kernels: list[Any] = []
        masks: list[Any] = []
        if self.pruning:
            share = sparsity_at(number, self.options.epochs, self.pruning)
            kernels, masks = prune(self.model, share)
        loss, right = steps.epoch(number, self.augment, kernels, masks)
        validation_loss, validation_right = steps.loss(self.validation)
        regression = self.options.loss == "mean_squared_error"
        return Pass(
            number + 1,
            loss,
            validation_loss,
            float(np.asarray(steps.optimizer.learning_rate)),
            None if regression else right,
            None if regression else validation_right,
        )

    def _add(self, entry: Pass, told: Callable[[Pass], None]) -> bool:
        """Records a pass; whether to stop after it."""
        self.passes.append(entry)
        if self._best_of(self.passes) == entry.number:
            self.best = self.model.get_weights()
        if self.path:
            state = Checkpoint(
                tuple(self.passes),
                tuple(self.model.get_weights()),
                self._optimizer_state(),
                tuple(self.best),
                time.perf_counter() - self.start,
            )
            write_checkpoint(self.path, state, self.described)
        told(entry)
        return self._done()

    def _optimizer_state(self) -> tuple[npt.NDArray[Any], ...]:
        if self.lbfgs:
            return self.answers.arrays()
        return tuple(variable.numpy() for variable in self.steps.optimizer.variables)

    def _resume(self) -> None:
        state = read_checkpoint(self.path, self.described) if self.path else None
        if state is None:
            return
        self.passes, self.best = list(state.passes), list(state.best)
        if self.lbfgs:
            self.answers = Answers.of_arrays(state.optimizer)  # from the first weights again
        else:
            self.model.set_weights(state.weights)
            variables = self.steps.optimizer.variables
            for variable, values in zip(variables, state.optimizer, strict=True):
                variable.assign(values)
        self.start -= state.seconds

    def _first(self) -> int:
        """The first epoch, from 0, whose weights may be kept."""
        return full_from(self.options.epochs) if self.pruning else 0

    def _best_of(self, passes: Sequence[Pass]) -> int:
        """The number of the pass with the lowest validation loss, 0 where there is none."""
        allowed = [p for p in passes[self._first() :] if p.validation_loss < np.inf]
        return min(allowed, key=lambda p: p.validation_loss).number if allowed else 0

    def _done(self) -> bool:
        if not self.passes:
            return False
        last = self.passes[-1]
        if last.loss < self.until or not np.isfinite([last.loss, last.validation_loss]).all():
            return True
        stale = last.number - max(self._best_of(self.passes), self._first())
        return self.options.patience is not None and stale >= self.options.patience


def _plateau_rate(passes: Sequence[Pass], options: FitOptions) -> float:
    """The learning rate after these passes: halved after `plateau_patience` of them in a row
    without a lower validation loss."""
    rate, lowest, waited = options.learning_rate, np.inf, 0
    for entry in passes:
        waited = 0 if entry.validation_loss < lowest else waited + 1
        lowest = min(lowest, entry.validation_loss)
        if waited >= options.plateau_patience:
            rate, waited = rate / 2, 0
    return rate


def outputs(model: Any, inputs: npt.ArrayLike, batch_size: int = 4096) -> npt.NDArray[np.float32]:
    """The network's answers (N, ...) to inputs (N, *shape), in batches and without a word."""
    load()
    with quiet():
        return np.asarray(
            model.predict(np.asarray(inputs, np.float32), batch_size=batch_size, verbose=0)
        )
