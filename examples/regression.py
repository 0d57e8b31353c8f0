"""A function of one variable, fitted by two hidden layers: universal approximation, in firmware.

    python examples/regression.py [FOLDER]

Prints the root mean squared error of the float network, of the quantized one and of the firmware
(0.06 or less; the function's standard deviation is 0.54), and the number of bits that differ
between the engines (0); draws FOLDER/regression.png.
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


def function(x: np.ndarray) -> np.ndarray:
    """What the network should learn."""
    return np.sin(3 * x) * np.exp(-(x**2) / 8)


def events(count: int, seed: int) -> Samples:
    """x from -3 to 3 and the function there."""
    x = np.random.default_rng(seed).uniform(-3, 3, (count, 1)).astype(np.float32)
    return Samples(x, function(x[:, 0]))


def draw(design: samebits.Design, path: Path) -> None:
    """The function, the firmware's answer, and their difference."""
    x = np.linspace(-3, 3, 601)[:, None]
    answer = np.asarray(design.simulate(x))[:, 0]
    figure = Figure(figsize=(6, 5), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    above.plot(x, function(x), color="black", label="function")
    above.step(x[:, 0], answer, color="tab:red", where="mid", label="firmware")
    above.set(ylabel="y", title="16 + 16 hidden units")
    above.legend()
    below.axhline(0, color="black", linewidth=0.8)
    below.step(x[:, 0], answer - function(x[:, 0]), color="tab:red", where="mid")
    below.set(xlabel="x", ylabel="difference")
    figure.savefig(path, dpi=150)


def main(folder: Path) -> None:
    """The example."""
    folder.mkdir(parents=True, exist_ok=True)
    description = read_description(Path(__file__).with_suffix(".toml"))
    train, test = events(2000, 1), events(1000, 7)
    trained = description.train(train, events(500, 2))
    design = samebits.Design.from_keras(trained.model)
    verification = design.verify(test.inputs, against=["onnxruntime"])
    answers = np.asarray(design.simulate(test.inputs))
    baselines = fit_baselines(train, test, description.fit.loss)
    print(trained.summary(test, answers, baselines))
    print(f"mismatching bits: {verification.mismatching_bits}")
    draw(design, folder / "regression.png")
    print(f"plot: {folder / 'regression.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples"))
