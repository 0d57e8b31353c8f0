"""What a Keras 3 model answers, as any other engine does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["KerasEngine"]

_BATCH = 4096


@dataclass(frozen=True, slots=True)
class KerasEngine:
    """A Functional Keras 3 model that runs in inference mode."""

    model: Any

    @property
    def tool(self) -> str:
        """Keras, its version and its backend."""
        import keras  # type: ignore[import-untyped]

        return f"keras {keras.__version__} ({keras.backend.backend()})"

    def run(self, inputs: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The outputs by name, in the model's order; inputs (N, ...) are rounded to float32."""
        arrays = [np.asarray(array, np.float32) for array in inputs]
        found = self.model.predict(
            arrays if len(arrays) > 1 else arrays[0], batch_size=_BATCH, verbose=0
        )
        values = found if isinstance(found, list) else [found]
        return dict(zip(self.names, map(np.asarray, values), strict=True))

    @property
    def names(self) -> tuple[str, ...]:
        """Names for the outputs, each once."""
        return tuple(
            f"{name}_{index}" if names.count(name) > 1 else name
            for names in [list(self.model.output_names)]
            for index, name in enumerate(names)
        )
