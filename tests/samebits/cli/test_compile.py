"""`samebits compile`: what it prints, and bad input ends with one message and exit code 2."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from samebits import Design

from ...models import ModelWriter, float_mlp, quantized_mlp
from .command import Command

PRECISION = "precision must be like fixed<16,6> or ufixed<8,3,RND_CONV,SAT>, got "


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return quantized_mlp().save(tmp_path / "model.onnx")


def test_a_model_becomes_a_build_directory(samebits: Command, model: Path) -> None:
    build = model.parent / "out"
    result = samebits("compile", model, "-o", build)
    assert (result.code, result.stderr.count("Traceback")) == (0, 0)
    assert sorted(path.name for path in build.iterdir()) == sorted(
        [
            "design.json",
            "design.npz",
            "emulator",
            "firmware.onnx",
            "hls",
            "model.onnx",
            "report.json",
        ]
    )
    lines = result.stdout.splitlines()
    assert "Fixed-point graph" in lines[0]
    assert "ap_ufixed<6,2,RND_CONV,SAT>" in result.stdout
    assert lines[-3:] == [
        "note: the input of softmax Softmax_0 has no quantizer: rounded to "
        "ap_fixed<10,5,RND_CONV,SAT>",
        next(line for line in lines if line.startswith("fidelity to model.onnx: largest ")),
        f"written to {build}: next, samebits verify {build}",
    ]
    assert Design.load(build).target.backend == "Vitis"
    fidelity = json.loads((build / "report.json").read_text())["fidelity"]
    assert fidelity["events"] == 2000
    assert fidelity["outputs"][0]["equal_decisions"]["unit"] == "%"
    assert fidelity["outputs"][0]["equal_decisions"]["value"] > 95


def test_json_stands_alone_on_stdout(samebits: Command, model: Path) -> None:
    build = model.parent / "out"
    result = samebits("compile", model, "-o", build, "--json", "--backend", "Vivado", "--clock-mhz",
                      "320", "--strategy", "Resource", "--reuse-factor", "2", "--precision",
                      "fixed<20,8>", "--precision", "Relu_0=ufixed<6,2,RND,SAT>")  # fmt: skip
    assert result.code == 0
    values = json.loads(result.stdout)
    assert values["target"] == {
        "backend": "Vivado",
        "io_type": "io_parallel",
        "part": "xcvu13p-flga2577-2-e",
        "clock_mhz": 320.0,
        "strategy": "Resource",
        "reuse_factor": 2,
        "precision": {"default": "fixed<20,8>", "Relu_0": "ufixed<6,2,RND,SAT>"},
    }
    assert values["fingerprint"] == Design.load(build).fingerprint
    assert [layer["kind"] for layer in values["layers"]] == [
        "Dense", "Activation", "Activation", "Dense", "Activation", "Softmax",
    ]  # fmt: skip
    assert values["fidelity"]["events"] == 2000
    assert values["fidelity"]["outputs"][0]["equal_decisions"] > 0.95


def test_a_firmware_far_from_the_model_is_warned_of(samebits: Command, tmp_path: Path) -> None:
    path = float_mlp("Tanh").save(tmp_path / "m.onnx")
    coarse = samebits("compile", path, "-o", tmp_path / "a", "--precision", "fixed<5,3>", "--json")
    assert coarse.code == 0
    assert "warning: the firmware is far from the model: gemm2_out: " in coarse.stderr
    assert json.loads(coarse.stdout)["fidelity"]["outputs"]
    fine = samebits("compile", path, "-o", tmp_path / "b")
    assert (fine.code, "warning" in fine.stderr) == (0, False)


def test_formats_that_nobody_chose_are_told(samebits: Command, tmp_path: Path) -> None:
    model, words = float_mlp().save(tmp_path / "float.onnx"), "note: the model has no quantizers"
    assert words in samebits("compile", model, "-o", tmp_path / "a").stdout
    chosen = samebits("compile", model, "-o", tmp_path / "b", "--precision", "fixed<24,12>")
    assert words not in chosen.stdout
    quantized = quantized_mlp().save(tmp_path / "quantized.onnx")
    assert words not in samebits("compile", quantized, "-o", tmp_path / "c").stdout


def test_notes_name_reuse_factors_that_hls4ml_changed(samebits: Command, model: Path) -> None:
    result = samebits("compile", model, "-o", model.parent / "out", "--strategy", "Resource",
                      "--reuse-factor", "5")  # fmt: skip
    assert "note: Dense_MatMul_0: reuse factor 4 instead of 5, as hls4ml chose" in result.stdout


def written(data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "m.onnx").write_bytes(data)
        return folder / "m.onnx"

    return write


def external(location: str, there: bool = False) -> Callable[[Path], Path]:
    """A model whose weight lies in another file."""

    def write(folder: Path) -> Path:
        proto = float_mlp().model()
        tensor = proto.graph.initializer[0]
        data = tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        place = location.replace("ABSOLUTE", str(folder.parent))
        tensor.external_data.add(key="location", value=place)
        if there:
            (folder / place).write_bytes(data)
        return written(proto.SerializeToString())(folder)

    return write


def missing_input(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.graph.node[0].input[0] = "nothing"
    return proto


def dynamic() -> ModelWriter:
    write = ModelWriter()
    write.output(write.node("Relu", write.input(size=("features",))), ("features",))
    return write


def unsupported() -> ModelWriter:
    write = ModelWriter()
    x = write.node("HardSwish", write.gemm(write.input(), 4, 4))
    write.output(write.node("Abs", x), 4)
    return write


GOOD = float_mlp().model().SerializeToString()
BAD_MODELS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda f: f / "m.onnx", "{}: no such file"),
    "folder": (lambda f: f, "{}: is a folder; give the .onnx file in it"),
    "empty": (written(b""), "{}: the file is empty"),
    "truncated": (written(GOOD[: len(GOOD) // 2]), "{}: is not an ONNX file, or is truncated"),
    "text": (written(b"this is no model, it is text\n" * 20),
             "{}: is not an ONNX file, or is truncated"),
    "zeros": (written(b"\0" * 100), "{}: is not an ONNX file, or is truncated"),
    "empty proto": (written(onnx.ModelProto(ir_version=10).SerializeToString()),
                    "{}: is not an ONNX file, or is truncated: it has no graph"),
    "invalid": (written(missing_input(float_mlp().model()).SerializeToString()),
                "{}: is not valid ONNX: Nodes in a graph must be topologically sorted, however "
                "input 'nothing' of node: "),
    "external above": (external("../weights.bin"),
                       "{}: tensor w0 keeps its data in '../weights.bin', outside the model's "
                       "folder; this is refused. Save the model with its data inside or beside "
                       "it"),
    "external absolute": (external("ABSOLUTE/weights.bin"),
                          "{0}: tensor w0 keeps its data in '{1}/weights.bin', outside the "
                          "model's folder; this is refused. Save the model with its data inside "
                          "or beside it"),
    "external nowhere": (external(""),
                         "{}: tensor w0 keeps its data in '', outside the model's folder; this "
                         "is refused. Save the model with its data inside or beside it"),
    "external missing": (external("weights.bin"),
                         "{}: the data file 'weights.bin' of tensor w0 is missing"),
    "dynamic": (lambda f: dynamic().save(f / "m.onnx"),
                "input x has dynamic shape ['N', 'features']; firmware needs fixed sizes: only "
                "the first (batch) axis may be open. Export the model with static shapes"),
    "unsupported": (lambda f: unsupported().save(f / "m.onnx"),
                    "unsupported operators: HardSwish (hardswish1), Abs (abs2); supported: Add, "),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BAD_MODELS))
def test_bad_models(samebits: Command, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    make, message = BAD_MODELS[name]
    path = make(folder)
    result = samebits("compile", path, "-o", tmp_path / "build")
    assert result.code == 2
    wanted = message.format(path, tmp_path)
    if wanted.endswith((": ", ", ")):
        assert result.error.startswith(wanted)
        assert result.error.count("\n") == 0
    else:
        assert result.error == wanted
    assert not (tmp_path / "build").exists()


def test_external_data_beside_the_model_are_read(samebits: Command, tmp_path: Path) -> None:
    path = external("weights.bin", there=True)(tmp_path)
    assert samebits("compile", path, "-o", tmp_path / "build").code == 0
    with_data = Design.load(tmp_path / "build").simulate(np.ones((1, 4)))
    assert np.array_equal(with_data, Design.from_onnx(float_mlp().model()).simulate([[1.0] * 4]))


def test_a_link_to_data_outside_is_refused(samebits: Command, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "secret").write_bytes(b"\0" * 96)
    (tmp_path / "models" / "weights.bin").symlink_to(tmp_path / "secret")
    result = samebits("compile", external("weights.bin")(tmp_path / "models"), "-o", tmp_path / "b")
    assert result.code == 2
    assert "outside the model's folder; this is refused" in result.error


BAD_OPTIONS: list[tuple[list[str], str]] = [
    (["--part", "xcvu13"], "unknown part 'xcvu13'; nearest: xcvu13p-flga2577-2-e; samebits "),
    (["--clock-mhz", "0"], "clock_mhz must be a clock between 1 and 2000 MHz, got 0.0"),
    (["--clock-mhz", "nan"], "clock_mhz must be a clock between 1 and 2000 MHz, got nan"),
    (["--backend", "vitis"], "backend must be one of Vitis, Vivado, got 'vitis'"),
    (["--io-type", "x"], "io_type must be one of io_parallel, io_stream, got 'x'"),
    (
        ["--strategy", "fast"],
        "strategy must be one of Latency, Resource, distributed_arithmetic, got 'fast'",
    ),
    (["--reuse-factor", "0"], "reuse_factor must be a whole number from 1, got 0"),
    (["--precision", "16,6"], PRECISION + "'16,6'"),
    (["--precision", "Relu_0="], PRECISION.replace("precision", "precision of Relu_0", 1) + "''"),
    (
        ["--precision", "fixed<8,3>", "--precision", "fixed<9,3>"],
        "--precision: the default is given twice",
    ),
    (
        ["--precision", "a=fixed<8,3>", "--precision", "a=fixed<9,3>"],
        "--precision: a is given twice",
    ),
    (["--precision", "relu=fixed<8,3>"], "precision: there is no layer 'relu'; layers: x, "),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_bad_options(samebits: Command, model: Path, options: list[str], message: str) -> None:
    build = model.parent / "build"
    result = samebits("compile", model, "-o", build, *options)
    assert result.code == 2
    if message.endswith(" "):
        assert result.error.startswith(message)
    else:
        assert result.error == message
    assert files(model.parent) == {"model.onnx"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compile"], "Missing argument"),
        (["compile", "m.onnx", "--outputt", "x"], "No such option: --outputt"),
        (["compile", "m.onnx", "--clock-mhz", "fast"], "Invalid value for '--clock-mhz'"),
        (["compile", "m.onnx", "--reuse-factor", "1.5"], "Invalid value for '--reuse-factor'"),
        (["compil", "m.onnx"], "No such command 'compil'"),
        (["compile", "a.onnx", "b.onnx"], "Got unexpected extra argument"),
    ],
)
def test_typos_in_the_command_line(samebits: Command, arguments: list[str], words: str) -> None:
    result = samebits(*arguments)
    assert result.code == 2
    assert result.stdout == ""
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_another_design_needs_force(samebits: Command, tmp_path: Path, build: Path) -> None:
    model = float_mlp().save(tmp_path / "f.onnx")
    before = files(build)
    result = samebits("compile", model, "-o", build)
    assert (result.code, result.error) == (
        2,
        f"{build}: already holds another design (model.onnx, firmware.onnx, design.npz, hls, "
        "emulator, design.json); choose another folder, or replace it with --force",
    )
    assert files(build) == before
    assert samebits("compile", model, "-o", build, "--force").code == 0
    assert Design.load(build).facts["source"] == "f.onnx"


def test_the_same_model_again_is_fine(samebits: Command, build: Path) -> None:
    assert samebits("compile", build / "model.onnx", "-o", build).code == 0
    assert samebits("compile", build / "model.onnx", "-o", build).code == 0


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("file", "is a file; give a folder"),
        ("file/below", "cannot be written: {file} is not a writable folder"),
        ("/proc/samebits", "cannot be written: No such file or directory"),
    ],
)
def test_output_that_cannot_be_a_folder(
    samebits: Command, model: Path, place: str, reason: str
) -> None:
    (model.parent / "file").write_text("mine")
    build = model.parent / place
    result = samebits("compile", model, "-o", build)
    assert (result.code, result.error) == (
        2,
        f"{build}: {reason.format(file=model.parent / 'file')}",
    )
    assert (model.parent / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "step",
    [
        "samebits.compile.frontends.onnx.to_hls4ml",
        "samebits.compile.lowering.lower",
        "samebits.compile.passes.simplify",
        "samebits.firmware.hls_project.write_project",
        "samebits.storage._move",
    ],
)
def test_ctrl_c_leaves_nothing_half_written(
    samebits: Command, model: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupt(*arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(step, interrupt)
    result = samebits("compile", model, "-o", model.parent / "build")
    assert (result.code, result.error) == (
        2,
        "interrupted; finished files were kept, nothing half-written is left",
    )
    assert files(model.parent) == {"model.onnx"}


def test_names_with_brackets_are_printed_as_they_are(samebits: Command, tmp_path: Path) -> None:
    folder = tmp_path / "runs[bold]"
    folder.mkdir()
    model = float_mlp().save(folder / "[red]m.onnx")
    result = samebits("compile", model, "-o", folder / "[b]")
    assert result.code == 0
    assert f"written to {folder}/[b]: next, samebits verify {folder}/[b]" in result.stdout
    assert samebits("compile", folder / "[x].onnx").error == f"{folder}/[x].onnx: no such file"


def test_an_unreadable_file(samebits: Command, tmp_path: Path) -> None:
    if os.geteuid() == 0:  # root reads everything but this
        path = Path("/proc/self/mem")
        assert samebits("compile", path).error == f"{path}: cannot be read: Input/output error"
    else:
        path = tmp_path / "m.onnx"
        path.write_bytes(GOOD)
        path.chmod(0)
        assert samebits("compile", path).error == f"{path}: cannot be read: Permission denied"


def test_models_with_weights_of_nan_are_refused(samebits: Command, tmp_path: Path) -> None:
    write = ModelWriter()
    weights = np.ones((4, 3), np.float32)
    weights[1, 1] = np.nan
    write.output(write.node("MatMul", write.input(), write.weight(weights)), 3)
    result = samebits("compile", write.save(tmp_path / "m.onnx"), "-o", tmp_path / "b")
    assert result.code == 2
    assert "NaN" in result.error
    assert "MatMul" in result.error


def test_firmware_is_not_compiled_again(samebits: Command, model: Path) -> None:
    build = model.parent / "out"
    assert samebits("compile", model, "-o", build).code == 0
    result = samebits("compile", build / "firmware.onnx", "-o", model.parent / "again")
    assert (result.code, result.stderr.splitlines()[-1]) == (
        2,
        f"error: {build}/firmware.onnx: is the firmware of a compiled design already; compile the "
        "model.onnx that it was made from. To run it: samebits emulate",
    )


def test_a_folder_of_other_files_needs_force(samebits: Command, model: Path) -> None:
    folder = model.parent / "thesis"
    folder.mkdir()
    for name in ("chapter.tex", "plots.pdf", "notes.txt", "z.md"):
        (folder / name).write_text("mine")
    result = samebits("compile", model, "-o", folder)
    assert (result.code, result.stderr) == (
        2,
        f"error: {folder}: holds other files (chapter.tex, notes.txt, plots.pdf and 1 more) and no "
        "design; choose another folder with -o, or build there with --force\n",
    )
    assert not (folder / "firmware.onnx").exists()
    assert samebits("compile", model, "-o", folder, "--force").code == 0
    assert (folder / "chapter.tex").read_text() == "mine"
    assert samebits("compile", model, "-o", model.parent).code == 0  # the model's own folder
