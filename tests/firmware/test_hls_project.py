"""HLS projects: whole, movable, the same every time, ready for synthesis."""

import contextlib
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from samebits import errors
from samebits.firmware import hls_project
from samebits.firmware.hls_project import HlsProject, Signal, read_project, write_project

from .networks import classifier, hand_written, image_branches, named, sum_and_difference


def _texts(folder: Path) -> dict[str, str]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_text() for p in files}


def test_the_facts_are_written_and_read_back(tmp_path: Path) -> None:
    model = classifier()
    project = write_project(model, tmp_path / "hls")
    word = "ap_fixed<16,6>"
    assert project == HlsProject(
        project_name="net",
        backend="Vitis",
        io_type="io_parallel",
        part="xcvu13p-flga2577-2-e",
        clock_period_ns=4.0,
        hls4ml_version=project.hls4ml_version,
        inputs=(Signal("x", (4,), word),),
        outputs=(Signal("layer5_out", (3,), word),),
        layers=tuple(
            Signal(name, (size,), word)
            for name, size in (("fc1", 6), ("relu1", 6), ("fc2", 3), ("softmax", 3))
        ),
    )
    assert project.hls4ml_version.startswith("1.3")
    assert read_project(tmp_path / "hls") == project
    # The graph is the caller's: nothing in it has changed.
    assert model.config.get_output_dir() == "never_written"
    assert model.config.trace_output is False
    assert not any(layer.get_attr("trace") for layer in model.get_layers())


def test_a_project_does_not_depend_on_time_or_place(tmp_path: Path) -> None:
    write_project(classifier(), tmp_path / "one")
    write_project(classifier(), tmp_path / "far" / "two")
    one, two = _texts(tmp_path / "one"), _texts(tmp_path / "far" / "two")
    assert one == two
    homes = (str(tmp_path), str(Path(hls_project.__file__).parent), str(Path.cwd()), sys.prefix)
    assert [name for name, text in one.items() if any(home in text for home in homes)] == []
    assert {"project.tcl", "build_prj.tcl", "hls4ml_config.yml", "firmware/net.cpp"} <= set(one)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["far", "one"]


def test_synthesis_does_not_see_the_trace(tmp_path: Path) -> None:
    write_project(classifier(), tmp_path / "hls")
    lines = (tmp_path / "hls" / "firmware" / "net.cpp").read_text().splitlines()
    traces = [i for i, line in enumerate(lines) if "save_layer_output" in line]
    assert len(traces) == 4
    for i in traces:
        assert (lines[i - 1], lines[i + 1]) == ("#ifndef __SYNTHESIS__", "#endif")


def test_layers_with_several_outputs_are_traced(tmp_path: Path) -> None:
    model = sum_and_difference("io_stream")
    assert [layer.class_name for layer in model.get_layers()].count("Clone") == 2
    project = write_project(model, tmp_path / "hls")
    assert [layer.name for layer in project.layers] == ["clone_a", "clone_b", "plus", "minus"]
    assert [s.name for s in project.inputs] == ["a", "b"]
    assert [s.name for s in project.outputs] == ["layer4_out", "layer3_out"]


def test_layers_without_code_are_named(tmp_path: Path) -> None:
    project = write_project(image_branches("io_parallel", dense=True), tmp_path / "hls")
    traced = ["conv", "relu", "most", "mean", "both", "fc"]
    assert [layer.name for layer in project.layers] == traced
    assert project.untraced == ("flat",)
    assert read_project(tmp_path / "hls") == project


def test_a_model_of_several_projects_is_refused(tmp_path: Path) -> None:
    from hls4ml.model.graph import to_multi_model_graph

    with contextlib.redirect_stdout(io.StringIO()):
        model = to_multi_model_graph(classifier(), ["fc2"])
    with pytest.raises(errors.UnsupportedError) as caught:
        write_project(model, tmp_path / "hls")
    assert str(caught.value) == (
        "HLS project: a MultiModelGraph is several HLS projects, which samebits does not write; "
        "write it with hls4ml, or give the model before it was split"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_old_project_is_replaced_and_anything_else_is_not(tmp_path: Path) -> None:
    hand_written(tmp_path / "hls")
    write_project(classifier(), tmp_path / "hls")
    assert read_project(tmp_path / "hls").project_name == "net"
    assert not (tmp_path / "hls" / "firmware" / "net_bridge.cpp").exists()

    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("It was")
    with pytest.raises(errors.BuildError) as caught:
        write_project(classifier(), tmp_path / "thesis")
    assert str(caught.value) == (
        f"cannot write the HLS project {tmp_path / 'thesis'}: the folder holds something else "
        "(no samebits.json in it); choose another folder or empty it"
    )
    assert _texts(tmp_path / "thesis") == {"chapter1.tex": "It was"}


def test_a_failing_writer_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = classifier()

    def fail() -> None:
        print("nearly there")
        raise Exception("no luck")

    monkeypatch.setattr(model, "write", fail)
    with pytest.raises(errors.ToolError) as caught:
        write_project(model, tmp_path / "hls")
    assert str(caught.value) == (
        "hls4ml could not write the HLS project: Exception: no luck\nhls4ml said: nearly there"
    )
    assert list(tmp_path.iterdir()) == []


def test_other_backends_are_refused(tmp_path: Path) -> None:
    model = classifier()
    model.config.backend = SimpleNamespace(name="Quartus")
    with pytest.raises(errors.UnsupportedError) as caught:
        write_project(model, tmp_path / "hls")
    assert str(caught.value) == (
        "HLS project: unsupported backend 'Quartus'; supported: Vivado, Vitis"
    )


def test_reading_something_else(tmp_path: Path) -> None:
    with pytest.raises(errors.BuildError) as caught:
        read_project(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is not an HLS project of samebits: cannot read samebits.json: "
        "No such file or directory; write it again with `samebits compile`"
    )
    facts = tmp_path / "samebits.json"
    facts.write_text('{"version": 1,')
    with pytest.raises(errors.BuildError, match=r"samebits\.json is damaged \(Expecting"):
        read_project(tmp_path)
    facts.write_text('{"version": 7}')
    with pytest.raises(errors.BuildError, match="has version 7, this samebits reads 2; write"):
        read_project(tmp_path)
    facts.write_text('{"version": 2}')
    with pytest.raises(errors.BuildError, match="missing or wrong entry: 'project_name'"):
        read_project(tmp_path)
    good = json.loads((hand_written(tmp_path / "good") / "samebits.json").read_text())
    facts.write_text(json.dumps(good))
    assert read_project(tmp_path).inputs == (Signal("x", (2,), "double"),)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("a; rm -rf", "reg", "Ünïcode"), None),
        (('"x"', "y", "z"), "a name without quotes, backslashes and line breaks"),
        (("x", "y", "z\n*/"), "a name without quotes, backslashes and line breaks"),
        (("x\\", "y", "z"), "a name without quotes, backslashes and line breaks"),
        (("x", "y; z", "z"), "letters, digits and _ only: a C++ type is named after this layer"),
    ],
)
def test_names_that_cpp_cannot_take(
    names: tuple[str, str, str], wanted: str | None, tmp_path: Path
) -> None:
    model = named(*names)
    if wanted is None:
        project = write_project(model, tmp_path / "hls")
        assert tuple(layer.name for layer in project.layers) == names
        return
    with pytest.raises(errors.UnsupportedError) as caught:
        write_project(model, tmp_path / "hls")
    (name,) = [name for name in names if set(name) & set('"\\;\n')]
    assert str(caught.value) == (
        f"HLS project: layer {name!r}: hls4ml writes its name into C++; wanted: {wanted}; rename "
        "the layer"
    )
    assert not (tmp_path / "hls").exists()
