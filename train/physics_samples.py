"""The shipped physics samples beyond the jets' features, as arrays for networks.

How each was made stands in the data card beside its file.
"""

import hashlib
import importlib.resources
import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["JetConstituents", "jet_images", "load_constituents"]

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class JetConstituents:
    """Jets of five classes with their leading constituents.

    `constituents` (N, P, 3) float32, sorted by falling pT: pT over the jet's pT, pseudorapidity and
    azimuth relative to the jet's axis; zeros where a jet has fewer. `features` (N, 16) float32:
    the same jets' substructure, named by `feature_names`. `labels` (N,) int64 into `class_names`.
    """

    constituents: FloatArray
    features: FloatArray
    jet_pt_gev: FloatArray
    labels: IntArray
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    sha256: str

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, jets: npt.NDArray[np.intp]) -> "JetConstituents":
        """The jets with these indices, in that order."""
        return replace(
            self,
            constituents=self.constituents[jets],
            features=self.features[jets],
            jet_pt_gev=self.jet_pt_gev[jets],
            labels=self.labels[jets],
        )


def load_constituents() -> JetConstituents:
    """The shipped jets with constituents, other jets than those of `load_jets`, mixed.

    >>> load_constituents().constituents.shape[1:]
    (16, 3)
    """
    arrays, sha256 = _read("jets", "constituents.npz")
    return JetConstituents(
        constituents=np.ascontiguousarray(arrays["constituents"], dtype=np.float32),
        features=np.ascontiguousarray(arrays["features"], dtype=np.float32),
        jet_pt_gev=arrays["jet_pt_gev"].astype(np.float32),
        labels=arrays["label"].astype(np.int64),
        feature_names=tuple(str(name) for name in arrays["feature_names"]),
        class_names=tuple(str(name) for name in arrays["class_names"]),
        sha256=sha256,
    )


def jet_images(constituents: FloatArray, pixels: int = 16, half_width: float = 0.8) -> FloatArray:
    """Images (N, pixels, pixels) float32 from constituents (N, P, 3): pT over jet pT per pixel.

    Rows are bins of deta, columns of dphi, both from -half_width to half_width; what lies outside
    is left out.

    >>> jet_images(np.array([[[0.6, 0.01, -0.01], [0.4, 0.3, 0.0]]], np.float32), 4).sum()
    np.float32(1.0)
    """
    place = np.floor((constituents[..., 1:] + half_width) / (2 * half_width) * pixels)
    inside = ((place >= 0) & (place < pixels)).all(axis=-1)
    jet = np.broadcast_to(np.arange(len(constituents))[:, None], inside.shape)[inside]
    row, column = place[inside].astype(np.int64).T
    images = np.zeros((len(constituents), pixels, pixels))
    np.add.at(images, (jet, row, column), constituents[..., 0][inside])
    return images.astype(np.float32)


def _read(folder: str, name: str) -> tuple[dict[str, npt.NDArray[Any]], str]:
    """The arrays of a shipped file, and its SHA-256."""
    content = (importlib.resources.files("samebits.train") / folder / name).read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    return arrays, hashlib.sha256(content).hexdigest()
