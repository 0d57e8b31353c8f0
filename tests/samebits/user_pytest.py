"""pytest as a user runs it, in a folder and process of its own.

Not pytest's `pytester`: after each test it unloads the modules that were imported meanwhile, and
compiled packages crash when they are loaded a second time.
"""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

__all__ = ["PLUGIN", "outcomes", "run_pytest"]

PLUGIN = "samebits.pytest_plugin"


def run_pytest(folder: Path, *arguments: object) -> list[str]:
    """The lines that it prints; the plugin is there even if its entry point is not installed."""
    installed = any(e.value == PLUGIN for e in metadata.entry_points(group="pytest11"))
    plugin = () if installed else ("-p", PLUGIN)
    command = [sys.executable, "-P", "-m", "pytest", "--strict-markers", *plugin]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    return [*done.stdout.splitlines(), *done.stderr.splitlines()]


def outcomes(lines: list[str]) -> dict[str, int]:
    """Counts such as {"passed": 2}."""
    return pytest.RunResult.parse_summary_nouns(lines)
