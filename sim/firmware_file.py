"""`FirmwareFile`: what a `firmware.onnx` says about itself, and its answers under ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.compile.ir import Format

from .firmware_guard import checked_firmware
from .onnx_engine import OnnxEngine

__all__ = ["FirmwareFile", "LayerTensor", "Port"]

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: name, shape without the batch axis, format, element type in the file."""

    name: str
    shape: tuple[int, ...]
    format: Format
    dtype: str

    def __str__(self) -> str:
        return f"{self.name} {list(self.shape)} {self.format}"


@dataclass(frozen=True, slots=True)
class LayerTensor:
    """A layer's mantissas inside the file: their tensor there, format, and shape.

    The tensor has shape (N, *stored), its axes behind N in another order: see `arranged`.
    """

    name: str
    tensor: str
    format: Format
    shape: tuple[int, ...]
    stored: tuple[int, ...]
    perm: tuple[int, ...]

    def arranged(self, values: Array) -> Array:
        """What stands in the file as (N, *shape)."""
        events = len(values)
        axes = [0, *(axis + 1 for axis in self.perm)]
        return values.reshape(events, *self.stored).transpose(axes).reshape(events, *self.shape)


class FirmwareFile:
    """A `firmware.onnx` in ONNX Runtime, on one CPU thread.

    Raises:
        DataError: there is no such file.
        ModelError: the file is no ONNX model, or not one that samebits wrote.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            what = "is a folder; give the firmware.onnx in it" if path.is_dir() else "no such file"
            raise errors.DataError(f"{path}: {what}")
        try:
            self.engine = OnnxEngine(checked_firmware(path))
        except errors.MissingToolError:
            raise
        except errors.ToolError as error:
            raise errors.ModelError(f"{path}: is no ONNX model that runs: {error}") from None
        session = self.engine.session
        self.metadata: Mapping[str, str] = dict(session.get_modelmeta().custom_metadata_map)
        self.inputs = tuple(self._port("input", value) for value in session.get_inputs())
        named = [v for v in session.get_outputs() if f"samebits.output.{v.name}" in self.metadata]
        if not named:
            raise self._stranger()
        self.outputs = tuple(self._port("output", value) for value in named)
        self.raw = self.metadata.get("samebits.outputs") == "mantissas"

    def _stranger(self) -> errors.ModelError:
        return errors.ModelError(
            f"{self.path}: is not a firmware.onnx of samebits (no formats in its metadata); give "
            "the firmware.onnx of a build directory, or the one that `Design.export_onnx` wrote"
        )

    def _port(self, kind: str, value: Any) -> Port:
        text = self.metadata.get(f"samebits.{kind}.{value.name}")
        if text is None:
            raise self._stranger()
        try:
            shape = tuple(int(size) for size in value.shape[1:])
            return Port(value.name, shape, Format.parse(text), str(value.type))
        except (errors.FormatError, TypeError, ValueError) as error:
            raise errors.ModelError(f"{self.path}: {kind} {value.name}: {error}") from None

    @property
    def features(self) -> tuple[str, ...]:
        """The features that the network was trained on, in its order; empty if unknown."""
        return tuple(str(name) for name in self._json("samebits.features"))

    @property
    def layers(self) -> tuple[LayerTensor, ...]:
        """The layers whose mantissas stand in the file, in its order.

        Raises:
            ModelError: damaged metadata.
        """
        try:
            return tuple(
                LayerTensor(
                    entry["name"],
                    entry["tensor"],
                    Format.parse(entry["format"]),
                    *(tuple(entry[key]) for key in ("shape", "stored", "perm")),
                )
                for entry in self._json("samebits.layers")
            )
        except (errors.FormatError, KeyError, TypeError, ValueError) as error:
            raise errors.ModelError(f"{self.path}: metadata samebits.layers: {error}") from None

    @property
    def chunk_events(self) -> int:
        """How many events run at once."""
        return self.engine.chunk_events

    def _json(self, key: str) -> list[Any]:
        try:
            found = json.loads(self.metadata.get(key, "[]"))
        except (RecursionError, ValueError):
            found = None
        if not isinstance(found, list):
            raise errors.ModelError(f"{self.path}: metadata {key} is damaged; write the file again")
        return found

    def run(
        self, inputs: list[Array], raw: bool = False, progress: Callable[[int], None] | None = None
    ) -> dict[str, Array]:
        """Every output, (N, *shape), for inputs in the order of `inputs`.

        Real numbers as the file's own type, or float64 from mantissas; with `raw` int64 mantissas,
        which are exact where the file holds mantissas or its type all numbers of the format.
        """
        found = self.engine.native(inputs, progress)
        for port in self.outputs:
            values = found[port.name]
            if raw and not self.raw:
                found[port.name] = np.ldexp(values.astype(np.float64), port.format.fraction).astype(
                    np.int64
                )
            elif self.raw and not raw:
                found[port.name] = np.ldexp(values.astype(np.float64), -port.format.fraction)
            elif not raw:
                found[port.name] = values + values.dtype.type(0)  # -0.0 becomes 0.0
        return found
