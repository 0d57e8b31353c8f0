"""What a training has to tell: runs with their curves and verdicts, simple fits, formats."""

from typing import Annotated

from pydantic import Field

from samebits.firmware.results import Facts, Measured, NotRun, Text

__all__ = [
    "BaselineFacts",
    "ScalingOption",
    "TrainingCurve",
    "TrainingFacts",
    "TrainingRun",
    "VerdictFacts",
]

Count = Annotated[int, Field(ge=0)]


class TrainingCurve(Facts):
    """Loss, accuracy and learning rate after each epoch; an empty tuple is not drawn."""

    loss: tuple[float, ...] = ()
    validation_loss: tuple[float, ...] = ()
    accuracy: tuple[float, ...] = ()
    validation_accuracy: tuple[float, ...] = ()
    learning_rate: tuple[float, ...] = ()


class VerdictFacts(Facts):
    """What a loss curve says: the rule that found it, and the numbers that stood there."""

    kind: Text
    rule: Text
    numbers: Text
    advice: str = ""


class BaselineFacts(Facts):
    """A simple fit beside the networks: its score on the validation part."""

    name: Text
    score: Measured
    seconds: Measured


class TrainingRun(Facts):
    """One fitted model, for example "float" or "qat". `bits` is None for a float model.

    `settings` by name, for example {"optimiser": "adam"}; `best_epoch` is the one whose weights
    were kept; `score` is on the validation part, as that of the simple fits.
    """

    model: Text
    network: Text
    bits: int | None
    epochs: Count
    seconds: Measured
    seed: int
    sparsity: Measured
    tool: Text
    curve: TrainingCurve = TrainingCurve()
    settings: dict[str, str] = Field(default_factory=dict)
    best_epoch: Count | None = None
    verdicts: tuple[VerdictFacts, ...] = ()
    score: Measured = NotRun(reason="not recorded")


class ScalingOption(Facts):
    """One way to scale the inputs, and what it costs in accuracy against exact standardisation."""

    name: Text
    accuracy: Measured
    cost_points: Measured


class TrainingFacts(Facts):
    """How the models were fitted and how the raw features reach the firmware.

    `formats` of the quantized network by point, `baselines` beside it; `score_name` says what their
    scores are.
    """

    runs: tuple[TrainingRun, ...]
    scaling_chosen: Text
    scaling_options: tuple[ScalingOption, ...]
    input_format: Text
    formats: dict[str, str] = Field(default_factory=dict)
    baselines: tuple[BaselineFacts, ...] | NotRun = NotRun(reason="no simple fits in this run")
    score_name: str = "accuracy"
