"""Fits the model of HLS designs on published reports and measures its error on held-out ones.

`python -m benchmarks.hls_estimate` prints every report beside its prediction; `--write` also writes
firmware/hls_model.json. Held out is always a whole source, which is everything of one owner: each
is predicted by coefficients that were fitted on the other sources only. The coefficients that ship
are fitted on all of them.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits.firmware.hls_model import (
    FAST_MHZ,
    SLOW,
    Coefficients,
    HlsLayer,
    Weights,
    brams,
    closest_reuse,
    cycles_latency,
    cycles_resource,
    cycles_shared,
    dsps,
    ff_terms,
    lut_terms,
    resource_dsps,
    usable_ns,
)
from samebits.firmware.parts import family_of

FIRMWARE = Path(__file__).parents[1] / "firmware"
REPORTS, MODEL = FIRMWARE / "hls_calibration.csv", FIRMWARE / "hls_model.json"
FAMILY = "UltraScale+"
WEIGHT_COLUMNS = ("nonzero", "terms", "two_digit", "multiplied")

# Delays in ns within which the fit searches, in the order of `Coefficients.delay`.
DELAY_BOX = (
    *((1.5, 4.5), (0.0, 0.8), (0.0, 2.0), (0.9, 1.2), (1.0, 2.5), (10.0, 25.0), (5.0, 15.0)),
    (0.0, 1.4),
)
TRIES, KEPT = 6000, 300  # with fewer kept the result depends on the seed

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Report:
    """One design of a report: its layers, what was asked for, and what the tool answered."""

    source: str
    name: str
    tool: str
    part: str
    usable: float
    clock_ns: float
    strategy: str
    reuse: tuple[int, ...]
    layers: tuple[HlsLayer, ...]
    measured: dict[str, float]
    layer_lut: tuple[float | None, ...]
    remark: str

    @property
    def owner(self) -> str:
        """Who made the report; what is held out together."""
        return self.source.split("/")[0]

    @property
    def fitted(self) -> bool:
        """Used for the fit: not where most elements of a layer are gone."""
        return "gone" not in self.remark and not self.shared

    @property
    def shared(self) -> bool:
        """The Latency strategy with multipliers that are used several times."""
        return self.strategy == "Latency" and max(self.reuse) > 2

    @property
    def slow(self) -> bool:
        """A pipeline on the 7 series, which has delays and FF of its own and the others' LUT."""
        return self.strategy == "Latency" and family_of(self.part) == SLOW


def read(path: Path = REPORTS) -> list[Report]:
    """The reports of a calibration file."""
    designs: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in _rows(path):
        if row["scope"] != "stages":
            designs.setdefault((row["source"], row["report"]), []).append(row)
    return [_report(rows) for rows in designs.values()]


def vivado_shares(path: Path = REPORTS) -> list[float]:
    """LUT after Vivado's logic synthesis over LUT of C synthesis, of projects that report both."""
    pairs = [row for row in _rows(path) if row["scope"] == "stages"]
    return sorted(int(row["vivado_lut"]) / int(row["lut"]) for row in pairs)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _report(rows: Sequence[dict[str, str]]) -> Report:
    (top,) = (row for row in rows if row["scope"] == "design")
    layers = [row for row in rows if row["scope"] == "layer"]
    dense = [row for row in layers if row["strategy"]]
    named = {"cycles": "cycles", "interval": "interval", "LUT": "lut", "FF": "ff", "DSP": "dsp"}
    measured = {name: float(top[column]) for name, column in named.items() if top[column]}
    if top["bram18"]:
        measured["BRAM36"] = float(top["bram18"]) / 2
    return Report(
        source=top["source"],
        name=top["report"],
        tool=top["tool"],
        part=top["part"],
        usable=usable_ns(float(top["clock_ns"]), top["tool"].split()[0]),
        clock_ns=float(top["clock_ns"]),
        strategy=dense[0]["strategy"],
        reuse=tuple(int(row["reuse"]) for row in dense),
        layers=tuple(_layer(row) for row in layers),
        measured=measured,
        layer_lut=tuple(float(row["lut"]) if row["lut"] else None for row in layers),
        remark=top["remark"],
    )


def _layer(row: dict[str, str]) -> HlsLayer:
    number = {name: int(float(row[name] or 0)) for name in row if row[name][:1].isdigit()}
    weights = None
    if row["nonzero"]:
        weights = Weights(*(number[name] for name in WEIGHT_COLUMNS))
    kind: Any = row["kind"]
    return HlsLayer(
        name=row["name"],
        kind=kind,
        what=row["kind"],
        n_in=number["n_in"],
        n_out=number["n_out"],
        in_bits=number.get("in_bits", 0),
        out_bits=number.get("out_bits", 0),
        accum_bits=number.get("accum_bits", 0),
        weight_bits=number.get("weight_bits", 0),
        rounds=bool(number.get("rounds", 0)),
        stable=bool(number.get("stable", 1)),
        weights=weights,
    )


def fit(reports: Iterable[Report], delay: tuple[float, ...] | None = None) -> Coefficients:
    """Coefficients of these reports: relative least squares, and a search for the delays.

    `delay` is the result of that search where it is known.
    """
    reports = list(reports)
    slow = [report for report in reports if report.slow and "gone" not in report.remark]
    reports = [report for report in reports if report.fitted and not report.slow]
    unrolled = [report for report in reports if report.strategy == "Latency"]
    lut = _fit_lut(unrolled)
    if delay is None:
        delay = _fit_delay([report for report in unrolled if max(report.reuse) == 1])
    shared = [report for report in reports if report.strategy == "Resource"]
    return Coefficients(
        lut,
        _fit_ff(unrolled, lut),
        delay,
        _fit_resource(shared, delay),
        _fit_slow([report for report in slow if not report.shared], delay),
        _fit_ff(slow, lut) if slow else (),
    )


def _fit_slow(reports: Sequence[Report], delay: Sequence[float]) -> float:
    """The factor on the delays with which reports of the 7 series deviate least."""
    if not reports:
        return 1.0

    def cost(factor: float) -> float:
        slower = Coefficients((), (), tuple(delay), 0.0, factor).of(SLOW).delay
        return float(np.mean([abs(_stages_off(report, slower)) for report in reports]))

    return min((round(0.05 * step, 2) for step in range(20, 101)), key=cost)


def relative_fit(
    terms: Sequence[Values], values: Sequence[float], given: Sequence[float] | None = None
) -> Values:
    """Least squares of the relative deviations; coefficients that would be negative are zero.

    `given` is the part of each value that is known without a coefficient.
    """
    size = np.array(values)
    scaled = np.array(terms) / size[:, None]
    wanted = np.ones(len(size)) if given is None else 1 - np.array(given) / size
    active = scaled.any(axis=0)
    found = np.zeros(scaled.shape[1])
    while active.any():
        solved = np.linalg.lstsq(scaled[:, active], wanted, rcond=None)[0]
        found[:] = 0
        found[active] = np.clip(solved, 0, None)
        if (solved >= 0).all():
            break
        active &= found > 0
    return found


def _fit_lut(reports: Sequence[Report]) -> tuple[float, ...]:
    terms, values = [], []
    for report in reports:
        if max(report.reuse) > 1:
            continue
        for layer, value in zip(report.layers, report.layer_lut, strict=True):
            if value and lut_terms(layer).any():
                terms.append(lut_terms(layer))
                values.append(value)
    return tuple(round(float(found), 4) for found in relative_fit(terms, values))


def _fit_ff(reports: Sequence[Report], lut: Sequence[float]) -> tuple[float, ...]:
    terms = [ff_terms(r.layers, predict_lut(r, lut), r.usable, family_of(r.part)) for r in reports]
    found = relative_fit(
        [term[1:] for term in terms],
        [report.measured["FF"] for report in reports],
        given=[term[0] for term in terms],
    )
    return (1.0, *(round(float(each), 4) for each in found))


def _fit_delay(reports: Sequence[Report]) -> tuple[float, ...]:
    low, high = np.array(DELAY_BOX).T
    tries = np.random.default_rng(0).uniform(low, high, (TRIES, len(DELAY_BOX)))
    cost = [
        np.mean([abs(_stages_off(report, delay)) for report in reports]) for delay in tries.tolist()
    ]
    best = tries[np.argsort(cost, kind="stable")[:KEPT]]
    return tuple(round(float(each), 2) for each in np.median(best, axis=0))


def _stages_off(report: Report, delay: Sequence[float]) -> float:
    found = cycles_latency(report.layers, report.usable, delay)
    return (found - report.measured["cycles"]) / (report.measured["cycles"] + 1)


def _fit_resource(reports: Sequence[Report], delay: Sequence[float]) -> float:
    """Cycles of a dense layer beyond its reuse factor, the median over the reports."""
    shell = Coefficients((), (), tuple(delay), 0.0)
    extra = [
        (r.measured["cycles"] - cycles_resource(r.layers, taken(r), r.usable, shell)) / len(r.reuse)
        for r in reports
    ]
    return round(float(np.median(extra)), 2)


def taken(report: Report) -> list[int]:
    """The reuse factors that hls4ml takes."""
    dense = [layer for layer in report.layers if layer.kind == "product"]
    return [
        closest_reuse(layer.n_in, layer.n_out, wanted)
        for layer, wanted in zip(dense, report.reuse, strict=True)
    ]


def predict_lut(report: Report, lut: Sequence[float]) -> float:
    """LUT of the whole design."""
    return float(sum(np.dot(lut_terms(layer), lut) for layer in report.layers))


def predict(report: Report, found: Coefficients) -> dict[str, float]:
    """What the model says of a report."""
    if report.strategy == "Resource":
        reuse = taken(report)
        answer = {"cycles": float(cycles_resource(report.layers, reuse, report.usable, found))}
        backend = report.tool.split()[0]
        dense = [layer for layer in report.layers if layer.kind == "product"]
        rest = sum(dsps(layer) for layer in report.layers if layer.kind != "product")
        counts = [
            resource_dsps(layer, factor, backend)
            for layer, factor in zip(dense, reuse, strict=True)
        ]
        if None not in counts:
            answer["DSP"] = float(rest + sum(count or 0 for count in counts))
        return answer
    family = family_of(report.part)
    found = found.of(family)
    lut = predict_lut(report, found.lut)
    answer = {
        "cycles": float(cycles_latency(report.layers, report.usable, found.delay)),
        "LUT": lut,
        "FF": float(np.dot(ff_terms(report.layers, lut, report.usable, family), found.ff)),
        "DSP": float(sum(map(dsps, report.layers))),
        "interval": float(max(report.reuse)),
    }
    if report.shared:
        factors = iter(report.reuse)
        shares = [
            next(factors) if layer.kind == "product" and not layer.elementwise else 1
            for layer in report.layers
        ]
        cycles, interval = cycles_shared(report.layers, shares, report.usable, found.delay)
        answer |= {
            "cycles": float(cycles),
            "interval": float(interval),
            "DSP": float(sum(map(dsps, report.layers, shares))),
        }
    blocks = brams(report.layers, report.tool.split()[0])
    return answer if blocks is None else answer | {"BRAM36": blocks}


def deviation(name: str, predicted: float, measured: float) -> float:
    """Relative deviation; small counts are taken as 10, cycles as the pipeline's stages."""
    if name == "cycles":
        return (predicted - measured) / (measured + 1)
    if name in ("DSP", "BRAM36"):
        return (predicted - measured) / max(measured, 10.0)
    return (predicted - measured) / measured


def held_out(
    reports: Sequence[Report],
) -> list[tuple[Report, dict[str, float], tuple[float | None, ...]]]:
    """Every report with what coefficients say that were fitted without any of its owner.

    Last are the relative deviations of its layers' LUT.
    """
    found = []
    pipelines = {r.owner for r in reports if r.strategy == "Latency" and r.fitted and not r.slow}
    delay = fit(reports).delay
    for owner in sorted({report.owner for report in reports}):
        others = fit(
            (report for report in reports if report.owner != owner),
            None if owner in pipelines else delay,
        )
        for each in reports:
            if each.owner == owner:
                layers = tuple(
                    float(np.dot(lut_terms(layer), others.lut)) / value - 1
                    if value and lut_terms(layer).any()
                    else None
                    for layer, value in zip(each.layers, each.layer_lut, strict=True)
                )
                found.append((each, predict(each, others), layers))
    return found


def group_of(report: Report) -> str:
    """Under which name the errors of a report are counted."""
    if report.strategy == "Resource" and max(report.reuse) < 100:
        return "Resource, small reuse factors"
    if report.shared:
        return "Latency, shared multipliers"
    if report.slow:
        return "Latency, 7 series"
    if report.strategy == "Latency" and 1000 / report.clock_ns > FAST_MHZ:
        return "Latency, fast clocks"
    return report.strategy


def summary(deviations: Sequence[float], sources: Iterable[str]) -> dict[str, float]:
    """Median, 90 % quantile and maximum of the deviations' sizes, and how many there are."""
    size = np.abs(deviations)
    return {
        "median": round(float(np.median(size)), 3),
        "p90": round(float(np.quantile(size, 0.9, method="higher")), 3),
        "max": round(float(size.max()), 3),
        "n": len(size),
        "sources": len(set(sources)),
    }


def errors_of(
    found: Sequence[tuple[Report, dict[str, float], tuple[float | None, ...]]],
) -> dict[str, dict[str, dict[str, float]]]:
    """Errors by group and quantity; `layers` are those of single layers."""
    seen: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for report, predicted, layers in found:
        if "gone" in report.remark:
            continue
        for name, value in predicted.items():
            if name in report.measured:
                off = deviation(name, value, report.measured[name])
                seen.setdefault((group_of(report), name), []).append((off, report.owner))
        for layer in layers:
            if (
                layer is not None
                and report.strategy == "Latency"
                and report.fitted
                and not report.slow
            ):
                seen.setdefault(("layers", "LUT"), []).append((layer, report.owner))
    answer: dict[str, dict[str, dict[str, float]]] = {}
    for (group, name), pairs in seen.items():
        answer.setdefault(group, {})[name] = summary(*zip(*pairs, strict=True))
    return answer


def ranges_of(reports: Sequence[Report]) -> dict[str, Any]:
    """Between which values the fitted reports are."""
    fitted = [report for report in reports if report.fitted and not report.slow]
    answer: dict[str, Any] = {}
    for strategy in ("Latency", "Resource"):
        here = [r for r in fitted if r.strategy == strategy and family_of(r.part) == FAMILY]
        clocks = [round(1000 / report.clock_ns) for report in here]
        answer[strategy] = {"clock_mhz": [min(clocks), max(clocks)]}
        if strategy == "Resource":
            factors = [factor for report in here for factor in taken(report)]
            answer[strategy]["reuse"] = [min(factors), max(factors)]
            continue
        products = [layer for r in here for layer in r.layers]
        products = [x for x in products if x.kind == "product" and not x.elementwise]
        names = ("n_in", "n_out", "in_bits", "weight_bits", "accum_bits")
        values = {name: [getattr(layer, name) for layer in products] for name in names}
        answer[strategy]["layers"] = {name: [min(v), max(v)] for name, v in values.items()}
    return answer


def model_of(reports: Sequence[Report]) -> dict[str, Any]:
    """What hls_model.json holds."""
    found = fit(reports)
    shares = vivado_shares()
    return {
        "coefficients": {
            "lut": found.lut,
            "ff": found.ff,
            "delay_ns": found.delay,
            "resource_cycles": found.resource_cycles,
            "slow_delay": found.slow_delay,
            "slow_ff": found.slow_ff,
        },
        "errors": errors_of(held_out(reports)),
        "ranges": ranges_of(reports),
        "reports": {
            strategy: sum(r.fitted and not r.slow for r in reports if r.strategy == strategy)
            for strategy in ("Latency", "Resource")
        }
        | {SLOW: sum(report.slow for report in reports)},
        "sources": sorted({report.source for report in reports}),
        "vivado_lut_share": {
            "low": round(shares[0], 2),
            "median": round(float(np.median(shares)), 2),
            "high": round(shares[-1], 2),
            "n": len(shares),
        },
    }


def as_text(model: dict[str, Any]) -> str:
    """The text of hls_model.json or hls_stages.json."""
    return json.dumps(model, indent=1) + "\n"


def compared(predicted: Mapping[str, float], measured: Mapping[str, float]) -> str:
    """Predicted and measured numbers side by side, with the relative deviations."""
    return "  ".join(
        f"{name} {value:.0f}/{measured[name]:.0f}"
        f" ({100 * deviation(name, value, measured[name]):+.0f} %)"
        for name, value in predicted.items()
        if name in measured
    )


def deliver(model: dict[str, Any], path: Path, write: bool) -> None:
    """Prints a fitted model, and writes it if asked to."""
    print(as_text(model))
    if write:
        path.write_text(as_text(model), encoding="utf-8")


def wants_file(description: str, path: Path) -> bool:
    """Whether the command line has --write."""
    parser = argparse.ArgumentParser(description=description.split("\n\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write firmware/{path.name}")
    return bool(parser.parse_args().write)


def main() -> None:
    """The command line."""
    write = wants_file(__doc__, MODEL)
    reports = read()
    for report, predicted, _ in held_out(reports):
        unused = "" if report.fitted else "  not fitted: " + report.remark
        numbers = compared(predicted, report.measured)
        print(f"{report.source.split('@')[0]} {report.name[-34:]}: {numbers}{unused}")
    deliver(model_of(reports), MODEL, write)


if __name__ == "__main__":
    main()
