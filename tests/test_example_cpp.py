"""The C++ example: compiled against ONNX Runtime's own library, its answers are the firmware's.

Not run where the headers are missing: the wheel of onnxruntime holds the shared library, but no
registry of Python packages holds `onnxruntime_cxx_api.h`. Name its folder in
$ONNXRUNTIME_INCLUDE, or install a package such as Debian's libonnxruntime-dev.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest

from samebits.compile.builder import GraphBuilder
from samebits.compile.emitters.onnx import to_onnx
from samebits.compile.ir import Format, Overflow, Rounding
from samebits.sim.numpy_engine import NumpyEngine

SOURCE = Path(__file__).parents[1] / "examples" / "firmware_onnx.cpp"
HEADER = "onnxruntime_cxx_api.h"


def include_folder() -> Path | None:
    """Where ONNX Runtime's C++ headers are."""
    named = os.environ.get("ONNXRUNTIME_INCLUDE")
    roots = [named] if named else ["/usr/include", "/usr/local/include"]
    folders = [
        Path(root, *parts)
        for root in roots
        for parts in ((), ("onnxruntime",), ("onnxruntime", "core", "session"))
    ]
    return next((folder for folder in folders if (folder / HEADER).is_file()), None)


def library() -> Path | None:
    """The shared library of the installed onnxruntime; releases before 1.24 may have none."""
    spec = importlib.util.find_spec("onnxruntime")
    folder = Path(str(spec.origin)).parent / "capi" if spec else Path()
    return next(iter(sorted(folder.glob("libonnxruntime.so.*"))), None)


def test_the_cpp_example_gives_the_same_bits(tmp_path: Path, rng: np.random.Generator) -> None:
    include, shared, compiler = include_folder(), library(), shutil.which("g++")
    if include is None:
        pytest.skip(f"not run: no {HEADER}; name its folder in $ONNXRUNTIME_INCLUDE")
    if shared is None:
        pytest.skip("not run: this wheel of onnxruntime holds no libonnxruntime.so")
    if compiler is None:
        pytest.skip("not run: no g++")
    (tmp_path / "libonnxruntime.so.1").symlink_to(shared)
    program = tmp_path / "firmware_onnx"
    built = subprocess.run(
        [
            *(compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", str(SOURCE), f"-I{include}"),
            *(str(tmp_path / "libonnxruntime.so.1"), f"-Wl,-rpath,{tmp_path}", "-o", str(program)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    build = GraphBuilder()
    x = build.reshape(build.input("x", (4,), Format(True, 8, 3)), (4, 1))
    weights = build.integers(rng.integers(-8, 8, (4, 3)), Format(True, 4, 1))
    fmt = Format(True, 7, 3, Rounding.RND_CONV, Overflow.SAT)
    graph = build.graph((build.cast(build.apply("dot", x, weights), fmt).name,))
    onnx.save(to_onnx(graph), tmp_path / "firmware.onnx")
    events = rng.normal(0, 3, (50, 4)).astype(np.float32)
    ran = subprocess.run(
        [program, tmp_path / "firmware.onnx"],
        input="\n".join(f"{number:.9g}" for number in events.ravel()),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (wanted,) = NumpyEngine(graph).run([events], graph.outputs)
    assert np.array_equal(np.array(ran.stdout.split(), dtype=float).reshape(50, 3), wanted)


def test_the_page_shows_the_file() -> None:
    code = SOURCE.read_text().split("// begin\n")[1].split("// end\n")[0]
    page = (SOURCE.parents[1] / "docs" / "emulate.md").read_text()
    assert f"```cpp\n{code}```" in page
