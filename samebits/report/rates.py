"""Plots of a design as a trigger: rate, efficiency at a rate, turn-on curves."""

from collections.abc import Sequence
from math import erf, sqrt
from typing import TYPE_CHECKING, Any

from samebits.menu import MenuFacts
from samebits.sim.intervals import Fraction
from samebits.sim.trigger import RatePoint
from samebits.sim.turn_on import Plateau, TurnOn
from samebits.trigger import TriggerFacts

from .plots import Plot, colour_of, forest, line_style, plain_text
from .wording import turn_on_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MAX_TURN_ONS", "menu_plots", "rate_plots", "turn_on_plots"]

MAX_TURN_ONS = 12
_MAX_DIFFERENCES = 40  # the table shows all
_SIZES = (6.5, 4.5, 3.0)  # later markers are smaller, so that points on top of each other all show
_FIT_POINTS = 200
_LIMIT = {"color": "#808080", "linewidth": 0.8, "linestyle": (0, (4, 2))}
_GRID = {"which": "major", "alpha": 0.35, "linewidth": 0.6}


def rate_plots(facts: TriggerFacts) -> list[Plot]:
    """Rate against threshold, efficiency against rate for each signal, and the differences."""
    plots = [_rate(facts)]
    for k, signal in enumerate(facts.signals):
        if any(_reached(model.points) or model.scan for model in facts.models.values()):
            plots.append(_efficiency(f"rate-efficiency-{k}", facts, signal))
        if any(d.signal == signal for d in facts.difference_curve):
            plots.append(_difference(f"rate-difference-{k}", facts, signal))
        shown = [d for d in facts.differences if d.signal == signal][:_MAX_DIFFERENCES]
        if shown:
            axis = f"efficiency of {signal} minus {shown[0].reference} [percentage points]"
            labels = [f"{d.model}, {d.asked_khz:g} kHz" for d in shown]
            plots.append(forest(f"difference-efficiency-{k}", shown, labels, 100.0, axis))
    return plots


def turn_on_plots(facts: TriggerFacts) -> list[Plot]:
    """Efficiency against the offline quantity: a plot for each signal and rate, all models."""
    plots = []
    for s, signal in enumerate(facts.signals):
        for r, asked in enumerate(_asked(facts)):
            curves = {
                name: curve
                for name, model in facts.models.items()
                if (curve := model.turn_ons.get(signal, (None,) * (r + 1))[r]) is not None
            }
            if curves:
                title = f"{signal} at {asked:g} kHz"
                plots.append(_turn_on(f"turn-on-{s}-{r}", facts, title, curves))
    return plots[:MAX_TURN_ONS]


def _reached(points: Sequence[RatePoint]) -> list[tuple[RatePoint, float, Fraction]]:
    """The points whose rate some cut reaches, with threshold and rate."""
    return [
        (point, point.threshold, point.rate_khz)
        for point in points
        if point.threshold is not None and point.rate_khz is not None
    ]


def _asked(facts: TriggerFacts) -> list[float]:
    return [point.asked_khz for point in next(iter(facts.models.values())).points]


def _rate(facts: TriggerFacts) -> Plot:
    last = list(facts.models)[-1]
    points = _reached(facts.models[last].points)

    def draw(ax: "Axes") -> None:
        for k, (name, model) in enumerate(facts.models.items()):
            curve = model.curve
            # between two scores that occur, a cut is that at the upper one
            steps = curve.levels == len(curve.thresholds)
            ax.plot(
                curve.thresholds[::-1],
                curve.rates_khz[::-1],
                drawstyle="steps-pre" if steps else "default",
                label=plain_text(name),
                marker="o" if curve.levels == 1 else None,
                **line_style(k),
            )
        for asked in _asked(facts):
            ax.axhline(asked, **_LIMIT)  # type: ignore[arg-type]
        _points(
            ax,
            [threshold for _, threshold, _ in points],
            [rate for _, _, rate in points],
            colour=colour_of(len(facts.models) - 1),
            size=_SIZES[1],
            label=f"{plain_text(last)}, cuts",
        )
        ax.set_yscale("log")
        ax.set_xlabel(f"threshold on the {plain_text(facts.score)}")
        ax.set_ylabel("rate [kHz]")
        ax.grid(**_GRID)  # type: ignore[arg-type]
        ax.legend(loc="upper right")

    told = "; ".join(
        f"{rate.value:.4g} kHz at a threshold of {threshold:.6g}" for _, threshold, rate in points
    )
    alt = f"Rate against threshold on the {facts.score}. {last}: {told or 'no rate is reached'}."
    return Plot("rate", draw, alt)


def _efficiency(name: str, facts: TriggerFacts, signal: str) -> Plot:
    last = list(facts.models)[-1]

    def draw(ax: "Axes") -> None:
        from matplotlib.ticker import LogLocator

        for k, (model, one) in enumerate(facts.models.items()):
            scan = one.scan
            if scan is not None:
                if model == last:
                    ax.fill_between(
                        scan.rates_khz,
                        scan.efficiency_low[signal],
                        scan.efficiency_high[signal],
                        color=colour_of(k),
                        alpha=0.2,
                        linewidth=0,
                    )
                marker = "o" if len(scan.rates_khz) == 1 else None
                label, style = plain_text(model), line_style(k)
                ax.plot(
                    scan.rates_khz, scan.efficiency[signal], label=label, marker=marker, **style
                )
            found = _reached(one.points)
            parts = [point.efficiency[signal] for point, _, _ in found]
            if model == last or scan is None:
                ax.errorbar(
                    [rate.value for _, _, rate in found],
                    [part.value for part in parts],
                    xerr=_errors([rate for _, _, rate in found]),
                    yerr=_errors(parts),
                    label=f"{plain_text(model)}, cuts" if scan is not None else plain_text(model),
                    fmt="o",
                    markersize=_SIZES[min(k, len(_SIZES) - 1)],
                    elinewidth=1.0,
                    color=colour_of(k),
                    zorder=3,
                )
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(numticks=12))
        ax.set_ylim(0, 1)
        ax.set_xlabel("rate [kHz]")
        ax.set_ylabel(f"efficiency of {plain_text(signal)}")
        ax.grid(**_GRID)  # type: ignore[arg-type]
        ax.legend(loc="best")

    told = "; ".join(
        f"{point.efficiency[signal].value:.4f} at {rate.value:.4g} kHz"
        for point, _, rate in _reached(facts.models[last].points)
    )
    return Plot(name, draw, f"Efficiency of {signal} against rate. {last}: {told or 'none'}.")


def _difference(name: str, facts: TriggerFacts, signal: str) -> Plot:
    """Efficiency of the last model minus the reference over all rates, with both intervals."""
    last = list(facts.models)[-1]
    rows = [d for d in facts.difference_curve if (d.signal, d.model) == (signal, last)]
    others = [m for m in facts.models if m not in (last, rows[0].reference)]

    def draw(ax: "Axes") -> None:
        rates = [d.asked_khz for d in rows]
        colour = colour_of(len(facts.models) - 1)
        for low, high, alpha in (("low_95", "high_95", 0.15), ("low_68", "high_68", 0.3)):
            ax.fill_between(
                rates,
                [100 * getattr(d, low) for d in rows],
                [100 * getattr(d, high) for d in rows],
                color=colour,
                alpha=alpha,
                linewidth=0,
            )
        for model in (*others, last):
            k = list(facts.models).index(model)
            line = [
                (d.asked_khz, 100 * d.value)
                for d in facts.difference_curve
                if (d.signal, d.model) == (signal, model)
            ]
            ax.plot(*zip(*line, strict=True), label=plain_text(model), **line_style(k))
        ax.axhline(0, **_LIMIT)  # type: ignore[arg-type]
        ax.set_xscale("log")
        ax.set_xlabel("rate [kHz]")
        ax.set_ylabel(f"efficiency minus {plain_text(rows[0].reference)} [points]")
        ax.set_title(plain_text(signal, 40))
        ax.grid(**_GRID)  # type: ignore[arg-type]
        ax.legend(loc="best")

    worst = min(rows, key=lambda d: d.value)
    return Plot(
        name,
        draw,
        f"Efficiency of {signal} at equal rate, minus {rows[0].reference}, with 68 % and 95 % "
        f"bands of {last}. Lowest: {100 * worst.value:+.2f} points at {worst.asked_khz:.4g} kHz.",
    )


def menu_plots(facts: MenuFacts) -> list[Plot]:
    """Total, pure and shared rate of every seed of the last model as bars."""
    last, one = list(facts.models.items())[-1]

    def draw(ax: "Axes") -> None:
        rows = one.rows
        for k, (what, colour) in enumerate(
            (("total", colour_of(1)), ("shared", colour_of(3)), ("pure", colour_of(2)))
        ):
            values = [
                row.shared_khz if what == "shared" else getattr(row, f"{what}_khz").value
                for row in rows
            ]
            places = [y + 0.26 * (k - 1) for y in range(len(rows))]
            ax.barh(places, values, height=0.24, color=colour, label=what)
        ax.axvline(one.total_khz.value, **_LIMIT)  # type: ignore[arg-type]
        ax.set_yticks(range(len(rows)), [plain_text(row.seed) for row in rows])
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.tick_params(axis="y", which="both", left=False, right=False)
        ax.set_xlabel("rate [kHz]; line: the menu")
        ax.grid(axis="x", alpha=0.35, linewidth=0.6)
        ax.figure.legend(loc="outside upper center", ncols=3)

    told = "; ".join(
        f"{row.seed} {row.total_khz.value:.4g}, {row.pure_khz.value:.4g} and {row.shared_khz:.4g}"
        for row in one.rows
    )
    alt = (
        f"Total, pure and shared rate in kHz by seed, {last}: {told}. "
        f"Menu: {one.total_khz.value:.4g}."
    )
    return [Plot("menu", draw, alt, width=6.0, height=1.3 + 0.42 * len(one.rows))]


def _turn_on(name: str, facts: TriggerFacts, title: str, curves: dict[str, TurnOn]) -> Plot:
    numbers = {model: k for k, model in enumerate(facts.models)}
    last = list(curves)[-1]
    quantity = facts.offline or "offline quantity"

    def draw(ax: "Axes") -> None:
        for model, curve in curves.items():
            k = numbers[model]
            if curve.fit is not None:
                low, high = curve.edges[0], curve.edges[-1]
                x = [low + (high - low) * i / _FIT_POINTS for i in range(_FIT_POINTS + 1)]
                y = [_fitted(curve.fit, value) for value in x]
                ax.plot(x, y, label=f"{plain_text(model)}, fit", **line_style(k))
        curve = curves[last]
        filled = [(i, part) for i, part in enumerate(curve.efficiency) if part is not None]
        _points(
            ax,
            [(curve.edges[i] + curve.edges[i + 1]) / 2 for i, _ in filled],
            [part for _, part in filled],
            colour=colour_of(numbers[last]),
            size=_SIZES[2],
            label=plain_text(last),
            widths=[(curve.edges[i + 1] - curve.edges[i]) / 2 for i, _ in filled],
        )
        if curve.fit is not None:
            ax.axhline(curve.fit.plateau, **_LIMIT)  # type: ignore[arg-type]
            for place, share in ((curve.fit.half, "50 %"), (curve.fit.at_95, "95 %")):
                if curve.edges[0] <= place <= curve.edges[-1]:
                    ax.axvline(place, **_LIMIT)  # type: ignore[arg-type]
                    ax.annotate(
                        share,
                        (place, 0),
                        xycoords=("data", "axes fraction"),
                        xytext=(3, 4),
                        textcoords="offset points",
                        fontsize=7.5,
                        color="#606060",
                    )
        ax.set_xlim(curve.edges[0], curve.edges[-1])
        ax.set_ylim(0, 1.05)
        ax.set_xlabel(plain_text(quantity))
        ax.set_ylabel("efficiency")
        ax.set_title(plain_text(title, 40))
        ax.grid(**_GRID)  # type: ignore[arg-type]
        ax.figure.legend(loc="outside upper center", ncols=2)

    fit = curves[last].fit
    told = curves[last].note if fit is None else turn_on_words(fit)
    return Plot(name, draw, f"Turn-on curve of {title} in {quantity}. {last}: {told}.", height=3.3)


def _fitted(fit: Plateau, x: float) -> float:
    return fit.plateau * (1 + erf((x - fit.half) / (sqrt(2) * fit.width))) / 2


def _points(
    ax: "Axes",
    x: list[float],
    parts: list[Fraction],
    *,
    colour: str,
    size: float,
    label: str,
    widths: list[float] | None = None,
) -> None:
    ax.errorbar(
        x,
        [part.value for part in parts],
        xerr=widths,
        yerr=_errors(parts),
        fmt="o",
        color=colour,
        markersize=size,
        elinewidth=1.0,
        label=label,
        zorder=3,
    )


def _errors(parts: list[Fraction]) -> Any:
    low = [max(part.value - part.low, 0.0) for part in parts]
    return [low, [max(part.high - part.value, 0.0) for part in parts]]
