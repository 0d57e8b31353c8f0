"""Files of raw detector integers for a design with an input adapter."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.compile.adapter import Adapter, RawField
from samebits.compile.adapter.raw import fields_of
from samebits.keys import Columns, open_columns
from samebits.train.readers import texts

__all__ = ["read_raw"]

Array = NDArray[Any]


def read_raw(adapter: Adapter, path: Path, tree: str | None = None) -> dict[str, Array]:
    """The checked codes of a file by field.

    For each object an array of words named like it (`jet`), or for each field one of

    * an array or vector branch (N, count) or of any length in an event, `jet_pt` or the field's
      `column`: slots that are missing are 0, those beyond the count are left out;
    * a column for each slot, `jet0_pt`, `jet1_pt`;
    * the array `features` (N, integers of an event), by `feature_names` if these are there, else in
      the order of `Adapter.raw_columns`.

    Raises:
        DataError: a file that cannot be used; what is missing, and what is there.
    """
    with open_columns(path, tree) as columns:
        table = _table(adapter, columns)
        given: dict[str, Array] = {}
        missing: list[str] = []
        slots: list[str] = []
        for kind, one in adapter.objects.items():
            if one.word_bits is not None and kind in columns.names:
                given[kind] = columns.get(kind)
                continue
            for name, field in one.fields.items():
                values = _field(columns, table, kind, name, field, one.count)
                if values is None:
                    missing.append(f"{kind}_{name}")
                    slots.append(f"{kind}{0 if one.count > 1 else ''}_{name}")
                else:
                    given[f"{kind}_{name}"] = values
    if missing:
        raise errors.DataError(
            f"{path}: has no {', '.join(missing)} (nor columns such as "
            f"{slots[0]}); it has: {', '.join(columns.names[:20]) or 'nothing'}"
            f"{', ...' if len(columns.names) > 20 else ''}"
        )
    try:
        fields = fields_of(adapter, given)
    except errors.DataError as error:
        raise errors.DataError(f"{path}: {error}") from None
    if not len(next(iter(fields.values()))):
        raise errors.DataError(f"{path}: holds no events; at least one is needed")
    return fields


def _table(adapter: Adapter, columns: Columns) -> dict[str, Array]:
    """The columns of `features` by name."""
    if "features" not in columns.names:
        return {}
    values = columns.get("features")
    if not values.ndim:
        raise errors.DataError(f"{columns.path}: features is a single number, wanted events")
    values = values.reshape(len(values), math.prod(values.shape[1:]))
    names = adapter.raw_columns
    if "feature_names" in columns.names:
        names = texts(columns.get("feature_names"))
    if len(names) != values.shape[1]:
        raise errors.DataError(
            f"{columns.path}: features has {values.shape[1]} numbers per event, wanted "
            f"{len(names)}: {', '.join(names[:6])}, ..."
        )
    return {name: values[:, i] for i, name in enumerate(names)}


def _field(
    columns: Columns, table: dict[str, Array], kind: str, name: str, field: RawField, count: int
) -> Array | None:
    for whole in (field.column, f"{kind}_{name}"):
        if whole is not None and whole in columns.names:
            return _padded(columns, whole, columns.get(whole), count)
        if whole is not None and count == 1 and whole in table:
            return table[whole]
    parts = [f"{kind}{slot if count > 1 else ''}_{name}" for slot in range(count)]
    if all(part in table for part in parts):
        return np.stack([table[part] for part in parts], axis=1)
    if all(part in columns.names for part in parts):
        return np.stack([columns.get(part) for part in parts], axis=1)
    return None


def _padded(columns: Columns, name: str, values: Array, count: int) -> Array:
    """(N, count) of rows of any length: zeros behind the shorter ones, the longer ones cut."""
    if values.dtype != object:
        if values.ndim == 2 and values.shape[1] != count:
            kept = values[:, :count]
            return np.pad(kept, ((0, 0), (0, count - kept.shape[1])))
        return values
    rows = [np.asarray(row) for row in values]
    kinds = {row.dtype.kind for row in rows if row.size}
    if not kinds <= {"i", "u", "b"} or any(row.ndim != 1 for row in rows):
        raise errors.DataError(
            f"{columns.path}: {name} does not hold lists of whole numbers; the adapter takes the "
            "hardware's integers"
        )
    out = np.zeros((len(rows), count), dtype=np.int64)
    for place, row in enumerate(rows):
        out[place, : min(count, len(row))] = row[:count]
    return out
