"""`python -m benchmarks.fuzz`: networks compiled and compared, a wrong bit found and shrunk."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits.firmware.toolchain import probe

from ..corpus.runner import MISMATCH, run_case
from .fuzzer import ROOT, fuzzer

check: Any = fuzzer("fuzz_check")
csim: Any = fuzzer("fuzz_csim")
networks: Any = fuzzer("fuzz_network")
shrinking: Any = fuzzer("fuzz_shrink")

needs_compiler = pytest.mark.skipif(probe().compiler is None, reason=probe().reason)
SEED = 0  # of the first network; the others follow


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return csim.Simulator(tmp_path_factory.mktemp("fuzz"))


@needs_compiler
def test_the_command_compares_and_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.fuzz", "--networks", "6", "--output", tmp_path]
    command += ["--seed", str(SEED), "--onnxruntime"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    for _ in range(2):  # the second finds everything done
        done = subprocess.run(
            [str(part) for part in command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith("6 networks, ")
        lines = (tmp_path / "results.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        assert [row["seed"] for row in rows] == list(range(SEED, SEED + 6))
        assert sum(row["status"] == "exact" for row in rows) >= 5


@needs_compiler
def test_a_wrong_bit_is_found_shrunk_and_written(
    simulator: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An engine that adds one bit to every Dense layer's first number above zero."""
    network = next(
        network
        for seed in range(1000)
        for network in [networks.draw_network(seed, "Dense", "Vitis", "io_parallel")]
        if "Dense" in network.kinds and len(network.kinds) >= 5
    )
    right = check.NumpyEngine

    class Wrong(right):  # type: ignore[misc,valid-type]
        def run(self, inputs: Any, names: Any, progress: Any = None) -> Any:
            values = super().run(inputs, names, progress)
            layers = {t: n for n, t in self.graph.layer_tensors.items() if n.startswith("dense")}
            for name, array in zip(names, values, strict=True):
                if name in layers:
                    array.flat[0] += 1.0
            return values

    monkeypatch.setattr(check, "NumpyEngine", Wrong)
    monkeypatch.setattr(shrinking, "_SECONDS", 6.0)
    ((row, prepared, simulation),) = check.check([network], simulator)
    assert row.status == check.DIFFERENT
    assert "dense" in row.detail
    found = shrinking.Found(network, row, prepared, simulation)
    smallest = shrinking.shrink(found, simulator)
    assert len(smallest.network.nodes) < len(network.nodes)
    assert smallest.row.status == check.DIFFERENT
    case = shrinking.write_case(smallest, tmp_path)
    result = run_case(case)  # by the right engine
    assert result.status == "exact"
    whole = dict(np.load(case / "outputs.npz"))
    whole["y0"].flat[0] += 1.0
    np.savez(case / "outputs.npz", **whole)
    assert run_case(case).status == MISMATCH


@needs_compiler
def test_networks_that_do_not_compile_or_abort_are_named(simulator: Any) -> None:
    """They stand in one compiler call with one that is good."""
    inputs = [np.array([[0.5], [1.5]])]
    precision = {"Precision": {"result": "fixed<16,6>"}}

    def job(name: str, activation: str) -> Any:
        nodes = (
            networks.Node("x0", "Input", (), {"shape": [1]}, precision),
            networks.Node("act", "Activation", ("x0",), {"activation": activation}, precision),
        )
        network = networks.Network(0, "Vitis", "io_parallel", nodes, ("act",))
        return csim.Job(name, networks.to_hls4ml(network, name), inputs)

    good, other = job("good", "relu"), job("other", "relu")
    broken = job("broken", "nonsense")
    ran, failed, also = simulator.run([good, broken, other])
    assert (ran.status, failed.status, also.status) == (csim.RAN, csim.BROKEN, csim.RAN)
    assert "nonsense" in failed.message
    assert np.array_equal(ran.outputs[0], inputs[0])
    assert np.array_equal(ran.layers["act"], inputs[0])
    missing = csim.Job("good", good.model, [np.zeros((2, 1))] * 2)  # called with one more pointer
    assert simulator.run([missing])[0].status in (csim.ABORTED, csim.RAN)
