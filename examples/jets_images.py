"""Jets of five classes (g, q, w, z, t) as images of 16 x 16 pixels: a small convolutional network.

    python examples/jets_images.py [FOLDER]

A pixel holds the share of the jet's pT that its 16 leading constituents bring there; the image is
the input of the firmware. Prints the accuracy of the float network, of the quantized one (weights
of 6 bits, activations of 7) and of the firmware, the difference of firmware and float with its
paired 95 % interval, and the bits that differ between the engines (0); draws
FOLDER/jets_images.png. The jets are those of jets_constituents.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

import samebits
from samebits.sim.metrics import classification_metrics
from samebits.sim.model_comparison import compare_models
from samebits.train.baselines import fit_baselines
from samebits.train.description import read_description
from samebits.train.optimize import Samples
from samebits.train.physics_samples import jet_images, load_constituents
from samebits.train.progress import bench_progress

CONFIG = Path(__file__).with_suffix(".toml")


def main(folder: Path, quick: bool = False) -> None:
    """The example; `quick`: fewer jets and epochs, and fewer simple fits."""
    folder.mkdir(parents=True, exist_ok=True)
    description = read_description(CONFIG, {"fit": {"epochs": 8}} if quick else None)
    data = load_constituents()
    jets = 4000 if quick else len(data)
    samples = Samples(jet_images(data.constituents[:jets])[..., None], data.labels[:jets])
    edges = (np.array([0.6, 0.8]) * jets).astype(int)  # the jets in the file are mixed
    train, validation, test = (samples.take(events) for events in np.split(np.arange(jets), edges))
    with bench_progress(description.fit) as on_pass:
        trained = description.train(train, validation, on_pass=on_pass)
    design = samebits.Design.from_keras(trained.model)
    # without adversarial events, which take long to find for images
    verification = design.verify(test.inputs, against=["onnxruntime"], adversarial=False)
    answers = np.asarray(design.simulate(test.inputs))
    baselines = fit_baselines(train, test, description.fit.loss, trees=not quick, kernels=False)
    print(trained.summary(test, answers, baselines))
    scores = trained.answers(test.inputs) | {"firmware": answers}
    compared = compare_models(scores, test.targets, data.class_names)
    print(f"firmware minus float: {compared.difference('firmware')}")
    print(f"mismatching bits: {verification.mismatching_bits}")
    draw(test, answers, data.class_names, folder / "jets_images.png")
    print(f"plot: {folder / 'jets_images.png'}")


def draw(test: Samples, firmware: np.ndarray, names: tuple[str, ...], path: Path) -> None:
    """The mean image of every class, and the firmware's efficiency for it against the rest."""
    metrics = classification_metrics(firmware, test.targets, names)
    figure = Figure(figsize=(16, 3), layout="constrained")
    axes = figure.subplots(1, 6, width_ratios=[1] * 5 + [1.5])
    for number, one in enumerate(metrics.classes):
        mean = test.inputs[test.targets == number, :, :, 0].mean(axis=0)
        image = axes[number].imshow(
            mean.T, origin="lower", extent=(-0.8, 0.8, -0.8, 0.8), norm=LogNorm(1e-5, 1)
        )
        axes[number].set(title=f"{one.name}: mean image", xlabel="deta")
        axes[5].plot(
            one.roc.signal_efficiency,
            one.roc.background_efficiency,
            label=f"{one.name}: AUC {one.auc:.3f}",
        )
    axes[0].set_ylabel("dphi")
    figure.colorbar(image, ax=axes[4], label="share of the jet's pT")
    axes[5].set(
        title="firmware",
        xlabel="efficiency",
        ylabel="other jets that pass",
        yscale="log",
        ylim=(1e-3, 1),
    )
    axes[5].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples"))
