"""The installed command in a process of its own: exit codes, streams, Ctrl-C."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import samebits
from samebits.__main__ import main

from ...models import quantized_mlp

COMMAND = str(Path(sys.executable).with_name("samebits"))
pytestmark = pytest.mark.skipif(not Path(COMMAND).exists(), reason="samebits is not installed")


def run(*arguments: object, timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def test_version_and_help() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"samebits {samebits.__version__}\n",
        "",
    )
    done = run("--help")
    assert done.returncode == 0
    for name in ("demo", "train", "export", "compile", "simulate", "verify", "report", "doctor"):
        assert name in done.stdout


def test_bad_input_ends_with_one_message(tmp_path: Path) -> None:
    done = run("compile", tmp_path / "absent.onnx", "-o", tmp_path / "build")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"error: {tmp_path / 'absent.onnx'}: no such file\n")
    assert "Traceback" not in done.stderr
    done = run("compile", "m.onnx", "--no-such-option")
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such option" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_mismatch_is_exit_code_1(build: Path) -> None:
    weights = sorted((build / "hls" / "firmware" / "weights").glob("b*.txt"))[0]
    numbers = weights.read_text().split(",")
    numbers[0] = str(float(numbers[0]) + 0.0625)
    weights.write_text(",".join(numbers))
    done = run("verify", build, "--against", "csim", "--json", timeout_s=300)
    if json.loads(done.stdout)["engines"][0]["status"] == "not run":
        pytest.skip("no C++ compiler")
    assert done.returncode == 1
    assert json.loads(done.stdout)["mismatching_bits"] > 0
    assert "csim: first difference in layer " in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_compiling_the_simulation(build: Path, number: signal.Signals) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    before = sorted(path for path in build.rglob("*") if "csim" not in path.parts)
    with subprocess.Popen(
        [COMMAND, "verify", str(build)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 60
        while not list((build / "hls" / "csim").glob(".tmp*")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (2, "")
    assert stderr.endswith(
        "error: interrupted; finished files were kept, nothing half-written is left\n"
    )
    assert "Traceback" not in stderr
    assert sorted(path for path in build.rglob("*") if "csim" not in path.parts) == before
    left = [path.name for path in (build / "hls" / "csim").rglob("*") if path.is_file()]
    assert set(left) <= {"compile.log"}  # the compiler's words up to then


def test_from_model_to_first_event_in_a_new_process(tmp_path: Path) -> None:
    model = quantized_mlp().save(tmp_path / "m.onnx")
    script = (
        "import sys, time; start = time.perf_counter(); import samebits, numpy\n"
        "samebits.Design.from_onnx(sys.argv[1]).simulate(numpy.ones((1, 4)))\n"
        "print(time.perf_counter() - start, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, str(model)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    seconds, tensorflow = done.stdout.split()
    assert tensorflow == "False"
    assert float(seconds) < 10  # 3 s on an idle machine: see benchmarks
    assert done.stderr == ""


def test_ctrl_c_while_importing_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "samebits.cli":
                raise KeyboardInterrupt

    written: list[str] = []
    for name in [n for n in sys.modules if n.startswith("samebits.cli")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(samebits, "cli", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    monkeypatch.setattr(sys.stderr, "write", written.append)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert written == ["error: interrupted; nothing was started\n"]
