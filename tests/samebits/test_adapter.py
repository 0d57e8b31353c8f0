"""Designs with an input adapter: the same bits, files of raw events, keys, build directories."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import Design, errors
from samebits.adapter import physical_columns
from samebits.check import check_design, compile_again
from samebits.compile.adapter import Adapter
from samebits.compile.adapter.raw import pack, random_fields
from samebits.golden import freeze
from samebits.keys import check_keys, read_keys
from samebits.raw_files import read_raw

from ..models import ModelWriter, quantized_mlp

ADAPTER = {
    "objects": {
        "jet": {
            "count": 2,
            "word_bits": 32,
            "empty": "pt",
            "sorted_by": "pt",
            "fields": {
                "pt": {"bits": "9:0", "lsb": "1/16", "column": "L1Jet_hwPt"},
                "phi": {"bits": "17:10", "lsb": "pi/128", "signed": True},
            },
        }
    },
    "columns": [{"of": "jet", "take": ["pt", "sin(phi)"]}],
}
NAMES = ("jet0_pt", "jet0_sin_phi", "jet1_pt", "jet1_sin_phi")


@pytest.fixture(scope="module")
def design() -> Design:
    return Design.from_onnx(quantized_mlp().model()).with_adapter(Adapter.parse(ADAPTER))


def events(design: Design, count: int = 300) -> dict[str, Any]:
    assert design.adapter is not None
    return random_fields(design.adapter, count, np.random.default_rng(3))


def test_the_same_bits_in_onnx_runtime(design: Design) -> None:
    result = design.verify(events(design), against=["onnxruntime"])
    assert result.passed, str(result)
    assert result.events["all codes of every field"] == 1024
    rows = {row.name: row for row in result.engines[0].rows}
    assert rows["layer:adapter"].elements > 1000
    assert [t.name for t in design.graph.tensors_of(design.graph.inputs)] == ["jet_pt", "jet_phi"]


def test_the_network_behind_it_is_unchanged(design: Design) -> None:
    alone = Design.from_onnx(quantized_mlp().model())
    assert design.network.fingerprint == alone.fingerprint != design.fingerprint
    assert alone.network is alone
    raw = events(design)
    # adding half a step of the input format is what its rounding is about: none of these is a tie
    assert np.array_equal(alone.simulate(physical_columns(design, raw)), design.simulate(raw))


def test_fields_words_and_tables_are_the_same_events(design: Design) -> None:
    raw = events(design)
    assert design.adapter is not None
    wanted = design.simulate(raw)
    table = np.stack([raw["jet_pt"][:, 0], raw["jet_phi"][:, 0], raw["jet_pt"][:, 1],
                      raw["jet_phi"][:, 1]], axis=1)  # fmt: skip
    for given in (pack(design.adapter, raw), table, list(raw.values())):
        assert np.array_equal(design.simulate(given), wanted)
    assert np.array_equal(design.trace(raw)["adapter"].shape, (300, 4))


def test_a_build_directory_keeps_the_adapter(design: Design, tmp_path: Path) -> None:
    design.save(tmp_path / "build")
    loaded = Design.load(tmp_path / "build")
    assert loaded.adapter == design.adapter
    assert loaded.fingerprint == design.fingerprint
    assert loaded.network.fingerprint == design.network.fingerprint
    raw = events(design)
    assert np.array_equal(loaded.simulate(raw), design.simulate(raw))
    with pytest.raises(errors.UsageError, match="has an input adapter; tighten its network"):
        loaded.tighten()
    with pytest.raises(errors.UsageError, match="has an adapter already"):
        loaded.with_adapter(Adapter.parse(ADAPTER))


def test_names_of_columns_are_the_networks_features() -> None:
    model = quantized_mlp().model()
    model.metadata_props.add(key="samebits.features", value='["jet0_pt", "jet1_pt", "a", "b"]')
    message = (
        "adapter: column 1 is jet0_sin_phi, the network was trained on jet1_pt (3 columns have "
        'other names than the network\'s features); put them in its order, name them with name = '
        '"...", or write names = "ignore"'
    )  # fmt: skip
    with pytest.raises(errors.UsageError) as caught:
        Design.from_onnx(model).with_adapter(Adapter.parse(ADAPTER))
    assert str(caught.value) == message
    Design.from_onnx(model).with_adapter(Adapter.parse({**ADAPTER, "names": "ignore"}))


def test_one_input_is_wanted() -> None:
    write = ModelWriter()
    x = write.node("Add", write.quant(write.input("a"), 8, 4), write.quant(write.input("b"), 8, 4))
    write.output(x, 4)
    message = "adapter: the network has 2 inputs (a, b); an adapter needs a network with one"
    with pytest.raises(errors.UsageError) as caught:
        Design.from_onnx(write.model()).with_adapter(Adapter.parse(ADAPTER))
    assert str(caught.value) == message


def test_files_of_raw_events(design: Design, tmp_path: Path) -> None:
    raw, adapter = events(design, 50), design.adapter
    assert adapter is not None
    keys = {"event": np.repeat(np.arange(10), 5) + 7 * 10**9, "bx": np.tile(np.arange(-2, 3), 10)}
    np.savez(tmp_path / "fields.npz", **raw, **keys)
    np.savez(tmp_path / "words.npz", **pack(adapter, raw), **keys)
    columns = {name: raw[name.replace("jet0", "jet").replace("jet1", "jet")][:, int(name[3])]
               for name in ("jet1_phi", "jet0_phi", "jet0_pt", "jet1_pt")}  # fmt: skip
    table = np.stack([*keys.values(), *columns.values()], axis=1)
    np.savetxt(tmp_path / "slots.csv", table, fmt="%d", delimiter=",", comments="",
               header=",".join([*keys, *columns]))  # fmt: skip
    names, values = list(columns), np.stack(list(columns.values()), axis=1)
    np.savez(tmp_path / "table.npz", features=values, feature_names=np.array(names))
    for file in ("fields.npz", "words.npz", "slots.csv", "table.npz"):
        found = read_raw(adapter, tmp_path / file)
        assert all(np.array_equal(found[name], raw[name]) for name in raw), file
        if file != "table.npz":
            read = read_keys(tmp_path / file)
            assert list(read) == ["event", "bx"]
            assert all(np.array_equal(read[name], keys[name]) for name in keys)
    np.savez(tmp_path / "other.npz", jet_pt=raw["jet_pt"])
    with pytest.raises(errors.DataError, match=r"has no jet_phi \(nor columns such as jet0_phi\)"):
        read_raw(adapter, tmp_path / "other.npz")


def test_vectors_of_any_length_are_padded(design: Design, tmp_path: Path) -> None:
    awkward, parquet = pytest.importorskip("awkward"), pytest.importorskip("pyarrow.parquet")
    assert design.adapter is not None
    lists = {"L1Jet_hwPt": [[9, 8, 7], [], [5]], "jet_phi": [[1, -2, 3], [], [-128]]}
    table = awkward.to_arrow_table(awkward.Array(lists), extensionarray=False)
    parquet.write_table(table, tmp_path / "vectors.parquet")
    found = read_raw(design.adapter, tmp_path / "vectors.parquet")
    assert found["jet_pt"].tolist() == [[9, 8], [0, 0], [5, 0]]
    assert found["jet_phi"].tolist() == [[1, -2], [0, 0], [-128, 0]]


def test_a_key_that_is_there_twice() -> None:
    keys = {"event": np.array([5, 5, 6, 5]), "bx": np.array([0, 1, 0, 0])}
    with pytest.raises(errors.DataError) as caught:
        check_keys(keys, "dump.csv")
    assert str(caught.value) == (
        "dump.csv: 1 keys are there more than once, the first is event 5, bx 0 in rows 0 and 3"
    )
    with pytest.raises(errors.DataError, match="is a column bx missing"):
        check_keys({"event": keys["event"]}, "dump.csv")


def test_keys_are_one_for_each_event(tmp_path: Path) -> None:
    path = tmp_path / "dump.npz"
    np.savez(path, event=np.arange(3), bx=np.zeros(4, int))
    with pytest.raises(errors.DataError) as caught:
        read_keys(path)
    assert str(caught.value) == (f"{path}: has 4 bx for 3 events, wanted one each for every event")
    np.savez(path, event=np.arange(3))
    for events in (np.zeros((4, 2)), {"jet_pt": np.zeros((4, 2))}, range(4)):
        with pytest.raises(errors.DataError, match="has 3 event for 4 events"):
            read_keys(path, events=events)
    assert read_keys(path, events=range(3))["event"].tolist() == [0, 1, 2]


def test_a_file_without_raw_events(design: Design, tmp_path: Path) -> None:
    assert design.adapter is not None
    path = tmp_path / "none.npz"
    integers = len(design.adapter.raw_columns)
    for features, reason in (
        (np.zeros((0, integers), int), "holds no events; at least one is needed"),
        (np.int64(3), "features is a single number, wanted events"),
    ):
        np.savez(path, features=features)
        with pytest.raises(errors.DataError) as caught:
            read_raw(design.adapter, path)
        assert str(caught.value) == f"{path}: {reason}"


def test_golden_vectors_hold_the_adapter(design: Design, tmp_path: Path) -> None:
    golden = freeze(design, tmp_path / "golden", events(design), against=())
    assert check_design(golden, design, against=["onnxruntime"]).passed
    quantized_mlp().save(tmp_path / "model.onnx")
    again = compile_again(golden, tmp_path / "model.onnx")
    assert again.fingerprint == design.fingerprint
    assert check_design(golden, again).passed


def test_wraps_of_the_adapter_are_no_overflows(design: Design) -> None:
    wraps = [one for one in design.ranges(seconds=0).values() if one.tensor.startswith("input_ad")]
    assert wraps
    assert {one.format.overflow.value for one in wraps} == {"SAT"}
