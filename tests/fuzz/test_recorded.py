"""Random networks as hls4ml's C simulation computed them (`benchmarks.fuzz --record`)."""

from pathlib import Path

from ..corpus.runner import EXACT, run_folder, summary

CASES = Path(__file__).parent / "cases"


def test_recorded_networks_are_exact() -> None:
    results = list(run_folder(CASES))
    print(summary(results))
    assert len(results) >= 20
    assert [result for result in results if result.status != EXACT] == []
    assert all(result.compared for result in results)
