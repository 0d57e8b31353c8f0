"""Seeded randomness for all tests: hypothesis draws the same examples in every run."""

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

_SEED = 20261120

_COMMON = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", derandomize=True, max_examples=60, **_COMMON)
settings.register_profile("explore", derandomize=False, max_examples=2000, **_COMMON)
settings.load_profile("same")


def pytest_report_header() -> str:
    return (
        f"seeds: arrays {_SEED}; hypothesis derandomized "
        "(--hypothesis-profile=explore looks for new examples)"
    )


@pytest.fixture
def rng() -> np.random.Generator:
    """The same random numbers in every run."""
    return np.random.default_rng(_SEED)
