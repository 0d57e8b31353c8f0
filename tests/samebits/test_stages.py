"""The stages' own checks: folders said to be bad before the work, the demo and other designs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import Design, Target, errors, stages
from samebits.compile.emitters.onnx import output_names
from samebits.stages import compile_model, demo, train_models

from ..models import ModelWriter, quantized_mlp


@pytest.mark.parametrize("stage", [demo, train_models])
def test_bad_folders_are_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: Any
) -> None:
    def work(*arguments: Any) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr(stages, "load_data", work)
    (tmp_path / "file").touch()
    for place, reason in (
        ("file", "is a file; give a folder"),
        ("file/below/it", f"cannot be written: {tmp_path / 'file'} is not a writable folder"),
    ):
        with pytest.raises(errors.BuildError) as caught:
            stage(tmp_path / place)
        assert str(caught.value) == f"{tmp_path / place}: {reason}"


def test_the_demo_does_not_replace_another_design(tmp_path: Path) -> None:
    compile_model(quantized_mlp().save(tmp_path / "m.onnx"), tmp_path / "build", Target())
    with pytest.raises(errors.BuildError) as caught:
        demo(tmp_path / "build")
    assert str(caught.value) == (
        f"{tmp_path / 'build'}: already holds another design; give another folder with -o"
    )


def test_an_unknown_part_is_said_before_the_model_is_read(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="unknown part 'xc0'"):
        compile_model(tmp_path / "absent.onnx", tmp_path / "build", Target(part="xc0"))


def test_verify_takes_what_the_design_was_trained_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    labels = np.resize([0, 1, 2], 100)
    np.savez(tmp_path / "d.npz", features=rng.normal(0, 2, (100, 4)), label=labels)
    build = tmp_path / "build"
    design = compile_model(quantized_mlp().save(tmp_path / "m.onnx"), build, Target())
    result = stages.verify_build(design, against=("onnxruntime",))
    assert "data" not in result.events
    (build / "training.json").write_text(f'{{"data": "{tmp_path / "d.npz"}", "seed": 3}}')
    result = stages.verify_build(design, against=("onnxruntime",))
    assert result.events["data"] == 20


def test_reports_without_metrics_say_why(tmp_path: Path) -> None:
    pytest.importorskip("alkaid")
    write = ModelWriter()
    x = write.gemm(write.quant(write.input(), 6, 3), 4, 2, bits=4)
    write.output(x, 2)
    write.output(write.node("Relu", x), 2)
    build = tmp_path / "build"
    design = compile_model(write.save(tmp_path / "m.onnx"), build, Target())
    assert len(set(output_names(design.graph))) == 2
    facts = stages.build_report(Design.load(build))
    assert facts.metrics.reason == "no labelled data: give --data"  # type: ignore[union-attr]
    assert facts.passed
    assert (build / "report.html").is_file()
    labels = np.resize([0, 1], 50)
    np.savez(tmp_path / "d.npz", features=np.ones((50, 4)), label=labels)
    facts = stages.build_report(Design.load(build), str(tmp_path / "d.npz"))
    reason = facts.metrics.reason  # type: ignore[union-attr]
    assert reason == "the network has several outputs"
