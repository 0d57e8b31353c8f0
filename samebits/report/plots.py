"""Plots of a report as inline SVG: same facts, same bytes, and nothing loaded from outside.

Text is drawn as paths, so a plot looks the same everywhere; its content is told by the alternative
text and by the tables of the report.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samebits import errors, storage
from samebits.sim.metrics import Difference, ModelComparison
from samebits.sim.trigger import EfficiencyDifference

from .facts import MetricsFacts, RegressionFacts, TrainingFacts, TrainingRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "LIMIT_COLOUR",
    "MAX_CLASSES",
    "Plot",
    "colour_of",
    "differences",
    "forest",
    "limit_line",
    "line_style",
    "plain_text",
    "responses",
    "roc_curves",
    "score_histograms",
    "training_curves",
]

MAX_CLASSES = 12  # plots are per class; with more classes the tables alone show the rest

# Petroff's accessible colours, as in mplhep. Source: Petroff, arXiv:2107.02270.
_COLOURS = ("#5790fc", "#e42536", "#f89c20", "#964a8b", "#7a21dd")
_REFERENCE_COLOUR = "#303030"
LIMIT_COLOUR = "#b3261e"
_WIDTHS = (3.2, 2.0, 1.1)  # later curves are thinner, so that curves on top of each other all show
_STYLES: tuple[Any, ...] = ("-", "-", (0, (4, 2)))

_SETTINGS: dict[Any, Any] = {
    "figure.constrained_layout.use": True,
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 10,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "axes.linewidth": 0.9,
    "xtick.major.size": 5,
    "xtick.minor.size": 2.5,
    "ytick.major.size": 5,
    "ytick.minor.size": 2.5,
    "xtick.major.pad": 4,
    "ytick.major.pad": 4,
    "lines.linewidth": 1.4,
}


@dataclass(frozen=True)
class Plot:
    """One plot of `width` x `height` inches, drawn when it is asked for.

    `name` is its own on the page; `alt` says in words what it shows.
    """

    name: str
    draw: Callable[["Axes"], None]
    alt: str
    width: float = 4.1
    height: float = 3.0

    @cached_property
    def svg(self) -> str:
        """Safe markup to stand inside HTML."""
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        buffer = io.StringIO()
        with self._figure() as figure:
            for patch in (figure.patch, *(ax.patch for ax in figure.axes)):
                patch.set_alpha(0)
            empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            # savefig would draw twice, once to lay it out; constrained layout does that anyway
            canvas: Any = FigureCanvasSVG(figure)
            canvas.print_svg(buffer, metadata=empty)
        return _inline(buffer.getvalue(), self.name)

    def save(self, path: Path) -> None:
        """Writes a PDF or a PNG, by the ending of the path."""
        kind = path.suffix[1:]
        empty = dict.fromkeys(
            ("Creator", "Producer", "CreationDate") if kind == "pdf" else ("Software",)
        )
        with self._figure() as figure, storage.replace_file(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=200, metadata=empty)

    @contextmanager
    def _figure(self) -> Iterator["Figure"]:
        with _style(self.name):
            from matplotlib.figure import Figure

            figure = Figure(figsize=(self.width, self.height))
            self.draw(figure.add_subplot())
            yield figure


def roc_curves(facts: MetricsFacts) -> list[Plot]:
    """One plot per class: background efficiency (log) against signal efficiency, for each model."""
    models = list(facts.models)
    plots = []
    for c, name in enumerate(_plotted_classes(facts)):

        def draw(ax: "Axes", c: int = c, name: str = name) -> None:
            lowest = 1.0
            for k, model in enumerate(models):
                metrics = facts.models[model].classes[c]
                roc = metrics.roc
                points = [
                    (s, b)
                    for s, b in zip(roc.signal_efficiency, roc.background_efficiency, strict=True)
                    if b > 0
                ]
                lowest = min(lowest, points[0][1])
                ax.plot(
                    [s for s, _ in points],
                    [b for _, b in points],
                    label=f"{plain_text(model)}, AUC {metrics.auc:.4f}",
                    **line_style(k),
                )
            ax.set_yscale("log")
            ax.set_xlim(0, 1)
            ax.set_ylim(max(lowest, 1e-6) * 0.8, 1.15)
            ax.set_xlabel("signal efficiency")
            ax.set_ylabel("background efficiency")
            ax.set_title(f"{plain_text(name)} against the rest")
            ax.grid(which="major", alpha=0.35, linewidth=0.6)
            # inside there is no corner that is free of a good and of a poor classifier's curve
            ax.figure.legend(loc="outside upper center", ncols=1 if len(models) < 3 else 2)

        aucs = ", ".join(f"{m} {facts.models[m].classes[c].auc:.4f}" for m in models)
        plots.append(
            Plot(f"roc-{c}", draw, f"ROC curve of class {name} against the rest. AUC: {aucs}.")
        )
    return plots


def score_histograms(facts: MetricsFacts) -> list[Plot]:
    """One plot per class: its score for its own events and for all others, first and last model."""
    models = list(facts.models)
    first, last = models[0], models[-1]
    plots = []
    for c, name in enumerate(_plotted_classes(facts)):

        def draw(ax: "Axes", c: int = c, name: str = name) -> None:
            for model in dict.fromkeys((last, first)):
                histogram = facts.models[model].classes[c].histogram
                filled = model == last
                for counts, what, colour in (
                    (histogram.background, "rest", _COLOURS[0]),
                    (histogram.signal, plain_text(name), _COLOURS[1]),
                ):
                    total = sum(counts)
                    ax.stairs(
                        [n / total for n in counts],
                        histogram.edges,
                        fill=filled,
                        color=colour if filled else _REFERENCE_COLOUR,
                        alpha=0.55 if filled else 1.0,
                        linestyle="-" if what == "rest" or filled else (0, (3, 1.5)),
                        linewidth=1.1,
                        label=f"{plain_text(model)}: {what}",
                    )
            ax.set_yscale("log")
            ax.set_xlabel(f"score of {plain_text(name)}")
            ax.set_ylabel("share of events per bin")
            ax.figure.legend(loc="outside upper center", ncols=2)

        plots.append(
            Plot(
                f"score-{c}",
                draw,
                f"Distribution of the score of class {name}, for events of the class and for the "
                f"rest, models {' and '.join(dict.fromkeys((first, last)))}.",
            )
        )
    return plots


def differences(comparison: ModelComparison) -> list[Plot]:
    """Accuracy and AUC differences to the reference with 68 % (thick) and 95 % (thin) intervals."""
    accuracy = [d for d in comparison.differences if d.class_name is None]
    names = comparison.class_names[:MAX_CLASSES]
    auc = [d for d in comparison.differences if d.class_name in names]
    plots = []
    if accuracy:
        gate = comparison.gate
        plots.append(
            forest(
                "difference-accuracy",
                accuracy,
                [d.model for d in accuracy],
                100.0,
                f"accuracy minus {comparison.reference} [percentage points]",
                None if gate is None else -gate.limit_points,
            )
        )
    if auc:
        plots.append(
            forest(
                "difference-auc",
                auc,
                [f"{d.model}, {d.class_name}" for d in auc],
                1000.0,
                f"AUC minus {comparison.reference} [0.001]",
            )
        )
    return plots


def responses(facts: RegressionFacts) -> list[Plot]:
    """One plot per target: the median error in bins of the target, and the last model's spread."""
    models = facts.comparison.models
    last = list(models)[-1]
    plots = []
    for c, target in enumerate(list(models[last])[:MAX_CLASSES]):

        def draw(ax: "Axes", target: str = target) -> None:
            for k, (model, found) in enumerate(models.items()):
                bins = found[target].response
                middle = [(one.low + one.high) / 2 for one in bins]
                if model == last:
                    ax.fill_between(
                        middle,
                        [one.quantile_16 for one in bins],
                        [one.quantile_84 for one in bins],
                        color=colour_of(k),
                        alpha=0.2,
                        linewidth=0,
                    )
                medians = [one.median for one in bins]
                ax.plot(middle, medians, label=plain_text(model), **line_style(k))
            ax.axhline(0, color=_REFERENCE_COLOUR, linewidth=0.9)
            ax.set_xlabel(plain_text(target))
            ax.set_ylabel("prediction minus target")
            ax.grid(alpha=0.35, linewidth=0.6)
            ax.legend()

        rms = ", ".join(f"{m} {found[target].rms.value:.4g}" for m, found in models.items())
        alt = f"Median of prediction minus target against {target}. RMS errors: {rms}."
        plots.append(Plot(f"response-{c}", draw, alt))
    return plots


def training_curves(facts: TrainingFacts) -> list[Plot]:
    """Loss and accuracy after each epoch, training and validation, a colour per model."""
    plots = []
    for kind in ("loss", "accuracy"):
        runs = [r for r in facts.runs if getattr(r.curve, kind) or _validation(r.curve, kind)]
        if not runs:
            continue

        def draw(ax: "Axes", kind: str = kind, runs: Sequence[Any] = tuple(runs)) -> None:
            from matplotlib.ticker import MaxNLocator

            for k, run in enumerate(runs):
                colour = colour_of(k)
                for values, style, what in (
                    (getattr(run.curve, kind), (0, (2, 1.5)), "training"),
                    (_validation(run.curve, kind), "-", "validation"),
                ):
                    if values:
                        epochs = range(1, len(values) + 1)
                        marker = "o" if len(values) == 1 else None
                        label = f"{plain_text(run.model)}, {what}"
                        ax.plot(
                            epochs,
                            values,
                            linestyle=style,
                            color=colour,
                            marker=marker,
                            label=label,
                        )
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.xaxis.set_minor_locator(MaxNLocator(integer=True, nbins=30))
            ax.set_xlabel("epoch")
            ax.set_ylabel("loss" if kind == "loss" else "accuracy")
            ax.grid(alpha=0.35, linewidth=0.6)
            ax.legend()

        last = ", ".join(
            f"{r.model} {(_validation(r.curve, kind) or getattr(r.curve, kind))[-1]:.4g}"
            for r in runs
        )
        alt = f"Training {kind} by epoch; at the end {last}."
        plots.append(Plot(f"training-{kind}", draw, alt))
    rates = [r for r in facts.runs if len(r.curve.learning_rate) > 1]
    if rates:
        plots.append(_learning_rates(rates))
    return plots


def _learning_rates(runs: Sequence[TrainingRun]) -> Plot:
    def draw(ax: "Axes") -> None:
        for k, run in enumerate(runs):
            values = run.curve.learning_rate
            epochs = range(1, len(values) + 1)
            ax.plot(epochs, values, color=colour_of(k), label=plain_text(run.model))
        ax.set_xlabel("epoch")
        ax.set_ylabel("learning rate")
        ax.ticklabel_format(axis="y", style="plain")
        ax.grid(alpha=0.35, linewidth=0.6)
        ax.legend()

    told = ", ".join(
        f"{r.model} from {r.curve.learning_rate[0]:.3g} to {r.curve.learning_rate[-1]:.3g}"
        for r in runs
    )
    return Plot("training-rate", draw, f"Learning rate by epoch: {told}.")


def _validation(curve: Any, kind: str) -> tuple[float, ...]:
    values: tuple[float, ...] = getattr(curve, f"validation_{kind}")
    return values


def forest(
    name: str,
    rows: Sequence[Difference | EfficiencyDifference],
    labels: Sequence[str],
    scale: float,
    axis: str,
    limit: float | None = None,
) -> Plot:
    """Differences with their intervals, one below the other, in the colours of their models."""
    models = list(dict.fromkeys(d.model for d in rows))

    def draw(ax: "Axes") -> None:
        for y, d in enumerate(rows):
            colour = colour_of(models.index(d.model) + 1)
            ax.plot([scale * d.low_95, scale * d.high_95], [y, y], color=colour, linewidth=1.2)
            ax.plot(
                [scale * d.low_68, scale * d.high_68],
                [y, y],
                color=colour,
                linewidth=4,
                alpha=0.75,
                solid_capstyle="butt",
            )
            ax.plot(
                [scale * d.value], [y], "o", color=colour, markersize=5, markeredgecolor="white"
            )
        ax.axvline(0, color=_REFERENCE_COLOUR, linewidth=0.9)
        if limit is not None:
            limit_line(ax, limit, "gate")
        ax.set_yticks(range(len(rows)), [plain_text(label) for label in labels])
        ax.set_ylim(len(rows) - 0.3, -0.9)
        ax.tick_params(axis="y", which="both", left=False, right=False)
        ax.yaxis.set_tick_params(which="minor", left=False, right=False)
        ax.set_xlabel(plain_text(axis, 60))
        ax.grid(axis="x", alpha=0.35, linewidth=0.6)

    told = "; ".join(
        f"{label} {scale * d.value:+.2f} "
        f"({scale * d.low_95:+.2f} to {scale * d.high_95:+.2f} at 95 %)"
        for label, d in zip(labels, rows, strict=True)
    )
    return Plot(name, draw, f"{axis}: {told}.", height=0.85 + 0.21 * len(rows))


def _plotted_classes(facts: MetricsFacts) -> tuple[str, ...]:
    first = next(iter(facts.models.values()), None)
    return () if first is None else first.class_names[:MAX_CLASSES]


def colour_of(k: int) -> str:
    """Colour of model number k; the first is the reference."""
    return _REFERENCE_COLOUR if k == 0 else _COLOURS[(k - 1) % len(_COLOURS)]


def line_style(k: int) -> dict[str, Any]:
    """Style of curve number k; the first is the reference."""
    last = len(_WIDTHS) - 1
    width = _WIDTHS[min(k, last)]
    faint = {"alpha": 0.45} if k == 0 else {}
    return {"color": colour_of(k), "linewidth": width, "linestyle": _STYLES[min(k, last)], **faint}


def limit_line(ax: "Axes", at: float, name: str) -> None:
    """A vertical line at a limit, its name beside its upper end."""
    ax.axvline(at, color=LIMIT_COLOUR, linewidth=1.1, linestyle=(0, (4, 2)))
    ax.annotate(
        name,
        (at, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -3),
        textcoords="offset points",
        ha="left",
        va="top",
        color=LIMIT_COLOUR,
    )


def plain_text(name: str, longest: int = 22) -> str:
    """A name that matplotlib draws literally: no formulas, no control characters, not too long."""
    clean = "".join(ch if ch.isprintable() else " " for ch in name)
    if len(clean) > longest:
        clean = clean[: longest - 3] + "..."
    if clean.startswith("_"):
        clean = " " + clean  # a legend leaves out labels that start with an underscore
    return clean.replace("$", r"\$")


@contextmanager
def _style(salt: str) -> Iterator[None]:
    """mplhep's ROOT style at the size of a report, whatever the user's own settings are."""
    try:
        import matplotlib as mpl
        import mplhep  # type: ignore[import-untyped]
    except ImportError as error:
        raise errors.MissingToolError(
            f"the plots of the report need {error.name}, which is not installed: "
            'pip install "samebits[hep]"'
        ) from error
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        mpl.rcdefaults()
        mpl.rcParams.update(mplhep.style.ROOT)
        mpl.rcParams.update(_SETTINGS)
        mpl.rcParams["svg.hashsalt"] = salt
        yield


def _inline(svg: str, name: str) -> str:
    """The <svg> element alone, with ids of its own and no outside names, to stand inside HTML."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'xlink:href="#', f'href="#{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    head, rest = svg.split(">", 1)
    view_box = re.search(r'viewBox="[^"]*"', head)
    assert view_box is not None, "matplotlib always writes a viewBox"
    return f'<svg {view_box.group(0)} aria-hidden="true" focusable="false">{rest}'.strip()
