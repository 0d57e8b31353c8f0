"""Jet taggers through the whole flow, beside published ones: accuracy, LUT, FF, nanoseconds.

    python -P benchmarks/published.py [-o build/published] [--designs Q6,Q4p] [--no-rtl]
        [--no-yosys] [--hgq .venv-hgq/bin/python]

Every design is trained on the shipped jets, exported, compiled, estimated, written as RTL and
simulated clock by clock in Verilator on the test part. The published designs were trained and
tested on another data set (OpenML 42468): their accuracies cannot be compared with ours, LUT and
nanoseconds only as far as the networks are alike. Needs the extras train and rtl; `--hgq` names
the Python of an environment with the extra hgq, for the HGQ2 networks.

Results: DIR/published.json and DIR/published.md; every design is a build directory of its own, and
what is there is neither trained nor simulated again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLOCK_MHZ = 200.0
PART = "xcvu13p-flga2577-2-e"
EVENTS = "events.npz"
LOWEST_BETA, HGQ_EPOCHS = 5e-7, 10  # HGQ2's first price of a bit operation; times --epochs


@dataclass(frozen=True)
class Network:
    """What is trained: options of `samebits train`, or HGQ2's price of a bit operation."""

    about: str
    options: dict[str, Any]
    beta: float | None = None


NETWORKS = {
    "Q8": Network("64-32-32, QKeras, 8 bits", {"weight_bits": 8, "activation_bits": 8}),
    "Q6": Network("64-32-32, QKeras, 6 bits", {}),
    "Q6p": Network("64-32-32, QKeras, 6 bits, 75 % zeros", {"pruning": 0.75}),
    "Q4p": Network(
        "64-32-32, QKeras, 4 bits, 75 % zeros",
        {"weight_bits": 4, "activation_bits": 4, "pruning": 0.75},
    ),
    "Q4s": Network(
        "32-16-16, QKeras, 4 bits, 75 % zeros",
        {"weight_bits": 4, "activation_bits": 4, "pruning": 0.75, "hidden": (32, 16, 16)},
    ),
    "H1": Network("64-32-32, HGQ2, low price of bits", {}, 1e-5),
    "H2": Network("64-32-32, HGQ2, high price of bits", {}, 6e-5),
}


@dataclass(frozen=True)
class Published:
    """A row of the literature: numbers as printed there, of Vivado where not said otherwise."""

    name: str
    accuracy_percent: float
    lut: str
    ff: str
    dsp: str
    latency_ns: float
    source: str


PUBLISHED = (
    Published("Duarte et al. 2018", 75, "88,797 (LUT + FF)", "", "954", 75, "arXiv:1804.06913"),
    Published("hls4ml, Fahim et al. 2021", 76.2, "63,251", "4,394", "38", 45, "arXiv:2103.05579"),
    Published(
        "QKeras Q6, Coelho et al. 2021",
        74.8,
        "39.7k",
        "",
        "",
        55,
        "arXiv:2006.10159; LUT: 2405.00645",
    ),
    Published("HGQ-1", 76.4, "6.3k", "", "0", 30, "arXiv:2405.00645"),
    Published("HGQ-3", 75.0, "1.5k", "", "0", 20, "arXiv:2405.00645"),
    Published("HGQ-6", 71.0, "0.24k", "", "0", 10, "arXiv:2405.00645"),
    Published("HGQ + da4ml", 76.9, "12,250", "1,502", "0", 18.9, "arXiv:2507.04535"),
    Published("TreeLUT-II", 75.0, "796", "74", "0", 1.1, "arXiv:2501.01511"),
    Published("KANELE", 76.0, "1,232", "900", "0", 7.1, "arXiv:2512.12850"),
    Published("NeuraLUT-Assemble", 76.0, "1,780", "540", "0", 2.1, "arXiv:2504.00592"),
)


def say(text: str) -> None:
    """A line on stderr: what happens now."""
    print(text, file=sys.stderr, flush=True)


def without_softmax(path: Path) -> None:
    """Cuts the softmax, and the type made wider for it, off model.onnx: the scores come out.

    The class with the largest score is the same, and the published designs have no softmax either.
    """
    import onnx

    from samebits import storage

    model = onnx.load(path)
    nodes = {node.output[0]: node for node in model.graph.node}
    name = model.graph.output[0].name
    while nodes[name].op_type == "Softmax" or name == "softmax_input":
        model.graph.node.remove(nodes[name])
        name = nodes[name].input[0]
    model.graph.output[0].name = name
    with storage.replace_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def train_qkeras(folder: Path, network: Network, epochs: int, seed: int) -> None:
    """A build directory with the trained network, its export and its design."""
    from samebits.cli.console import bar
    from samebits.compile.target import Target
    from samebits.stages import compile_model, export_model, train_models
    from samebits.train.config import training_config

    config = training_config(epochs=epochs, seed=seed, **network.options)
    train_models(folder, "jets", config, bar=bar)
    model = folder / "model.onnx"
    export_model(folder / "model.keras", model)
    without_softmax(model)
    compile_model(model, folder, Target(part=PART, clock_mhz=CLOCK_MHZ), force=True)


def train_hgq(folder: Path, beta: float, epochs: int, seed: int) -> None:
    """The same for an HGQ2 network, in the environment that has HGQ2; features standardised."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras  # type: ignore[import-untyped]
    import numpy as np
    from hgq.config import (  # type: ignore[import-not-found]
        LayerConfigScope,
        QuantizerConfigScope,
    )
    from hgq.layers import QBatchNormDense, QDense  # type: ignore[import-not-found]
    from hgq.utils import trace_minmax  # type: ignore[import-not-found]
    from hgq.utils.sugar import BetaScheduler, PieceWiseSchedule  # type: ignore[import-not-found]

    from samebits import Design, Target
    from samebits.train.data import load_jets

    jets = load_jets().split(seed)
    mean, spread = jets.train.features.mean(axis=0), jets.train.features.std(axis=0)
    parts = [((p.features - mean) / spread).astype(np.float32) for p in jets.parts]
    keras.utils.set_random_seed(seed)
    with (
        QuantizerConfigScope(place="all", overflow_mode="SAT_SYM"),
        QuantizerConfigScope(place="datalane", default_q_type="kif", overflow_mode="WRAP"),
        LayerConfigScope(beta0=LOWEST_BETA),
    ):
        layers: list[Any] = [keras.Input((parts[0].shape[1],), name="jet")]
        layers += [QBatchNormDense(units, activation="relu") for units in (64, 32, 32)]
        model = keras.Sequential([*layers, QDense(len(jets.train.class_names))])
    epochs *= HGQ_EPOCHS
    steps = -(-len(parts[0]) // 512) * epochs
    rate = keras.optimizers.schedules.CosineDecay(5e-3, steps, alpha=0.01)
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    # bits are cheap at first, so that they fall slowly and the network can follow
    price = PieceWiseSchedule([(0, LOWEST_BETA, "log"), (3 * epochs // 4, beta, "constant")])
    best: tuple[float, Any] = (0.0, None)

    def keep_best(epoch: int, logs: dict[str, float]) -> None:
        nonlocal best
        if epoch >= 3 * epochs // 4 and logs["val_accuracy"] > best[0]:
            best = logs["val_accuracy"], model.get_weights()

    keeper = keras.callbacks.LambdaCallback(on_epoch_end=keep_best)
    model.fit(
        *(parts[0], jets.train.labels),
        validation_data=(parts[1], jets.validation.labels),
        validation_batch_size=len(parts[1]),
        batch_size=512,
        epochs=epochs,
        verbose=0,
        callbacks=[BetaScheduler(price), keeper],
    )
    model.set_weights(best[1])
    trace_minmax(model, np.concatenate(parts[:2]))
    design = Design.from_keras(model, Target(part=PART, clock_mhz=CLOCK_MHZ))
    design.save(folder, force=True)
    np.savez(folder / EVENTS, features=parts[2], label=jets.test.labels)


def measure(folder: Path, name: str, *, rtl: bool, synthesis: bool) -> dict[str, Any]:
    """All numbers of one design as JSON, each with its kind and tool, or why there is none."""
    import numpy as np

    from samebits import Design, __version__, record
    from samebits.cli.console import bar, engine_bars
    from samebits.estimates import estimate_facts
    from samebits.firmware.results import Quantity
    from samebits.recipe import Recipe
    from samebits.report.facts import NotRun
    from samebits.rtl import present
    from samebits.stages import verify_build

    design = Design.load(folder)
    if (folder / EVENTS).is_file():
        with np.load(folder / EVENTS) as arrays:
            x, labels = arrays["features"], arrays["label"]
    else:
        recipe = Recipe.read(folder)
        assert recipe is not None
        test = recipe.split().test
        x, labels = test.features, test.labels
    answers = design.simulate(x)
    assert not isinstance(answers, list)
    right = float((answers.argmax(axis=1) == labels).mean())
    accuracy = Quantity(
        value=100 * right,
        unit="%",
        kind="measured",
        tool=f"samebits {__version__}, NumPy engine, {len(x)} events",
    )
    verification: Any = NotRun(reason="--no-rtl")
    if rtl:
        made = present(design)
        verification = record.load_record(folder).verification
        if made is None or not _is_of(verification, made):
            with bar(f"{name}: tracing", len(design.graph.nodes)) as advance:
                made = design.rtl(progress=lambda done, total: advance(done))
            with engine_bars() as progress:
                verify_build(design, x, ("rtl",), progress=progress)
            verification = record.load_record(folder).verification
        if synthesis:
            _synthesise(made, name)
    latencies, resources = estimate_facts(design, verification=verification)
    return {
        "network": NETWORKS[name].about,
        "accuracy": accuracy.model_dump(mode="json"),
        "accuracy_error_points": 100 * (right * (1 - right) / len(x)) ** 0.5,
        "verification": verification.model_dump(mode="json"),
        "latency": [one.model_dump(mode="json") for one in latencies.estimates],
        "resources": [one.model_dump(mode="json") for one in resources.estimates],
    }


def _is_of(verification: Any, made: Any) -> bool:
    """Whether the RTL that is there was simulated, every bit of it equal."""
    engines = getattr(verification, "engines", ())
    return any(
        one.engine == "rtl" and one.status == "equal" and one.files_sha256 == made.files_sha256
        for one in engines
    )


def _synthesise(made: Any, name: str) -> None:
    """Leaves yosys' result beside the RTL, where the estimates find it."""
    from samebits import errors
    from samebits.cli.console import bar
    from samebits.firmware.synthesis import STEPS, synthesise

    try:
        with bar(f"{name}: yosys", STEPS) as advance:
            synthesise(made, progress=lambda done, total, what: advance(done))
    except (errors.MissingToolError, errors.ToolError) as error:
        say(f"{name}: {error}")


def main() -> None:
    """Trains and measures what is missing, and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("build/published"))
    parser.add_argument("--designs", help=f"of {','.join(NETWORKS)}; default: all that can be")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hgq", metavar="PYTHON", help="Python of an environment with HGQ2")
    parser.add_argument("--no-rtl", action="store_true", help="estimates only")
    parser.add_argument("--no-yosys", action="store_true", help="no synthesis (minutes each)")
    parser.add_argument("--train-hgq", metavar="NAME", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train_hgq:
        beta = NETWORKS[given.train_hgq].beta
        assert beta is not None
        train_hgq(given.output / given.train_hgq, beta, given.epochs, given.seed)
        return
    names = given.designs.split(",") if given.designs else list(NETWORKS)
    if unknown := [name for name in names if name not in NETWORKS]:
        parser.error(f"no design {', '.join(unknown)}; designs: {', '.join(NETWORKS)}")
    if not given.hgq and not given.designs:
        names = [name for name in names if NETWORKS[name].beta is None]
    absent = [n for n in names if not (given.output / n / "design.json").is_file()]
    if untrainable := [n for n in absent if NETWORKS[n].beta is not None and not given.hgq]:
        parser.error(
            f"{', '.join(untrainable)}: HGQ2 networks; name a Python that has HGQ2 with --hgq"
        )
    logging.getLogger("samebits").setLevel(logging.ERROR)
    rows: dict[str, Any] = {}
    for name in names:
        folder, network, start = given.output / name, NETWORKS[name], time.perf_counter()
        if not (folder / "design.json").is_file():
            say(f"{name}: training ({network.about})")
            if network.beta is None:
                train_qkeras(folder, network, given.epochs, given.seed)
            else:
                arguments = [given.hgq, "-P", __file__, "--train-hgq", name]
                arguments += ["-o", str(given.output), "--epochs", str(given.epochs)]
                subprocess.run([*arguments, "--seed", str(given.seed)], check=True, timeout=1800)
        rows[name] = measure(folder, name, rtl=not given.no_rtl, synthesis=not given.no_yosys)
        say(f"{name}: {time.perf_counter() - start:.0f} s")
        write(given.output / "published.json", json.dumps(rows, indent=1) + "\n")
        write(given.output / "published.md", tables(rows))
    print(tables(rows))


def write(path: Path, text: str) -> None:
    """A file, whole or not at all."""
    from samebits import storage

    with storage.replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def tables(rows: dict[str, Any]) -> str:
    """Our designs, the published ones, and RTL beside HLS, as Markdown."""
    ours = ["| design | network | accuracy % | LUT | LUT | FF | DSP | cycles | ns | wrong bits |"]
    ours.append("|" + "---|" * 10)
    kinds = ("", "", "measured", "alkaid, estimated", *["yosys, synthesised"] * 3)
    ours.append(f"| {' | '.join((*kinds, *['Verilator, measured'] * 3))} |")
    for name, row in rows.items():
        latency, used = _of(row["latency"], "Verilator"), _of(row["resources"], "yosys")
        engines = row["verification"].get("engines", ())
        ran = [one for one in engines if one["engine"] == "rtl" and one["status"] != "not run"]
        cells = (
            name,
            row["network"],
            f"{row['accuracy']['value']:.2f} ± {row['accuracy_error_points']:.2f}",
            _text(_of(row["resources"], "alkaid")["LUT"]),
            *(_text(used[key]) for key in ("LUT", "FF", "DSP")),
            _text(latency["cycles"]),
            _text(latency["latency_ns"]),
            f"{ran[0]['mismatching_bits']} of {ran[0]['bits_compared']:,}" if ran else "-",
        )
        ours.append(f"| {' | '.join(cells)} |")
    theirs = ["| design | accuracy % | LUT | FF | DSP | ns | source |", "|" + "---|" * 7]
    theirs += [
        f"| {p.name} | {p.accuracy_percent:g} | {p.lut} | {p.ff} | {p.dsp} | {p.latency_ns:g} "
        f"| {p.source} |"
        for p in PUBLISHED
    ]
    both = ["| design | source | kind | LUT | FF | DSP | cycles | II | ns |", "|" + "---|" * 9]
    for name, row in rows.items():
        for source in dict.fromkeys(one["source"] for one in (*row["latency"], *row["resources"])):
            latency = _of(row["latency"], source) or {}
            used = _of(row["resources"], source) or {}
            values = [*(used.get(key) for key in ("LUT", "FF", "DSP"))]
            values += [latency.get(k) for k in ("cycles", "initiation_interval", "latency_ns")]
            known = [value["kind"] for value in values if value and "value" in value]
            texts = " | ".join("" if value is None else _text(value) for value in values)
            if known:
                both.append(f"| {name} | {source} | {', '.join(dict.fromkeys(known))} | {texts} |")
    return "\n\n".join(
        (
            f"Ours: shipped jets, {PART}, {CLOCK_MHZ:g} MHz, no softmax, one event per clock",
            "\n".join(ours),
            "Published: OpenML 42468, another data set",
            "\n".join(theirs),
            "The same networks by every tool that was run",
            "\n".join(both) + "\n",
        )
    )


def _of(estimates: list[dict[str, Any]], source: str) -> dict[str, Any]:
    """The estimate of a source; of resources the numbers alone."""
    absent = {"reason": "not run"}
    for one in estimates:
        if source in one["source"]:
            return {**dict.fromkeys(("LUT", "FF", "DSP"), absent), **one.get("used", {}), **one}
    return dict.fromkeys(("LUT", "FF", "DSP", "cycles", "initiation_interval"), absent) | {
        "latency_ns": absent
    }


def _text(value: dict[str, Any]) -> str:
    return f"{value['value']:,.6g}" if "value" in value else "-"


if __name__ == "__main__":
    main()
