"""Random networks through samebits and through hls4ml's C simulation, bit for bit.

    python -m benchmarks.fuzz --minutes 10 [--seed 0] [--only Conv2D] [--output build/fuzz]

Networks are drawn by seed: layers, options, shapes, formats, rounding and overflow modes, weights
and inputs. Those that hls4ml cannot convert and those that samebits refuses are counted by reason;
all others are compiled, many in one compiler call, and compared at every layer and output. A
difference is shrunk to the smallest network that still differs and written to OUTPUT/cases, in the
format of tests/corpus. Results stand in OUTPUT/results.jsonl: seeds found there are not run again.
Exit code 1 if anything differed or failed. docs/fuzz.md has what was found so far.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")
_ROOT = Path(__file__).resolve().parents[1]
# `python -m` puts the repository's root on the path, where samebits' subpackages are not.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _ROOT]

from .fuzz_check import (  # noqa: E402 the path comes first
    DIFFERENT,
    EXACT,
    FAILED,
    REFUSED,
    UNDEFINED,
    Checked,
    Prepared,
    check,
    disagrees_with_itself,
    refused_class,
)
from .fuzz_csim import Simulation, Simulator  # noqa: E402
from .fuzz_layers import KINDS  # noqa: E402
from .fuzz_network import BATCH, draw_network  # noqa: E402
from .fuzz_shrink import Found, shrink, write_case  # noqa: E402

BAD = (DIFFERENT, FAILED)
RECORDED_EVENTS = 24


class Results:
    """The file of results: one line per network."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[int, Checked] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                row = Checked.from_json(json.loads(line))
                self.rows[row.seed] = row

    def add(self, row: Checked) -> None:
        self.rows[row.seed] = row
        with self.path.open("a") as file:
            file.write(json.dumps(row.to_json()) + "\n")


def run(options: argparse.Namespace, results: Results) -> None:
    """Batch after batch until the time or the number of networks is reached."""
    simulator = Simulator(options.output / "work")
    began, seed, done = time.monotonic(), options.seed, 0
    while not _finished(options, began, done):
        stop = (seed // BATCH + 1) * BATCH
        if options.networks is not None:
            stop = min(stop, seed + options.networks - done)
        seeds = [s for s in range(seed, stop) if s not in results.rows or options.again]
        if options.networks is not None or seeds:
            done += stop - seed
        seed = stop
        if not seeds:
            continue
        _show_progress(options, began, done, results, seeds)
        networks = [draw_network(s, options.only, options.backend, options.io_type) for s in seeds]
        start = time.monotonic()
        checked = check(networks, simulator, options.onnxruntime)
        seconds = (time.monotonic() - start) / len(seeds)
        for row, prepared, simulation in checked:
            row = _judged(row, prepared, simulation, simulator, options)
            results.add(Checked.from_json({**row.to_json(), "seconds": round(seconds, 3)}))
    sys.stderr.write("\n")


def _finished(options: argparse.Namespace, began: float, done: int) -> bool:
    if options.networks is not None:
        return bool(done >= options.networks)
    return bool(time.monotonic() - began >= 60 * options.minutes)


def _judged(
    row: Checked,
    prepared: Prepared | None,
    simulation: Simulation | None,
    simulator: Simulator,
    options: argparse.Namespace,
) -> Checked:
    """The row; a difference is shrunk and written first."""
    if row.status == FAILED:
        _say(f"seed {row.seed}: {row.status}: {row.detail}")
    if prepared is None or simulation is None:
        return row
    whole = Found(prepared.network, row, prepared, simulation)
    if options.record and row.status == EXACT and not simulation.disturbed:
        write_case(whole.first_events(RECORDED_EVENTS), options.output / "cases")
    if row.status != DIFFERENT:
        return row
    if disagrees_with_itself(prepared, simulator):
        return Checked.from_json({**row.to_json(), "status": UNDEFINED})
    _say(f"seed {row.seed}: {row.status}: {row.detail}")
    if options.no_shrink:
        return row
    smallest = shrink(whole, simulator, _say, options.onnxruntime)
    folder = write_case(smallest, options.output / "cases")
    _say(f"  {smallest.row.detail}\n  written to {folder}")
    return row


def _say(text: str) -> None:
    sys.stderr.write(f"\r\033[K{text}\n")
    sys.stderr.flush()


def _show_progress(
    options: argparse.Namespace, began: float, done: int, results: Results, seeds: Sequence[int]
) -> None:
    minutes = (time.monotonic() - began) / 60
    share = done / options.networks if options.networks else minutes / options.minutes
    filled = int(30 * min(1.0, share))
    counts = Counter(row.status for row in results.rows.values())
    rate = f"{done / minutes:.0f} per minute" if minutes > 0.05 else "starting"
    sys.stderr.write(
        f"\r\033[K[{'#' * filled}{'.' * (30 - filled)}] seed {seeds[0]}: {done} networks, {rate}, "
        f"{counts[EXACT]} exact, {counts[DIFFERENT]} different, {counts[REFUSED]} refused"
    )
    sys.stderr.flush()


def summary(rows: Sequence[Checked]) -> str:
    """What became of the networks, the reasons, and a line per layer class."""
    counts = Counter(row.status for row in rows)
    lines = [f"{len(rows)} networks, {sum(row.numbers for row in rows):,} numbers compared"]
    lines += [f"{count:6}  {status}" for status, count in counts.most_common()]
    networks: dict[str, set[int]] = defaultdict(set)
    numbers: Counter[str] = Counter()
    different: Counter[str] = Counter()
    for row in rows:
        # the first layer that differs is at fault, not those after it
        first = next((layer.kind for layer in row.layers if layer.different), None)
        if first and row.status == DIFFERENT:
            different[first] += 1
        for layer in row.layers:
            networks[layer.kind].add(row.seed)
            numbers[layer.kind] += layer.numbers
    refused = Counter(refused_class(row.detail) for row in rows if row.status == REFUSED)
    names = sorted({*networks, *different, *refused})
    lines += ["", "| layer | networks | numbers compared | different | refused |"]
    lines.append("|---|---:|---:|---:|---:|")
    lines += [
        f"| {name} | {len(networks[name])} | {numbers[name]:,} | {different[name]} "
        f"| {refused[name]} |"
        for name in names
    ]
    for status in counts:
        if status in (EXACT, DIFFERENT):
            continue
        lines += ["", f"{status}:"]
        reasons = Counter(reason_of(row.detail) for row in rows if row.status == status)
        lines += [f"{count:6}  {reason}" for reason, count in reasons.most_common(25)]
    return "\n".join(lines)


def reason_of(detail: str) -> str:
    """A message without what is special to one network."""
    import re

    text = re.sub(r"\b[a-z]+\d?d?_\d+\w*", "*", detail)
    text = re.sub(r"ap_u?(fixed|int)<[^>]*>", "*", text)
    if "Assertion" in text:
        text = text[text.index("Assertion") :]
    return re.sub(r"-?\b\d+(\.\d+)?\b", "n", text)[:150]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fuzz", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="time to run (default 10)")
    parser.add_argument("--networks", type=int, help="run this many networks instead")
    parser.add_argument("--seed", type=int, default=0, help="the first network's seed")
    parser.add_argument("--only", choices=[k for k in KINDS if k != "Input"], metavar="LAYER")
    parser.add_argument("--backend", choices=["Vivado", "Vitis"])
    parser.add_argument("--io-type", choices=["io_parallel", "io_stream"])
    parser.add_argument("--output", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--onnxruntime", action="store_true", help="compare firmware.onnx too")
    parser.add_argument("--record", action="store_true", help="write exact networks as cases too")
    parser.add_argument("--again", action="store_true", help="also seeds that were run before")
    parser.add_argument("--no-shrink", action="store_true", help="only count differences")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    results = Results(options.output / "results.jsonl")
    try:
        run(options, results)
    except KeyboardInterrupt:
        _say("stopped; the same command goes on from here")
    rows = list(results.rows.values())
    print(summary(rows))
    return 1 if any(row.status in BAD for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
