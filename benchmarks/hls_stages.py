"""Fits the model of streams, the Resource strategy and convolutions; measures its held-out error.

`python -m benchmarks.hls_stages` prints every report beside its prediction; `--write` also writes
firmware/hls_stages.json. Held out is everything of one owner, as in `benchmarks.hls_estimate`;
recurrent layers are all of one owner, and there each report is held out by itself.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samebits.firmware.hls_model import (
    HlsLayer,
    Weights,
    coefficients,
    lut_terms,
    usable_ns,
)
from samebits.firmware.hls_stages import (
    FITTED,
    StageCoefficients,
    StageCost,
    Where,
    chain,
    cost,
    logic_kind,
    logic_terms,
    overhead_terms,
    power_terms,
    stage_coefficients,
    step_reuse,
    unrolled_terms,
)
from samebits.firmware.parts import family_of

from .hls_estimate import (
    WEIGHT_COLUMNS,
    compared,
    deliver,
    deviation,
    relative_fit,
    summary,
    wants_file,
)

FIRMWARE = Path(__file__).parents[1] / "firmware"
REPORTS, MODEL = FIRMWARE / "hls_calibration_stages.csv", FIRMWARE / "hls_stages.json"
NUMBERS = ("cycles", "interval", "lut", "ff", "dsp", "bram18")
UNFITTED = {"merge": [[0.0, 1.0], [0.0, 1.0]]}
"""No published report has a module of its own for these: an adder's LUT and register per bit."""


@dataclass(frozen=True)
class Stage:
    """One layer of a report and what the tool said of its module."""

    layer: HlsLayer
    where: Where
    measured: dict[str, float]


@dataclass(frozen=True)
class Report:
    """One design of a report."""

    source: str
    name: str
    tool: str
    part: str
    clock_ns: float
    stream: bool
    stages: tuple[Stage, ...]
    measured: dict[str, float]

    @property
    def owner(self) -> str:
        """Who made the report; what is held out together."""
        return self.source.split("/")[0]

    @property
    def recurrent(self) -> bool:
        """Has a recurrent layer."""
        return any(stage.layer.kind == "recurrent" for stage in self.stages)

    @property
    def group(self) -> str:
        """Under which name its errors are counted."""
        if self.recurrent:
            return "recurrent"
        products = [stage for stage in self.stages if stage.layer.kind == "product"]
        strategy = products[0].where.strategy if products else "Latency"
        if not self.stream and any(stage.layer.outputs > 1 for stage in products):
            return f"parallel convolutions, {strategy}"
        if not products:
            return "single layers"
        return f"{'stream' if self.stream else 'parallel'}, {strategy}"


def read(path: Path = REPORTS) -> list[Report]:
    """The reports of a calibration file."""
    designs: dict[tuple[str, str], list[dict[str, str]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            designs.setdefault((row["source"], row["report"]), []).append(row)
    return [_report(rows) for rows in designs.values()]


def _report(rows: Sequence[dict[str, str]]) -> Report:
    (top,) = (row for row in rows if row["scope"] == "design")
    stream = top["io"] == "stream"
    usable = usable_ns(float(top["clock_ns"]), top["tool"].split()[0])
    stages = []
    for row in rows:
        if row["scope"] == "layer":
            where = Where(
                stream,
                usable,
                row["strategy"] or "Latency",
                int(row["reuse"] or 1),
                top["tool"].startswith("Vitis"),
            )
            stages.append(Stage(_layer(row), where, _measured(row)))
    return Report(
        source=top["source"],
        name=top["report"],
        tool=top["tool"],
        part=top["part"],
        clock_ns=float(top["clock_ns"]),
        stream=stream,
        stages=tuple(stages),
        measured=_measured(top, any(stage.layer.accum_rounds for stage in stages)),
    )


def _measured(row: dict[str, str], rounds: bool = False) -> dict[str, float]:
    """Logic of accumulators that round is left out: a fit of the others says nothing of it."""
    left_out = ("lut", "ff") if rounds or row["accum_rounds"] else ()
    return {name: float(row[name]) for name in NUMBERS if row[name] and name not in left_out}


def _layer(row: dict[str, str]) -> HlsLayer:
    def number(name: str, absent: int = 0) -> int:
        return int(row[name]) if row[name] else absent

    weights = None
    if row["nonzero"]:
        weights = Weights(*(number(name) for name in WEIGHT_COLUMNS))
    kind: Any = row["kind"]
    return HlsLayer(
        name=row["name"],
        kind=kind,
        what=row["name"],
        n_in=number("n_in"),
        n_out=number("n_out"),
        in_bits=number("in_bits"),
        out_bits=number("out_bits"),
        accum_bits=number("accum_bits"),
        weight_bits=number("weight_bits"),
        rounds=bool(number("rounds")),
        weights=weights,
        inputs=number("inputs", 1),
        outputs=number("outputs", 1),
        channels=number("channels"),
        copies=number("copies", 1),
        accum_rounds=bool(number("accum_rounds")),
        steps=number("steps"),
        states=number("states"),
    )


def fit(reports: Iterable[Report]) -> StageCoefficients:
    """Coefficients of these reports."""
    return stage_coefficients(fitted(list(reports)))


def fitted(reports: Sequence[Report]) -> dict[str, Any]:
    """The coefficients as hls_stages.json has them."""
    stages = [stage for report in reports for stage in report.stages]
    shared = [
        s
        for s in stages
        if s.layer.kind == "product" and s.where.strategy == "Resource" and "dsp" in s.measured
    ]
    found: dict[str, Any] = {"overhead": _overhead(shared), "step": _step(stages)}
    found["fill"] = [0.0, 0.0]
    # the logic of io_parallel convolutions is something else, of which the reports disagree
    shared = [
        stage
        for stage in shared
        if "lut" in stage.measured and (stage.where.stream or stage.layer.outputs == 1)
    ]
    found["power"] = [_power(shared, name) for name in ("lut", "ff")]
    found["unrolled"] = _unrolled(stages)
    found["logic"] = {
        kind: UNFITTED.get(kind) or [_logic(stages, kind, name) for name in ("lut", "ff")]
        for kind in FITTED
    }
    found["fifo"] = _fifo_logic(reports)
    found["fill"] = _fill(reports, stage_coefficients(found))
    return found


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), 4) for value in values]


def _overhead(stages: Sequence[Stage]) -> list[float]:
    terms, values, known = [], [], []
    for stage in stages:
        layer, where = stage.layer, stage.where
        cycles = stage.measured["cycles"]
        if layer.outputs > 1 and not where.stream:
            continue
        if layer.outputs > 1:
            extra = (cycles - 1) / layer.inputs - where.reuse
        else:
            extra = cycles - where.reuse - (layer.inputs if layer.inputs > 1 else 0)
        terms.append(overhead_terms(layer, where))
        values.append(where.reuse + max(extra, 1.0))
        known.append(float(where.reuse))
    return _rounded(relative_fit(terms, values, known))


def _step(stages: Sequence[Stage]) -> float:
    found = [
        stage.measured["cycles"] / stage.layer.steps - step_reuse(stage.layer, stage.where)
        for stage in stages
        if stage.layer.kind == "recurrent" and "cycles" in stage.measured
    ]
    return round(float(np.median(found)), 2) if found else 0.0


def _power(stages: Sequence[Stage], name: str) -> list[float]:
    terms = np.array([power_terms(stage.layer, stage.where.reuse) for stage in stages])
    values = np.log([stage.measured[name] for stage in stages])
    return _rounded(np.linalg.lstsq(terms, values, rcond=None)[0])


def _unrolled(stages: Sequence[Stage]) -> list[list[float]]:
    pipelined = coefficients()
    terms: list[list[Any]] = [[], []]
    values: list[list[float]] = [[], []]
    for stage in stages:
        layer = stage.layer
        if layer.kind != "product" or stage.where.strategy != "Latency" or layer.copies > 1:
            continue
        if layer.weights is None or "lut" not in stage.measured:
            continue
        logic = float(np.dot(lut_terms(layer), pipelined.lut))
        for at, name in enumerate(("lut", "ff")):
            terms[at].append(unrolled_terms(layer, logic, stage.where.usable_ns)[at])
            values[at].append(max(stage.measured[name], 1.0))
    return [_rounded(relative_fit(t, v)) for t, v in zip(terms, values, strict=True)]


def _logic(stages: Sequence[Stage], kind: str, name: str) -> list[float]:
    here = [
        stage
        for stage in stages
        if logic_kind(stage.layer, stage.where.stream) == kind and name in stage.measured
    ]
    if not here:
        return [0.0, 1.0]
    terms = [logic_terms(stage.layer, stage.where.stream) for stage in here]
    return _rounded(relative_fit(terms, [max(stage.measured[name], 1.0) for stage in here]))


def _fifo_logic(reports: Sequence[Report]) -> list[float]:
    """LUT and FF of a stream's bit: what a design has beyond its modules."""
    answer = []
    for name in ("lut", "ff"):
        shares = []
        for report in reports:
            if report.stream and all(name in stage.measured for stage in report.stages):
                bits = sum(s.layer.channels * s.layer.in_bits for s in report.stages[1:])
                own = sum(stage.measured[name] for stage in report.stages)
                shares.append((report.measured[name] - own) / bits)
        answer.append(float(np.median(shares)) if shares else 0.0)
    return _rounded(answer)


def _fill(reports: Sequence[Report], found: StageCoefficients) -> list[float]:
    """Cycles of a chain of streams beyond its longest stage, which is taken as measured."""
    terms, values = [], []
    for report in reports:
        if not report.stream or "cycles" not in report.measured:
            continue
        own = [stage.measured.get("cycles", 0.0) for stage in report.stages]
        waits = sum(
            each
            for stage, each in zip(report.stages, own, strict=True)
            if stage.layer.kind == "product" and stage.layer.outputs == 1
        )
        if max(own) == 0:
            continue
        whole = report.measured["cycles"]
        terms.append([(len(own) - 1) / whole, min(waits, max(own)) / whole])
        values.append((whole - max(own)) / whole)
    if not terms:
        return [0.0, 0.0]
    return _rounded(np.clip(np.linalg.lstsq(np.array(terms), values, rcond=None)[0], 0, None))


def costs_of(report: Report, found: StageCoefficients) -> list[StageCost]:
    """What the model says of every layer."""
    pipelined = coefficients()
    return [cost(stage.layer, stage.where, found, pipelined) for stage in report.stages]


def predict(report: Report, found: StageCoefficients) -> dict[str, float]:
    """What the model says of a report."""
    layers = [stage.layer for stage in report.stages]
    whole = chain(layers, costs_of(report, found), report.stages[0].where, found)
    return {
        "cycles": round(whole.cycles),
        "interval": round(whole.interval),
        "LUT": whole.lut,
        "FF": whole.ff,
        "DSP": whole.dsp,
        "BRAM36": whole.bram18 / 2,
    }


def measured_of(report: Report) -> dict[str, float]:
    """What the tool said of the whole design, by the names of `predict`."""
    names = {"cycles": "cycles", "interval": "interval", "LUT": "lut", "FF": "ff", "DSP": "dsp"}
    found = {name: report.measured[key] for name, key in names.items() if key in report.measured}
    if "bram18" in report.measured:
        found["BRAM36"] = report.measured["bram18"] / 2
    return found


def held_out(reports: Sequence[Report]) -> list[tuple[Report, dict[str, float]]]:
    """Every report with what coefficients say that were fitted without any of its owner.

    Recurrent layers are all of one owner: without the report itself.
    """
    answer = []
    for each in reports:
        others = [r for r in reports if r.owner != each.owner]
        if each.recurrent:
            others = [r for r in reports if r is not each]
        answer.append((each, predict(each, fit(others))))
    return answer


def errors_of(found: Sequence[tuple[Report, dict[str, float]]]) -> dict[str, Any]:
    """Errors by group and quantity."""
    seen: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for report, predicted in found:
        measured = measured_of(report)
        for name, value in predicted.items():
            if name in measured:
                off = deviation(name, value, measured[name])
                seen.setdefault((report.group, name), []).append((off, report.owner))
    answer: dict[str, Any] = {}
    for (group, name), pairs in sorted(seen.items()):
        answer.setdefault(group, {})[name] = summary(*zip(*pairs, strict=True))
    return answer


def ranges_of(reports: Sequence[Report]) -> dict[str, Any]:
    """Between which values the fitted reports are, by group."""
    answer: dict[str, Any] = {}
    for group in sorted({report.group for report in reports}):
        here = [report for report in reports if report.group == group]
        clocks = [round(1000 / report.clock_ns) for report in here]
        answer[group] = {
            "clock_mhz": [min(clocks), max(clocks)],
            "families": sorted({family_of(report.part) for report in here}),
            "reports": len(here),
            "owners": len({report.owner for report in here}),
        }
    return answer


def model_of(reports: Sequence[Report]) -> dict[str, Any]:
    """What hls_stages.json holds."""
    return {
        "coefficients": fitted(reports),
        "errors": errors_of(held_out(reports)),
        "ranges": ranges_of(reports),
        "reports": len(reports),
        "sources": sorted({report.source for report in reports}),
    }


def main() -> None:
    """The command line."""
    write = wants_file(__doc__, MODEL)
    reports = read()
    for report, predicted in held_out(reports):
        numbers = compared(predicted, measured_of(report))
        print(f"{report.group}: {report.owner} {report.name[-24:]}: {numbers}")
    deliver(model_of(reports), MODEL, write)


if __name__ == "__main__":
    main()
