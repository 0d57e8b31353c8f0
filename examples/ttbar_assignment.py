"""Which jet is which in top quark pairs: one network scores every way to assign four jets.

    python examples/ttbar_assignment.py [FOLDER]

A pair decays to a lepton, a neutrino and four quarks. The network gets 26 numbers: the jets'
momenta and b-tags in the order of their assumed roles, the lepton, the missing momentum with sine
and cosine of its azimuth; it tells right from wrong orders (J. Erdmann et al., JINST 14 (2019)
P11015). Prints the AUC of float network, quantized network and firmware, the difference of firmware
and float with its paired 95 % interval (within 0.005), the share of events whose right order has
the highest score of all 12, the same for a chi squared of the masses, and the bits that differ
between the engines (0); draws FOLDER/ttbar_assignment.png. The events are the shipped ones
(train/ttbar/DATA_CARD.md).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

import samebits
from samebits.sim.intervals import clopper_pearson
from samebits.sim.model_comparison import compare_models
from samebits.train.description import read_description
from samebits.train.optimize import outputs
from samebits.train.passes import Samples
from samebits.train.physics_samples import TTBAR_COLUMNS, Ttbar, load_ttbar, right_and_wrong
from samebits.train.progress import bench_progress

CONFIG = Path(__file__).with_suffix(".toml")
QUICK = {"fit": {"epochs": 20}, "fine_tuning": {"epochs": 10}}
WRONG_ORDERS = 3  # of each event, to train on


def turn(
    inputs: np.ndarray, targets: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Each event turned about the beam by an angle of its own: as likely as before."""
    angle = random.uniform(-np.pi, np.pi, len(inputs)).astype(np.float32)
    turned = inputs.copy()
    pairs = [(name, name[:-1] + "y") for name in TTBAR_COLUMNS if name.endswith("px")]
    for x_name, y_name in (*pairs, ("met_cos_phi", "met_sin_phi")):
        x, y = TTBAR_COLUMNS.index(x_name), TTBAR_COLUMNS.index(y_name)
        turned[:, x] = inputs[:, x] * np.cos(angle) - inputs[:, y] * np.sin(angle)
        turned[:, y] = inputs[:, x] * np.sin(angle) + inputs[:, y] * np.cos(angle)
    return turned, targets


def masses(inputs: np.ndarray) -> np.ndarray:
    """The masses in GeV of W and t from quarks, and of the t with the lepton (..., 3).

    The neutrino's momentum along the beam is that which makes the W's mass 80.4 GeV; of two such
    that which brings the t nearer to 173 GeV, the real part where there is none.
    """
    x = inputs.astype(np.float64)
    b, q1, q2, b_lepton = (x[..., start : start + 4] for start in (0, 5, 10, 15))
    lepton = np.concatenate([x[..., 20:23], np.linalg.norm(x[..., 20:23], axis=-1)[..., None]], -1)
    met, sine, cosine = np.moveaxis(x[..., 23:], -1, 0)
    pt2 = lepton[..., 0] ** 2 + lepton[..., 1] ** 2
    mu = 80.4**2 / 2 + met * (lepton[..., 0] * cosine + lepton[..., 1] * sine)
    root = np.sqrt(np.maximum(mu**2 - pt2 * met**2, 0)) * lepton[..., 3] / pt2
    tops = []
    for sign in (-1, 1):
        pz = mu * lepton[..., 2] / pt2 + sign * root
        neutrino = np.stack([met * cosine, met * sine, pz, np.hypot(met, pz)], axis=-1)
        tops.append(mass(b_lepton + lepton + neutrino))
    nearer = np.where(abs(tops[0] - 173) < abs(tops[1] - 173), *tops)
    return np.stack([mass(q1 + q2), mass(b + q1 + q2), nearer], axis=-1)


def mass(momentum: np.ndarray) -> np.ndarray:
    """The mass of (px, py, pz, E)."""
    square = momentum[..., 3] ** 2 - (momentum[..., :3] ** 2).sum(axis=-1)
    return np.sqrt(np.maximum(square, 0))


def chi_squared(train: Samples, with_tags: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Minus half the chi squared of the masses, with means and widths of right training orders.

    `with_tags` adds the logarithm of how much likelier the b-tags are in right orders.
    """
    right, wrong = train.inputs[train.targets == 1], train.inputs[train.targets == 0]
    low, middle, high = np.percentile(masses(right), (16, 50, 84), axis=0)
    tags = [i for i, name in enumerate(TTBAR_COLUMNS) if name.endswith("b_tag")]
    rate, wrong_rate = right[:, tags].mean(axis=0), wrong[:, tags].mean(axis=0)

    def score(inputs: np.ndarray) -> np.ndarray:
        found = -((((masses(inputs) - middle) / ((high - low) / 2)) ** 2).sum(axis=-1)) / 2
        if with_tags:
            tagged = inputs[..., tags]
            ratio = tagged * np.log(rate / wrong_rate)
            ratio += (1 - tagged) * np.log((1 - rate) / (1 - wrong_rate))
            found = found + ratio.sum(axis=-1)
        return found

    return score


def share_right(scores: np.ndarray, right: np.ndarray) -> str:
    """How often the right of 12 orders has the highest score; k equal ones count as 1/k."""
    highest = scores == scores.max(axis=1, keepdims=True)
    hits = highest[np.arange(len(right)), right] / highest.sum(axis=1)
    low, high = clopper_pearson(round(hits.sum()), len(right), 0.95)
    return f"{100 * hits.mean():.1f} % ({100 * low:.1f} to {100 * high:.1f} %)"


def parts(events: Ttbar) -> tuple[Ttbar, Ttbar, Ttbar]:
    """Train, validation and test part: 64, 16, 20 % of the events, which stand in random order."""
    first, second = round(0.64 * len(events)), round(0.8 * len(events))
    order = np.arange(len(events))
    return (
        events.take(order[:first]),
        events.take(order[first:second]),
        events.take(order[second:]),
    )


def draw(test: Ttbar, answers: np.ndarray, right: np.ndarray, path: Path) -> None:
    """The masses in the right order, in the order that the firmware likes best, and in all."""
    inputs, _ = test.all_inputs()
    found = masses(inputs)
    rows = np.arange(len(test))
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    titles = ("W to two jets", "t to three jets", "t with the lepton")
    for number, (one, title) in enumerate(zip(axes, titles, strict=True)):
        bins = np.linspace(0, (200, 400, 400)[number], 41)
        weights = np.full(inputs.shape[0] * 12, 1 / 12)
        one.hist(found[..., number].ravel(), bins, weights=weights, color="0.85", label="all 12")
        one.hist(found[rows, right, number], bins, histtype="step", color="C0", label="right")
        best = found[rows, answers.argmax(axis=1), number]
        one.hist(best, bins, histtype="step", color="C1", label="the firmware's")
        one.set(xlabel="mass / GeV", title=title)
    axes[0].set_ylabel("test events")
    axes[2].legend(title="order of the jets", frameon=False)
    figure.savefig(path, dpi=150)


def main(folder: Path, quick: bool = False) -> None:
    """The example; `quick`: half the epochs."""
    folder.mkdir(parents=True, exist_ok=True)
    description = read_description(CONFIG, QUICK if quick else None)
    train_events, validation_events, test_events = parts(load_ttbar())
    several = [right_and_wrong(train_events, seed) for seed in range(WRONG_ORDERS)]
    train = Samples(*(np.concatenate(arrays) for arrays in zip(*several, strict=True)))
    validation = Samples(*right_and_wrong(validation_events, 0))
    test = Samples(*right_and_wrong(test_events, 0))
    with bench_progress(description.fit, description.fine_options()) as on_pass:
        trained = description.train(train, validation, augment=turn, on_pass=on_pass)
    design = samebits.Design.from_keras(trained.model)
    verification = design.verify(test.inputs, against=["onnxruntime"])
    inputs, right = test_events.all_inputs()
    every = inputs.reshape(-1, inputs.shape[2])
    fits = {
        "chi squared of masses": chi_squared(train, with_tags=False),
        "chi squared and b-tags": chi_squared(train, with_tags=True),
    }
    networks = {
        "float": lambda x: outputs(trained.float_model, x)[:, 0],
        "quantized": lambda x: outputs(trained.model, x)[:, 0],
        "firmware": lambda x: np.asarray(design.simulate(x), np.float64)[:, 0],
    }
    pairs = {name: score(test.inputs) for name, score in (networks | fits).items()}
    for name, scores in pairs.items():
        print(f"AUC, {name}: {roc_auc_score(test.targets, scores):.4f}")
    compared = compare_models(
        {name: np.stack([1.0 - pairs[name], pairs[name]], axis=1) for name in networks},
        test.targets,
        ("wrong", "right"),
    )
    print(f"firmware minus float: AUC {compared.difference('firmware', 'right')}")
    answers = {name: score(every).reshape(right.size, -1) for name, score in networks.items()}
    answers |= {name: score(inputs) for name, score in fits.items()}
    for name, scores in answers.items():
        print(f"right order highest, {name}: {share_right(scores, right)}")
    for verdict in trained.verdicts:
        print(f"loss curve: {verdict}")
    print(f"mismatching bits: {verification.mismatching_bits}")
    draw(test_events, answers["firmware"], right, folder / "ttbar_assignment.png")
    print(f"plot: {folder / 'ttbar_assignment.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples"))
