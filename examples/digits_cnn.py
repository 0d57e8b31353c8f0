"""Handwritten digits (scikit-learn's 1797 images of 8 x 8 pixels): a convolutional network.

    python examples/digits_cnn.py [FOLDER]

Prints the accuracy of the float network, of the quantized one (6 bits) and of the firmware (97 % or
more) with its 95 % interval, and the number of bits that differ between the engines (0); draws
FOLDER/digits_cnn.png.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split

import samebits
from samebits.sim.intervals import clopper_pearson
from samebits.train.baselines import fit_baselines
from samebits.train.description import read_description
from samebits.train.optimize import Samples


def parts() -> tuple[Samples, Samples, Samples]:
    """Train, validation and test part: 60, 20 and 20 %, every digit with the same share in each."""
    digits = load_digits()
    images, labels = digits.images[..., None].astype(np.float32), digits.target.astype(np.int64)
    x, x_test, y, y_test = train_test_split(
        images, labels, test_size=0.2, stratify=labels, random_state=1
    )
    x, x_validation, y, y_validation = train_test_split(
        x, y, test_size=0.25, stratify=y, random_state=1
    )
    return Samples(x, y), Samples(x_validation, y_validation), Samples(x_test, y_test)


def draw(test: Samples, decisions: np.ndarray, path: Path) -> None:
    """The firmware's confusion matrix, and the first images that it takes for another digit."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.2, 1))
    axes = left.subplots()
    counts = confusion_matrix(test.targets, decisions)
    axes.imshow(counts, cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if row == column else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    axes.set(xlabel="firmware's decision", ylabel="digit", title="test images")
    axes.set_xticks(range(10))
    axes.set_yticks(range(10))
    right.suptitle("the first wrong decisions")
    wrong = np.flatnonzero(decisions != test.targets)[:6]
    for axes, event in zip(right.subplots(2, 3).flat, [*wrong, *[None] * 6][:6], strict=True):
        axes.axis("off")
        if event is not None:
            axes.imshow(test.inputs[event, :, :, 0], cmap="gray_r")
            axes.set_title(f"{test.targets[event]} taken for {decisions[event]}", fontsize=9)
    figure.savefig(path, dpi=150)


def main(folder: Path) -> None:
    """The example."""
    folder.mkdir(parents=True, exist_ok=True)
    description = read_description(Path(__file__).with_suffix(".toml"))
    train, validation, test = parts()
    trained = description.train(train, validation)
    design = samebits.Design.from_keras(trained.model)
    verification = design.verify(test.inputs, against=["onnxruntime"])
    answers = np.asarray(design.simulate(test.inputs))
    baselines = fit_baselines(train, test, description.fit.loss, trees=False)
    print(trained.summary(test, answers, baselines))
    decisions = answers.argmax(axis=1)
    low, high = clopper_pearson(int(np.sum(decisions == test.targets)), len(test), 0.95)
    print(f"95 % interval of the firmware's accuracy: {100 * low:.1f} to {100 * high:.1f} %")
    print(f"mismatching bits: {verification.mismatching_bits}")
    draw(test, decisions, folder / "digits_cnn.png")
    print(f"plot: {folder / 'digits_cnn.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples"))
