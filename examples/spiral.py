"""Two spirals, each wound around the other: what a network with one hidden layer finds hard.

    python examples/spiral.py [FOLDER]

Trains with batch normalisation, which is folded into the weights before quantization. Prints the
accuracy of the float network, of the quantized one and of the firmware (95 % or more), and the
number of bits that differ between the engines (0); draws FOLDER/spiral.png.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import samebits
from samebits.train.baselines import fit_baselines
from samebits.train.description import read_description
from samebits.train.optimize import Samples

TURNS = 1.5


def events(count: int, seed: int) -> Samples:
    """Points on two arms of 1.5 turns, smeared by 0.02; the target is the arm."""
    rng = np.random.default_rng(seed)
    arm = rng.integers(0, 2, count)
    radius = np.sqrt(rng.uniform(0.01, 0.9, count))
    angle = 2 * np.pi * TURNS * radius + np.pi * arm
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return Samples((x + rng.normal(0, 0.02, x.shape)).astype(np.float32), arm)


def draw(design: samebits.Design, test: Samples, path: Path) -> None:
    """The firmware's decisions over the square, and the test events."""
    side = np.linspace(-1, 1, 201)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    arms = np.asarray(design.simulate(grid)).argmax(axis=1).reshape(201, 201)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.pcolormesh(side, side, arms, cmap="RdBu_r", alpha=0.35, rasterized=True)
    for arm, colour in enumerate(("navy", "darkred")):
        x = test.inputs[test.targets == arm]
        axes.plot(x[:, 0], x[:, 1], ".", color=colour, markersize=3, label=f"arm {arm}")
    axes.set(xlabel="$x_0$", ylabel="$x_1$", title="decisions of the firmware", aspect="equal")
    axes.legend(loc="upper right")
    figure.savefig(path, dpi=150)


def main(folder: Path) -> None:
    """The example."""
    folder.mkdir(parents=True, exist_ok=True)
    description = read_description(Path(__file__).with_suffix(".toml"))
    train, test = events(4000, 1), events(2000, 3)
    trained = description.train(train, events(1000, 2))
    design = samebits.Design.from_keras(trained.model)
    verification = design.verify(test.inputs, against=["onnxruntime"])
    answers = np.asarray(design.simulate(test.inputs))
    baselines = fit_baselines(train, test, description.fit.loss)
    print(trained.summary(test, answers, baselines))
    print(f"mismatching bits: {verification.mismatching_bits}")
    draw(design, test, folder / "spiral.png")
    print(f"plot: {folder / 'spiral.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples"))
