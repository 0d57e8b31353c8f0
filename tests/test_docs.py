"""What the pages name exists: links, files, commands with their options, Python names."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer.main

from samebits.cli import app

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("train/*/*.md")])
}
FOLDERS = ("samebits", "train", "compile", "sim", "firmware", "docs", "examples", "benchmarks")


def code_of(text: str) -> Iterator[str]:
    """Code spans, and the lines of code blocks with their continuations."""
    text = re.sub(r"\\\n\s*", " ", text)
    yield from (line.strip() for line in re.findall(r"(?m)^(?: {4,}|\t)(.+)$", text))
    fence = r"(?ms)^```\w*\n(.*?)^```"
    for block in re.findall(fence, text):
        yield from block.splitlines()
    text = re.sub(fence, "", text)
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text))


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")


@cache
def options() -> dict[str, set[str]]:
    """The options of every command of samebits."""
    command = typer.main.get_command(app)
    found = {"": {"--version", "--help"}}
    for name, one in command.commands.items():  # type: ignore[attr-defined]
        flags = {flag for p in one.params for flag in (*p.opts, *p.secondary_opts)}
        found[name] = {flag for flag in flags if flag.startswith("-")} | {"--help"}
    return found


@cache
def script_options() -> set[str]:
    """The options of the scripts and modules that are run with python, and of the plugin."""
    scripts = [*ROOT.glob("benchmarks/*.py"), *ROOT.glob("tests/*/*.py"), *ROOT.glob("train/*.py")]
    text = "".join(p.read_text() for p in [*scripts, ROOT / "samebits" / "pytest_plugin.py"])
    return set(re.findall(r'"(--[a-z][\w-]+)"', text))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        if not file.exists():
            wrong.append(target)
        elif anchor:
            headings = re.findall(r"(?m)^#+ (.+)$", file.read_text(encoding="utf-8"))
            wrong += [target] if anchor not in map(slug, headings) else []
    assert not wrong


@pytest.mark.parametrize("page", PAGES)
def test_files_exist(page: str) -> None:
    """Paths in code spans whose first part is a folder of the repository, "*" for any name."""
    wrong = []
    for code in code_of(PAGES[page]):
        for path in re.findall(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)}|tests)/[\w*./-]*", code):
            name = path.rstrip(".")
            if not any(ROOT.glob(name.rstrip("/"))):
                wrong.append(name)
    assert not wrong


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page: str) -> None:
    known = options()
    anywhere = set().union(*known.values()) | script_options()
    wrong = []
    for code in code_of(PAGES[page]):
        called = re.search(r"(?:^|/|# |: )samebits ([a-z]+)(?= |$)(.*)", code)
        called = called or re.match(rf"({'|'.join(filter(None, known))}) (.*--.*)", code)
        if called:
            name, rest = called.groups()
            given = re.findall(r"(?<=\s)--?[a-z][\w-]*", re.split(r"\s[#|&;]", rest)[0])
            if name not in known:
                wrong.append(code)
            else:
                wrong += [f"{code}: {flag}" for flag in given if flag not in known[name]]
        elif code.startswith("--"):
            flag = re.split(r"[\s=,/]", code)[0]
            wrong += [code] if flag not in anywhere else []
    assert not wrong


@pytest.mark.parametrize("page", PAGES)
def test_scripts_and_modules_exist(page: str) -> None:
    wrong = []
    for code in code_of(PAGES[page]):
        for flag, name in re.findall(r"python3? (?:-P )?(-m )?([\w./]+)", code):
            if not flag and name.endswith(".py"):
                wrong += [name] if not (ROOT / name).is_file() else []
            elif flag and name.startswith(("samebits", "benchmarks")):
                path = name.replace("samebits.", "", 1) if name.startswith("samebits.") else name
                wrong += [name] if not any(ROOT.glob(path.replace(".", "/") + "*")) else []
    assert not wrong


@pytest.mark.parametrize("page", PAGES)
def test_python_names_exist(page: str) -> None:
    wrong = []
    for code in code_of(PAGES[page]):
        names = re.findall(r"(?<![\w./-])samebits(?:\.[A-Za-z_]\w*)+", code)
        for module, imported in re.findall(r"from (samebits[\w.]*) import \(?([\w, ]+)", code):
            names += [f"{module}.{name.split()[0]}" for name in imported.split(",") if name.strip()]
        wrong += [name for name in names if not (resolves(name) or is_key(name))]
    assert not wrong


def is_key(name: str) -> bool:
    """Whether it is a key of an ONNX file's metadata, or a file."""
    top = ".".join(name.split(".")[:2])
    return name == "samebits.json" or (not resolves(top) and f'"{top}' in sources())


@cache
def sources() -> str:
    files = (path for folder in FOLDERS[:5] for path in ROOT.glob(f"{folder}/**/*.py"))
    return "".join(path.read_text(encoding="utf-8") for path in files)


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES)
def test_blocks_of_code_can_be_read(page: str) -> None:
    for language, block in re.findall(r"(?ms)^```(python|toml)\n(.*?)^```", PAGES[page]):
        if language == "python":
            ast.parse(block, page)
        else:
            tomllib.loads(block)


def test_every_page_is_linked() -> None:
    linked = {
        ((ROOT / page).parent / target.partition("#")[0]).resolve()
        for page, text in PAGES.items()
        for target in re.findall(r"\]\(([^)\s]+\.md[^)]*)\)", text)
    }
    pages = {path for path in ROOT.glob("docs/*.md") if path.resolve() not in linked}
    assert {path.name for path in pages} == set()
