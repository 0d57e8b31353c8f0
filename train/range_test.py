"""Learning rate and batch size from short measurements, each with the rule that chose it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samebits import errors

from .config import FitOptions
from .passes import Samples
from .steps import ORDER, Steps, generator
from .tensorflow import quiet

__all__ = ["BatchSpeeds", "RangeTest", "batch_speeds", "range_test"]

SMOOTHING = 0.9  # share of the old mean in the new
DIVERGED = 4.0  # times the lowest smoothed loss
FALL = 0.9  # of the mean of the first ten losses: what counts as a loss that fell
BACK = 10.0  # the chosen rate stands that far below the lowest loss
ENOUGH = 0.8  # of the highest throughput
EPOCHS_EACH = 16  # batches timed as one epoch


@dataclass(frozen=True)
class RangeTest:
    """One step at each learning rate: the losses (plain and smoothed) and the chosen rate."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    chosen: float
    rule: str

    def draw(self, path: str | Path) -> None:
        """The losses over the rates, with the chosen one."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.5, 3.8), layout="constrained")
        axes = figure.subplots()
        axes.plot(self.rates, self.losses, color="#9aa5b1", linewidth=0.8, label="loss of a batch")
        axes.plot(self.rates, self.smoothed, color="#1f5fa8", label="smoothed")
        axes.axvline(
            self.chosen, color="#c0392b", linestyle="--", label=f"chosen {self.chosen:.2g}"
        )
        axes.set_ylim(0.95 * min(self.losses), 1.3 * max(self.smoothed[:10]))
        axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
        axes.legend(frameon=False)
        figure.savefig(path, dpi=150)


def range_test(
    model: Any,
    train: Samples,
    options: FitOptions,
    *,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 150,
) -> RangeTest:
    """The learning rate to start from, found by one step at each of `steps` rising rates.

    The loss of each batch, before its step, is smoothed (exponential mean, 0.9); the test ends
    where that is 4 times its lowest value. Chosen is a tenth of the rate where it is lowest: there
    the steps had begun to be too long. The model's weights are put back.

    Source of the method: L. N. Smith, arXiv:1506.01186, section 3.3; the tenth is a convention.

    Raises:
        DataError: the loss fell at no rate.
        UsageError: rates that do not rise, fewer than 20 steps, or lbfgs.
    """
    if not 0 < low < high or steps < 20:
        raise errors.UsageError(
            f"range test: got rates {low:g} to {high:g} in {steps} steps; wanted rising positive "
            "rates and 20 steps or more"
        )
    if options.optimizer == "lbfgs":
        raise errors.UsageError("range test: lbfgs has no learning rate")
    runner = Steps(model, options.model_copy(update={"schedule": "constant"}), train)
    before = model.get_weights()
    rates, losses, smoothed = [], [], []
    mean = 0.0
    order = generator(options.seed, 0, ORDER).permutation(len(train))
    try:
        with quiet():
            for number, rate in enumerate(np.geomspace(low, high, steps).tolist()):
                first = number * options.batch_size
                events = np.take(order, np.arange(first, first + options.batch_size), mode="wrap")
                runner.optimizer.learning_rate.assign(rate)
                loss = runner.batch(train.take(events))
                if not np.isfinite(loss):
                    break
                mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
                rates.append(rate)
                losses.append(loss)
                smoothed.append(mean / (1 - SMOOTHING ** (number + 1)))
                if smoothed[-1] > DIVERGED * min(smoothed):
                    break
    finally:
        runner.release()
        model.set_weights(before)
    if not losses or min(smoothed) > FALL * np.mean(losses[:10]):
        raise errors.DataError(
            f"range test of {model.name!r}: the loss fell at no rate from {low:g} to {high:g}; "
            "look at the inputs' scale and at the labels"
        )
    lowest = int(np.argmin(smoothed))
    where = f"{rates[lowest]:.2g}, where the smoothed loss is lowest ({smoothed[lowest]:.3g})"
    return RangeTest(
        tuple(rates),
        tuple(losses),
        tuple(smoothed),
        rates[lowest] / BACK,
        f"a tenth of {where}",
    )


@dataclass(frozen=True)
class BatchSpeeds:
    """Events per second of training by batch size, and the chosen size."""

    speeds: dict[int, float]
    chosen: int
    rule: str


def batch_speeds(
    model: Any,
    train: Samples,
    options: FitOptions,
    sizes: Sequence[int] = (16, 32, 64, 128, 256, 512, 1024, 2048),
    *,
    seconds: float = 0.3,
) -> BatchSpeeds:
    """The batch size by throughput: the smallest that reaches 80 % of the highest.

    A smaller batch takes more steps for the same events, and larger ones gain no more time. Each
    size is timed for `seconds` after a first run; sizes above the number of events are left out.
    The model's weights are put back. The times are those of this machine and its load.

    Raises:
        DataError: fewer events than the smallest size.
    """
    usable = sorted(size for size in set(sizes) if 1 <= size <= len(train))
    if not usable:
        raise errors.DataError(
            f"batch sizes: got {tuple(sizes)} for {len(train)} events; wanted one that fits"
        )
    before = model.get_weights()
    speeds = {}
    for size in usable:
        count = min(len(train), EPOCHS_EACH * size)
        part = train.take(np.arange(count - count % size))
        runner = Steps(model, options.model_copy(update={"batch_size": size}), part)
        try:
            with quiet():
                runner.epoch(0, None, (), ())
                done, start = 0, time.perf_counter()
                while done == 0 or time.perf_counter() - start < seconds:
                    runner.epoch(0, None, (), ())
                    done += len(part)
                speeds[size] = done / (time.perf_counter() - start)
        finally:
            runner.release()
            model.set_weights(before)
    best = max(speeds.values())
    chosen = min(size for size, speed in speeds.items() if speed >= ENOUGH * best)
    rule = f"the smallest with {100 * ENOUGH:g} % of the highest throughput, {best:.3g} events/s"
    return BatchSpeeds(speeds, chosen, rule)
