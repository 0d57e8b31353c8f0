"""Whether programs that a test let start are over."""

import time
from pathlib import Path

_WAIT_S = 5


def alive(number: int) -> bool:
    """Whether a process runs; one that is over and not yet reaped does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_over(pids: Path, count: int) -> None:
    """The processes whose numbers a file holds end within seconds."""
    numbers = [int(number) for number in pids.read_text().split()]
    assert len(numbers) == count
    until = time.monotonic() + _WAIT_S
    while any(map(alive, numbers)) and time.monotonic() < until:
        time.sleep(0.02)
    assert [number for number in numbers if alive(number)] == []
