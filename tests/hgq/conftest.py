"""HGQ2's tests run in an environment of its own: `make test-hgq`."""

import importlib.util
import os
from pathlib import Path

import pytest

# before Keras is imported; where HGQ2 is absent nothing here runs, and nothing else may see this
if importlib.util.find_spec("hgq") is not None:
    os.environ.setdefault("KERAS_BACKEND", "jax")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings of Keras 3, JAX and HGQ2 about each other are not ours."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("ignore"))
