"""`samebits --help` has a heading for every command, and every example is a command that parses."""

import shlex

import pytest
import typer

from samebits.cli import app
from samebits.cli.examples import EXAMPLES, GROUPS

from .command import Command

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_every_command_has_a_heading_and_examples() -> None:
    listed = [name for names in GROUPS.values() for name in names]
    assert sorted(listed) == sorted(COMMANDS) == sorted(EXAMPLES)


@pytest.mark.parametrize(
    "text", [text for texts in EXAMPLES.values() for text in texts], ids=lambda text: text[:60]
)
def test_examples_parse(text: str) -> None:
    name, *arguments = shlex.split(text)
    context = COMMANDS[name].make_context(name, arguments)
    assert context.params


def test_help_shows_headings_and_examples(samebits: Command) -> None:
    result = samebits("--help")
    assert result.code == 0
    assert [title for title in GROUPS if title in result.stdout] == list(GROUPS)
    words = samebits("compile", "--help").stdout.split()
    for text in EXAMPLES["compile"]:
        assert f"samebits {text}" in " ".join(words)
