"""Progress on stderr, where that is a file or a pipe."""

import pytest

from samebits.cli.console import bar, engine_bars, steps


def test_bars_end_in_no_empty_line(capsys: pytest.CaptureFixture[str]) -> None:
    with steps("compiling") as step:
        step(1, 2, "first")
    assert capsys.readouterr().err == ""
    with bar("outer", 2) as outer, bar("inner", 3) as inner:
        inner(3)
        outer(2)
    with engine_bars() as show:
        show("csim", 5, 5)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["inner", "outer", "csim"]
    assert ["3/3" in lines[0], "2/2" in lines[1], "5/5" in lines[2]] == [True] * 3
