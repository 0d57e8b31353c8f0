"""What the training bench returns, as the report shows it."""

import math
from dataclasses import dataclass

from samebits.firmware.results import NotRun, Quantity
from samebits.report import ReportFacts, render_html
from samebits.report.facts import TrainingFacts, TrainingRun, VerdictFacts
from samebits.training_section import baseline_facts, curve_facts, settings_of, verdict_facts


@dataclass(frozen=True)
class Pass:
    loss: float
    validation_loss: float
    learning_rate: float = 0.01
    accuracy: float | None = None
    validation_accuracy: float | None = None


@dataclass(frozen=True)
class Fit:
    name: str
    score: float
    seconds: float


@dataclass(frozen=True)
class Verdict:
    kind: str
    rule: str
    numbers: str
    advice: str


def test_a_curve_ends_where_it_is_no_number() -> None:
    passes = [Pass(2.0, 2.1), Pass(1.0, 1.2, 0.005), Pass(math.nan, 1.0), Pass(0.5, 0.6)]
    curve = curve_facts(passes)
    assert curve.loss == (2.0, 1.0)
    assert curve.validation_loss == (2.1, 1.2)
    assert curve.learning_rate == (0.01, 0.005)
    assert curve.accuracy == ()


def test_scores_have_their_unit() -> None:
    fits = [Fit("logistic regression", 0.61, 2.0)]
    (one,) = baseline_facts(fits)
    assert isinstance(one.score, Quantity)
    assert (one.score.value, one.score.unit) == (61.0, "%")
    (one,) = baseline_facts(fits, regression=True)
    assert isinstance(one.score, Quantity)
    assert (one.score.value, one.score.unit) == (0.61, "")


def test_settings_that_say_nothing_are_left_out() -> None:
    values = {"batch_size": 256, "learning_rate": 2e-3, "l2": 0.0, "patience": None, "seed": 3}
    assert settings_of(values) == {"batch size": "256", "learning rate": "0.002"}


def test_the_page_tells_verdicts_and_simple_fits(bare_facts: ReportFacts) -> None:
    absent = NotRun(reason="not asked for")
    verdict = Verdict("overfitting", "V is 25 % above its lowest", "0.9 and 0.5", "Train <shorter>")
    run = TrainingRun(
        model="float",
        network="4-8-3",
        bits=None,
        epochs=3,
        seconds=absent,
        seed=0,
        sparsity=absent,
        tool="tf-keras",
        curve=curve_facts([Pass(2.0, 2.1), Pass(1.0, 1.2, 0.005)]),
        settings={"optimiser": "adam"},
        verdicts=verdict_facts([verdict]),
    )
    assert run.verdicts[0] == VerdictFacts(
        kind=verdict.kind, rule=verdict.rule, numbers=verdict.numbers, advice=verdict.advice
    )
    training = TrainingFacts(
        runs=(run,),
        scaling_chosen="none",
        scaling_options=(),
        input_format="ap_fixed<8,3>",
        formats={"dense_1.kernel": "fixed<6,1>"},
        baselines=baseline_facts([Fit("boosted trees", 0.7068, 7.2)]),
    )
    facts = bare_facts.model_copy(update={"training": training})
    page = render_html(facts)
    for text in ("overfitting", "Train &lt;shorter&gt;", "boosted trees", "70.68 %", "fixed&lt;6"):
        assert text in page
    assert "Learning rate by epoch: float from 0.01 to 0.005." in page
    assert ReportFacts.model_validate_json(facts.model_dump_json()) == facts
    without = training.model_copy(update={"baselines": NotRun(reason="--no-baselines")})
    page = render_html(facts.model_copy(update={"training": without}))
    assert "not run:</strong> --no-baselines" in page
