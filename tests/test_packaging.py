"""The package as users get it: package list, wheel in a fresh environment, lock file, make, CI."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import samebits

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS: dict[str, str] = PROJECT["tool"]["setuptools"]["package-dir"]
# Whatever may stand in a clone and is not part of it.
NOT_OURS = {"build", "dist", "node_modules", "__pycache__"}
# Tracked, or new and not ignored.
GIT_LIST = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
LOCKED_EXTRAS = ("train", "rtl", "synth", "hep", "cxx", "dev")


def run(
    *command: str | Path,
    cwd: Path,
    timeout_s: float = 240,
    check: bool = True,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """The finished command; its output is in the failure message."""
    clean = {name: v for name, v in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**clean, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def sources() -> dict[str, Path]:
    """Every file of the packages, by its path inside the wheel."""
    inside: dict[str, Path] = {}
    for package, folder in FOLDERS.items():
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                place = Path(*package.split("."), file.relative_to(ROOT / folder))
                inside[place.as_posix()] = file
    return inside


def project_files() -> list[Path]:
    """The files that belong to the project: git's list, or all in a copy without git."""
    git = shutil.which("git")
    if git is not None:
        listed = run(git, *GIT_LIST, cwd=ROOT, check=False)
        if listed.returncode == 0 and listed.stdout:
            files = [ROOT / name for name in listed.stdout.split("\0") if name]
            return [file for file in files if file.is_file()]
    found = []
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [
            name
            for name in subfolders
            if name not in NOT_OURS
            and (name == ".ci" or not name.startswith("."))
            and not name.endswith(".egg-info")
            and not (Path(folder) / name / "pyvenv.cfg").exists()
        ]
        found += [Path(folder) / name for name in names]
    return found


# --- the package list ---------------------------------------------------------------------------


def test_package_list_is_the_folders() -> None:
    """A package missing from the list would be missing from the wheel, and only there."""
    found = {
        place.removesuffix("/__init__.py").replace("/", ".")
        for place in sources()
        if place.endswith("/__init__.py")
    }
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert len(listed) == len(set(listed))
    assert set(listed) == found


def test_every_folder_with_modules_is_a_package() -> None:
    places = {Path(place) for place in sources()}
    bare = {p.parent for p in places if p.suffix == ".py"} - {
        p.parent for p in places if p.name == "__init__.py"
    }
    assert bare == set()


def test_the_folders_are_mapped() -> None:
    top = ("train", "compile", "sim", "firmware")
    mapped = {"samebits": "samebits"} | {f"samebits.{name}": name for name in top}
    assert mapped == FOLDERS


@pytest.mark.parametrize("package", [name for name in FOLDERS if name != "samebits"])
def test_mapped_folders_refuse_their_bare_name(package: str) -> None:
    """In the root, `import compile` would find our folder instead of failing."""
    folder = FOLDERS[package]
    done = run(sys.executable, "-c", f"import {folder}", cwd=ROOT, check=False)
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1] == (
        f"ImportError: import {package}, not {folder}: the repository root must not be on sys.path"
    )


def test_versions_agree() -> None:
    version = PROJECT["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(
        r"^## \[?(\d[^\s\]]*)\]? - (\d{4}-\d\d-\d\d|Unreleased)$", changelog, re.M
    )
    assert samebits.__version__ == version
    assert metadata.version("samebits") == version
    assert releases, "CHANGELOG.md has no heading such as '## [0.1.0] - 2026-11-20'"
    assert releases[0][0] == version


# --- the wheel ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built offline from the source distribution of a copy of the project."""
    copy = tmp_path_factory.mktemp("source") / "samebits"
    copy.mkdir()
    for file in project_files():
        if file.parts[len(ROOT.parts)] not in ("tests", "docs", "examples"):
            (copy / file.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, copy / file.relative_to(ROOT))
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-P", "-m", "build", "--no-isolation", "--outdir", out, copy, cwd=out)
    (built,) = out.glob("*.whl")
    return built


def test_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    """Modules, py.typed, report templates, the shipped jets: a new file of any kind counts."""
    tracked = set(project_files())
    expected = {place for place, file in sources().items() if file in tracked}
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    packaged = {name for name in inside if not name.split("/")[0].endswith(".dist-info")}
    assert packaged == expected
    for name in ("py.typed", "report/report.html.j2", "report/report.css", "train/jets/jets.npz"):
        assert f"samebits/{name}" in packaged
    info = f"samebits-{PROJECT['project']['version']}.dist-info"
    assert {f"{info}/licenses/LICENSE", f"{info}/entry_points.txt"} <= inside


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel, that borrows all other packages from this one.

    They come through a .pth file; the .pth files in the borrowed folder are not read, so the
    editable installation that the tests run on stays outside. It is written after pip has run, or
    pip would see that installation and want to replace it.
    """
    folder = tmp_path_factory.mktemp("fresh") / "env"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-P", "-m", "pip", "--python", python)
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=folder.parent)
    site_packages = Path(
        run(
            *(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"),
            cwd=folder.parent,
        ).stdout.strip()
    )
    assert site_packages.is_relative_to(folder)
    borrowed = Path(pytest.__file__).parents[1]
    (site_packages / "borrowed.pth").write_text(f"{borrowed}\n", encoding="utf-8")
    return folder


def test_every_module_of_the_wheel_imports(environment: Path, wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        modules = sorted(
            name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            for name in archive.namelist()
            if name.endswith(".py")
        )
    code = (
        "import importlib, pathlib, sys\n"
        f"for name in {modules!r}:\n"
        "    module = importlib.import_module(name)\n"
        "    assert pathlib.Path(module.__file__).is_relative_to(sys.prefix), module.__file__\n"
        "print(sorted({'tensorflow', 'hls4ml', 'onnxruntime', 'alkaid'} & set(sys.modules)))\n"
    )
    done = run(environment / "bin" / "python", "-W", "error", "-c", code, cwd=tmp_path)
    assert done.stdout == "[]\n", "importing the modules must import nothing heavy"


def test_wheel_computes(environment: Path, tmp_path: Path) -> None:
    """A cast rounds up at half a step and saturates; the shipped jets can be opened."""
    code = (
        "import numpy as np\n"
        "from importlib import resources\n"
        "from samebits.compile.builder import GraphBuilder\n"
        "from samebits.compile.ir import Format, Overflow, Rounding\n"
        "from samebits.sim.numpy_engine import NumpyEngine\n"
        "build = GraphBuilder()\n"
        "x = build.input('x', (3,), Format(True, 8, 4))\n"
        "y = build.cast(x, Format(True, 4, 2, Rounding.RND, Overflow.SAT))\n"
        "engine = NumpyEngine(build.graph((y.name,)))\n"
        "print(engine.run([np.array([[0.375, 3.0, -0.125]])], [y.name])[0].tolist())\n"
        "with (resources.files('samebits.train') / 'jets' / 'jets.npz').open('rb') as file:\n"
        "    print(len(np.load(file, allow_pickle=False).files) > 0)\n"
    )
    done = run(environment / "bin" / "python", "-c", code, cwd=tmp_path)
    assert done.stdout.splitlines() == ["[[0.5, 1.75, 0.0]]", "True"]


def test_command_line_of_the_wheel(environment: Path, tmp_path: Path) -> None:
    command = environment / "bin" / "samebits"
    assert "doctor" in run(command, "--help", cwd=tmp_path).stdout
    version = run(command, "--version", cwd=tmp_path).stdout
    assert version == f"samebits {PROJECT['project']['version']}\n"


# --- the lock file ------------------------------------------------------------------------------


def locked(name: str = "requirements.lock") -> dict[str, Requirement]:
    """Requirements of the lock file by normalised name."""
    text = (ROOT / name).read_text(encoding="utf-8")
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    requirements = [Requirement(line) for line in lines if line]
    by_name: dict[str, Requirement] = {canonicalize_name(r.name): r for r in requirements}
    assert len(by_name) == len(requirements), "a package stands twice: versions must not fork"
    return by_name


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-hgq.lock"])
def test_lock_pins_exact_versions_without_addresses(lock: str) -> None:
    for requirement in locked(lock).values():
        assert requirement.url is None, requirement
        (pin,) = requirement.specifier
        assert pin.operator == "==", requirement
        assert not pin.version.endswith("*"), requirement


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize(
    ("lock", "extras", "group"),
    [
        ("requirements.lock", LOCKED_EXTRAS, "lock"),
        ("requirements-hgq.lock", ("hgq", "da", "dev"), "lock-hgq"),
    ],
    ids=["main", "hgq"],
)
def test_lock_satisfies_pyproject(
    python: str, lock: str, extras: tuple[str, ...], group: str
) -> None:
    """Every dependency of the core and of the locked extras is there, inside its bounds."""
    project = PROJECT["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    wanted += PROJECT["dependency-groups"][group]
    pins = locked(lock)
    machine = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }
    for requirement in map(Requirement, wanted):
        if requirement.marker is not None and not requirement.marker.evaluate(machine):
            continue
        # tensorflow-cpu stands in for tensorflow here: see override-dependencies.
        name = "tensorflow-cpu" if requirement.name == "tensorflow" else requirement.name
        pin = pins[canonicalize_name(name)]
        (version,) = (specifier.version for specifier in pin.specifier)
        assert requirement.specifier.contains(version), f"{pin} is outside {requirement}"
        assert pin.marker is None or pin.marker.evaluate(machine), pin


def test_lock_has_one_tensorflow_of_the_minor_version_of_tf_keras() -> None:
    pins = locked()
    release = {
        name: Version(next(iter(pins[name].specifier)).version).release[:2]
        for name in ("tensorflow", "tensorflow-cpu", "tf-keras")
    }
    assert len(set(release.values())) == 1, release
    machine = {"sys_platform": "linux", "platform_machine": "x86_64"}
    chosen = [
        name
        for name in ("tensorflow", "tensorflow-cpu")
        if (marker := pins[name].marker) is None or marker.evaluate(machine)
    ]
    assert chosen == ["tensorflow-cpu"]


def test_hgq2_and_qkeras_are_never_locked_together() -> None:
    assert "hgq2" not in locked()
    assert not {"qkeras", "tf-keras", "tensorflow", "tensorflow-cpu"} & set(
        locked("requirements-hgq.lock")
    )


def test_tests_run_on_the_locked_core() -> None:
    """A failure means an environment that `make` did not make, with other versions."""
    pins = locked()
    for name in ("numpy", "onnx", "onnxruntime", "qonnx", "hls4ml"):
        assert pins[name].specifier.contains(metadata.version(name)), name


# --- make and CI --------------------------------------------------------------------------------


def test_typecheck_links_every_mapped_folder() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (mapped,) = re.findall(r"^MAPPED := (.*)$", text, re.M)
    assert set(mapped.split()) == {FOLDERS[name] for name in FOLDERS if name != "samebits"}


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("", "samebits needs Python 3.11, 3.12 or 3.13, and none was found on PATH;"),
        (
            "case $1 in --version) echo Python 3.9.2;; *) exit 1;; esac",
            "samebits needs Python 3.11, 3.12 or 3.13; {python} is Python 3.9.2",
        ),
        (
            'case "$*" in *venv*) exit 1;; esac',
            "no environment could be made in {venv}; Debian and Ubuntu keep the module venv in a",
        ),
    ],
    ids=["none", "too old", "without venv"],
)
def test_make_says_what_is_wrong_with_python(tmp_path: Path, python: str, message: str) -> None:
    chosen = str(script(tmp_path / "python", python)) if python else ""
    venv = tmp_path / "env"
    done = run(
        *("make", "--no-print-directory", "env", f"PYTHON={chosen}", f"VENV={venv}"),
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout.splitlines()[0] == message.format(python=chosen, venv=venv)


def make_env(folder: Path, pip: str, compilers: tuple[str, ...]) -> tuple[int, list[str]]:
    """Exit code and lines of `make env` with a pretended pip and only these compilers on PATH."""
    tools = folder / "tools"
    (folder / "env" / "bin").mkdir(parents=True, exist_ok=True)
    tools.mkdir(exist_ok=True)
    for name in ("cp", "grep", "rm", "tail", "touch"):
        found = shutil.which(name)
        assert found is not None, name
        if not (tools / name).exists():
            (tools / name).symlink_to(found)
    for name in compilers:
        script(tools / name, "exit 0")
    script(folder / "env" / "bin" / "pip", pip)
    make = shutil.which("make")
    assert make is not None
    arguments = (f"PYTHON={sys.executable}", f"VENV={folder / 'env'}")
    done = run(
        *(make, "--no-print-directory", "env", *arguments),
        cwd=ROOT,
        check=False,
        env={"PATH": str(tools), "CXX": "", "MAKELEVEL": "0", "MAKEFLAGS": ""},
    )
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize(("compilers", "n_zig"), [((), 1), (("g++",), 0), (("clang++",), 0)])
def test_make_installs_a_compiler_only_where_there_is_none(
    tmp_path: Path, compilers: tuple[str, ...], n_zig: int
) -> None:
    code, lines = make_env(tmp_path, 'echo "$@"', compilers)
    assert code == 0
    assert len(lines) == 1
    text = (tmp_path / "env" / "requirements.txt").read_text(encoding="utf-8")
    assert len(re.findall("^ziglang==", text, re.M)) == n_zig
    assert len(re.findall("^numpy==", text, re.M)) == 1
    code, lines = make_env(tmp_path, "exit 1", compilers)
    assert (code, lines) == (0, ["make: Nothing to be done for 'env'."])


def test_make_shows_why_an_installation_failed_and_tries_again(tmp_path: Path) -> None:
    code, lines = make_env(tmp_path, "echo 'ERROR: no network'; exit 1", ("g++",))
    assert code == 2
    assert lines[1:] == [
        "ERROR: no network",
        f"the installation failed; the whole log: {tmp_path / 'env' / 'install.log'}",
    ]
    assert make_env(tmp_path, "exit 0", ())[0] == 0


@pytest.mark.parametrize(
    ("make", "code", "ending"),
    [
        ("echo '=== 7 passed, 1 skipped in 3.10s (0:00:03) ==='", 0, "=== 7 passed"),
        ("echo '=== 1 failed, 7 passed in 3.10s ==='; exit 2", 2, "=== 1 failed"),
        ("echo '=== no tests ran in 0.01s ==='", 1, "no test passed: this is not a success"),
        ("echo nothing", 1, "no test passed: this is not a success"),
        ("echo 'mypy: error'; exit 2", 2, "pytest did not finish: see the lines above"),
    ],
    ids=["passed", "failed", "no tests", "silent", "stopped before pytest"],
)
def test_ci_ends_with_pytests_closing_line(
    tmp_path: Path, make: str, code: int, ending: str
) -> None:
    script(tmp_path / "make", f'case "$*" in test|test-hgq) ;; *) exit 9 ;; esac\n{make}')
    done = run(
        ROOT / ".ci" / "run",
        cwd=tmp_path,
        check=False,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith(ending)


def test_ci_is_executable() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & stat.S_IXUSR


FOREIGN = ROOT / "tests/firmware/vendor_reports/real"  # files as their tools wrote them


def test_files_name_no_registry_and_no_folder_of_one_machine() -> None:
    """Paths under a home folder, hosts of package registries, options that name one, passwords.

    Reports that others distribute stand in `real` unchanged, with the folders of their makers.
    """
    private = re.compile(
        rb"(?<![\w.}])/(?:root|home|work|workspace|Users)/[\w.]"
        rb"|[\w-]*(?:pypi|pythonhosted)[\w-]*\.(?:org|com|net|io)\b"
        rb"|--(?:extra-index|index|trusted)-(?:url|host)\b|--find-(?:links)\b"
        rb"|https?://[^\s/@:]+:[^\s/@]+@"
    )
    hits = [
        f"{file.relative_to(ROOT)}: {match.group().decode(errors='replace')}"
        for file in project_files()
        if FOREIGN not in file.parents
        for match in private.finditer(file.read_bytes())
    ]
    assert hits == []
