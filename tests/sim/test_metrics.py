"""Metrics against scikit-learn, against plain counting, and on cases small enough to do by hand."""

import dataclasses
import json
import re
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from samebits import errors
from samebits.sim.bootstrap import RankedScores, replicate_weights
from samebits.sim.metrics import classification_metrics, compare_models

pytest.importorskip("sklearn", reason="scikit-learn is in the extra hep")

NAMES = ("g", "q", "t")


def make_scores(
    n: int, n_classes: int, seed: int, bits: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Softmax scores that know something of the labels; with `bits`, rounded down: many ties."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n)
    logits = rng.normal(size=(n, n_classes)) + 1.2 * np.eye(n_classes)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if bits is not None:
        scores = np.floor(scores * 2**bits) / 2**bits
    return scores, labels


def auc_by_counting(score: list[int], is_signal: list[bool]) -> float:
    """Every pair of one signal and one background event, in plain integers; a tie counts half."""
    signal = [s for s, y in zip(score, is_signal, strict=True) if y]
    background = [s for s, y in zip(score, is_signal, strict=True) if not y]
    doubled = sum(2 * (s > b) + (s == b) for s in signal for b in background)
    return doubled / (2 * len(signal) * len(background))


def working_point_by_counting(
    score: list[int], is_signal: list[bool], asked: float
) -> tuple[int, int, int] | None:
    """Threshold, signal and background passing, trying every occurring score as threshold."""
    n_background = is_signal.count(False)
    best = None
    for threshold in sorted(set(score), reverse=True):
        kept = [y for s, y in zip(score, is_signal, strict=True) if s >= threshold]
        if kept.count(False) / n_background <= asked:
            best = threshold, kept.count(True), kept.count(False)
    return best


@pytest.mark.parametrize("bits", [None, 10, 3])
def test_standard_metrics_equal_scikit_learn(bits: int | None) -> None:
    from sklearn import metrics as reference  # type: ignore[import-untyped]

    scores, labels = make_scores(900, 3, seed=3, bits=bits)
    got = classification_metrics(scores, labels, NAMES)
    predicted = scores.argmax(axis=1)
    assert got.accuracy == reference.accuracy_score(labels, predicted)
    assert np.array_equal(got.confusion, reference.confusion_matrix(labels, predicted))
    for c, metrics in enumerate(got.classes):
        is_signal = labels == c
        assert metrics.purity == reference.precision_score(is_signal, predicted == c)
        assert metrics.efficiency == reference.recall_score(is_signal, predicted == c)
        assert metrics.auc == reference.roc_auc_score(is_signal, scores[:, c])
        full = reference.roc_curve(is_signal, scores[:, c], drop_intermediate=False)
        points = set(zip(full[0].tolist(), full[1].tolist(), strict=True))
        thin = list(
            zip(metrics.roc.background_efficiency, metrics.roc.signal_efficiency, strict=True)
        )
        assert set(thin) <= points
        assert thin[0] == (0, 0)
        assert thin[-1] == (1, 1)
        assert thin == sorted(thin)
        assert metrics.events == sum(metrics.histogram.signal) == is_signal.sum()
        assert sum(metrics.histogram.background) == (~is_signal).sum()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_auc_and_working_points_equal_plain_counting(data: Any) -> None:
    n = data.draw(st.integers(2, 40))
    score = data.draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))
    is_signal = [True, False, *data.draw(st.lists(st.booleans(), min_size=n - 2, max_size=n - 2))]
    asked = data.draw(st.sampled_from([0.05, 0.1, 0.25, 0.3, 0.5, 1.0]))
    scores = np.stack([np.zeros(n), np.array(score) / 8], axis=1)
    got = classification_metrics(scores, np.array(is_signal), ["bkg", "sig"], [asked]).classes[1]
    assert got.auc == pytest.approx(auc_by_counting(score, is_signal), abs=1e-12)
    ranked = RankedScores(scores[:, 1], np.array(is_signal))
    assert ranked.auc(np.ones((n, 1)))[0] == auc_by_counting(score, is_signal)
    (point,) = got.working_points
    expected = working_point_by_counting(score, is_signal, asked)
    assert point.reached == (expected is not None)
    if expected is not None:
        assert point.threshold == expected[0] / 8
        assert point.signal_efficiency == expected[1] / is_signal.count(True)
        assert point.background_passed == expected[2]
        assert point.background_efficiency is not None
        assert point.background_efficiency <= asked
        at_cut = [y for s, y in zip(score, is_signal, strict=True) if s == expected[0]]
        assert (point.signal_at_cut, point.background_at_cut) == (
            at_cut.count(True),
            at_cut.count(False),
        )
    following = point.next_background_efficiency
    assert following is None or following > asked


@pytest.mark.parametrize("bits", [None, 3])
def test_weighted_metrics_equal_scikit_learn(bits: int | None) -> None:
    from sklearn import metrics as reference

    scores, labels = make_scores(900, 3, seed=4, bits=bits)
    weights = np.random.default_rng(5).uniform(0, 3, 900)
    got = classification_metrics(scores, labels, NAMES, weights=weights)
    predicted = scores.argmax(axis=1)
    assert got.weighted
    assert got.accuracy == pytest.approx(
        reference.accuracy_score(labels, predicted, sample_weight=weights)
    )
    assert got.accuracy_68 is not None
    assert got.accuracy_68.low < got.accuracy < got.accuracy_68.high
    assert np.allclose(
        got.confusion, reference.confusion_matrix(labels, predicted, sample_weight=weights)
    )
    for c, metrics in enumerate(got.classes):
        is_signal, is_put = labels == c, predicted == c
        for found, expected in (
            (metrics.purity, reference.precision_score),
            (metrics.efficiency, reference.recall_score),
        ):
            assert found == pytest.approx(expected(is_signal, is_put, sample_weight=weights))
        assert metrics.auc == reference.roc_auc_score(
            is_signal, scores[:, c], sample_weight=weights
        )
        point = metrics.working_points[0]
        if point.reached:
            passes = scores[:, c] >= point.threshold
            assert point.background_efficiency == pytest.approx(
                weights[passes & ~is_signal].sum() / weights[~is_signal].sum()
            )
            assert point.signal_efficiency == pytest.approx(
                weights[passes & is_signal].sum() / weights[is_signal].sum()
            )


def test_weights_of_one_change_nothing_and_copies_count_like_weights() -> None:
    scores, labels = make_scores(300, 3, seed=6, bits=4)
    plain = classification_metrics(scores, labels, NAMES)
    ones = classification_metrics(scores, labels, NAMES, weights=np.ones(300))
    assert [c.working_points for c in ones.classes] == [c.working_points for c in plain.classes]
    twice = np.concatenate([scores, scores[:100]]), np.concatenate([labels, labels[:100]])
    weights = np.where(np.arange(300) < 100, 2.0, 1.0)
    copied = classification_metrics(*twice, NAMES)
    weighted = classification_metrics(scores, labels, NAMES, weights=weights)
    assert weighted.confusion == copied.confusion
    assert weighted.log_loss == pytest.approx(copied.log_loss)
    for one, other in zip(weighted.classes, copied.classes, strict=True):
        assert one.auc == pytest.approx(other.auc, abs=1e-12)
        assert one.false_positive_rate == pytest.approx(other.false_positive_rate)


def test_error_rates_and_log_loss() -> None:
    from sklearn import metrics as reference

    scores, labels = make_scores(500, 3, seed=7)
    got = classification_metrics(scores, labels, NAMES)
    assert got.log_loss == pytest.approx(reference.log_loss(labels, scores))
    predicted = scores.argmax(axis=1)
    for c, metrics in enumerate(got.classes):
        (tn, fp), (fn, tp) = reference.confusion_matrix(labels == c, predicted == c)
        assert metrics.false_positive_rate == fp / (fp + tn)
        assert metrics.false_negative_rate == pytest.approx(fn / (fn + tp), abs=1e-15)
        assert metrics.purity_68 is not None
        assert metrics.purity_68.low < tp / (tp + fp) < metrics.purity_68.high
    logits = classification_metrics(np.log(scores), labels, NAMES)
    assert logits.log_loss is None
    assert logits.log_loss_note.startswith("the scores are no probabilities")


def test_weights_that_make_no_sense_are_refused() -> None:
    scores, labels = make_scores(30, 3, seed=8)
    for weights in (np.ones(29), -np.ones(30), np.zeros(30)):
        with pytest.raises(errors.DataError, match="weights"):
            classification_metrics(scores, labels, NAMES, weights=weights)
    with pytest.raises(errors.DataError, match="all events of g have weight 0"):
        classification_metrics(scores, labels, NAMES, weights=(labels != 0).astype(float))


def test_a_weighted_comparison_is_that_of_copies() -> None:
    scores, labels = make_scores(200, 3, seed=9)
    models = {"float": scores, "firmware": np.floor(scores * 8) / 8}
    weights = np.where(np.arange(200) < 80, 2.0, 1.0)
    twice = {name: np.concatenate([s, s[:80]]) for name, s in models.items()}
    copied = compare_models(twice, np.concatenate([labels, labels[:80]]), NAMES, n_bootstrap=5)
    found = compare_models(models, labels, NAMES, n_bootstrap=5, weights=weights)
    assert found.models == copied.models
    assert [d.value for d in found.differences] == [d.value for d in copied.differences]
    assert found.gate == copied.gate


def test_ties_at_the_cut_are_reported() -> None:
    # Background: one event at 0.75, two at 0.5, seven at 0. Signal: one at 1, three at 0.5.
    score = np.array([0.75, 0.5, 0.5, *[0.0] * 7, 1.0, 0.5, 0.5, 0.5])
    labels = np.array([0] * 10 + [1] * 4)
    got = classification_metrics(
        np.stack([1 - score, score], axis=1), labels, ["b", "s"], [0.2, 0.3]
    )
    tight, loose = got.classes[1].working_points
    assert (tight.threshold, tight.background_efficiency, tight.signal_efficiency) == (
        0.75,
        0.1,
        0.25,
    )
    assert (tight.signal_at_cut, tight.background_at_cut) == (0, 1)
    assert tight.next_background_efficiency == 0.3  # five tied events stand between the two cuts
    assert (loose.threshold, loose.background_efficiency, loose.signal_efficiency) == (
        0.5,
        0.3,
        1.0,
    )
    assert (loose.signal_at_cut, loose.background_at_cut) == (3, 2)
    assert loose.next_background_efficiency == 1.0
    assert got.classes[1].distinct_scores == 4
    assert got.classes[1].score_step == 0.25


def test_a_background_efficiency_that_cannot_be_reached_is_said() -> None:
    score = np.array([1.0, 1.0, 0.0, 0.0, 1.0, 1.0])
    labels = np.array([0, 0, 0, 0, 1, 1])
    got = classification_metrics(np.stack([1 - score, score], axis=1), labels, ["b", "s"], [0.1])
    (point,) = got.classes[1].working_points
    assert not point.reached
    assert point.threshold is point.background_efficiency is point.signal_efficiency is None
    assert point.next_background_efficiency == 0.5
    assert point.note == "cannot be reached: 2 of 4 background events share the highest score 1"


def test_binomial_interval_of_the_signal_efficiency() -> None:
    from scipy.stats import binom  # type: ignore[import-untyped]

    scores, labels = make_scores(800, 2, seed=5)
    point = classification_metrics(scores, labels, ["b", "s"], [0.1]).classes[1].working_points[0]
    n = int((labels == 1).sum())
    assert point.signal_efficiency is not None
    assert point.signal_low is not None
    assert point.signal_high is not None
    passed = round(point.signal_efficiency * n)
    assert point.signal_low < point.signal_efficiency < point.signal_high
    # The definition of Clopper and Pearson: each tail holds 16 % at its own bound.
    assert binom.sf(passed - 1, n, point.signal_low) == pytest.approx(0.16, rel=1e-9)
    assert binom.cdf(passed, n, point.signal_high) == pytest.approx(0.16, rel=1e-9)


def test_tied_maxima_go_to_the_lowest_index_and_are_counted() -> None:
    scores = [[0.5, 0.5, 0.0], [0.25, 0.5, 0.5], [0.0, 0.0, 1.0], [0.5, 0.25, 0.25]]
    got = classification_metrics(scores, [1, 1, 2, 0], NAMES)
    assert got.tied_events == 2
    assert got.confusion == ((1, 0, 0), (1, 1, 0), (0, 0, 1))
    assert got.confusion_by_row[1] == (0.5, 0.5, 0.0)


def test_purity_of_a_class_that_is_never_predicted_is_undefined() -> None:
    got = classification_metrics([[1, 0], [1, 0], [1, 0]], [0, 1, 0], ["b", "s"])
    assert got.classes[1].purity is None
    assert got.classes[1].score_step is None
    assert got.classes[1].auc == 0.5


def test_results_are_plain_json() -> None:
    scores, labels = make_scores(200, 3, seed=1, bits=6)
    metrics = classification_metrics(scores, labels, NAMES)
    comparison = compare_models({"float": scores, "firmware": scores}, labels, NAMES, n_bootstrap=5)
    for result in (metrics, comparison):
        again = json.loads(json.dumps(dataclasses.asdict(result), allow_nan=False))
        assert set(again) == {field.name for field in dataclasses.fields(result)}


GOOD = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])


@pytest.mark.parametrize(
    ("scores", "labels", "names", "message"),
    [
        (
            [[0.9, 0.1], [np.nan, 0.8], [np.inf, 0.4]],
            [0, 1, 0],
            ["b", "s"],
            "scores hold 2 values that are NaN or infinite, the first at event 1, class 0; "
            "every score must be finite",
        ),
        (
            GOOD[:, :1],
            [0, 1, 0],
            ["b", "s"],
            "scores have shape (3, 1); wanted (events, 2), one column per class; "
            "for one sigmoid output p pass the two columns 1 - p and p",
        ),
        (
            GOOD,
            [0, 1, 0],
            NAMES,
            "scores have shape (3, 2); wanted (events, 3), one column per class",
        ),
        (
            GOOD,
            [0, 1],
            ["b", "s"],
            "labels have shape (2,); wanted (3,), one class index per event",
        ),
        (
            GOOD,
            [0.0, 1.0, 0.0],
            ["b", "s"],
            "labels have type float64; wanted integers, the index of each event's class",
        ),
        (
            GOOD,
            [0, 2, 0],
            ["b", "s"],
            "1 labels lie outside 0 to 1, the first is 2 at event 1; the classes are b, s",
        ),
        (
            GOOD,
            [0, 0, 0],
            ["b", "s"],
            "no event of class s among 3 events; ROC and efficiency are undefined there: use more "
            "events, or leave the class out",
        ),
        (
            GOOD,
            [0, 0, 0],
            ["b"],
            "all events are of one class, 'b'; two or more are needed to tell them apart",
        ),
        (GOOD, [0, 1, 0], ["b", "b"], "class names ['b', 'b']: give at least two, all different"),
    ],
)
def test_bad_input_is_refused_with_its_message(
    scores: Any, labels: Any, names: Any, message: str
) -> None:
    with pytest.raises(errors.DataError, match=f"^{re.escape(message)}$"):
        classification_metrics(scores, labels, names)


def test_bad_working_point_and_bad_comparison_are_refused() -> None:
    with pytest.raises(errors.DataError, match=r"^background efficiency 1\.5 makes no sense"):
        classification_metrics(GOOD, [0, 1, 0], ["b", "s"], [1.5])
    with pytest.raises(errors.DataError, match=r"^reference model 'float' has no scores; .*: qat$"):
        compare_models({"qat": GOOD}, [0, 1, 0], ["b", "s"])
    with pytest.raises(
        errors.DataError, match=r"^scores of 'qat' have 2 events, those of 'float' 3"
    ):
        compare_models({"float": GOOD, "qat": GOOD[:2]}, [0, 1, 0], ["b", "s"])
    with pytest.raises(errors.DataError, match=r"^n_bootstrap is 0"):
        compare_models({"float": GOOD}, [0, 1, 0], ["b", "s"], n_bootstrap=0)


def test_replicates_keep_the_events_of_every_class() -> None:
    labels = np.array([0, 1, 1, 2, 2, 2, 2])
    weights = np.concatenate(list(replicate_weights(labels, 50, seed=2)), axis=1)
    assert weights.shape == (7, 50)
    for c in range(3):
        assert (weights[labels == c].sum(axis=0) == (labels == c).sum()).all()
    assert (weights[0] == 1).all()
    again = np.concatenate(list(replicate_weights(labels, 50, seed=2)), axis=1)
    assert np.array_equal(weights, again)


def test_batches_of_replicates_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samebits.sim.bootstrap._ELEMENTS_PER_BATCH", 70)
    shapes = [w.shape for w in replicate_weights(np.arange(30) % 2, 5, seed=0)]
    assert shapes == [(30, 2), (30, 2), (30, 1)]


@pytest.mark.parametrize("bits", [None, 4])
def test_weighted_auc_equals_scikit_learn(bits: int | None) -> None:
    from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

    scores, labels = make_scores(300, 2, seed=8, bits=bits)
    (weights,) = replicate_weights(labels, 20, seed=1)
    got = RankedScores(scores[:, 1], labels == 1).auc(weights)
    expected = [roc_auc_score(labels == 1, scores[:, 1], sample_weight=w) for w in weights.T]
    assert got == pytest.approx(expected, abs=1e-12)


def test_single_precision_sums_of_whole_weights_are_exact() -> None:
    scores, labels = make_scores(5000, 2, seed=11, bits=6)
    ranked = RankedScores(scores[:, 1], labels == 1)
    (weights,) = replicate_weights(labels, 8, seed=1)
    assert np.array_equal(ranked.auc(weights), ranked.auc(weights.astype(np.float32)))


def test_identical_scores_differ_by_exactly_nothing() -> None:
    scores, labels = make_scores(500, 3, seed=4, bits=8)
    # Half the score ranks the same: the AUC is the same number, not a near one.
    models = {"float": scores, "qat": scores.copy(), "firmware": scores / 2}
    got = compare_models(models, labels, NAMES, n_bootstrap=100, seed=1)
    assert len(got.differences) == 2 * (1 + len(NAMES))
    for d in got.differences:
        assert (d.value, d.low_68, d.high_68, d.low_95, d.high_95) == (0, 0, 0, 0, 0)
    assert got.gate is not None
    assert got.gate.passed
    assert got.gate.drop_points == 0


def test_values_and_intervals_of_a_real_difference() -> None:
    scores, labels = make_scores(3000, 3, seed=6)
    rng = np.random.default_rng(7)
    worse = scores + rng.normal(scale=0.25, size=scores.shape)
    got = compare_models({"float": scores, "firmware": worse}, labels, NAMES, seed=11)
    single = {m: classification_metrics(s, labels, NAMES) for m, s in (("a", scores), ("b", worse))}
    accuracy, *aucs = got.differences
    assert accuracy.quantity == "accuracy"
    assert accuracy.value == pytest.approx(single["b"].accuracy - single["a"].accuracy, abs=1e-15)
    for d, a, b in zip(aucs, single["a"].classes, single["b"].classes, strict=True):
        assert (d.quantity, d.class_name) == ("auc", a.name)
        assert d.value == pytest.approx(b.auc - a.auc, abs=1e-12)
    for d in got.differences:
        assert d.low_95 < d.low_68 < d.value < d.high_68 < d.high_95
        assert d.high_95 < 0  # the noise is far larger than the uncertainty
    assert got.difference("firmware") is accuracy
    assert got.difference("firmware", aucs[1].class_name) is aucs[1]
    assert str(accuracy).startswith(f"{100 * accuracy.value:+.2f} points, 95 % interval -")
    assert str(aucs[0]).startswith(f"{aucs[0].value:+.4f}, 95 % interval -")
    with pytest.raises(errors.DataError) as raised:
        got.difference("qat")
    assert str(raised.value) == (
        "no difference of 'qat'; models compared with 'float': firmware; classes: "
        f"{', '.join(NAMES)}"
    )
    # The paired difference of accuracy is a mean of -1, 0, 1 per event: its error is known.
    change = (worse.argmax(1) == labels).astype(float) - (scores.argmax(1) == labels)
    variance = sum(change[labels == c].var() * (labels == c).sum() for c in range(3))
    sigma = np.sqrt(variance) / len(labels)
    assert (accuracy.high_95 - accuracy.low_95) / (2 * 1.96) == pytest.approx(sigma, rel=0.1)
    assert (accuracy.high_68 - accuracy.low_68) / (2 * 0.9945) == pytest.approx(sigma, rel=0.1)
    assert got.gate is not None
    assert not got.gate.passed
    assert got == compare_models({"float": scores, "firmware": worse}, labels, NAMES, seed=11)


@pytest.mark.parametrize(("lost", "passed"), [(1, True), (2, False), (-3, True)])
def test_the_gate_allows_exactly_half_a_point(lost: int, passed: bool) -> None:
    labels = np.arange(200) % 2
    right = np.eye(2)[labels]
    reference, firmware = right.copy(), right.copy()
    reference[:5] = 1 - right[:5]
    firmware[: 5 + lost] = 1 - right[: 5 + lost]
    got = compare_models(
        {"float": reference, "firmware": firmware}, labels, ["b", "s"], n_bootstrap=5
    )
    assert got.gate is not None
    assert got.gate.drop_points == lost / 2
    assert got.gate.passed is passed


def test_no_gate_without_the_gated_model() -> None:
    got = compare_models({"float": GOOD, "qat": GOOD}, [0, 1, 0], ["b", "s"], n_bootstrap=5)
    assert got.gate is None


def test_bootstrap_of_the_demo_size_is_fast() -> None:
    models = {
        name: make_scores(6000, 5, seed=9, bits=bits)[0]
        for name, bits in (("float", None), ("qat", None), ("firmware", 10))
    }
    labels = make_scores(6000, 5, seed=9)[1]
    start = time.process_time()
    compare_models(models, labels, "gqwzt", n_bootstrap=1000)
    assert time.process_time() - start < 5
