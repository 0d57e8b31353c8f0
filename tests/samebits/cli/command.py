"""The command line in this process: what it prints and how it ends."""

import sys
from dataclasses import dataclass
from typing import Any

import pytest

from samebits.cli import main


@dataclass(frozen=True)
class Result:
    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The message after "error: " that a command ends with; stdout must be empty then."""
        assert self.stdout == ""
        assert "Traceback" not in self.stderr
        _, found, text = self.stderr.rpartition("error: ")
        assert found, self.stderr
        return text.removesuffix("\n")


class Command:
    """Runs `samebits` with arguments, through the entry point."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: Any) -> Result:
        self._monkeypatch.setattr(sys, "argv", ["samebits", *map(str, arguments)])
        self._capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        captured = self._capsys.readouterr()
        return Result(code or 0, captured.out, captured.err)
