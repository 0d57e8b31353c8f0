"""Jets of five classes (g, q, w, z, t) by 16 substructure features: a dense network of 6 bits.

Weights and activations have 6 bits, the standardised features 10: their steps must resolve the
mass difference of W and Z.

    python examples/jets_features.py [FOLDER]

Prints the accuracy of the float network, of the quantized one and of the firmware, the difference
of firmware and float with its paired 95 % interval (within 0.3 points), the AUC of every class, and
the efficiency for top jets where 1 % of the other jets pass; the bits that differ between the
engines (0); draws FOLDER/jets_features.png. The jets are the shipped ones
(train/jets/DATA_CARD.md).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import samebits
from samebits.sim.metrics import ClassificationMetrics, classification_metrics
from samebits.sim.model_comparison import compare_models
from samebits.train.baselines import fit_baselines
from samebits.train.data import Dataset, load_jets
from samebits.train.description import read_description
from samebits.train.optimize import Samples
from samebits.train.progress import bench_progress

CONFIG = Path(__file__).with_suffix(".toml")
BACKGROUND = 0.01  # the share of other jets that may pass


def draw(metrics: Mapping[str, ClassificationMetrics], path: Path) -> None:
    """Every class against the rest: efficiency against the share of other jets that pass."""
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    styles = {"float": {"ls": "-", "alpha": 0.5}, "firmware": {"ls": "--"}}
    for name, style in styles.items():
        for number, one in enumerate(metrics[name].classes):
            label = f"{one.name}: AUC {one.auc:.3f}" if name == "firmware" else None
            axes.plot(
                one.roc.signal_efficiency,
                one.roc.background_efficiency,
                color=f"C{number}",
                label=label,
                **style,
            )
    axes.axhline(BACKGROUND, color="grey", lw=0.8)
    axes.set(
        xlabel="efficiency for the class",
        ylabel="share of the other jets that pass",
        yscale="log",
        ylim=(1e-3, 1),
        xlim=(0, 1),
        title="firmware (dashed) and float network (full)",
    )
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main(folder: Path, quick: bool = False) -> None:
    """The example; `quick`: a third of the jets and epochs, and fewer simple fits."""
    folder.mkdir(parents=True, exist_ok=True)
    description = read_description(CONFIG, {"fit": {"epochs": 10}} if quick else None)
    data = load_jets()
    split = data.take(np.arange(10_000 if quick else len(data))).split(seed=1)
    train, validation, test = (Samples(part.features, part.labels) for part in split.parts)
    with bench_progress(description.fit, description.fine_options()) as on_pass:
        trained = description.train(train, validation, on_pass=on_pass)
    design = samebits.Design.from_keras(trained.model)
    verification = design.verify(test.inputs, against=["onnxruntime"])
    answers = np.asarray(design.simulate(test.inputs))
    baselines = fit_baselines(train, test, description.fit.loss, trees=not quick, kernels=not quick)
    print(trained.summary(test, answers, baselines))
    scores = trained.answers(test.inputs) | {"firmware": answers}
    report(data, test, scores, folder / "jets_features.png")
    print(f"mismatching bits: {verification.mismatching_bits}")


def report(data: Dataset, test: Samples, scores: Mapping[str, np.ndarray], plot: Path) -> None:
    """Print what the test part says, and draw it."""
    metrics = {
        name: classification_metrics(s, test.targets, data.class_names, (BACKGROUND,))
        for name, s in scores.items()
    }
    compared = compare_models(scores, test.targets, data.class_names)
    print(f"firmware minus float: {compared.difference('firmware')}")
    for name, found in metrics.items():
        aucs = ", ".join(f"{one.name} {one.auc:.3f}" for one in found.classes)
        print(f"AUC, {name}: {aucs}")
    for name, found in metrics.items():
        point = found.classes[data.class_names.index("t")].working_points[0]
        if point.signal_efficiency is not None:
            print(
                f"top jets at {100 * BACKGROUND:g} % of the others, {name}: "
                f"{100 * point.signal_efficiency:.1f} % "
                f"({100 * point.signal_low:.1f} to {100 * point.signal_high:.1f} %)"
            )
    draw(metrics, plot)
    print(f"plot: {plot}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples"))
