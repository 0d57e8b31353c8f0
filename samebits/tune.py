"""The smallest firmware within a budget of quality: formats searched, compiled, confirmed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samebits import __version__, errors, storage
from samebits.bit_operations import bit_operations, total
from samebits.compile.target import Target
from samebits.design import Design
from samebits.firmware.results import Measured, NotRun, Quantity
from samebits.inputs import check_inputs
from samebits.recipe import KERAS_SHA256
from samebits.sweep import Events
from samebits.sweep_network import Network, labelled_events, of_dataset
from samebits.tune_engine import Engine, Formats, Tunable, tunable
from samebits.tune_record import (
    CSV,
    JSON,
    Confirmation,
    Loss,
    Objective,
    Point,
    QuantizerFormat,
    Tuning,
    read_known,
    write_known,
)
from samebits.tune_search import Budget, Configuration, Judge, Search, pareto
from samebits.tune_training import Trainer

if TYPE_CHECKING:
    import onnx

__all__ = ["OF_SIZE", "TRAININGS", "Tuned", "parts_of", "tune"]

_SAVED_EVERY_S = 3.0
_ESTIMATED = 6  # configurations whose LUTs are estimated
_RESAMPLED = 1000
_EXPLORED = 16.0  # budgets that a network to be trained may use up before it
Steps = Callable[[int, int], None]
TRAININGS, OF_SIZE = 5, 10  # at most: for a budget of quality, for a given size


@dataclass(frozen=True, eq=False)
class Tuned:
    """The outcome: the record, and the network in the chosen formats."""

    tuning: Tuning
    model: onnx.ModelProto
    design: Design


def parts_of(network: Network, data: str | None) -> tuple[Events, Events]:
    """Labelled events to search with, and others to confirm the choice on.

    Of a network that was trained here the validation and the test part; of other events two halves,
    drawn with a fixed seed.

    Raises:
        DataError, UsageError: as `labelled_events`.
    """
    recipe = network.recipe
    events = labelled_events(network, data)
    if recipe is not None and events.test_part:
        part = recipe.labelled().validation
        return of_dataset(part, about="validation part of the training data"), events
    order = np.argsort(np.random.PCG64(0).random_raw(len(events.labels)), kind="stable")
    half = len(order) // 2
    if half == 0:
        raise errors.DataError("tune: wanted at least two events, one to search and one to confirm")
    found = []
    for number, places in ((1, np.sort(order[:half])), (2, np.sort(order[half:]))):
        x = events.x
        x = {k: v[places] for k, v in x.items()} if isinstance(x, dict) else x[places]
        about = f"{len(places)} events, half {number} of {events.about}"
        found.append(Events(x, events.labels[places], events.class_names, about))
    return found[0], found[1]


def tune(
    model: onnx.ModelProto,
    target: Target,
    parts: tuple[Events, Events],
    budget: Budget,
    *,
    network: str,
    objective: Objective = "bit-operations",
    most: int = 4000,
    folder: Path | None = None,
    trainer: Trainer | None = None,
    on_training: Steps | None = None,
    on_quantizer: Steps | None = None,
    on_configuration: Steps | None = None,
    on_estimate: Callable[[int], None] | None = None,
) -> Tuned:
    """The formats of fewest bit operations within the budget, compiled and confirmed.

    Args:
        model: a quantized ONNX model.
        parts: the events of the search, and those of the confirmation.
        objective: "lut" takes of the smallest configurations the one of fewest LUTs by alkaid.
        most: new configurations at most.
        folder: where every evaluation is kept; the same search again goes on from there.
        trainer: trains configurations of the front, up to 16 budgets: of those that keep the budget
            after it, on the events of the search, the smallest is taken.
        on_training, on_quantizer, on_configuration: progress, in trainings, quantizers and new
            configurations: how many are done, and of how many, which are fewer in the end.
        on_estimate: progress in estimates of LUTs, before and after.

    Raises:
        UnsupportedError: a network that cannot be compiled, or has nothing to change.
        UsageError, DataError: events whose classes are not the network's outputs.
        MismatchError: the compiled network differs from what was searched: a fault of samebits.
    """
    search_events, other_events = parts
    found = tunable(model, target, lambda graph: check_inputs(graph, search_events.x), on_quantizer)
    judge = Judge(np.asarray(search_events.labels), search_events.class_names)
    digest = _digest(model, target, search_events)
    known = {} if folder is None else read_known(folder / CSV, digest, found.knobs)
    saved = time.monotonic()

    def keep(new: int) -> None:
        nonlocal saved
        if on_configuration:
            on_configuration(new, most)
        if folder is not None and time.monotonic() - saved > _SAVED_EVERY_S:
            write_known(folder / CSV, digest, found.knobs, judge.class_names, search.known)
            saved = time.monotonic()

    with _one_thread():
        engine = Engine(
            found.design.graph, found.knobs, check_inputs(found.design.graph, search_events.x)
        )
        started = time.perf_counter()
        search = Search(engine, judge, budget, most, known=known)
        if trainer is not None:
            search.explored, search.whole = _EXPLORED, True
        search.on_new = keep
        try:
            best = search.run()
        finally:
            if folder is not None:
                write_known(folder / CSV, digest, found.knobs, judge.class_names, search.known)
        if on_configuration:
            on_configuration(search.new, search.new)
        seconds = time.perf_counter() - started
    luts: dict[Formats, Measured] = {}
    if objective == "lut":
        best = _fewest_luts(found, search, target, luts)
    trained = None
    if trainer is not None:
        trained = _trained(found, search, trainer, search_events, target, on_training)
    if trained is None:
        tuned = _without_source(found.with_formats(best.formats))
        design = Design.from_onnx(tuned, target)
        _check_bits(design, engine, best, search_events)
    else:
        best, tuned, design = trained
        luts.pop(best.formats, None)
    both = (found.start, found.design), (best.formats, design)
    for number, (formats, one) in enumerate(both, 1):
        if formats not in luts:
            luts[formats] = _lut(one, target)
        if on_estimate:
            on_estimate(number)
    tuning = Tuning(
        network=network,
        objective=objective,
        max_auc_drop=budget.auc_drop,
        max_accuracy_drop_points=budget.accuracy_drop_points,
        max_ebops_share=budget.ebops_share,
        class_names=judge.class_names,
        events=len(search_events.labels),
        data=search_events.about,
        configurations=len(search.known),
        evaluated_now=search.new,
        per_minute=_speed(search.new, seconds),
        trained=trained is not None,
        quantizers=_quantizers(found, best.formats),
        before=_point(found, search, search.start, luts),
        after=_point(found, search, best, luts),
        front=tuple(
            _point(found, search, one, luts)
            for one in pareto(list(search.known.values()), search.quality)
            if search.share(one) <= search.explored
        ),
        confirmation=_confirm(found.design, design, other_events, budget),
        inputs_sha256=digest,
        model_sha256=hashlib.sha256(design.model_bytes or b"").hexdigest(),
    )
    if folder is not None:
        with storage.replace_file(folder / JSON) as temporary:
            temporary.write_text(tuning.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return Tuned(tuning, tuned, design)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for matrix products: these are too small for more to help."""
    try:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
    except ImportError:
        yield
    else:
        with threadpool_limits(1):
            yield


def _digest(model: onnx.ModelProto, target: Target, events: Events) -> str:
    """Of all that an evaluation depends on."""
    digest = hashlib.sha256(model.SerializeToString())
    digest.update(f"{events.sha256} {__version__} {json.dumps(target.to_json())}".encode())
    return digest.hexdigest()


def _without_source(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without the mark of the Keras network that it was exported from."""
    for entry in list(model.metadata_props):
        if entry.key == KERAS_SHA256:
            model.metadata_props.remove(entry)
    return model


def _check_bits(design: Design, engine: Engine, best: Configuration, events: Events) -> None:
    answer: Any = design.simulate(events.x)
    compiled = answer if isinstance(answer, list) else [answer]
    for a, b in zip(compiled, engine.outputs(best.formats), strict=True):
        if not np.array_equal(a, b):
            raise errors.MismatchError(
                f"tune: {int((a != b).sum())} of {a.size} outputs of the compiled network differ "
                "from those that the search has seen; please report this"
            )


def _lut(design: Design, target: Target) -> Measured:
    from samebits.firmware.estimate import estimate

    try:
        found = estimate(design.graph, target.part, target.clock_mhz, per_layer=False)
    except (errors.MissingToolError, errors.UnsupportedError) as error:
        return NotRun(reason=str(error))
    return found.used["LUT"]


def _fewest_luts(
    found: Tunable, search: Search, target: Target, luts: dict[Formats, Measured]
) -> Configuration:
    """Of the smallest configurations within the budget the one of fewest LUTs."""
    inside = [one for one in search.known.values() if search.share(one) <= 1]
    inside.sort(key=lambda one: (one.ebops, one.bops))
    counted = []
    for one in inside[:_ESTIMATED]:
        design = Design.from_onnx(found.with_formats(one.formats), target)
        lut = luts[one.formats] = _lut(design, target)
        if isinstance(lut, NotRun):
            raise errors.UnsupportedError(f"--objective lut: no estimate of LUTs: {lut.reason}")
        counted.append((lut.value, one))
    return min(counted, key=lambda pair: pair[0])[1]


def _trained(
    found: Tunable,
    search: Search,
    trainer: Trainer,
    events: Events,
    target: Target,
    on_training: Steps | None,
) -> tuple[Configuration, onnx.ModelProto, Design] | None:
    """The smallest network that keeps the budget after a training; None if none does.

    Found by bisection of the front of scores that changed least, from the smallest network to the
    first within the budget; for a wanted size see `_trained_of_size`.
    """
    front = pareto(list(search.known.values()), lambda one: -one.distance)
    wanted = search.budget.ebops_share
    if wanted is not None:
        limit = wanted * search.start.ebops
        return _trained_of_size(found, search, trainer, events, target, limit, front, on_training)
    front = [one for one in front if search.share(one) <= search.explored]
    smallest = 0
    largest = next(number for number, one in enumerate(front) if search.share(one) <= 1)
    best: tuple[Configuration, onnx.ModelProto, Design] | None = None
    for number in range(TRAININGS):
        if on_training:
            on_training(number, TRAININGS)
        middle = (smallest + largest) // 2
        one, model, design = _train(found, search, trainer, events, target, front[middle])
        if search.share(one) <= 1:
            largest = middle
            if best is None or one.ebops < best[0].ebops:
                best = one, model, design
        else:
            smallest = middle + 1
        if smallest > largest or (smallest == largest == middle):
            break
    if on_training:
        on_training(number + 1, number + 1)
    return best


def _trained_of_size(
    found: Tunable,
    search: Search,
    trainer: Trainer,
    events: Events,
    target: Target,
    limit: float,
    front: list[Configuration],
    on_training: Steps | None,
) -> tuple[Configuration, onnx.ModelProto, Design] | None:
    """Of the largest networks of the front within the limit, trained, the one of highest AUC.

    Trained networks have other weights, and so somewhat more or fewer bit operations.
    """
    aim, kept = limit, []
    for number in range(OF_SIZE):
        inside = [one for one in front if one.ebops <= aim]
        if not inside:
            break
        if on_training:
            on_training(number, OF_SIZE)
        trained = _train(found, search, trainer, events, target, inside[-1])
        aim = inside[-1].ebops - 1
        if trained[0].ebops <= limit:
            kept.append(trained)
        else:
            aim = min(aim, inside[-1].ebops * limit / trained[0].ebops)
    if on_training:
        on_training(OF_SIZE, OF_SIZE)
    return max(kept, key=lambda one: sum(one[0].auc), default=None)


def _train(
    found: Tunable,
    search: Search,
    trainer: Trainer,
    events: Events,
    target: Target,
    chosen: Configuration,
) -> tuple[Configuration, onnx.ModelProto, Design]:
    names = {k.name: k.at(*f) for k, f in zip(found.knobs, chosen.formats, strict=True)}
    model = _without_source(trainer(names))
    design = Design.from_onnx(model, target)
    answer: Any = design.simulate(events.x)
    accuracy, auc = search.judge(answer if isinstance(answer, list) else [answer])
    whole = total(bit_operations(design.graph))
    one = Configuration(chosen.formats, whole.ebops, whole.bops, accuracy, auc, chosen.distance)
    return one, model, design


def _confirm(before: Design, after: Design, events: Events, budget: Budget) -> Confirmation:
    from samebits.sim.metrics import compare_models

    judge = Judge(np.asarray(events.labels), events.class_names)
    scores, values = {}, {}
    for name, design in (("before", before), ("after", after)):
        answer: Any = design.simulate(events.x)
        answers = answer if isinstance(answer, list) else [answer]
        scores[name], values[name] = judge.columns(answers), judge(answers)
    compared = compare_models(
        scores,
        events.labels,
        events.class_names,
        reference="before",
        gated="after",
        n_bootstrap=_RESAMPLED,
    )
    losses = []
    for one in compared.differences:
        factor = 100 if one.quantity == "accuracy" else 1
        name = "accuracy [points]" if one.class_name is None else f"AUC of {one.class_name}"
        losses.append(
            Loss(
                quantity=name,
                value=0 - factor * one.value,  # not -0.0
                low_95=0 - factor * one.high_95,
                high_95=0 - factor * one.low_95,
            )
        )
    auc = max(x - y for x, y in zip(values["before"][1], values["after"][1], strict=True))
    share = budget.share(auc, values["before"][0] - values["after"][0])
    return Confirmation(
        events=len(events.labels),
        data=events.about,
        accuracy_before=values["before"][0],
        accuracy_after=values["after"][0],
        losses=tuple(losses),
        resamples=_RESAMPLED,
        within=share <= 1,
    )


def _speed(configurations: int, seconds: float) -> Measured:
    if configurations < 2:
        return NotRun(reason="all configurations were known from an earlier search")
    return Quantity(
        value=60 * configurations / seconds,
        unit="configurations per minute",
        kind="measured",
        tool=f"samebits {__version__}, every event of the search simulated for each",
    )


def _quantizers(found: Tunable, formats: Formats) -> tuple[QuantizerFormat, ...]:
    rows = [
        QuantizerFormat(name=knob.name, before=str(knob.format), after=str(knob.at(*fmt)))
        for knob, fmt in zip(found.knobs, formats, strict=True)
    ]
    rows += [
        QuantizerFormat(name=name, before="", after="", fixed=why)
        for name, why in found.fixed.items()
    ]
    return tuple(rows)


def _point(
    found: Tunable, search: Search, one: Configuration, luts: dict[Formats, Measured]
) -> Point:
    auc, accuracy = search.drops(one)
    absent = NotRun(reason="only the network before and after is estimated")
    return Point(
        formats=tuple(str(k.at(*f)) for k, f in zip(found.knobs, one.formats, strict=True)),
        ebops=one.ebops,
        bops=one.bops,
        accuracy=one.accuracy,
        auc=one.auc,
        accuracy_drop_points=accuracy,
        auc_drop=auc,
        lut=luts.get(one.formats, absent),
    )
