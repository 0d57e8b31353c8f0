"""XOR: two inputs of which one or the other, but not both, is positive; 8 hidden units.

    python examples/xor.py [FOLDER]

Prints the accuracy of the float network, of the quantized one and of the firmware (97 % or more),
and the number of bits that differ between the engines (0); draws FOLDER/xor.png.
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


def events(count: int, seed: int) -> Samples:
    """Points in the square from -1 to 1; the target is 1 where the signs differ."""
    x = np.random.default_rng(seed).uniform(-1, 1, (count, 2)).astype(np.float32)
    return Samples(x, (x[:, 0] * x[:, 1] < 0).astype(np.int64))


def draw(design: samebits.Design, path: Path) -> None:
    """The firmware's answer over the square."""
    side = np.linspace(-1, 1, 101)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    answers = np.asarray(design.simulate(grid)).reshape(101, 101)
    figure = Figure(figsize=(5, 4.2), layout="constrained")
    axes = figure.subplots()
    image = axes.pcolormesh(side, side, answers, vmin=0, vmax=1, cmap="RdBu_r", rasterized=True)
    axes.contour(side, side, answers, [0.5], colors="black")
    figure.colorbar(image, ax=axes, label="firmware's answer")
    axes.set(xlabel="$x_0$", ylabel="$x_1$", title="XOR, decision at 0.5", aspect="equal")
    figure.savefig(path, dpi=150)


def main(folder: Path) -> None:
    """The example."""
    folder.mkdir(parents=True, exist_ok=True)
    description = read_description(Path(__file__).with_suffix(".toml"))
    train, test = events(2000, 1), events(2000, 3)
    trained = description.train(train, events(1000, 2))
    design = samebits.Design.from_keras(trained.model)
    verification = design.verify(test.inputs, against=["onnxruntime"])
    answers = np.asarray(design.simulate(test.inputs))
    baselines = fit_baselines(train, test, description.fit.loss)
    print(trained.summary(test, answers, baselines))
    print(f"mismatching bits: {verification.mismatching_bits}")
    draw(design, folder / "xor.png")
    print(f"plot: {folder / 'xor.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples"))
