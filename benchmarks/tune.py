"""Half the bit operations of the 6-bit jet network at the same accuracy: `samebits tune`.

    python benchmarks/tune.py [--seeds 0,1,2] [--max-auc-drop 0.005] [--folder FOLDER]

For every seed (of the split and of the training): `samebits train` on the shipped jets, export,
compile, `samebits tune --train --max-ebops-share 0.5`, and with the budget of AUC with training and
without, each in a process of its own. Prints the share of the
bit operations, the accuracy on the test part before and after with the paired 95 % interval of the
difference, and the configurations evaluated per minute. The test part is used for nothing but these
numbers. Exit code 1: more than half of the bit operations (EBOPs) left with --train, or more than
0.5 percentage points lost, on average over the seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SECONDS = 1800
LIMIT_POINTS, LIMIT_SHARE = 0.5, 0.5


def samebits(*arguments: object, codes: tuple[int, ...] = (0,)) -> None:
    """Runs a command; its table goes nowhere."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "samebits", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode not in codes:
        sys.exit(f"samebits {' '.join(map(str, arguments))}: {done.stderr}")


def measured(folder: Path, seed: int, drop: float) -> dict[str, Any]:
    """The tunings of one network, by name; what is there already is taken over."""
    build = folder / f"seed{seed}"
    if not (build / "design.json").exists():
        samebits("train", "-o", build, "--seed", seed)
        samebits("export", build / "model.keras", "-o", build / "model.onnx")
        samebits("compile", build / "model.onnx", "-o", build)
    found = {}
    budget = ("--max-auc-drop", drop)
    for name, options in (
        ("without training", budget),
        ("--train", (*budget, "--train")),
        ("--max-ebops-share 0.5 --train", ("--max-ebops-share", LIMIT_SHARE, "--train")),
    ):
        output = folder / f"seed{seed}-{name.strip('-').split()[0]}"
        if not (output / "tune" / "tune.json").exists():
            # 1: the budget is exceeded on the test part, which is a result as well
            against = ("--against", "onnxruntime")
            samebits("tune", build, "-o", output, *options, *against, codes=(0, 1))
        found[name] = json.loads((output / "tune" / "tune.json").read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--max-auc-drop", type=float, default=0.005)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        trained: dict[str, list[tuple[float, float]]] = {}
        for seed in map(int, options.seeds.split(",")):
            for name, found in measured(folder, seed, options.max_auc_drop).items():
                before, after, told = found["before"], found["after"], found["confirmation"]
                loss = told["losses"][0]
                speed = found["per_minute"].get("value")
                print(
                    f"seed {seed}, {name}: EBOPs {before['ebops']:,} -> {after['ebops']:,} "
                    f"({100 * after['ebops'] / before['ebops']:.1f} %), BOPs "
                    f"{before['bops']:,.0f} -> {after['bops']:,.0f}, LUT "
                    f"{before['lut'].get('value', '-')} -> {after['lut'].get('value', '-')}; test "
                    f"part ({told['events']} events): {told['accuracy_before']:.2f} -> "
                    f"{told['accuracy_after']:.2f} %, lost {loss['value']:.2f} points "
                    f"({loss['low_95']:.2f} to {loss['high_95']:.2f}); "
                    + (f"{speed:,.0f} configurations/min" if speed else "all known")
                    + f" of {found['events']} events",
                    flush=True,
                )
                if found["trained"]:
                    share = after["ebops"] / before["ebops"]
                    trained.setdefault(name, []).append((share, loss["value"]))
    print(f"load of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    failed = False
    for name, pairs in trained.items():
        share, lost = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
        print(f"{name}, mean: {100 * share:.1f} % of the EBOPs, {lost:.2f} points lost")
        failed |= share > LIMIT_SHARE or lost > LIMIT_POINTS
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
