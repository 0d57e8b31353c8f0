"""A menu of seeds in a TOML file: its rate, and what every seed adds to it, for every model."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from samebits import errors
from samebits.firmware.results import Facts, Text
from samebits.sim.intervals import Fraction, fraction, weights_of
from samebits.sim.trigger import Beam, MenuRow, menu, point_at_rate

__all__ = [
    "Menu",
    "MenuDifference",
    "MenuFacts",
    "MenuModel",
    "MenuSeed",
    "SeedFacts",
    "SeedValues",
    "measure_menu",
    "read_menu",
]

_REPLICATES, _LEAST_REPLICATES = 10_000, 400
_MOST_DRAWN = 1 << 24  # numbers of the bootstrap, before replicates are saved
_HELD = 1 << 20  # of them at once


class MenuSeed(BaseModel):
    """One seed: events whose score (or column) is at or above a threshold.

    Attributes:
        score: class or index of the output's element; not needed if there is one output.
        column: of the event files, in place of a score.
        build: another build directory, whose score it is; relative to the menu's file.
        threshold: the cut, or rate_khz: the loosest cut whose rate does not exceed it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Annotated[str, Field(min_length=1)]
    score: str | int | None = None
    column: str | None = None
    build: str | None = None
    threshold: float | None = None
    rate_khz: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one_cut(self) -> Self:
        if (self.threshold is None) == (self.rate_khz is None):
            both = "not both" if self.threshold is not None else "one of them is needed"
            raise ValueError(f"give threshold or rate_khz, {both}")
        if self.column is not None and (self.score is not None or self.build is not None):
            raise ValueError("give column, or score and build")
        return self


class Menu(BaseModel):
    """The seeds of a menu file, `[[seed]]` for each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: Annotated[tuple[MenuSeed, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _own_names(self) -> Self:
        names = [seed.name for seed in self.seed]
        if len(set(names)) < len(names):
            raise ValueError("two seeds have the same name")
        return self


class SeedFacts(Facts):
    """What a seed cuts on in words, and its cut: a threshold or a rate."""

    name: Text
    quantity: Text
    threshold: float | None
    rate_khz: float | None


class MenuModel(Facts):
    """The menu with one model's scores.

    `thresholds` by seed: None where even the tightest cut exceeds the seed's rate; the seed then
    takes nothing. `efficiency`: of the whole menu, by signal; `seeds`: of each seed, by signal.
    """

    total_khz: Fraction
    rows: tuple[MenuRow, ...]
    thresholds: dict[str, float | None]
    efficiency: dict[str, Fraction]
    seeds: dict[str, dict[str, Fraction]]


class MenuDifference(Facts):
    """The menu's rate in kHz with `model` minus that with the reference, on the same events."""

    model: Text
    reference: Text
    value: float
    low_68: float
    high_68: float
    low_95: float
    high_95: float


class MenuFacts(Facts):
    """A menu of seeds with every model; the firmware comes last."""

    file: Text
    seeds: tuple[SeedFacts, ...]
    bunches: int
    luminosity_ratio: float
    crossings_khz: float
    unbiased: Text
    unbiased_events: int
    signals: dict[str, int]
    models: dict[str, MenuModel]
    differences: tuple[MenuDifference, ...]


@dataclass(frozen=True)
class SeedValues:
    """What a seed cuts on: (N,) by model, of the unbiased events and of every signal's."""

    words: str
    unbiased: Mapping[str, NDArray[Any]]
    signals: Mapping[str, Mapping[str, NDArray[Any]]]


def read_menu(path: Path) -> Menu:
    """The menu of a TOML file.

    Raises:
        UsageError: no such file, no TOML, keys that do not exist or values that make no sense.
    """
    try:
        return Menu.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise errors.UsageError(f"{path}: cannot be read: {reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise errors.UsageError(f"{path}: is no TOML: {error}") from None
    except ValidationError as error:
        wrong: list[str] = []
        for problem in error.errors():
            place = ".".join(map(str, problem["loc"])) or "the file"
            words = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                words = "there is no such key"
            elif problem["loc"] == ("seed",) and wrong:
                continue  # that no seed is left says nothing beside what is wrong with them
            wrong.append(f"{place}: {words}")
        raise errors.UsageError(
            f"{path}: {'; '.join(wrong)}; a menu is [[seed]] tables with name, score or column, "
            "and threshold or rate_khz"
        ) from None


def measure_menu(
    seeds: Sequence[MenuSeed],
    values: Mapping[str, SeedValues],
    beam: Beam,
    weights: NDArray[Any] | None = None,
    *,
    file: str = "menu",
    unbiased_name: str = "unbiased events",
    seed: int = 0,
) -> MenuFacts:
    """Total, pure and shared rates of the seeds with every model.

    Args:
        values: by seed's name, all with the same models and events.
        weights: (N,) of the unbiased events.
        seed: of the bootstrap of the differences.

    Raises:
        DataError: events or weights of wrong shape.
    """
    first = values[seeds[0].name]
    signals = {name: len(next(iter(found.values()))) for name, found in first.signals.items()}
    models, taken = {}, {}
    for model in first.unbiased:
        decisions, thresholds = {}, dict[str, float | None]()
        peaks: dict[str, dict[str, NDArray[np.bool_]]] = {name: {} for name in signals}
        for one in seeds:
            score = values[one.name].unbiased[model]
            cut = one.threshold
            if one.rate_khz is not None:
                cut = point_at_rate(score, {}, beam, one.rate_khz, weights).threshold
            thresholds[one.name] = cut
            tight = np.inf if cut is None else cut
            decisions[one.name] = score >= tight
            for signal in signals:
                peaks[signal][one.name] = values[one.name].signals[signal][model] >= tight
        total, rows = menu(decisions, beam, weights)
        taken[model] = np.any(list(decisions.values()), axis=0)
        models[model] = MenuModel(
            total_khz=total,
            rows=tuple(rows),
            thresholds=thresholds,
            efficiency={
                signal: fraction(np.any(list(found.values()), axis=0))
                for signal, found in peaks.items()
            },
            seeds={
                one.name: {signal: fraction(peaks[signal][one.name]) for signal in signals}
                for one in seeds
            },
        )
    reference = next(iter(models))
    return MenuFacts(
        file=file,
        seeds=tuple(
            SeedFacts(
                name=one.name,
                quantity=values[one.name].words,
                threshold=one.threshold,
                rate_khz=one.rate_khz,
            )
            for one in seeds
        ),
        bunches=beam.bunches,
        luminosity_ratio=beam.luminosity_ratio,
        crossings_khz=beam.crossings_khz,
        unbiased=unbiased_name,
        unbiased_events=len(taken[reference]),
        signals=signals,
        models=models,
        differences=tuple(
            _difference(model, reference, taken, beam, weights, seed)
            for model in models
            if model != reference
        ),
    )


def _difference(
    model: str,
    reference: str,
    taken: Mapping[str, NDArray[np.bool_]],
    beam: Beam,
    weights: NDArray[Any] | None,
    seed: int,
) -> MenuDifference:
    """Bootstrap of the events, those that one of the two takes alone counted; the cuts stay.

    Events of the same weight on the same side are alike: how many of each kind a replicate draws is
    multinomial.
    """
    signs = taken[model].astype(np.int64) - taken[reference]
    weight = weights_of(weights, len(signs))
    kinds, counts = np.unique(np.stack([signs, weight], axis=1), axis=0, return_counts=True)
    gain, size = kinds[:, 0] * kinds[:, 1], kinds[:, 1]
    replicates = min(_REPLICATES, max(_LEAST_REPLICATES, _MOST_DRAWN // len(kinds)))
    rng, parts = np.random.default_rng(seed), []
    step = max(1, _HELD // len(kinds))
    for start in range(0, replicates, step):
        drawn = rng.multinomial(
            len(signs), counts / len(signs), min(step, replicates - start)
        ).astype(np.float64)
        parts.append(drawn @ gain / (drawn @ size) * beam.crossings_khz)
    spread = np.concatenate(parts)
    low_95, low_68, high_68, high_95 = np.percentile(spread, (2.5, 16, 84, 97.5)).tolist()
    return MenuDifference(
        model=model,
        reference=reference,
        value=float(counts @ gain / weight.sum()) * beam.crossings_khz,
        low_68=low_68,
        high_68=high_68,
        low_95=low_95,
        high_95=high_95,
    )
