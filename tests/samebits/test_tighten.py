"""`Design.tighten`: narrower types, the same bits, and what stays with its reason."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from samebits import Design, Target, errors, tighten
from samebits.compile import lowering
from samebits.compile.ir import Format
from samebits.tighten import Tightening

from ..models import ModelWriter, float_mlp, quantized_mlp


def equal_traces(old: Design, new: Design, x: Any) -> bool:
    before, after = old.trace(x), new.trace(x)
    assert before.keys() == after.keys()
    return all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("write", [quantized_mlp, float_mlp])
def test_narrower_types_leave_every_bit(write: Any) -> None:
    old = Design.from_onnx(write().model())
    mark = old.fingerprint
    result = old.tighten()
    assert result.saved_bits > 50
    assert old.fingerprint == mark != result.design.fingerprint
    assert result.design.graph.inputs == old.graph.inputs
    for name, other in zip(old.graph.outputs, result.design.graph.outputs, strict=True):
        assert old.graph.tensors[name].format == result.design.graph.tensors[other].format
    x = np.random.default_rng(2).uniform(-40, 40, (4000, 4))
    assert equal_traces(old, result.design, x)


def changes(result: Tightening) -> dict[tuple[str, str], tuple[str, str]]:
    return {
        (one.layer, one.kind): (str(one.before), str(one.after))
        for one in result.changes
        if not one.kept
    }


def test_what_becomes_narrower_and_what_stays() -> None:
    result = Design.from_onnx(quantized_mlp().model()).tighten()
    found = changes(result)
    accum = ("ap_fixed<17,9,TRN,WRAP>", "ap_fixed<13,5,TRN,WRAP>")
    assert found["Dense_MatMul_0", "accum"] == accum
    assert found["Dense_MatMul_0", "result"] == accum
    (kept,) = [one for one in result.changes if one.kept]
    assert (kept.layer, kept.kind, kept.saved_bits) == ("Softmax_0_widened_act", "result", 0)
    assert kept.narrowest == Format(True, 10, 5, kept.before.rounding, kept.before.overflow)
    assert kept.kept == ("Softmax_0/exp_table: the numbers themselves are other ones in this type")
    assert result.configuration["Dense_MatMul_0"]["Precision"]["accum"] == "fixed<13,5,TRN,WRAP,0>"
    (one,) = [c for c in result.changes if (c.layer, c.kind) == ("Dense_MatMul_0", "weight")]
    assert (one.numbers, one.saved_bits) == (24, 1)


def test_a_second_time_there_is_nothing_left() -> None:
    once = Design.from_onnx(float_mlp().model()).tighten()
    twice = once.design.tighten()
    assert [one for one in twice.changes if not one.kept] == []
    assert twice.design.fingerprint == once.design.fingerprint


def test_overflows_stay_as_they_are() -> None:
    """A type that wraps keeps its integer bits."""
    old = Design.from_onnx(float_mlp().model())
    result = old.tighten()
    assert ("Relu_0", "result") not in changes(result)
    assert [name for name, one in result.design.ranges().items() if one.wraps] == ["Relu_0"]


def test_the_design_can_be_saved_loaded_and_compared(tmp_path: Path) -> None:
    result = Design.from_onnx(quantized_mlp().model()).tighten()
    result.design.save(tmp_path / "build")
    loaded = Design.load(tmp_path / "build")
    assert loaded.fingerprint == result.design.fingerprint
    facts = loaded.facts["tightened"]
    assert facts["events"] == result.events > 1000
    assert [change["saved_bits"] for change in facts["changes"]] == [
        change.saved_bits for change in result.changes
    ]
    defines = (tmp_path / "build" / "hls" / "firmware" / "defines.h").read_text()
    assert "ap_fixed<13,5>" in defines
    assert "ap_fixed<17,9>" not in defines
    assert loaded.verify(against=["onnxruntime"]).passed


def test_a_loaded_design_is_converted_again(tmp_path: Path) -> None:
    old = Design.from_onnx(quantized_mlp().model())
    old.save(tmp_path / "build")
    loaded = Design.load(tmp_path / "build")
    result = loaded.tighten()
    assert result.design.fingerprint == old.tighten().design.fingerprint
    result.design.save(tmp_path / "tight")
    with pytest.raises(errors.BuildError) as caught:
        Design.load(tmp_path / "tight").tighten()
    assert str(caught.value) == (
        f"{tmp_path / 'tight'}: its design is not what compiling its model.onnx gives; compile "
        "the model again"
    )


def test_events_of_the_user_are_compared_too() -> None:
    design = Design.from_onnx(quantized_mlp().model())
    few = design.tighten().events
    assert design.tighten(np.ones((70, 4), np.float32)).events == few + 70
    with pytest.raises(errors.DataError):
        design.tighten(np.ones((70, 3)))


def test_two_layers_that_read_one_result() -> None:
    write = ModelWriter()
    x = write.quant(write.input(), 8, 4)
    x = write.gemm(x, 4, 4, bits=6)
    write.output(write.gemm(x, 4, 3, bits=6), 3)
    write.output(write.gemm(write.node("Relu", x), 4, 2, bits=6), 2)
    old = Design.from_onnx(write.model())
    result = old.tighten()
    assert result.saved_bits > 0
    assert equal_traces(old, result.design, np.random.default_rng(3).normal(0, 9, (500, 4)))


def test_a_proof_that_lies_is_found_by_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    design = Design.from_onnx(float_mlp().model())
    wanted = tighten._proposals

    def too_narrow(*graphs: Any) -> Any:
        found, numbers = wanted(*graphs)
        key = ("Dense_MatMul_0", "accum")
        return {**found, key: Format(True, 12, 6)}, numbers

    monkeypatch.setattr(tighten, "_proposals", too_narrow)
    kept = {(c.layer, c.kind): c.kept for c in design.tighten().changes}
    assert kept["Dense_MatMul_0", "accum"] != ""  # the proof refuses it
    monkeypatch.setattr(tighten, "differences", lambda *graphs: [])
    with pytest.raises(errors.MismatchError, match="the proof says that it cannot"):
        design.tighten()


def test_what_the_lowering_refuses_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some kernels compile only for equal types: the others of the network still change."""
    design = Design.from_onnx(quantized_mlp().model())
    lower = lowering.lower
    message = "layer Dense_MatMul_1 (Dense): accum must be wide"

    def refuse(model: Any, *rest: Any) -> Any:
        accum = model.graph["Dense_MatMul_1"].get_attr("accum_t").precision
        if accum.width < 16:
            raise errors.UnsupportedError(message)
        return lower(model, *rest)

    monkeypatch.setattr(lowering, "lower", refuse)
    result = design.tighten()
    kept = {(one.layer, one.kind): one.kept for one in result.changes if one.kept}
    assert kept.pop(("Dense_MatMul_1", "accum")) == message
    assert set(kept) == {("Softmax_0_widened_act", "result")}
    assert ("Dense_MatMul_0", "accum") in changes(result)
    assert ("Dense_MatMul_1", "bias") in changes(result)


def test_a_design_without_a_model(tmp_path: Path) -> None:
    design = Design.from_onnx(quantized_mlp().model())
    Design.from_hls4ml(design._model_graph).save(tmp_path / "build")
    with pytest.raises(errors.BuildError, match=r"holds no model.onnx to convert again"):
        Design.load(tmp_path / "build").tighten()


def test_the_model_stays_the_designs(tmp_path: Path) -> None:
    model = quantized_mlp().model()
    result = Design.from_onnx(model).tighten()
    assert result.design.model_bytes is not None
    assert onnx.load_from_string(result.design.model_bytes) == model


def test_types_that_nothing_has_are_not_counted() -> None:
    """The ReLU's result has the format of hls4ml's table, which a ReLU does not use."""
    write = ModelWriter()
    hidden = write.node("Relu", write.gemm(write.input(), 4, 4))
    write.output(write.gemm(hidden, 4, 3), 3)
    target = Target(precision={"default": "fixed<18,8>"})
    result = Design.from_onnx(write.model(), target).tighten()
    assert "table" not in {one.kind for one in result.changes}
    assert ("Dense_MatMul_0", "weight") in changes(result)
