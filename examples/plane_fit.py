"""A plane in two variables: where a plane is the truth, a linear regression cannot lose.

    python examples/plane_fit.py [FOLDER]

Three models of the same noisy events (sigma 0.1) are compared by AIC, BIC and 3-fold
cross-validation: the mean, the plane as a network of one unit, and 8 hidden units; all fitted with
L-BFGS. The plane is compiled. Prints the root mean squared errors of the plane in float, quantized
and in firmware (0.105 or less), of the linear regression (0.105 or less; it must win or tie), and
the number of bits that differ between the engines (0); draws FOLDER/plane_fit.png.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import samebits
from samebits.train.baselines import fit_baselines
from samebits.train.build import build
from samebits.train.config import FitOptions
from samebits.train.cross_validation import cross_validate, network_score
from samebits.train.description import read_description
from samebits.train.information import information
from samebits.train.layers import Dense
from samebits.train.network import Network
from samebits.train.optimize import Samples, fit_samples, outputs

SIGMA = 0.1
HIDDEN = Network((2,), (Dense(8), "tanh", Dense(1)))  # compared with, not compiled


def plane(x: np.ndarray) -> np.ndarray:
    """The truth."""
    return 0.75 * x[..., 0] - 0.5 * x[..., 1] + 0.25


def events(count: int, seed: int) -> Samples:
    """Points in the square from -1 to 1, and the plane there with noise."""
    random = np.random.default_rng(seed)
    x = random.uniform(-1, 1, (count, 2)).astype(np.float32)
    return Samples(x, plane(x) + random.normal(0, SIGMA, count))


def print_criteria(network: Network, train: Samples, options: FitOptions) -> None:
    """Prints AIC, BIC and the cross-validated error of three models."""
    mean = np.full(len(train), train.targets.mean())
    criteria = {"the mean": information(mean, train.targets, options.loss, 1)}
    judged = {"the mean": ""}
    for name, one in (("plane", network), ("8 hidden units", HIDDEN)):
        model = build(one, seed=options.seed)
        fit_samples(model, train, train, options)
        answers = outputs(model, train.inputs)
        criteria[name] = information(answers, train.targets, options.loss, model.count_params())
        found = cross_validate(network_score(one, options), train, count=3)
        judged[name] = f", cross-validation {found}"
    for name, value in criteria.items():
        print(
            f"{name}, {value.parameters} parameters: AIC {value.aic:.1f}, BIC {value.bic:.1f}"
            f"{judged[name]}"
        )
    print(f"lowest BIC: {min(criteria, key=lambda name: criteria[name].bic)}")


def draw(design: samebits.Design, test: Samples, path: Path) -> None:
    """The firmware's answers against the truth, and what it is off by."""
    answers = np.asarray(design.simulate(test.inputs))[:, 0]
    truth = plane(test.inputs)
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(truth, test.targets, ".", color="silver", markersize=3, label="events")
    left.plot(truth, answers, ".", color="tab:red", markersize=3, label="firmware")
    left.plot([truth.min(), truth.max()], [truth.min(), truth.max()], "k-", linewidth=0.8)
    left.set(xlabel="plane", ylabel="answer")
    left.legend()
    right.hist(answers - truth, bins=40, color="tab:red")
    right.set(xlabel="firmware minus plane", ylabel="events", title=f"noise of an event: {SIGMA}")
    figure.savefig(path, dpi=150)


def main(folder: Path) -> None:
    """The example."""
    folder.mkdir(parents=True, exist_ok=True)
    description = read_description(Path(__file__).with_suffix(".toml"))
    train, test = events(500, 1), events(1000, 3)
    print_criteria(description.network.network(), train, description.fit)
    trained = description.train(train, events(500, 2))
    design = samebits.Design.from_keras(trained.model)
    verification = design.verify(test.inputs, against=["onnxruntime"])
    answers = np.asarray(design.simulate(test.inputs))
    baselines = fit_baselines(train, test, description.fit.loss)
    print(trained.summary(test, answers, baselines))
    print(f"mismatching bits: {verification.mismatching_bits}")
    draw(design, test, folder / "plane_fit.png")
    print(f"plot: {folder / 'plane_fit.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples"))
