"""Is it right to refuse? Random networks that samebits refuses, run by hls4ml's C simulation.

    python -m benchmarks.fuzz_refusals --networks 160 [--seed 0] [--only Conv2D]

For each reason: how many networks do not compile, abort, or answer differently when memory that is
never written holds something else; and how many give a steady answer, which asks for a closer look:
samebits could perhaps do it, or an index runs out of its array unnoticed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from .fuzz import parse, reason_of  # first: it takes the repository's root off the path

# ruff: isort: split
import numpy as np

from .fuzz_check import MEMORY_FLAGS, REFUSED, Prepared, prepare
from .fuzz_csim import RAN, Job, Simulation, Simulator
from .fuzz_draw import parse_format
from .fuzz_network import BATCH, Network, draw_network, to_hls4ml

_EVENTS = 40


def job_of(network: Network, name: str) -> Job:
    """The network with random inputs of its formats."""
    rng = np.random.default_rng(network.seed)
    inputs = []
    for node in network.inputs:
        signed, width, integer = parse_format(node.config["Precision"]["result"])
        span = 2.0 ** (integer - signed)
        values = rng.uniform(-span * signed, span, (_EVENTS, *node.options["shape"]))
        inputs.append(np.floor(values * 2.0 ** (width - integer)) * 2.0 ** (integer - width))
    return Job(name, to_hls4ml(network, name), inputs)


def verdict(runs: Sequence[Simulation]) -> str:
    """What runs with different contents of unwritten memory say together."""
    if any(run.status != RAN for run in runs):
        return next(run.status for run in runs if run.status != RAN)
    first, *others = ([*run.outputs, *run.layers.values()] for run in runs)
    same = all(np.array_equal(a, b) for other in others for a, b in zip(first, other, strict=True))
    if not same:
        return "depends on unwritten memory"
    return "leaves numbers in a stream" if any(run.disturbed for run in runs) else "steady"


def run(options: argparse.Namespace) -> dict[str, Counter[str]]:
    """For each reason of a refusal, what the C simulation does."""
    simulator = Simulator(options.output / "work")
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for start in range(options.seed, options.seed + (options.networks or 160), BATCH):
        jobs, reasons = [], {}
        for seed in range(start, start + BATCH):
            network = draw_network(seed, options.only, options.backend, options.io_type)
            row = prepare(network, "net")
            if not isinstance(row, Prepared) and row.status == REFUSED:
                name = f"net{seed}"
                jobs.append(job_of(network, name))
                reasons[name] = reason_of(row.detail)
        backends: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            backends[str(job.model.config.backend.name)].append(job)
        for some in backends.values():
            runs = [simulator.run(some, flags) for flags in MEMORY_FLAGS]
            for job, *simulations in zip(some, *runs, strict=True):
                what = verdict(simulations)
                found[reasons[job.name]][what] += 1
                if what == "steady":
                    sys.stderr.write(f"{job.name}: {reasons[job.name]}\n")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    Path(options.output).mkdir(parents=True, exist_ok=True)
    for reason, counts in sorted(run(options).items(), key=lambda item: -item[1]["steady"]):
        print(reason)
        print("    " + ", ".join(f"{count} {what}" for what, count in counts.most_common()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
