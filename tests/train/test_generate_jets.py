"""Making the jet sample: chunks that are resumed or refused, the file, the command line."""

import importlib.metadata
import importlib.util
import json
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import errors
from samebits.train import generate_jets, generation, jet_events
from samebits.train.chunks import (
    Arrays,
    Chunk,
    finish_chunks,
    plan_chunks,
    read_chunk,
    write_chunk,
)
from samebits.train.data import load

PHYSICS = ("pythia8mc", "fastjet", "awkward")
MISSING = [name for name in PHYSICS if importlib.util.find_spec(name) is None]
needs_physics = pytest.mark.skipif(
    bool(MISSING),
    reason=f"{', '.join(MISSING)} not installed: the generator itself is not run; "
    'pip install "samebits[physics]" to run it',
)
SETTINGS = {"pt_gev": [800, 1600], "versions": {"pythia8mc": "8"}}


def plan(jets: int, seed: int) -> list[Chunk]:
    """Chunks of four jets, half of them of each class."""
    return plan_chunks({"g": jets // 2, "q": jets // 2}, 4, seed)


@pytest.fixture
def executor() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


def fake(chunk: Chunk) -> Arrays:
    """Features that tell class, chunk, jet and seed."""
    values = np.zeros((chunk.events, 16))
    values[:, 0] = chunk.class_index
    values[:, 1] = chunk.index
    values[:, 2] = np.arange(chunk.events)
    values[:, 3] = chunk.seeds(1, 1000)[0]
    return {"features": values}


class TestPlan:
    def test_whole_chunks_with_the_classes_taking_turns(self) -> None:
        chunks = plan(10, 7)
        assert [chunk.file_name for chunk in chunks] == [
            "g_0000.npz",
            "q_0000.npz",
            "g_0001.npz",
            "q_0001.npz",
        ]
        assert {chunk.events for chunk in chunks} == {4}
        assert {chunk.seed for chunk in chunks} == {7}

    def test_more_jets_keep_the_first_chunks(self) -> None:
        assert plan(8, 7) == plan(16, 7)[:2]

    def test_seeds_differ_between_steps_chunks_classes_and_runs_and_fit_pythia(self) -> None:
        chunks = [*plan(16, 7), *plan(16, 8)]
        seeds = [seed for chunk in chunks for seed in chunk.seeds(3, jet_events.MAX_SEED)]
        assert len(set(seeds)) == 3 * 8
        assert min(seeds) >= 1
        assert max(seeds) <= 900_000_000

    def test_seeds_are_fixed_for_ever(self) -> None:
        """The shipped file was made with them."""
        assert Chunk("z", 3, 2, 500, 1).seeds(3, jet_events.MAX_SEED) == (
            391251751,
            237579101,
            230951629,
        )

    def test_classes_of_different_sizes(self) -> None:
        chunks = plan_chunks({"g": 9, "q": 1}, 4, 7)
        assert [chunk.file_name for chunk in chunks] == [
            "g_0000.npz",
            "q_0000.npz",
            "g_0001.npz",
            "g_0002.npz",
        ]

    def test_a_class_without_events(self) -> None:
        with pytest.raises(errors.UsageError) as caught:
            plan_chunks({"g": 9, "q": 0}, 4, 7)
        assert str(caught.value) == "number of events of class q: got 0, wanted 1 or more"

    def test_negative_seed(self) -> None:
        with pytest.raises(errors.UsageError) as caught:
            plan(2, -1)
        assert str(caught.value) == "seed: got -1, wanted 0 or more"


class TestChunks:
    def test_a_second_run_makes_only_what_is_missing(
        self, tmp_path: Path, executor: Executor
    ) -> None:
        made: list[str] = []
        seen: list[str] = []

        def make(chunk: Chunk) -> Arrays:
            made.append(chunk.file_name)
            return fake(chunk)

        chunks = plan(16, 1)
        write_chunk(tmp_path, chunks[1], SETTINGS, fake(chunks[1]))
        finish_chunks(
            chunks,
            tmp_path,
            SETTINGS,
            make,
            executor,
            1,
            lambda chunk: seen.append(chunk.file_name),
        )
        assert made == ["g_0000.npz", "g_0001.npz", "q_0001.npz"]
        assert sorted(seen) == sorted(chunk.file_name for chunk in chunks)
        for chunk in chunks:
            found = read_chunk(tmp_path, chunk, SETTINGS)
            assert list(found) == ["features"]
            assert np.array_equal(found["features"], fake(chunk)["features"])
        assert len(list(tmp_path.iterdir())) == len(chunks)

    def test_an_interruption_keeps_finished_chunks_and_starts_no_more(
        self, tmp_path: Path, executor: Executor
    ) -> None:
        chunks = plan(16, 1)

        def interrupt(_: Chunk) -> None:
            raise KeyboardInterrupt

        def make(chunk: Chunk) -> Arrays:
            if chunk == chunks[2]:
                raise errors.ToolError("stopped here")
            return fake(chunk)

        with pytest.raises(KeyboardInterrupt):
            finish_chunks(chunks[:1], tmp_path, SETTINGS, make, executor, 1, interrupt)
        assert [path.name for path in tmp_path.iterdir()] == ["g_0000.npz"]
        with ThreadPoolExecutor(1) as again, pytest.raises(errors.ToolError, match="stopped here"):
            finish_chunks(chunks, tmp_path, SETTINGS, make, again, 1, lambda _: None)
        names = {path.name for path in tmp_path.iterdir()}
        assert {"g_0000.npz", "q_0000.npz"} <= names
        assert "g_0001.npz" not in names

    @pytest.mark.parametrize(
        ("chunk", "settings", "difference"),
        [
            ({"seed": 2}, {}, "seed: got 1, wanted 2"),
            ({"events": 5}, {}, "events: got 4, wanted 5"),
            ({}, {"pt_gev": [400, 1600]}, "pt_gev: got [800, 1600], wanted [400, 1600]"),
            ({}, {"new": 1}, "new: got None, wanted 1"),
        ],
    )
    def test_a_chunk_made_with_other_settings_is_refused(
        self,
        tmp_path: Path,
        executor: Executor,
        chunk: dict[str, Any],
        settings: dict[str, Any],
        difference: str,
    ) -> None:
        kind: dict[str, Any] = {"class_name": "g", "class_index": 0, "index": 0}
        made = Chunk(**kind, events=4, seed=1)
        write_chunk(tmp_path, made, SETTINGS, fake(made))
        wanted = Chunk(**kind, **{"events": 4, "seed": 1, **chunk})
        with pytest.raises(errors.DataError) as caught:
            finish_chunks(
                [wanted], tmp_path, {**SETTINGS, **settings}, fake, executor, 1, lambda _: None
            )
        assert str(caught.value) == (
            f"{tmp_path}/g_0000.npz: was made with other settings ({difference}); choose another "
            "--resume-folder or delete this one"
        )

    def test_a_damaged_chunk_is_refused(self, tmp_path: Path) -> None:
        chunk = plan(8, 1)[0]
        write_chunk(tmp_path, chunk, SETTINGS, fake(chunk))
        path = tmp_path / chunk.file_name
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(errors.DataError) as caught:
            read_chunk(tmp_path, chunk, SETTINGS)
        assert str(caught.value) == (
            f"{path}: cannot be read as a chunk of events; delete it and run again"
        )


class TestSample:
    def recipe(self, jets: int) -> generation.Recipe:
        counts = dict.fromkeys(jet_events.CLASS_NAMES, jets // 5)
        return generation.Recipe(counts, 4, SETTINGS, fake, generate_jets.finish)

    def make(self, folder: Path, jets: int = 30) -> Path:
        recipe = self.recipe(jets)
        for chunk in recipe.chunks(1):
            write_chunk(folder, chunk, SETTINGS, fake(chunk))
        output = folder / "jets.npz"
        generation.assemble(recipe.chunks(1), folder, recipe, output)
        return output

    def test_equal_class_parts_in_mixed_order_with_names_and_card(self, tmp_path: Path) -> None:
        path = self.make(tmp_path)
        data = load(path)
        assert np.bincount(data.labels).tolist() == [6] * 5
        assert np.array_equal(data.features[:, 0], data.labels)  # the fake tells its class
        assert (np.diff(data.labels) < 0).any()
        assert data.class_names == ("g", "q", "w", "z", "t")
        per_class = data.features[data.labels == 2][:, 1:3].tolist()
        assert sorted(per_class) == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [1, 1]]
        with np.load(path) as archive:
            assert archive["features"].dtype == np.float16
            assert archive["label"].dtype == np.int8
            card = json.loads(str(archive["card"]))
        assert card == {
            **SETTINGS,
            "seed": 1,
            "counts": dict.fromkeys("gqwzt", 6),
            "chunk_events": 4,
        }

    def test_the_same_chunks_give_the_same_bytes(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        first, second = self.make(tmp_path / "a"), self.make(tmp_path / "b")
        assert first.read_bytes() == second.read_bytes()

    def test_a_value_beyond_float16_is_refused_and_nothing_written(self, tmp_path: Path) -> None:
        recipe = self.recipe(20)
        for chunk in recipe.chunks(1):
            arrays = {"features": fake(chunk)["features"] + 70000}
            write_chunk(tmp_path, chunk, SETTINGS, arrays)
        output = tmp_path / "jets.npz"
        with pytest.raises(errors.DataError) as caught:
            generation.assemble(recipe.chunks(1), tmp_path, recipe, output)
        assert str(caught.value) == (
            "an entry of 'features' does not fit into float16; nothing is written"
        )
        assert not output.exists()


@pytest.fixture
def any_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets recipes be made without the physics packages."""
    monkeypatch.setattr(generation, "versions", dict)


class TestCommandLine:
    @pytest.mark.parametrize(
        ("options", "error"),
        [
            (["--jets", "7"], "number of jets: got 7, wanted a positive multiple of 5, the number"),
            (["--jets", "5", "--workers", "0"], "number of workers: got 0, wanted 1 or more"),
            (["--jets", "5", "--seed", "-1"], "seed: got -1, wanted 0 or more"),
            (["--jets", "5", "--constituents", "-1"], "constituents: got -1, wanted 0 or more"),
        ],
    )
    @pytest.mark.usefixtures("any_versions")
    def test_wrong_numbers(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        options: list[str],
        error: str,
    ) -> None:
        assert generate_jets.main(["-o", str(tmp_path / "jets.npz"), *options]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert error in " ".join(err.split())
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.usefixtures("any_versions")
    def test_no_such_folder(self, tmp_path: Path) -> None:
        output = tmp_path / "none" / "jets.npz"
        recipe = generate_jets.recipe(5)
        with pytest.raises(errors.UsageError) as caught:
            generation.generate(recipe, output, 1, 1, tmp_path, lambda _: None)
        assert str(caught.value) == (
            f"{output}: there is no folder {output.parent}; make it or choose another"
        )

    @pytest.mark.usefixtures("any_versions")
    def test_interrupted(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def interrupt(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(generation, "generate", interrupt)
        assert generate_jets.main(["-o", str(tmp_path / "jets.npz"), "--jets", "5"]) == 130
        err = "".join(capsys.readouterr().err.split())
        folder = "".join(f"{tmp_path}/jets.npz.chunks".split())
        assert f"interrupted;finishedchunksarekeptin{folder}:runagaintogoon" in err

    def test_without_the_physics_packages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_module(name: str) -> None:
            raise ImportError(name)

        monkeypatch.setattr("samebits.train.jet_events.importlib.import_module", no_module)
        with pytest.raises(errors.MissingToolError) as caught:
            generate_jets.settings()
        assert str(caught.value) == (
            "simulating collisions needs the package pythia8mc, which is not installed; "
            'run: pip install "samebits[physics]"'
        )


@needs_physics
class TestRealJets:
    @pytest.mark.parametrize("name", ["q", "w"])
    def test_a_few_jets_of_a_direct_and_of_an_undecayed_process(self, name: str) -> None:
        chunk = Chunk(name, jet_events.CLASS_NAMES.index(name), 0, 8, 1)
        made = generate_jets.make_chunk(chunk, constituents=16)
        jets = made["features"]
        assert jets.shape == (8, 16)
        assert np.isfinite(jets).all()
        again = generate_jets.make_chunk(chunk)
        assert list(again) == ["features"]
        assert np.array_equal(jets, again["features"])
        constituents = made["constituents"]
        assert constituents.shape == (8, 16, 3)
        assert (np.diff(constituents[:, :, 0], axis=1) <= 0).all()
        assert (np.abs(constituents[:, :, 1:]) < 0.9).all()
        assert (made["jet_pt_gev"] > 800).all()
        if name == "w":
            assert (np.abs(jets[:, 14] - 80.4) < 10).sum() >= 3

    def test_grooming_and_correlators_agree_with_fastjet(self) -> None:
        """Soft drop and correlators of fastjet-contrib, and the declustering written out."""
        import awkward
        import fastjet

        from samebits.train import jet_clustering, jet_detector
        from samebits.train.jet_features import FEATURE_NAMES, jet_features

        rng = np.random.Generator(np.random.PCG64(1))
        (particles,) = jet_events.simulate_events("t", 11, 12, events=5, batch=5)
        jets = jet_clustering.find_jets(jet_detector.measure(particles, rng))
        assert len(jets) >= 5
        momenta = [jet_clustering.four_vectors(jet.groomed) for jet in jets]
        definition = fastjet.JetDefinition(fastjet.cambridge_algorithm, 10.0)
        clusters = fastjet.ClusterSequence(awkward.Array(momenta), definition)
        found = np.array([jet_features(jet) for jet in jets])
        for name in ("c2", "d2", "m2", "n2"):
            for beta in (1, 2):
                contrib = clusters.exclusive_jets_energy_correlator(beta=beta, func=name)
                ours = found[:, FEATURE_NAMES.index(f"{name}_b{beta}_mmdt")]
                assert np.asarray(awkward.flatten(contrib, axis=None)) == pytest.approx(
                    ours, rel=1e-11
                )
        for jet, row in zip(jets, found, strict=True):
            rows = jet_clustering.four_vectors(jet.ungroomed).tolist()
            objects = [fastjet.PseudoJet(v["px"], v["py"], v["pz"], v["E"]) for v in rows]
            tree = fastjet.ClusterSequence(objects, definition)
            hard, soft = tree.exclusive_jets(1)[0], None
            while soft is None:
                one, two = fastjet.PseudoJet(), fastjet.PseudoJet()
                assert hard.has_parents(one, two)
                one, two = sorted((one, two), key=lambda branch: branch.pt(), reverse=True)
                if two.pt() > 0.1 * (one.pt() + two.pt()):
                    soft = two
                else:
                    hard = one
            assert len(hard.constituents()) == len(jet.groomed.pt_gev)
            assert hard.m() == pytest.approx(row[14], rel=1e-9)

    def test_settings_name_the_versions_in_use(self) -> None:
        settings = generate_jets.settings()
        assert settings["versions"] == {
            **{name: importlib.metadata.version(name) for name in ("pythia8mc", "fastjet")},
            "numpy": np.__version__,
        }
        json.dumps(settings)
