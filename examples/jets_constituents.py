"""Jets of five classes (g, q, w, z, t) by their 16 leading constituents: a deep set.

    python examples/jets_constituents.py [FOLDER]

The same dense layers look at every constituent (share of the jet's pT, deta, dphi), a sum puts them
together whatever their order is, and further dense layers decide. Prints the accuracy of the float
network, of the quantized one (weights of 6 bits, activations of 8) and of the firmware, the
difference of firmware and float with its paired 95 % interval, the share of jets whose bits change
where the constituents come in another order (0), and the bits that differ between the engines (0);
draws FOLDER/jets_constituents.png. The jets are the shipped ones (train/jets/CONSTITUENTS.md).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import samebits
from samebits.sim.metrics import classification_metrics
from samebits.sim.model_comparison import compare_models
from samebits.train.baselines import fit_baselines
from samebits.train.description import read_description
from samebits.train.optimize import Samples
from samebits.train.physics_samples import JetConstituents, load_constituents
from samebits.train.progress import bench_progress

CONFIG = Path(__file__).with_suffix(".toml")


def parts(data: JetConstituents, jets: int) -> tuple[Samples, Samples, Samples]:
    """Train, validation and test part: 60, 20 and 20 % of the first jets, which are mixed."""
    samples = Samples(data.constituents[:jets], data.labels[:jets])
    edges = (np.array([0.6, 0.8]) * jets).astype(int)
    train, validation, test = (samples.take(events) for events in np.split(np.arange(jets), edges))
    return train, validation, test


def shuffled(constituents: np.ndarray) -> np.ndarray:
    """The same jets, the constituents of each in a random order."""
    order = np.random.default_rng(1).permuted(
        np.tile(np.arange(constituents.shape[1]), (len(constituents), 1)), axis=1
    )
    return np.take_along_axis(constituents, order[..., None], axis=1)


def main(folder: Path, quick: bool = False) -> None:
    """The example; `quick`: fewer jets, epochs and simple fits."""
    folder.mkdir(parents=True, exist_ok=True)
    description = read_description(CONFIG, {"fit": {"epochs": 12}} if quick else None)
    data = load_constituents()
    train, validation, test = parts(data, 5000 if quick else len(data))
    with bench_progress(description.fit) as on_pass:
        trained = description.train(train, validation, on_pass=on_pass)
    design = samebits.Design.from_keras(trained.model)
    verification = design.verify(test.inputs, against=["onnxruntime"])
    answers = np.asarray(design.simulate(test.inputs))
    baselines = fit_baselines(train, test, description.fit.loss, trees=not quick, kernels=not quick)
    print(trained.summary(test, answers, baselines))
    scores = trained.answers(test.inputs) | {"firmware": answers}
    compared = compare_models(scores, test.targets, data.class_names)
    print(f"firmware minus float: {compared.difference('firmware')}")
    again = np.asarray(design.simulate(shuffled(test.inputs)))
    changed = np.any(again != answers, axis=1)
    print(f"jets that depend on the order of constituents: {int(changed.sum())}")
    print(f"mismatching bits: {verification.mismatching_bits}")
    draw(test, answers, data.class_names, folder / "jets_constituents.png")
    print(f"plot: {folder / 'jets_constituents.png'}")


def draw(test: Samples, firmware: np.ndarray, names: tuple[str, ...], path: Path) -> None:
    """The firmware's confusion matrix, and the constituents of a jet that it is sure of."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    left, *rest = figure.subplots(1, 3)
    shares = np.array(classification_metrics(firmware, test.targets, names).confusion_by_row)
    left.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 0.5 else "black"
        left.text(column, row, f"{share:.2f}", ha="center", va="center", color=colour)
    left.set_xticks(range(len(names)), names)
    left.set_yticks(range(len(names)), names)
    left.set(xlabel="firmware's decision", ylabel="jet", title="test jets")
    for axes, name in zip(rest, ("q", "t"), strict=True):
        number = names.index(name)
        score = np.where(test.targets == number, firmware[:, number], -1)
        pt, d_eta, d_phi = test.inputs[int(score.argmax())].T
        axes.scatter(d_eta, d_phi, s=1500 * pt, alpha=0.5, color=f"C{number}")
        axes.set(xlabel="deta", ylabel="dphi", xlim=(-0.8, 0.8), ylim=(-0.8, 0.8))
        axes.set_title(f"{name} jet, score {score.max():.2f} (area: share of pT)")
        axes.set_aspect("equal")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples"))
