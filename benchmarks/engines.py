"""NumPy engine against hls4ml's C simulation (`predict`) on six networks, in one run.

    python benchmarks/engines.py [NAME ...] [--json]
    python benchmarks/engines.py --alkaid
    python benchmarks/engines.py --stream 10000000 [--workers 2]

One thread, medians, events per second at a batch that suits each engine; the answers of both to
the same events are compared bit by bit. `--alkaid`: the jet tagger against alkaid's interpreter
instead. `--stream`: so many events through `simulate`, a million at a time, with the largest memory
of the process. Needs a C++ compiler but for the last two. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from networks import NETWORKS, Network
from timing import chosen_names, median_s, one_thread, random_events

_STREAM_CHUNK = 1_000_000
_COMPARED = 200  # events of which every bit is compared


def measure(network: Network) -> dict[str, float]:
    """Events per second of both engines, their ratio, and the bits that differ."""
    import samebits

    model = network.make()
    start = time.perf_counter()
    design = samebits.Design.from_hls4ml(model)
    lower_s = time.perf_counter() - start
    x = random_events(design, network.events)
    numpy_s = median_s(lambda: design.simulate(x), 7)
    with contextlib.redirect_stdout(io.StringIO()):
        start = time.perf_counter()
        model.compile()
        compile_s = time.perf_counter() - start
        few = x[: network.csim_events]
        csim_s = median_s(lambda: model.predict(few), 3)
        expected = np.asarray(model.predict(x[:_COMPARED].astype(np.float64)))
    got = np.asarray(design.simulate(x[:_COMPARED]))
    ours, theirs = network.events / numpy_s, len(few) / csim_s
    return {
        "NumPy engine, events/s": ours,
        "csim predict, events/s": theirs,
        "ratio": ours / theirs,
        "wanted": network.wanted,
        "lowering, s": lower_s,
        "csim compile, s": compile_s,
        "differing values": int(np.count_nonzero(got.reshape(expected.shape) != expected)),
    }


def measure_alkaid(name: str = "jet tagger, 6 bits", events: int = 100_000) -> dict[str, float]:
    """The NumPy engine against the interpreter of alkaid's trace, events per second."""
    import samebits
    from samebits.compile.emitters.alkaid import to_alkaid

    design = samebits.Design.from_hls4ml(NETWORKS[name].make())
    logic = to_alkaid(design.graph)
    x = random_events(design, events)
    grid = np.asarray(design.engine.run([x], design.graph.inputs)[0])  # as the ports carry it
    answers = logic.predict(grid, n_threads=1)
    numpy_s = median_s(lambda: design.simulate(x), 7)
    alkaid_s = median_s(lambda: logic.predict(grid, n_threads=1), 3)
    return {
        "NumPy engine, events/s": events / numpy_s,
        "alkaid interpreter, events/s": events / alkaid_s,
        "ratio": alkaid_s / numpy_s,
        "wanted": 10,
        "differing values": int(np.count_nonzero(answers != design.simulate(x))),
    }


def measure_stream(events: int, workers: int, name: str = "jet tagger, 6 bits") -> dict[str, float]:
    """Events per second and the largest memory of the process, the network's answers not kept."""
    import resource

    import samebits

    design = samebits.Design.from_hls4ml(NETWORKS[name].make())
    x = random_events(design, _STREAM_CHUNK)
    seconds = []
    for _ in range(0, events, _STREAM_CHUNK):
        start = time.perf_counter()
        design.simulate(x, workers=workers)
        seconds.append(time.perf_counter() - start)
    largest_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "events": events,
        "workers": workers,
        "events/s, median": _STREAM_CHUNK / statistics.median(seconds),
        "events/s, all": _STREAM_CHUNK * len(seconds) / sum(seconds),
        "largest memory, MB": largest_kb / 1024,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; 1 if a bit differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names; all networks without")
    parser.add_argument("--alkaid", action="store_true")
    parser.add_argument("--stream", type=int, metavar="EVENTS")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.alkaid or options.stream:
        row = (
            measure_alkaid() if options.alkaid else measure_stream(options.stream, options.workers)
        )
        print(
            json.dumps(row)
            if options.json
            else "\n".join(f"{k:<30}{v:>14,.1f}" for k, v in row.items())
        )
        return int(row.get("differing values", 0) > 0)
    results: dict[str, Any] = {}
    if not options.json:
        print(
            f"{'network':<28}{'NumPy ev/s':>13}{'csim ev/s':>12}{'ratio':>8}{'wanted':>8}", end=""
        )
        print(f"{'lowering':>10}{'compile':>9}{'differing':>11}")
    for name in chosen_names(NETWORKS, options.names):
        results[name] = row = measure(NETWORKS[name])
        if not options.json:
            numpy_rate, csim_rate, ratio, wanted, lower_s, compile_s, differing = row.values()
            print(
                f"{name:<28}{numpy_rate:>13.0f}{csim_rate:>12.0f}{ratio:>7.0f}x{wanted:>7.0f}x",
                end="",
            )
            print(f"{lower_s:>8.2f} s{compile_s:>7.1f} s{differing:>11.0f}", flush=True)
    if options.json:
        print(json.dumps(results))
    return int(any(row["differing values"] for row in results.values()))


if __name__ == "__main__":
    one_thread()
    sys.exit(main())
