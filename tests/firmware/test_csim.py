"""The C simulation against hls4ml's own answers, and what happens when it goes wrong."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import errors
from samebits.firmware import csim, toolchain
from samebits.firmware.csim import CSimulation
from samebits.firmware.hls_project import write_project

from ..corpus.runner import load_graph
from .networks import classifier, hand_written, packets_left_over, sum_and_difference

CASES = Path(__file__).parents[1] / "corpus" / "cases"
GOLDEN = Path(__file__).parent / "data" / "classifier.npz"  # see record_golden.py


@pytest.fixture(scope="module")
def compiler() -> toolchain.Compiler:
    return toolchain.find_cxx()


@pytest.fixture
def nothing_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Temporary files go to a folder that must be empty at the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("backend", "io_type"), [("Vitis", "io_parallel"), ("Vivado", "io_stream")]
)
@pytest.mark.usefixtures("nothing_left_behind")
def test_outputs_and_layers_equal_hls4mls(
    backend: str, io_type: str, tmp_path: Path, compiler: toolchain.Compiler
) -> None:
    golden = np.load(GOLDEN, allow_pickle=False)
    write_project(classifier(backend, io_type), tmp_path / "hls")
    CSimulation(tmp_path / "hls", compiler).build()
    # The weights are read at run time: they must be found after a move, without compiling again.
    (tmp_path / "hls").rename(tmp_path / "moved")
    simulation = CSimulation(tmp_path / "moved", compiler)
    began = time.perf_counter()
    result = simulation.run(golden["x"], trace=True)
    assert time.perf_counter() - began < 5
    assert [y.dtype for y in result.outputs] == [np.float64]
    np.testing.assert_array_equal(result.outputs[0], golden[f"{backend}/{io_type}"])
    names = ["fc1", "relu1", "fc2", "softmax"]
    assert list(result.layers) == names
    for name in names:
        np.testing.assert_array_equal(result.layers[name], golden[f"{backend}/{io_type}/{name}"])
    untraced = simulation.run(golden["x"])
    assert untraced.layers == {}
    np.testing.assert_array_equal(untraced.outputs[0], result.outputs[0])


def test_the_trace_leaves_packets_in_their_order(
    tmp_path: Path, compiler: toolchain.Compiler, rng: np.random.Generator
) -> None:
    write_project(packets_left_over(), tmp_path / "hls")
    simulation = CSimulation(tmp_path / "hls", compiler)
    x = rng.uniform(-4, 4, (50, 3, 3, 2))
    traced, plain = (simulation.run(x, trace=trace) for trace in (True, False))
    np.testing.assert_array_equal(traced.outputs[0], plain.outputs[0])
    np.testing.assert_array_equal(traced.layers["relu"], plain.outputs[0])
    np.testing.assert_array_equal(np.maximum(traced.layers["conv"], 0), plain.outputs[0])


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_several_inputs_and_outputs_keep_their_order(
    io_type: str, tmp_path: Path, compiler: toolchain.Compiler
) -> None:
    write_project(sum_and_difference(io_type), tmp_path / "hls")
    simulation = CSimulation(tmp_path / "hls", compiler)
    a, b = np.array([[1.5, -2.0, 31.5]]), np.array([[0.25, 4.0, 1.0]])
    result = simulation.run([a, b], trace=True)
    np.testing.assert_array_equal(result.outputs[0], [[1.25, -6.0, 30.5]])
    np.testing.assert_array_equal(result.outputs[1], [[1.75, 2.0, -31.5]])  # 32.5 - 64: wraps
    np.testing.assert_array_equal(result.layers["plus"], result.outputs[1])
    with pytest.raises(errors.DataError) as caught:
        simulation.run(a)
    assert str(caught.value) == "the model has 2 inputs (a, b), got 1"
    with pytest.raises(errors.DataError) as caught:
        simulation.run([a, np.zeros((2, 3))])
    assert str(caught.value) == "the inputs have different numbers of events: a: 1, b: 2"


def test_doubles_pass_with_53_bits(tmp_path: Path, compiler: toolchain.Compiler) -> None:
    simulation = CSimulation(hand_written(tmp_path / "hls"), compiler)
    x = np.array([[1.0, 2.0**-52], [2.0**52, 1.0], [-(2.0**60), 0.0]])
    np.testing.assert_array_equal(simulation.run(x).outputs[0], x.sum(axis=1, keepdims=True))


@pytest.mark.usefixtures("nothing_left_behind")
def test_many_events_come_in_chunks(tmp_path: Path, compiler: toolchain.Compiler) -> None:
    simulation = CSimulation(hand_written(tmp_path / "hls"), compiler)
    x = np.random.default_rng(3).integers(-100, 100, (20_000, 2))
    seen: list[tuple[int, int]] = []
    result = simulation.run(x, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal(result.outputs[0], x.sum(axis=1, keepdims=True))
    assert result.n_events == 20_000
    assert seen[0] == (64, 20_000)
    assert seen[-1] == (20_000, 20_000)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    parts = [part.outputs[0] for part in simulation.iterate(x)]
    np.testing.assert_array_equal(np.concatenate(parts), result.outputs[0])
    assert len(seen) >= 4
    assert simulation.run(np.zeros((0, 2))).outputs[0].shape == (0, 1)


def test_it_compiles_again_only_when_something_changed(
    tmp_path: Path, compiler: toolchain.Compiler
) -> None:
    folder = hand_written(tmp_path / "hls")
    simulation = CSimulation(folder, compiler, build_folder=tmp_path / "csim")
    library = simulation.build()
    stamp = library.stat().st_mtime_ns
    assert simulation.build() == library
    assert library.stat().st_mtime_ns == stamp
    assert simulation.build(force=True) == library
    assert library.stat().st_mtime_ns > stamp
    source = folder / "firmware" / "net.cpp"
    source.write_text(source.read_text().replace("x[0] + x[1]", "x[0] - x[1]"))
    assert simulation.build() != library
    np.testing.assert_array_equal(simulation.run([[5.0, 3.0]]).outputs[0], [[2.0]])
    assert not (folder / "csim").exists()
    assert sorted(p.name for p in (tmp_path / "csim").iterdir()) == sorted(
        p.parent.name for p in (library, simulation.build())
    )


def test_a_compiler_error_is_shown(tmp_path: Path, compiler: toolchain.Compiler) -> None:
    folder = hand_written(tmp_path / "hls", "y[0] = nonsense;")
    with pytest.raises(errors.ToolError) as caught:
        CSimulation(folder, compiler).build()
    lines = str(caught.value).splitlines()
    assert lines[0] == f"compiling the C simulation of {folder} failed with exit code 1:"
    assert "net.cpp:3" in lines[1]
    assert "nonsense" in lines[1]
    assert list((folder / "csim").rglob("*.so")) == []
    (log,) = (folder / "csim").rglob("*.log")
    assert f"whole log: {log}" in lines
    assert "nonsense" in log.read_text()


def test_two_builds_at_once(tmp_path: Path, compiler: toolchain.Compiler) -> None:
    folder = hand_written(tmp_path / "hls")
    with ThreadPoolExecutor(2) as pool:
        simulations = [CSimulation(folder, compiler) for _ in range(2)]
        one, two = pool.map(CSimulation.build, simulations)
    assert one == two
    assert sorted(path.name for path in one.parent.iterdir()) == ["compile.log", one.name]
    assert [path.name for path in (folder / "csim").iterdir()] == [one.parent.name]
    np.testing.assert_array_equal(simulations[1].run([[5.0, 3.0]]).outputs[0], [[8.0]])


@pytest.mark.parametrize(
    ("body", "end", "said"),
    [
        ("std::abort();", "was ended by SIGABRT", ""),
        ("*(volatile int *)8 = 1;", "was ended by SIGSEGV", ""),
        ('std::cerr << "file w2.txt does not exist\\n"; exit(1);', "ended with code 1", "\n  file"),
        ('if (x[0] > 99) { std::cout << "high\\n"; exit(0); }', "ended with code 0", "\n  high"),
    ],
)
@pytest.mark.usefixtures("nothing_left_behind")
def test_the_end_of_the_simulated_program_is_an_error(
    body: str, end: str, said: str, tmp_path: Path, compiler: toolchain.Compiler
) -> None:
    simulation = CSimulation(hand_written(tmp_path / "hls", body), compiler)
    x = np.zeros((100, 2))
    x[70] = 100
    with pytest.raises(errors.ToolError) as caught:
        simulation.run(x)
    events = "events 64 to 99" if "99" in body else "events 0 to 63"
    message = str(caught.value)
    assert message.startswith(f"the C simulation of net {end} in {events}{said}")
    assert "(hls4ml 1.3.0, Vitis, io_parallel; command: -P -m samebits.firmware." in message


@pytest.mark.usefixtures("nothing_left_behind")
def test_a_simulation_that_hangs_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: toolchain.Compiler
) -> None:
    monkeypatch.setattr(csim, "_START_TIMEOUT_S", 0.5)
    monkeypatch.setattr(csim, "_EVENT_TIMEOUT_S", 0.25)
    body = "for (volatile int i = 0;; i = 0) {}"
    simulation = CSimulation(hand_written(tmp_path / "hls", body), compiler)
    with pytest.raises(errors.ToolError) as caught:
        simulation.run([[1.0, 2.0]])
    assert str(caught.value) == (
        "the C simulation of net took more than 0.75 s for events 0 to 0 and was stopped"
    )


@pytest.mark.usefixtures("nothing_left_behind")
def test_ctrl_c_ends_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: toolchain.Compiler
) -> None:
    simulation = CSimulation(hand_written(tmp_path / "hls"), compiler)
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def remember(*args: Any, **kwargs: Any) -> Any:
        started.append(popen(*args, **kwargs))
        return started[-1]

    def interrupt(done: int, total: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    simulation.build()
    monkeypatch.setattr(subprocess, "Popen", remember)
    with pytest.raises(KeyboardInterrupt):
        simulation.run(np.zeros((10_000, 2)), progress=interrupt)
    monkeypatch.undo()
    watcher, worker = (p.poll() for p in started)
    assert (watcher, worker) == (0, -signal.SIGKILL)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((5, 3)), r"input x: shape (N, 2) wanted, got (5, 3)"),
        (np.zeros(2), r"input x: shape (N, 2) wanted, got (2,)"),
        (np.array([["a", "b"]]), "input x: numbers wanted, got an array of type <U1"),
    ],
)
def test_wrong_inputs(x: Any, message: str, tmp_path: Path, compiler: toolchain.Compiler) -> None:
    with pytest.raises(errors.DataError) as caught:
        CSimulation(hand_written(tmp_path / "hls"), compiler).run(x)
    assert str(caught.value) == message


def test_a_trace_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: toolchain.Compiler
) -> None:
    monkeypatch.setattr(csim, "_TRACE_LIMIT_BYTES", 1 << 30)
    write_project(classifier(), tmp_path / "hls")
    x = np.broadcast_to(np.zeros(4), (10_000_000, 4))
    with pytest.raises(errors.UsageError) as caught:
        CSimulation(tmp_path / "hls", compiler).run(x, trace=True)
    assert str(caught.value) == (
        "the traces of 10000000 events are 1.3 GiB, the limit is 1 GiB: "
        "trace fewer events, or chunk by chunk (iterate)"
    )


def test_running_needs_neither_hls4ml_nor_onnx() -> None:
    code = (
        "import sys, samebits.firmware.csim, samebits.firmware.csim_worker;"
        "print([m for m in ('hls4ml', 'onnx', 'qonnx', 'tensorflow', 'keras') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


def test_power_of_two_weights_are_written_and_simulated(tmp_path: Path) -> None:
    """hls4ml writes them with a function that NumPy 2 no longer has."""
    case = next(CASES.glob("qkeras__quantised_po2_bit_width__Latency*"))
    write_project(load_graph(case), tmp_path / "hls")
    x, y = (np.load(case / name) for name in ("inputs.npz", "outputs.npz"))
    got = CSimulation(tmp_path / "hls").run(x["x0"][:20]).outputs[0]
    assert np.array_equal(got.reshape(20, -1), y["y0"][:20].reshape(20, -1))
