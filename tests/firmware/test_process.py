"""Outside programs: what they print, how they fail, and that nothing of them stays alive."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from samebits import errors
from samebits.firmware import process

from ..processes import assert_over

# A program with a child in its own group and one in a session of its own, as launch_runs makes.
FAMILY = """\
import subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
with open(sys.argv[1], "w") as file:
    file.write(" ".join(str(child.pid) for child in children))
print("started", flush=True)
time.sleep(60)
"""


def _family(folder: Path) -> list[str]:
    script = folder / "family.py"
    script.write_text(FAMILY)
    return [sys.executable, str(script), str(folder / "pids")]


def _sh(text: str) -> list[str]:
    return ["/bin/sh", "-c", text]


def test_no_other_module_starts_programs() -> None:
    root = Path(__file__).parents[2]
    packages = ("samebits", "compile", "sim", "train", "firmware")
    found = [
        path.relative_to(root).as_posix()
        for package in packages
        for path in (root / package).rglob("*.py")
        if re.search(
            r"^ *(import subprocess|from subprocess)|os\.(system|popen)", path.read_text(), re.M
        )
    ]
    # csim.py talks with its worker, which it starts in a session of its own
    assert sorted(found) == ["firmware/csim.py", "firmware/process.py"]


def test_all_that_a_program_prints_is_given_and_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    printed = process.run(_sh("echo a; echo b >&2"), what="a test", timeout_s=10, log=log)
    assert printed == "a\nb\n" == log.read_text()


def test_a_program_runs_where_it_is_told_or_in_a_folder_of_its_own(tmp_path: Path) -> None:
    there = process.run(["pwd", "-P"], what="a test", timeout_s=10, folder=tmp_path)
    assert there.strip() == str(tmp_path.resolve())
    own = process.run(_sh("pwd -P; echo $TMPDIR"), what="a test", timeout_s=10).splitlines()
    assert own[0] == os.path.realpath(own[1])
    assert not Path(own[0]).exists()


def test_arguments_are_not_read_by_a_shell(tmp_path: Path) -> None:
    name = "a; rm -rf $(HOME) `x` 'Ü\n"
    assert process.run(["printf", "%s", name], what="a test", timeout_s=10) == name


def test_a_failure_quotes_the_telling_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    noise = "for i in 1 2 3; do echo INFO $i; done; echo 'ERROR: [HLS 1] no'; echo more; exit 3"
    with pytest.raises(errors.ToolError) as caught:
        process.run(_sh(noise), what="a test", timeout_s=10, log=log)
    command = shlex.join(_sh(noise))
    assert str(caught.value) == (
        "a test failed with exit code 3:\nERROR: [HLS 1] no\nmore\n"
        f"whole log: {log}\ncommand: {command}"
    )
    assert log.read_text().startswith("INFO 1\nINFO 2\n")
    with pytest.raises(errors.ToolError, match=r"was ended by SIGKILL \(out of memory, perhaps\):"):
        process.run(_sh("kill -9 $$"), what="a test", timeout_s=10)
    with pytest.raises(errors.ToolError, match=r"\(it printed nothing\)"):
        process.run(["false"], what="a test", timeout_s=10)


def test_long_logs_are_quoted_in_part() -> None:
    log = "\n".join([*(f"line {i}" for i in range(100)), "x" * 1000])
    assert process.telling_lines(log)[0] == "line 89"
    assert process.telling_lines(log)[-1] == "x" * 400 + " ..."
    assert process.telling_lines("0 Errors encountered\nno errors\nERROR: yes\n" + log)[:2] == [
        "ERROR: yes",
        "line 0",
    ]


def test_an_error_that_hls4mls_script_expects_tells_nothing() -> None:
    log = (
        "ERROR: [HLS 200-642] The 'config_array_partition -maximum_size' command is not "
        "supported.\nINFO: [HLS 200-1510] Running: csynth_design\n"
    )
    assert process.telling_lines(log) == log.splitlines()
    log += "ERROR: [HLS 207-3776] one\n    at line 3\nERROR: [HLS 200-1715] two\nINFO: [HLS 1] x\n"
    assert process.telling_lines(log) == [
        "ERROR: [HLS 207-3776] one",
        "    at line 3",
        "ERROR: [HLS 200-1715] two",
    ]


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(errors.ToolError) as caught:
        process.run([str(tmp_path / "none")], what="a test", timeout_s=10)
    assert str(caught.value) == (
        f"a test: {tmp_path / 'none'} does not start: No such file or directory"
    )
    assert process.answer([str(tmp_path / "none")], 1) is None


def test_lines_are_handed_on_while_it_runs(tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []
    began = time.monotonic()
    process.run(
        _sh("echo one; sleep 0.5; printf 'two\\r\\n'; printf cut"),
        what="a test",
        timeout_s=10,
        on_line=lambda line: seen.append((line, time.monotonic() - began)),
    )
    assert [line for line, _ in seen] == ["one", "two"]
    assert seen[0][1] < 0.45 < seen[1][1]


def test_a_program_that_takes_too_long_ends_with_its_family(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = _family(tmp_path)
    with pytest.raises(errors.ToolError) as caught:
        process.run(command, what="a test", timeout_s=1.0, log=log)
    assert str(caught.value) == (
        "a test took more than 1 s and was stopped; it last printed:\nstarted\n"
        f"whole log: {log}\ncommand: {shlex.join(command)}"
    )
    assert_over(tmp_path / "pids", 2)


def test_an_answer_that_does_not_come(tmp_path: Path) -> None:
    assert process.answer(_sh("echo 5.48"), 10) == "5.48\n"
    assert process.answer(_sh("echo 5.48; exit 1"), 10) is None
    began = time.monotonic()
    assert process.answer(_family(tmp_path), 0.7) is None
    assert time.monotonic() - began < 5
    assert_over(tmp_path / "pids", 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupt_ends_the_family(number: signal.Signals, tmp_path: Path) -> None:
    code = (
        "import signal, sys\n"
        "from samebits.firmware import process\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"process.run({_family(tmp_path)!r}, what='a test', timeout_s=50)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as caller:
        until = time.monotonic() + 20
        while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text():
            assert time.monotonic() < until
            time.sleep(0.02)
        caller.send_signal(number)
        caller.wait(10)
    assert_over(tmp_path / "pids", 2)
