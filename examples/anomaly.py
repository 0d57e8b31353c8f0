"""An anomaly trigger on hardware integers: an autoencoder whose score the firmware computes.

    python examples/anomaly.py [FOLDER]

The 57 inputs are what a global trigger gets: integers for pT, pseudorapidity and azimuth of the
missing momentum, 4 electrons or photons, 4 muons and 10 jets; anomaly_adapter.toml says where in
the trigger's words they stand. The autoencoder is trained on
background alone (W, Z, photon and jet, top pairs); its score, the sum of the squared differences
between what it gives back and what it got, is large for events of another kind. Prints for each of
four signals the AUC of float network, quantized network and firmware, the difference of firmware
and float with its paired 95 % interval (within 0.005), the efficiency where 1 % of the background
passes, the same for simple fits, and the bits that differ between the engines (0); draws
FOLDER/anomaly.png. Background events count by their cross section. The events are the shipped ones
(train/anomaly/DATA_CARD.md).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.preprocessing import StandardScaler

import samebits
from samebits.sim.intervals import clopper_pearson
from samebits.sim.model_comparison import Difference, compare_models
from samebits.train.description import read_description
from samebits.train.optimize import outputs
from samebits.train.physics_samples import load_trigger_events
from samebits.train.progress import bench_progress

CONFIG = Path(__file__).with_suffix(".toml")
QUICK = {"fit": {"epochs": 20}, "fine_tuning": {"epochs": 10}}
ADAPTER = Path(__file__).with_name("anomaly_adapter.toml")  # from the trigger's words to the codes
PASSING = 0.01  # of the background
Scores = Mapping[str, np.ndarray]  # of "background" and of every signal


def simple_fits(train: np.ndarray, events: Mapping[str, np.ndarray]) -> dict[str, Scores]:
    """Scores of a linear autoencoder, of an isolation forest, and of the sum of all pT."""
    scaler = StandardScaler().fit(train)
    pca = PCA(8, random_state=1).fit(scaler.transform(train))
    forest = IsolationForest(random_state=1).fit(train)

    def lost(x: np.ndarray) -> np.ndarray:
        z = scaler.transform(x)
        return ((z - pca.inverse_transform(pca.transform(z))) ** 2).sum(axis=1)

    fits = {
        "8 principal components": lost,
        "isolation forest": lambda x: -forest.score_samples(x),
        "sum of all pT": lambda x: x[:, ::3].sum(axis=1),
    }
    return {name: {kind: fit(x) for kind, x in events.items()} for name, fit in fits.items()}


def auc(scores: Scores, signal: str, weights: np.ndarray) -> float:
    """Area under the ROC curve of one signal against the background."""
    both = np.concatenate([scores["background"], scores[signal]])
    labels = np.arange(len(both)) >= len(weights)
    counted = np.concatenate([weights, np.ones(len(scores[signal]))])
    return float(roc_auc_score(labels, both, sample_weight=counted))


def difference(models: Mapping[str, Scores], signal: str, weights: np.ndarray) -> Difference:
    """AUC of the firmware minus that of the float network, with paired intervals."""
    both = {name: np.concatenate([one["background"], one[signal]]) for name, one in models.items()}
    counted = np.concatenate([weights, np.ones(len(models["float"][signal]))])
    compared = compare_models(
        {name: np.stack([-score, score], axis=1) for name, score in both.items()},
        (np.arange(len(counted)) >= len(weights)).astype(np.int64),
        ("background", signal),
        weights=counted,
    )
    return compared.difference("firmware", signal)


def efficiency(scores: Scores, signal: str, weights: np.ndarray) -> str:
    """How much of the signal passes where at most 1 % of the background does."""
    order = np.argsort(-scores["background"], kind="stable")
    above = np.cumsum(weights[order]) > PASSING * weights.sum()
    cut = scores["background"][order][above.argmax()]  # passing means above it
    passing = int((scores[signal] > cut).sum())
    low, high = clopper_pearson(passing, len(scores[signal]), 0.95)
    share = passing / len(scores[signal])
    return f"{100 * share:.1f} % ({100 * low:.1f} to {100 * high:.1f} %)"


def draw(models: Mapping[str, Scores], weights: np.ndarray, path: Path) -> None:
    """The firmware's score for every class, and ROC curves of firmware and float."""
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    firmware = models["firmware"]
    bins = np.geomspace(1, max(score.max() for score in firmware.values()), 51)
    for number, (kind, score) in enumerate(firmware.items()):
        shares = np.ones(len(score)) if number else weights
        style = {"histtype": "step", "color": f"C{number}"} if number else {"color": "0.85"}
        left.hist(np.maximum(score, 1), bins, weights=shares / shares.sum(), label=kind, **style)
        if number:
            for name, line in (("float", "-"), ("firmware", "--")):
                both = np.concatenate([models[name]["background"], models[name][kind]])
                counted = np.concatenate([weights, np.ones(len(score))])
                wrong, right_share, _ = roc_curve(
                    np.arange(len(both)) >= len(weights), both, sample_weight=counted
                )
                label = f"{kind}: AUC {auc(firmware, kind, weights):.3f}" if line == "--" else None
                right.plot(wrong, right_share, line, color=f"C{number}", label=label, lw=1.2)
    left.set(xscale="log", xlabel="firmware's score", ylabel="share of events")
    left.legend(frameon=False)
    right.set(
        xscale="log",
        xlim=(1e-3, 1),
        ylim=(0, 1),
        xlabel="share of background that passes",
        ylabel="share of signal",
        title="firmware (dashed) and float (full)",
    )
    right.axvline(PASSING, color="grey", lw=0.8)
    right.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main(folder: Path, quick: bool = False) -> None:
    """The example; `quick`: half the epochs."""
    folder.mkdir(parents=True, exist_ok=True)
    description = read_description(CONFIG, QUICK if quick else None)
    events = load_trigger_events()
    signals = tuple(name for name in events.class_names if name not in events.backgrounds)
    known = np.flatnonzero(np.isin(events.labels, range(len(events.backgrounds))))
    codes = events.codes.astype(np.float32)
    first, second = len(known) // 2, len(known) * 6 // 10  # the events stand in random order
    train, validation = codes[known[:first]], codes[known[first:second]]
    test = {"background": codes[known[second:]]}
    test |= {name: codes[events.labels == events.class_names.index(name)] for name in signals}
    # In the shares of the cross sections: mostly photons and jets, hardly any top quarks.
    per_event = events.accepted_pb / np.bincount(events.labels)
    weights = per_event[events.labels[known[second:]]]
    with bench_progress(description.fit, description.fine_options()) as on_pass:
        trigger = description.train_trigger(train, validation, on_pass=on_pass)
    design = samebits.Design.from_keras(trigger.model).with_adapter(ADAPTER)
    verification = design.verify(np.concatenate(list(test.values())), against=["onnxruntime"])
    models = {
        "float": {kind: outputs(trigger.float_model, x)[:, 0] for kind, x in test.items()},
        "quantized": {kind: outputs(trigger.model, x)[:, 0] for kind, x in test.items()},
        "firmware": {
            kind: np.asarray(design.simulate(x), np.float64)[:, 0] for kind, x in test.items()
        },
    }
    rows = models | simple_fits(train, test)
    for signal in signals:
        for name, scores in rows.items():
            passing = efficiency(scores, signal, weights)
            print(
                f"{signal}, {name}: AUC {auc(scores, signal, weights):.4f}, at 1 % of the "
                f"background {passing}"
            )
        print(f"{signal}, firmware minus float: AUC {difference(models, signal, weights)}")
    mean = np.mean([auc(models["firmware"], signal, weights) for signal in signals])
    print(f"mean AUC, firmware: {mean:.4f}")
    for verdict in trigger.autoencoder.verdicts:
        print(f"loss curve: {verdict}")
    print(f"mismatching bits: {verification.mismatching_bits}")
    draw(models, weights, folder / "anomaly.png")
    print(f"plot: {folder / 'anomaly.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples"))
