"""Files of events in every format, for the tests of what reads them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

FEATURES = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.5], [0.0, -1.0, 2.0]])
NAMES = ("pt", "eta", "phi")
LABELS = np.array([0, 2, 1, 2])
CLASSES = ("g", "q", "w")
SUFFIXES = (".npz", ".h5", ".parquet", ".root")


def write(path: Path, **changes: Any) -> Path:
    """A file of any format holding FEATURES and LABELS; changes with None leave an array out."""
    content: dict[str, Any] = {
        "features": FEATURES,
        "label": LABELS,
        "feature_names": np.array(NAMES),
        "class_names": np.array(CLASSES),
        **changes,
    }
    content = {name: value for name, value in content.items() if value is not None}
    if path.suffix == ".npz":
        np.savez(path, **content)
    elif path.suffix in (".h5", ".hdf5"):
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            for name, value in content.items():
                values = np.asarray(value)
                file[name] = values.astype(object) if values.dtype.kind == "U" else values
    else:
        columns = {
            str(name): content["features"][:, i] for i, name in enumerate(content["feature_names"])
        }
        if "label" in content:
            columns["label"] = content["label"]
        write_columns(path, columns)
    return path


def write_columns(path: Path, columns: dict[str, Any], tree: str = "events") -> Path:
    if path.suffix == ".parquet":
        arrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.table(columns), path)
    else:
        uproot = pytest.importorskip("uproot")
        with uproot.recreate(path) as file:
            file.mktree(tree, {name: values.dtype for name, values in columns.items()})
            file[tree].extend(columns)
    return path
