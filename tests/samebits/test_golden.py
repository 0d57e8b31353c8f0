"""Golden vectors: what is written, read back, found equal, and found different at the right bit."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from samebits import Design, Target, errors
from samebits.check import (
    check_answers,
    check_design,
    check_firmware,
    compare_answers,
    compile_again,
    what_changed,
)
from samebits.compile.ir import Format
from samebits.golden import Golden, freeze, read_golden
from samebits.sim.numpy_engine import NumpyEngine
from samebits.sim.verification import Verification

from ..firmware.networks import sum_and_difference
from ..models import ModelWriter, quantized_mlp


@pytest.fixture(scope="module")
def design(tmp_path_factory: pytest.TempPathFactory) -> Design:
    design = Design.from_onnx(quantized_mlp().model())
    design.save(tmp_path_factory.mktemp("golden") / "build")
    return design


@pytest.fixture(scope="module")
def golden(design: Design, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    x = np.random.default_rng(3).normal(0, 2, (50, 4))
    return freeze(design, tmp_path_factory.mktemp("golden") / "golden", x, data="toy", events=30)


def only(result: Verification) -> tuple[str, str]:
    (engine,) = result.engines
    return engine.status, engine.detail


def changed_weight(bits: float = 0.0625) -> onnx.ModelProto:
    """The same network with one weight of the first layer changed."""
    model = quantized_mlp().model()
    weights = next(i for i in model.graph.initializer if tuple(i.dims) == (4, 6))
    values = numpy_helper.to_array(weights).copy()
    values[2, 3] += bits
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    return model


def test_what_stands_in_the_files(design: Design, golden: Golden) -> None:
    facts = json.loads((golden.folder / "golden.json").read_text())
    assert facts["fingerprint"] == design.fingerprint
    assert facts["events"]["data"] == 30
    assert facts["data"] == "toy"
    assert [tensor["name"] for tensor in facts["outputs"]] == ["Softmax_0"]
    assert [layer["name"] for layer in facts["layers"]] == [
        layer.name for layer in design.graph.layers if layer.tensor not in design.graph.outputs
    ]
    assert len(facts["agreed"]) == 3
    assert all("onnxruntime" in engine for engine in facts["agreed"])
    # one line per tensor, so that a diff in git names the layer
    lines = (golden.folder / "golden.json").read_text().splitlines()
    assert sum('"sha256"' in line for line in lines) == 2 + len(facts["layers"])
    with np.load(golden.folder / "expected.npz", allow_pickle=False) as arrays:
        assert arrays["layer:Relu_0"].dtype == np.int8  # mantissas of 6 bits
    for name, tensor in golden.tensors().items():
        layer = design.graph.layer_tensors[name.removeprefix("layer:")]
        (values,) = design.engine.run(golden.inputs, [layer])
        assert np.array_equal(golden.expected[name], values)
        assert str(design.graph.tensors[layer].format) == tensor.format


def test_the_same_bytes_every_time(design: Design, golden: Golden, tmp_path: Path) -> None:
    x = np.random.default_rng(3).normal(0, 2, (50, 4))
    again = freeze(design, tmp_path / "golden", x, data="toy", events=30)
    for name in ("golden.json", "inputs.npz", "expected.npz"):
        assert (again.folder / name).read_bytes() == (golden.folder / name).read_bytes()
    freeze(design, tmp_path / "golden", x, data="toy", events=30)
    with pytest.raises(errors.BuildError) as caught:
        freeze(design, tmp_path / "golden", x, data="toy", events=29)
    assert str(caught.value) == (
        f"{tmp_path / 'golden'}: holds other golden vectors; `samebits check` says what differs, "
        "--force replaces them"
    )
    freeze(design, tmp_path / "golden", x, data="toy", events=29, force=True)


def test_the_inputs_are_an_events_file(design: Design, golden: Golden) -> None:
    from samebits.train.data import load_features

    events = load_features(golden.folder / "inputs.npz")
    assert np.array_equal(events.features, golden.inputs[0])
    # float32, in which every input of 8 bits is exact
    assert events.features.dtype == golden.inputs[0].dtype == np.float32


def test_the_frozen_design_has_the_same_bits(design: Design, golden: Golden) -> None:
    result = check_design(golden, design, ["onnxruntime"])
    assert result.passed
    assert result.engines[0].engine == "numpy"
    assert len(result.engines) == 4
    assert what_changed(golden, design) == (
        "the design is the one that was frozen: what runs it changed; versions: the same"
    )
    assert design.folder is not None
    assert only(check_firmware(golden, design.folder / "firmware.onnx"))[0] == "equal"


def test_a_changed_weight_is_found_in_its_layer(golden: Golden, tmp_path: Path) -> None:
    path = tmp_path / "changed.onnx"
    onnx.save(changed_weight(), path)
    design = compile_again(golden, path)
    result = check_design(golden, design)
    status, detail = only(result)
    assert status == "MISMATCH"
    assert not result.passed
    first, wanted, found, kind = detail.splitlines()
    layer = golden.facts.layers[0]
    assert first.startswith(f"first difference in layer {layer.name}, event ")
    assert first.endswith(layer.format)
    event = int(first.split("event ")[1].split(",")[0])
    element = int(first.split("element [")[1].split("]")[0])
    assert element == 3
    fmt = Format.parse(layer.format)
    expected = golden.expected[f"layer:{layer.name}"][event, 3]
    (values,) = design.engine.run(golden.inputs, [design.graph.layer_tensors[layer.name]])
    for line, name, value in ((wanted, "golden", expected), (found, "numpy", values[event, 3])):
        mantissa = int(np.ldexp(value, fmt.fraction))
        bits = format(mantissa & ((1 << fmt.width) - 1), f"0{fmt.width}b")
        assert line.split() == [name, bits, f"({mantissa},", f"{float(value)!r})"]
    assert kind == f"  event {event} is of the kind: {golden.kind_of(event)}"
    assert what_changed(golden, design).startswith("the design is another one than was frozen;")


def test_digests_name_the_layer_and_the_event(design: Design, tmp_path: Path) -> None:
    golden = freeze(design, tmp_path / "golden", layers="digests")
    assert golden.facts.layer_values == "digests"
    assert set(golden.expected) == {"Softmax_0"}
    assert check_design(golden, design).passed
    names = {name: design.graph.layer_tensors[name[6:]] for name in golden.digests}
    values = dict(
        zip(names, design.engine.run(golden.inputs, list(names.values())), strict=True)
    ) | {"Softmax_0": golden.expected["Softmax_0"]}
    assert compare_answers(golden, "other", values).status == "equal"
    values["layer:Relu_0"] = values["layer:Relu_0"].copy()
    values["layer:Relu_0"][17, 2] += 1
    report = compare_answers(golden, "other", values)
    assert report.status == "MISMATCH"
    assert report.mismatching_bits == 1
    assert report.detail == (
        "first difference in layer Relu_0, event 17, ap_ufixed<6,2,RND_CONV,SAT>: another digest; "
        "freeze with --layers full to see the element\n"
        f"  event 17 is of the kind: {golden.kind_of(17)}"
    )


def test_layers_may_change_their_format_outputs_may_not(golden: Golden) -> None:
    wider = Format.parse("ap_fixed<40,20,TRN,WRAP>")
    formats = {name: Format.parse(tensor.format) for name, tensor in golden.tensors().items()}
    report = compare_answers(golden, "new", golden.expected, formats | {"layer:Relu_0": wider})
    assert report.status == "equal"
    assert report.detail == (
        "the same numbers in another format: layer Relu_0: ap_fixed<40,20,TRN,WRAP>, golden "
        "ap_ufixed<6,2,RND_CONV,SAT>"
    )
    report = compare_answers(golden, "new", golden.expected, formats | {"Softmax_0": wider})
    assert report.status == "MISMATCH"
    assert report.detail.startswith("output Softmax_0: ap_fixed<40,20,TRN,WRAP>, golden ap_")
    assert report.detail.endswith("; the numbers are the same")
    fewer = {name: v for name, v in golden.expected.items() if name != "layer:Relu_0"}
    report = compare_answers(golden, "new", fewer)
    assert (report.status, report.detail) == (
        "equal",
        "not compared, because not there: layers Relu_0",
    )
    report = compare_answers(golden, "new", {"other": golden.expected["Softmax_0"]})
    assert (report.status, report.detail) == (
        "MISMATCH",
        "output Softmax_0: is not there; there are other",
    )


def test_other_inputs_are_a_difference(golden: Golden, tmp_path: Path) -> None:
    other = Design.from_hls4ml(sum_and_difference())
    status, detail = only(check_design(golden, other))
    assert status == "MISMATCH"
    assert detail.endswith("; golden: x [4] ap_fixed<8,4,RND_CONV,SAT>")
    assert detail.startswith("inputs: ")
    with pytest.raises(errors.DataError, match="is not one of this samebits"):
        compile_again(
            Golden(
                golden.folder,
                golden.facts.model_copy(update={"target": {"planet": "Mars"}}),
                *([], {}, {}),
            ),
            tmp_path / "model.onnx",
        )


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    design = Design.from_hls4ml(sum_and_difference())
    rng = np.random.default_rng(1)
    shapes = {name: design.graph.tensors[name].shape for name in design.graph.inputs}
    x = {name: rng.normal(0, 2, (9, *shape)) for name, shape in shapes.items()}
    golden = freeze(design, tmp_path / "golden", x, against=())
    assert golden.facts.agreed == ()
    assert golden.facts.events["data"] == 9
    assert check_design(golden, design).passed
    answers = {tensor.name: golden.expected[tensor.name] for tensor in golden.facts.outputs}
    np.savez(tmp_path / "answers.npz", **answers)
    assert check_answers(golden, tmp_path / "answers.npz").passed


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("suffix", [".npz", ".npy", ".csv"])
def test_answers_recorded_elsewhere(golden: Golden, tmp_path: Path, suffix: str, raw: bool) -> None:
    values = golden.expected["Softmax_0"]
    fmt = Format.parse(golden.facts.outputs[0].format)
    path = tmp_path / f"answers{suffix}"

    def write(values: Any) -> None:
        stored = np.ldexp(values, fmt.fraction).astype(np.int64) if raw else values
        if suffix == ".npz":
            np.savez(path, scores=stored)
        elif suffix == ".npy":
            np.save(path, stored)
        else:
            np.savetxt(path, stored, delimiter=",", fmt="%.17g", header="a,b,c", comments="")

    write(values)
    assert check_answers(golden, path, raw=raw).passed
    if raw:
        status, detail = only(check_answers(golden, path))
        assert status == "MISMATCH"
        assert detail.endswith("are these mantissas? Then give --raw")
    wrong = values.copy()
    wrong[40, 1] += fmt.lsb
    write(wrong)
    result = check_answers(golden, path, raw=raw)
    status, detail = only(result)
    assert (status, result.mismatching_bits > 0) == ("MISMATCH", True)
    assert detail.startswith("first difference in output Softmax_0, event 40, element [1], ")


def test_answers_that_cannot_be_used(golden: Golden, tmp_path: Path) -> None:
    values = golden.expected["Softmax_0"]
    np.savez(tmp_path / "short.npz", Softmax_0=values[:7])
    np.savez(tmp_path / "named.npz", Softmax_0=values, planet=values)
    np.savez(tmp_path / "words.npz", Softmax_0=np.array(["a"] * len(values)))
    np.save(tmp_path / "wide.npy", np.zeros((len(values), 5)))
    np.save(tmp_path / "pickle.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "empty.npz").touch()
    np.save(tmp_path / "scalar.npy", np.array(1.5))
    np.save(tmp_path / "nothing.npy", np.zeros((0, 3)))
    np.savez(tmp_path / "scalar.npz", Softmax_0=np.array(1.5))
    (tmp_path / "ragged.csv").write_text("a,b,c\n1,2,3\n4,5\n")
    for name, words in (
        ("short.npz", f"Softmax_0 has 7 events, the golden vectors {golden.events}"),
        ("named.npz", "no output or layer 'planet'; golden: layer:"),
        ("words.npz", "Softmax_0 holds <U1, wanted numbers"),
        ("wide.npy", "has 5 numbers per event, the outputs have 3: Softmax_0 [3]"),
        ("pickle.npy", "cannot be read: "),
        ("scalar.npy", "has 1 numbers per event, the outputs have 3: Softmax_0 [3]"),
        ("nothing.npy", "has 0 numbers per event, the outputs have 3: Softmax_0 [3]"),
        ("scalar.npz", f"Softmax_0 has no events, the golden vectors {golden.events}"),
        ("ragged.csv", "cannot be read: "),
        ("empty.npz", "cannot be read: "),
        ("absent.csv", "there is no such file"),
        ("model.onnx", "unknown suffix; wanted .npz, .npy or .csv"),
    ):
        with pytest.raises(errors.DataError) as caught:
            check_answers(golden, tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: {words}")


def test_damaged_golden_vectors(design: Design, tmp_path: Path) -> None:
    folder = tmp_path / "golden"
    with pytest.raises(errors.DataError, match="make them with `samebits freeze`"):
        read_golden(folder)
    freeze(design, folder, against=())
    facts = json.loads((folder / "golden.json").read_text())
    arrays = (folder / "expected.npz").read_bytes()
    (folder / "expected.npz").write_bytes(arrays[:-1] + b"?")
    with pytest.raises(errors.DataError, match="is not the file that golden"):
        read_golden(folder)
    (folder / "expected.npz").unlink()
    with pytest.raises(errors.DataError, match="No such file or directory"):
        read_golden(folder)
    (folder / "expected.npz").write_bytes(arrays)
    for change, words in (
        ({"schema_version": 7}, "Input should be 1 at schema_version"),
        ({"planet": "Mars"}, "Extra inputs are not permitted at planet"),
        ({"events": {"zeros": 1}}, "does not fit its arrays: "),
        ({"inputs": []}, "Tuple should have at least 1 item after validation, not 0 at inputs"),
    ):
        (folder / "golden.json").write_text(json.dumps(facts | change))
        with pytest.raises(errors.DataError, match=words):
            read_golden(folder)
    events = sum(facts["events"].values())
    for values in (np.full((events, 4), np.nan), np.full((events, 4), "a")):
        np.savez(folder / "inputs.npz", features=values)
        digest = hashlib.sha256((folder / "inputs.npz").read_bytes()).hexdigest()
        files = {"files": {**facts["files"], "inputs.npz": digest}}
        (folder / "golden.json").write_text(json.dumps(facts | files))
        with pytest.raises(errors.DataError, match="or NaN where finite numbers are wanted"):
            read_golden(folder)


def test_nothing_is_frozen_that_the_engines_do_not_agree_on(
    design: Design, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = NumpyEngine.run

    def broken(engine: NumpyEngine, inputs: Any, names: Any, *rest: Any) -> Any:
        found = run(engine, inputs, names, *rest)
        found[-1][3, 1] += 1
        return found

    monkeypatch.setattr(NumpyEngine, "run", broken)
    with pytest.raises(errors.MismatchError, match="event 3, element"):
        freeze(design, tmp_path / "golden")
    assert not (tmp_path / "golden").exists()
    with pytest.raises(errors.UsageError, match="freeze: no events"):
        freeze(design, tmp_path / "golden", adversarial=0)


def test_inputs_are_float32_whatever_the_format(tmp_path: Path) -> None:
    writer = ModelWriter()
    writer.output(writer.gemm(writer.input(), 4, 3, bits=6), 3)
    design = Design.from_onnx(writer.model())
    assert design.graph.tensors[design.graph.inputs[0]].format.width == 32
    golden = freeze(design, tmp_path / "golden")
    from samebits.train.data import load_features

    features = load_features(golden.folder / "inputs.npz").features
    assert features.dtype == np.float32
    np.save(tmp_path / "answers.npy", design.simulate(features))
    assert check_answers(golden, tmp_path / "answers.npy").passed
    assert check_design(golden, design, ["onnxruntime"]).passed


def test_numbers_beyond_53_bits_are_kept_as_the_engines_give_them(tmp_path: Path) -> None:
    writer = ModelWriter()
    writer.output(writer.gemm(writer.input(), 4, 3), 3)
    path = writer.save(tmp_path / "model.onnx")
    target = Target(precision={"default": "fixed<60,20>"})
    golden = freeze(Design.from_onnx(path, target), tmp_path / "golden", against=())
    widths = {Format.parse(tensor.format).width for tensor in golden.tensors().values()}
    assert max(widths) > 53
    assert check_design(golden, compile_again(golden, path)).passed


def test_an_engine_that_is_not_there_is_named(
    design: Design,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("CXX", "/nowhere/g++")
    golden = freeze(design, tmp_path / "golden", against=["csim"])
    assert golden.facts.agreed == ()
    assert "csim was not asked: the C++ compiler in the environment" in caplog.text


def test_words_for_a_test_bench(design: Design, tmp_path: Path) -> None:
    folder = tmp_path / "golden"
    golden = freeze(design, folder, csv=True, against=())
    head, *rows = (folder / "inputs.csv").read_text().splitlines()
    assert head == "x[0],x[1],x[2],x[3]"
    words = np.array([row.split(",") for row in rows], dtype=np.int64)
    fmt = Format.parse(golden.facts.inputs[0].format)
    assert (words.min(), words.max()) == (fmt.min_mantissa, fmt.max_mantissa)
    # the words alone give the same answers: the input cast is in them
    again = design.simulate(np.ldexp(words.astype(np.float64), -fmt.fraction))
    assert np.array_equal(again, golden.expected["Softmax_0"])
    assert (
        (folder / "expected.csv").read_text().startswith("Softmax_0[0],Softmax_0[1],Softmax_0[2]")
    )
    assert check_answers(golden, folder / "expected.csv", raw=True).passed
    before = (folder / "expected.csv").read_bytes()
    freeze(design, folder, adversarial=5, against=(), force=True)
    assert (folder / "expected.csv").read_bytes() != before  # never those of other vectors


def test_the_target_is_kept(tmp_path: Path) -> None:
    path = quantized_mlp().save(tmp_path / "model.onnx")
    target = Target(clock_mhz=320, precision={"default": "fixed<24,12>"})
    golden = freeze(Design.from_onnx(path, target), tmp_path / "golden", against=())
    again = compile_again(golden, path)
    assert again.target == target
    assert check_design(golden, again).passed
