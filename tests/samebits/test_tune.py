"""Tuning: the fast engine against compiled networks, the search, the files, what is refused."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from sklearn.metrics import roc_auc_score

from samebits import Design, Target, errors
from samebits.bit_operations import bit_operations, total
from samebits.compile.frontends.onnx.formats import quantizers, with_formats
from samebits.compile.ir import Format, Overflow, Rounding
from samebits.firmware.results import NotRun
from samebits.inputs import check_inputs
from samebits.sweep import Events
from samebits.tune import parts_of, tune
from samebits.tune_engine import Engine, Formats, Knob, Tunable, tunable
from samebits.tune_search import Budget, Configuration, Judge, Search, pareto
from samebits.tune_training import _check, _requantized

from ..models import ModelWriter, float_mlp, quantized_mlp

X = np.random.default_rng(5).normal(0, 2, (400, 4)).astype(np.float32)
NARROW = Budget(accuracy_drop_points=2.0)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return quantized_mlp(seed=8).model()


@pytest.fixture(scope="module")
def network(model: onnx.ModelProto) -> Tunable:
    return tunable(model, Target(), lambda graph: check_inputs(graph, X))


def halves(design: Design) -> tuple[Events, Events]:
    """Events labelled by the design itself, a tenth of them wrongly."""
    answer: Any = design.simulate(X)
    labels = answer.argmax(axis=1)
    labels[::10] = (labels[::10] + 1) % 3
    names = ("a", "b", "c")
    return Events(X[:200], labels[:200], names, "one"), Events(X[200:], labels[200:], names, "two")


def test_quantizers_and_their_formats(model: onnx.ModelProto) -> None:
    found = quantizers(model)
    assert [one.weights for one in found] == [True, True, False, True, True]
    assert {str(one.grid and one.grid.width) for one in found} == {"6"}  # the input's 8 bits stay
    name = found[0].name
    changed = {one.name: one for one in quantizers(with_formats(model, {name: (4, 1)}))}
    grid = changed[name].grid
    assert grid is not None
    assert (grid.width, grid.integer) == (4, 1)
    assert all(changed[one.name].grid == one.grid for one in found[1:])
    with pytest.raises(errors.UnsupportedError, match="no quantizer"):
        with_formats(model, {"nothing": (4, 1)})


def random_formats(knobs: tuple[Knob, ...], rng: np.random.Generator) -> Formats:
    found = []
    for knob in knobs:
        low, high = int(rng.integers(0, 4)), int(rng.integers(0, 2))
        width, integer = knob.format.width - low - high, knob.format.integer - high
        good = width >= knob.least_width
        found.append((width, integer) if good else (knob.format.width, knob.format.integer))
    return tuple(found)


def test_the_fast_engine_has_the_bits_of_the_compiled_network(
    network: Tunable, rng: np.random.Generator
) -> None:
    assert [knob.format.width for knob in network.knobs] == [6] * 5
    assert not network.fixed
    engine = Engine(network.design.graph, network.knobs, check_inputs(network.design.graph, X))
    assert np.array_equal(engine.outputs(network.start)[0], network.design.simulate(X))
    for _ in range(4):
        formats = random_formats(network.knobs, rng)
        design = Design.from_onnx(network.with_formats(formats))
        assert np.array_equal(engine.outputs(formats)[0], design.simulate(X))
        whole = total(bit_operations(design.graph))
        assert engine.operations(formats) == (whole.ebops, whole.bops)
        engine.settle(random_formats(network.knobs, rng))


def test_convolutions_and_residual_sums(rng: np.random.Generator) -> None:
    write = ModelWriter(3)
    x = write.quant(write.input("x", (1, 4, 4)), 8, 2)

    def conv(x: str, channels: int, **attrs: Any) -> str:
        weights = write.quant(write.weight(write.grid(2, channels, 3, 3)), 5, 1)
        return write.node("Conv", x, weights, pads=[1] * 4, kernel_shape=[3, 3], dilations=[1, 1],
                          strides=[1, 1], **attrs)  # fmt: skip

    first = write.quant(write.node("Relu", conv(x, 1)), 5, 2, signed=False)
    second = write.quant(conv(first, 2), 6, 3)
    joined = write.quant(write.node("Add", first, second), 6, 3)
    pooled = write.node("MaxPool", joined, kernel_shape=[2, 2], strides=[2, 2])
    flat = write.node("Flatten", pooled)
    write.output(write.gemm(flat, 8, 3, bits=5), 3)
    model = write.model()
    events = rng.normal(0, 1, (60, 1, 4, 4)).astype(np.float32)
    target = Target()

    def inputs(graph: Any) -> Any:
        return [np.moveaxis(events, 1, -1)]

    found = tunable(model, target, inputs)
    assert [knob.weights for knob in found.knobs] == [True, False, True, False, False, True, True]
    engine = Engine(found.design.graph, found.knobs, inputs(None))
    for _ in range(2):
        formats = random_formats(found.knobs, rng)
        design = Design.from_onnx(found.with_formats(formats), target)
        slow = design.engine.run(inputs(None), design.graph.outputs)
        assert np.array_equal(engine.outputs(formats)[0], slow[0])
        assert engine.operations(formats)[0] == total(bit_operations(design.graph)).ebops


def test_judge_against_scikit_learn(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 3, 500)
    scores = rng.integers(0, 12, (500, 3)) / 16 + np.eye(3)[labels] / 8  # many ties
    accuracy, auc = Judge(labels, ("a", "b", "c"))([scores])
    assert accuracy == pytest.approx(100 * (scores.argmax(axis=1) == labels).mean())
    assert auc == pytest.approx([roc_auc_score(labels == i, scores[:, i]) for i in range(3)])
    one = scores[:, :1] - 0.4
    accuracy, auc = Judge((labels == 0).astype(int), ("other", "a"))([one])
    assert accuracy == pytest.approx(100 * ((one[:, 0] > 0) == (labels == 0)).mean())
    assert auc == pytest.approx([roc_auc_score(labels == 0, one[:, 0])])


class Made:
    """A made-up network: every bit below its knob's need costs accuracy; widths cost operations."""

    def __init__(self, needs: tuple[int, ...], trap: bool = False) -> None:
        fmt = Format(True, 6, 1, Rounding.RND_CONV, Overflow.SAT)
        self.knobs = tuple(Knob(f"k{i}", True, fmt, ()) for i in range(len(needs)))
        self.needs, self.trap = needs, trap

    def settle(self, formats: Formats) -> None:
        pass

    def operations(self, formats: Formats) -> tuple[int, float]:
        return sum((i + 1) * width for i, (width, _) in enumerate(formats)), 0.0

    def lost(self, formats: Formats) -> float:
        lost = 0.0
        for (width, integer), need in zip(formats, self.needs, strict=True):
            lost += max(0, need - (width - integer)) + 5 * max(0, 1 - integer)
        return lost

    def outputs(self, formats: Formats) -> list[Any]:
        wrong = int(self.lost(formats))
        scores = np.tile([0.0, 1.0], (100, 1))
        scores[:wrong] = [1.0, 0.0]
        return [scores]


class EveryOne(Judge):
    def __init__(self) -> None:
        super().__init__(np.array([0, 1]), ("a", "b"))
        self.labels = np.ones(100, np.int64)

    def __call__(self, answers: Any) -> tuple[float, tuple[float, ...]]:
        return 100 * float((answers[0].argmax(axis=1) == 1).mean()), (1.0, 1.0)


def test_the_search_finds_the_smallest() -> None:
    made: Any = Made((4, 2, 3))
    search = Search(made, EveryOne(), Budget(accuracy_drop_points=2.0))
    best = search.run()
    assert search.share(best) <= 1
    every = [
        formats
        for formats in itertools.product(*[[(w, 1) for w in range(2, 7)]] * 3)
        if made.lost(formats) <= 2
    ]
    assert best.ebops == min(made.operations(formats)[0] for formats in every)
    again = Search(made, EveryOne(), Budget(accuracy_drop_points=2.0), known=search.known)
    assert again.run() == best
    assert again.new == 0
    few = Search(made, EveryOne(), Budget(accuracy_drop_points=2.0), most=7)
    assert few.share(few.run()) <= 1
    assert few.new <= 7


def test_the_best_of_a_size() -> None:
    made: Any = Made((4, 2, 3))
    search = Search(made, EveryOne(), Budget(ebops_share=0.5))
    best = search.run()
    assert best.ebops <= search.start.ebops / 2
    inside = [one for one in search.known.values() if one.ebops <= search.start.ebops / 2]
    assert best.distance == min(one.distance for one in inside)
    assert search.quality(best) == -best.distance
    with pytest.raises(errors.UsageError, match="the smallest network found has"):
        Search(made, EveryOne(), Budget(ebops_share=0.001)).run()
    with pytest.raises(errors.UsageError, match="less than 1"):
        Budget(ebops_share=1.0)


@pytest.mark.usefixtures("quick")
def test_trained_networks_of_a_size(model: onnx.ModelProto, network: Tunable) -> None:
    parts, half = halves(Design.from_onnx(model)), Budget(ebops_share=0.8)
    asked: list[dict[str, Format]] = []

    def small(formats: Any) -> onnx.ModelProto:
        asked.append(dict(formats))
        narrow = tuple((max(2, k.format.width // 3), k.format.integer) for k in network.knobs)
        return network.with_formats(narrow)

    found = tune(model, Target(), parts, half, network="n", most=200, trainer=small).tuning
    assert found.trained
    assert found.after.ebops <= 0.8 * found.before.ebops
    assert 1 <= len(asked) <= 10
    large = tune(model, Target(), parts, half, network="n", most=200, trainer=lambda _: model)
    assert not large.tuning.trained  # as large as before
    plain = tune(model, Target(), parts, half, network="n", most=200).tuning
    assert not plain.trained
    assert plain.max_ebops_share == 0.8
    assert plain.after.ebops <= 0.8 * plain.before.ebops


def test_the_front() -> None:
    def one(ebops: int, accuracy: float) -> Configuration:
        return Configuration(((ebops, 0),), ebops, 0.0, accuracy, (), 0.0)

    points = [one(5, 80), one(3, 70), one(4, 60), one(5, 90), one(9, 90), one(8, 95)]
    front = pareto(points, lambda point: point.accuracy)
    assert [(point.ebops, point.accuracy) for point in front] == [(3, 70), (5, 90), (8, 95)]


@pytest.fixture
def quick(network: Tunable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The knobs of the module's network, no estimates of LUTs."""
    monkeypatch.setattr("samebits.tune.tunable", lambda *_: network)
    monkeypatch.setattr("samebits.tune._lut", lambda *_: NotRun(reason="a test"))


@pytest.mark.usefixtures("quick")
def test_a_tuned_network(model: onnx.ModelProto, tmp_path: Path) -> None:
    parts = halves(Design.from_onnx(model))
    done: list[tuple[int, int]] = []
    budget = NARROW

    def run(most: int = 150) -> Any:
        return tune(model, Target(), parts, budget, network="n", most=most, folder=tmp_path,
                    on_configuration=lambda *steps: done.append(steps))  # fmt: skip

    tuned = run()
    found = tuned.tuning
    assert [one for one, of in done if of == 150] == list(range(done[0][0], done[-1][0] + 1))
    assert done[-1] == (found.evaluated_now, found.evaluated_now)
    assert found.after.ebops < found.before.ebops
    assert found.after.accuracy_drop_points <= 2
    whole = total(bit_operations(tuned.design.graph))
    assert (whole.ebops, whole.bops) == (found.after.ebops, found.after.bops)
    labels = np.asarray(parts[1].labels)
    accuracy = 100 * (tuned.design.simulate(parts[1].x).argmax(axis=1) == labels).mean()
    told = found.confirmation
    assert told.accuracy_after == pytest.approx(accuracy)
    assert told.losses[0].value == pytest.approx(told.accuracy_before - accuracy)
    assert told.losses[0].low_95 <= told.losses[0].value <= told.losses[0].high_95
    assert told.within == (told.accuracy_before - told.accuracy_after <= 2)
    again = run().tuning
    assert again.evaluated_now == 0
    assert again.after == found.after
    rows = (tmp_path / "tune.csv").read_text().splitlines()
    assert len(rows) == 2 + found.configurations
    (tmp_path / "tune.csv").write_text(rows[0] + "\nnonsense\n")
    assert run().tuning.after == found.after


@pytest.mark.usefixtures("quick")
def test_training_finds_the_smallest_of_the_front_that_keeps_the_budget(
    model: onnx.ModelProto, network: Tunable, tmp_path: Path
) -> None:
    parts = halves(Design.from_onnx(model))
    plain = tune(model, Target(), parts, NARROW, network="n", most=100, folder=tmp_path).tuning
    asked: list[dict[str, Format]] = []

    def perfect(formats: Any) -> onnx.ModelProto:
        asked.append(dict(formats))
        return model  # as good as before, whatever the formats

    found = tune(model, Target(), parts, NARROW, network="n", most=100, trainer=perfect).tuning
    assert found.trained
    assert 1 <= len(asked) <= 5
    assert [str(fmt) for fmt in asked[-1].values()] == list(found.front[0].formats)
    assert all(fmt.integer >= fmt.signed for formats in asked for fmt in formats.values())
    asked.clear()

    def bad(formats: Any) -> onnx.ModelProto:
        asked.append(dict(formats))
        return network.with_formats(tuple((2 if k.format.signed else 1, 0) for k in network.knobs))

    found = tune(model, Target(), parts, NARROW, network="n", most=100, trainer=bad).tuning
    assert not found.trained
    assert found.after.accuracy_drop_points <= 2
    assert plain.after.ebops <= found.before.ebops


def test_a_keras_network_in_other_formats() -> None:
    from samebits.compile.frontends.keras import export_keras
    from samebits.train.models import build_mlp
    from samebits.train.scaling import InputFormat, InputScaling

    scaling = InputScaling("po2", np.ones(3, np.float32), np.zeros(3, np.float32))
    old = build_mlp(InputFormat(10, 4, True), scaling, 2, hidden=(4,))
    wanted = {
        "dense_1_kernel": Format(True, 3, 1),
        "dense_out_bias": Format(True, 5, 2),
        "relu_1": Format(False, 4, 2),
        "scaled": Format(True, 5, 2),
    }
    new = _requantized(old, wanted)
    made = export_keras(new)
    _check(made, wanted)
    grids = {one.name: one.grid for one in quantizers(made)}
    kept = grids["dense_1_bias"]
    assert kept is not None
    assert (kept.width, kept.integer) == (6, 1)
    for a, b in zip(old.get_weights(), new.get_weights(), strict=True):
        assert np.array_equal(a, b)
    with pytest.raises(errors.UnsupportedError, match="dense_1_kernel: wanted"):
        _check(export_keras(old), wanted)


@pytest.mark.usefixtures("quick")
def test_a_search_that_is_cut_short_goes_on(model: onnx.ModelProto, tmp_path: Path) -> None:
    parts = halves(Design.from_onnx(model))

    class Stop(Exception):
        pass

    def stop(new: int, most: int) -> None:
        if new == 20:
            raise Stop

    with pytest.raises(Stop):
        tune(model, Target(), parts, NARROW, network="n", folder=tmp_path, on_configuration=stop)
    rest = tune(model, Target(), parts, NARROW, network="n", most=30, folder=tmp_path).tuning
    assert rest.configurations == 20 + rest.evaluated_now


def test_refusals(model: onnx.ModelProto) -> None:
    with pytest.raises(errors.UsageError, match="--max-auc-drop, --max-accuracy-drop or both"):
        Budget()
    with pytest.raises(errors.UsageError, match="must be above 0"):
        Budget(auc_drop=0.0)
    with pytest.raises(errors.UnsupportedError, match="--calibrate"):
        tunable(float_mlp().model(), Target(), lambda graph: check_inputs(graph, X))
    with pytest.raises(errors.DataError, match="no event of class c"):
        Judge(np.array([0, 1]), ("a", "b", "c"))
    with pytest.raises(errors.UsageError, match="are not scores of the 2"):
        Judge(np.array([0, 1]), ("a", "b"))([np.zeros((2, 3))])


def test_too_few_events(monkeypatch: pytest.MonkeyPatch) -> None:
    events = Events(X[:1], np.array([0]), ("a", "b"), "one event")
    network: Any = type("N", (), {"recipe": None})()
    monkeypatch.setattr("samebits.tune.labelled_events", lambda *_: events)
    with pytest.raises(errors.DataError, match="two events"):
        parts_of(network, "file")
