"""Checkerboard: 16 squares in two colours, which no straight cut tells apart.

    python examples/checkerboard.py [FOLDER]

Shows the method on the way: stratified parts, a few events learned by heart, a learning rate from a
range test, augmentation by point reflection. Prints the accuracy of the float network, of the
quantized one and of the firmware on the test part (93 % or more) and the number of bits that differ
between the engines (0); draws FOLDER/checkerboard.png and FOLDER/checkerboard_rates.png.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import samebits
from samebits.train.baselines import fit_baselines
from samebits.train.build import build
from samebits.train.description import read_description
from samebits.train.optimize import Samples
from samebits.train.range_test import range_test
from samebits.train.splits import split_samples
from samebits.train.subset_check import overfit_subset

CONFIG = Path(__file__).with_suffix(".toml")


def colour(x: np.ndarray) -> np.ndarray:
    """0 or 1, of the square of the 4 by 4 board from -1 to 1."""
    return (np.floor(2 * x).astype(int).sum(axis=-1) % 2).astype(np.int64)


def events(count: int, seed: int) -> Samples:
    """Points on the board."""
    x = np.random.default_rng(seed).uniform(-1, 1, (count, 2)).astype(np.float32)
    return Samples(x, colour(x))


def turned(x: Any, y: Any, random: np.random.Generator) -> tuple[Any, Any]:
    """Half of the events turned by 180 degrees, under which the board is itself."""
    return x * random.choice(np.float32([-1, 1]), (len(x), 1)), y


def draw(design: samebits.Design, test: Samples, path: Path) -> None:
    """The firmware's decisions over the board, and the test events it gets wrong."""
    side = np.linspace(-1, 1, 201)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    found = np.asarray(design.simulate(grid)).argmax(axis=1).reshape(201, 201)
    wrong = np.asarray(design.simulate(test.inputs)).argmax(axis=1) != test.targets
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.pcolormesh(side, side, found, cmap="RdBu_r", alpha=0.5, rasterized=True)
    axes.plot(*test.inputs[wrong].T, "kx", markersize=4)
    for line in (-0.5, 0, 0.5):
        axes.axhline(line, color="black", linewidth=0.6)
        axes.axvline(line, color="black", linewidth=0.6)
    title = f"firmware: {wrong.sum()} of {len(wrong)} test events wrong (crosses)"
    axes.set(xlabel="$x_0$", ylabel="$x_1$", title=title, aspect="equal")
    figure.savefig(path, dpi=150)


def main(folder: Path) -> None:
    """The example."""
    folder.mkdir(parents=True, exist_ok=True)
    description = read_description(CONFIG)
    split = split_samples(events(8000, 1), seed=1)
    network = description.network.network()
    rates = range_test(build(network, seed=1), split.train, description.fit, low=1e-4, high=3)
    rates.draw(folder / "checkerboard_rates.png")
    print(f"learning rate: {rates.chosen:.2g}, {rates.rule}")
    description = read_description(CONFIG, {"fit": {"learning_rate": rates.chosen}})
    print(f"by heart: {overfit_subset(network, split.train, description.fit)}")
    trained = description.train(split.train, split.validation, augment=turned)
    design = samebits.Design.from_keras(trained.model)
    test = split.test.read("the final numbers")
    verification = design.verify(test.inputs, against=["onnxruntime"])
    answers = np.asarray(design.simulate(test.inputs))
    baselines = fit_baselines(split.train, test, description.fit.loss)
    print(trained.summary(test, answers, baselines))
    print(f"readings of the test part: {len(split.test.reads)}")
    print(f"mismatching bits: {verification.mismatching_bits}")
    draw(design, test, folder / "checkerboard.png")
    print(f"plot: {folder / 'checkerboard.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples"))
