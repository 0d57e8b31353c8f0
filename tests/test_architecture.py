"""The shape of the code: who imports whom, what stays light, what every target must have."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import pytest

from samebits.compile.ops import OPERATIONS

ROOT = Path(__file__).parents[1]
FOLDERS = {"samebits": "samebits"} | {
    name: f"samebits.{name}" for name in ("train", "compile", "sim", "firmware")
}

# Who may import whom inside the project; everyone may import samebits.errors. The longest prefix
# counts, and a package may always import itself.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "samebits": ("samebits",),
    "samebits.errors": (),
    "samebits.train": (),
    "samebits.compile": (),
    "samebits.compile.ir": (),
    "samebits.compile.ops": ("samebits.compile.ir",),
    "samebits.compile.builder": ("samebits.compile.ir", "samebits.compile.ops"),
    "samebits.compile.target": ("samebits.compile.ir",),
    "samebits.compile.passes": ("samebits.compile.ir", "samebits.compile.ops"),
    "samebits.compile.lowering": (
        "samebits.compile.ir",
        "samebits.compile.ops",
        "samebits.compile.builder",
    ),
    "samebits.compile.frontends": ("samebits.compile.target",),
    "samebits.compile.emitters": (
        "samebits.compile.ir",
        "samebits.compile.ops",
        "samebits.compile.passes",
    ),
    "samebits.sim": ("samebits.compile.ir", "samebits.compile.ops", "samebits.compile.passes"),
    "samebits.firmware": ("samebits.compile",),
}

# Imported inside the functions that need them, never with a module.
HEAVY = {
    *("tensorflow", "tf_keras", "keras", "qkeras", "hls4ml", "qonnx", "onnxruntime", "alkaid"),
    *("sklearn", "scipy", "matplotlib", "mplhep", "uproot", "awkward", "h5py", "pyarrow"),
    *("pythia8mc", "fastjet", "ziglang", "jinja2", "yaml", "onnx", "optuna"),
}
ONNX_AT_THE_TOP = ("samebits.compile.frontends", "samebits.compile.emitters")
MAY_PRINT = ("samebits.cli",)
MAX_LINES = 500

# Operations that a target cannot express yet: (target, operation) -> (since when, why).
GAPS: dict[tuple[str, str], tuple[date, str]] = {}
EMITTERS = ("onnx", "alkaid", "cpp")


@dataclass(frozen=True)
class Module:
    name: str
    path: Path

    @property
    def package(self) -> str:
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    def within(self, *packages: str) -> bool:
        return any(self.name == name or self.name.startswith(f"{name}.") for name in packages)


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found.append(Module(".".join((package, *parts)), path))
    return tuple(found)


@cache
def tree(module: Module) -> ast.Module:
    return ast.parse(module.path.read_text(encoding="utf-8"))


def imports(module: Module, when_loaded: bool = False) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of imports; `when_loaded`: only those that run with the module."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
            if when_loaded and (function or typing):
                continue
            yield child
            yield from walk(child)

    for node in walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.package.split(".")
                kept = parents[: len(parents) - node.level + 1]
                base = ".".join([*kept, base] if base else kept)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def rule_for(module: Module) -> str:
    return max((name for name in MAY_IMPORT if module.within(name)), key=len)


def test_who_imports_whom() -> None:
    wrong = []
    for module in modules():
        rule = rule_for(module)
        allowed = ("samebits.errors", rule, *MAY_IMPORT[rule])
        for line, name in imports(module):
            if name.split(".")[0] != "samebits":
                continue
            if not any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed):
                wrong.append(f"{module.path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong


def test_the_graph_needs_only_numpy_and_the_standard_library() -> None:
    outside = {
        name.split(".")[0]
        for module in modules()
        if module.within("samebits.compile.ir", "samebits.compile.ops", "samebits.compile.passes")
        for _, name in imports(module)
    }
    assert outside - set(sys.stdlib_module_names) == {"numpy", "samebits"}


def test_heavy_packages_are_imported_where_they_are_used() -> None:
    wrong = []
    for module in modules():
        heavy = HEAVY - {"onnx"} if module.within(*ONNX_AT_THE_TOP) else HEAVY
        for line, name in imports(module, when_loaded=True):
            if name.split(".")[0] in heavy:
                wrong.append(f"{module.path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong


def loaded_by(statement: str) -> set[str]:
    """The heavy packages that are loaded in a new process after a statement."""
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return HEAVY & set(ran.stdout.split())


def test_import_samebits_is_light() -> None:
    assert loaded_by("import samebits") == set()


def test_importing_every_module_loads_nothing_heavy_but_onnx() -> None:
    names = ", ".join(module.name for module in modules() if module.name != "samebits.cli.__main__")
    assert loaded_by(f"import {names}") <= {"onnx"}


def test_nothing_prints_but_the_command_line() -> None:
    wrong = [
        f"{module.path.relative_to(ROOT)}:{node.lineno}"
        for module in modules()
        if not module.within(*MAY_PRINT)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id == "print"
    ]
    assert not wrong


def test_modules_stay_short() -> None:
    folders = (*FOLDERS, "tests", "examples", "benchmarks")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


def test_no_bare_exception_is_raised() -> None:
    wrong = [
        f"{module.path.relative_to(ROOT)}:{node.lineno}"
        for module in modules()
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Raise) and node.exc is not None
        for name in ast.walk(node.exc)
        if isinstance(name, ast.Name) and name.id in ("Exception", "BaseException")
    ]
    assert not wrong


def test_every_operation_is_registered_under_its_file() -> None:
    helpers = {"__init__", "arith", "base", "boundary"}
    files = {path.stem for path in (ROOT / "compile" / "ops").glob("*.py")} - helpers
    assert set(OPERATIONS) == files
    for name in files:
        module = importlib.import_module(f"samebits.compile.ops.{name}")
        assert module.OPERATION is OPERATIONS[name]
        assert module.OPERATION.name == name
        assert module.OPERATION.family in ("movement", "arithmetic", "table", "cast")
        assert (module.__doc__ or "").startswith(f"{name}: ")


@pytest.mark.parametrize("target", EMITTERS)
def test_every_target_knows_every_operation(target: str) -> None:
    known = set(importlib.import_module(f"samebits.compile.emitters.{target}").EMITTERS)
    gaps = {operation for (where, operation) in GAPS if where == target}
    assert known <= set(OPERATIONS), "emitters of operations that do not exist"
    assert set(OPERATIONS) - known == gaps


def test_gaps_are_dated_and_explained() -> None:
    for (target, operation), (since, reason) in GAPS.items():
        assert target in EMITTERS
        assert operation in OPERATIONS
        assert since <= date.today()
        assert len(reason) > 20
