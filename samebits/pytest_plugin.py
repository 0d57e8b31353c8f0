"""A pytest plugin: compiled designs in a user's own tests.

    def test_same_bits(same_bits):
        same_bits()

    $ pytest --samebits-build build/ --samebits-golden golden/

Fixtures `design` and `same_bits`, the marker `samebits`, and the functions `assert_same_bits` and
`assert_golden` for tests that load their designs themselves. pytest loads this module wherever
samebits is installed: it imports nothing but pytest and the standard library until it is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from samebits.design import Design
    from samebits.sim.verification import EngineReport, Verification

__all__ = ["assert_golden", "assert_same_bits"]

SameBits = Callable[..., None]
_AGAINST = ("onnxruntime",)
_KEYS = ("build", "against", "golden")
_PROPERTY = "samebits_build"
_designs = pytest.StashKey[dict[Path, "Design"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """--samebits-build, --samebits-against, --samebits-golden, and the same as ini options."""
    group = parser.getgroup("samebits", "designs compiled by samebits")
    for name, metavar, words in (
        ("build", "DIR", "build directory behind the fixture `design`"),
        ("against", "ENGINES", "engines, separated by commas: csim, onnxruntime, native, rtl"),
        ("golden", "DIR", "golden vectors that `samebits freeze` wrote"),
    ):
        group.addoption(f"--samebits-{name}", metavar=metavar, help=words)
        parser.addini(f"samebits_{name}", words, default="")


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker."""
    config.addinivalue_line(
        "markers",
        "samebits(build=..., against=[...], golden=...): the design of this test, the engines it "
        "is compared with, its golden vectors; goes before the command line",
    )


@dataclass(frozen=True)
class _Settings:
    """What the marker, the command line and the ini file say, in this order."""

    build: Path | None
    against: tuple[str, ...]
    golden: Path | None


def _settings(request: pytest.FixtureRequest) -> _Settings:
    config = request.config
    marks = [mark for mark in request.node.iter_markers("samebits")]
    for mark in marks:
        unknown = [key for key in mark.kwargs if key not in _KEYS]
        if unknown or mark.args:
            found = ", ".join([*map(repr, mark.args), *unknown])
            _refuse(f"marker samebits: knows {', '.join(_KEYS)} as keywords, got {found}")

    def text(name: str) -> tuple[Any, Path]:
        """The value, and the folder to which a relative path refers."""
        for mark in marks:
            if name in mark.kwargs:
                return mark.kwargs[name], config.rootpath
        given = config.getoption(f"samebits_{name}")
        if given is not None:
            return given, config.invocation_params.dir
        return config.getini(f"samebits_{name}"), config.rootpath

    def path(name: str) -> Path | None:
        value, base = text(name)
        return base / value if value else None

    against = text("against")[0] or _AGAINST
    if isinstance(against, str):
        against = [name.strip() for name in against.split(",")]
    return _Settings(path("build"), tuple(against), path("golden"))


@pytest.fixture
def design(request: pytest.FixtureRequest) -> Design:
    """The design of the build directory that the marker, --samebits-build or the ini file names.

    Loaded once per run.
    """
    folder = _settings(request).build
    if folder is None:
        _refuse(
            "fixture `design`: no build directory: give --samebits-build DIR, the ini option "
            "samebits_build, or @pytest.mark.samebits(build=...)"
        )
    from samebits import errors
    from samebits.design import Design

    request.node.user_properties.append((_PROPERTY, str(folder)))
    loaded = request.config.stash.setdefault(_designs, {})
    if folder not in loaded:
        try:
            loaded[folder] = Design.load(folder)
        except errors.SamebitsError as error:
            why = str(error)
        else:
            return loaded[folder]
        _refuse(why)
    return loaded[folder]


@pytest.fixture
def same_bits(request: pytest.FixtureRequest, design: Design) -> SameBits:
    """Fails unless the design gives the same bits everywhere: call it with events, or without.

    Compares with the golden vectors if there are any, and the engines with each other on the
    events (if given) and on adversarial inputs; arguments as for `assert_same_bits`.
    """
    settings = _settings(request)

    def check(x: Any = None, **options: Any) -> None:
        __tracebackhide__ = True
        from samebits import errors

        try:
            if settings.golden is not None:
                assert_golden(design, settings.golden)
            assert_same_bits(design, x, **{"against": settings.against, **options})
        except errors.SamebitsError as error:  # no golden vectors there, or a damaged build
            why = str(error)
        else:
            return
        _refuse(why)

    return check


def assert_same_bits(
    design: Design,
    x: Any = None,
    *,
    against: Sequence[str] = _AGAINST,
    adversarial: bool = True,
    seed: int = 0,
) -> None:
    """Fails unless every engine gives the NumPy engine's bits, at the outputs and every layer.

    An engine that cannot run here fails too: it was asked for. Arguments as for `Design.verify`.

    Raises:
        AssertionError: names the layer, event, element, format and both mantissas.
    """
    __tracebackhide__ = True
    result = design.verify(x, against, adversarial=adversarial, seed=seed)
    _judge(f"{design.folder or 'the design'}: not the same bits in every engine", result)


def assert_golden(design: Design, golden: str | Path, *, against: Sequence[str] = ()) -> None:
    """Fails unless the design gives the golden vectors' bits.

    Raises:
        AssertionError: names the layer, event, element, format and both mantissas.
    """
    __tracebackhide__ = True
    from samebits.check import check_design, what_changed
    from samebits.golden import read_golden

    vectors = read_golden(Path(golden))
    result = check_design(vectors, design, against)
    _judge(
        f"{design.folder or 'the design'} has other bits than {golden}",
        result,
        what_changed(vectors, design),
    )


def _judge(head: str, result: Verification, tail: str = "") -> None:
    __tracebackhide__ = True
    failed = [engine for engine in result.engines if engine.status != "equal"]
    if failed:
        lines = [f"{head}: {sum(result.events.values())} events", *map(_words, failed), tail]
        raise AssertionError("\n".join(filter(None, lines)))


def _words(engine: EngineReport) -> str:
    if engine.status == "not run":
        return f"{engine.engine}: not run: {engine.detail}"
    differing = [row for row in engine.rows if row.mismatching_elements]
    counts = ", ".join(
        f"{row.name.removeprefix('layer:')} {row.mismatching_elements:,} of {row.elements:,}"
        for row in differing
    )
    return f"{engine.engine}: {engine.detail}" + (
        f"\n  elements that differ: {counts}" * bool(counts)
    )


def _refuse(text: str) -> NoReturn:
    pytest.fail(text, pytrace=False)


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """GitHub annotations of failed tests that used `design`, at the line that failed."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    from samebits.ci import Case, github_lines

    workspace = os.environ.get("GITHUB_WORKSPACE") or config.invocation_params.dir
    for report in terminalreporter.getreports("failed") + terminalreporter.getreports("error"):
        if _PROPERTY not in dict(report.user_properties):
            continue
        file, line, name = report.location
        place, text = (str(config.rootpath / file), (line or 0) + 1), report.longreprtext
        crash = getattr(report.longrepr, "reprcrash", None)
        if crash is not None:
            place, text = (crash.path, crash.lineno), crash.message
        shown = github_lines(
            "samebits", [Case("pytest", name, text)], os.path.relpath(place[0], workspace), place[1]
        )
        for one in shown:
            terminalreporter.write_line(one)
