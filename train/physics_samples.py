"""The shipped physics samples beyond the jets' features, as arrays for networks.

How each was made stands in the data card beside its file.
"""

import hashlib
import importlib.resources
import io
import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "TTBAR_COLUMNS",
    "TTBAR_PERMUTATIONS",
    "JetConstituents",
    "TriggerEvents",
    "Ttbar",
    "jet_images",
    "load_constituents",
    "load_trigger_events",
    "load_ttbar",
    "right_and_wrong",
]

# The 12 ways to give 4 jets (0 is the hardest) to b beside the W to quarks, that W's quarks (the
# harder one first; which is which makes no difference), b beside the lepton.
TTBAR_PERMUTATIONS = np.array(
    [order for order in itertools.permutations(range(4)) if order[1] < order[2]]
)
TTBAR_ROLES = ("b_hadronic", "q1", "q2", "b_leptonic")
TTBAR_COLUMNS = (
    *(f"{role}_{value}" for role in TTBAR_ROLES for value in ("px", "py", "pz", "e", "b_tag")),
    *("lepton_px", "lepton_py", "lepton_pz", "met", "met_sin_phi", "met_cos_phi"),
)

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


@dataclass(frozen=True, eq=False)
class Ttbar:
    """Top quark pairs, one W to quarks, the other to e or mu; it is known which jet is which.

    `jets` (N, 4, 4) float32: pT in GeV, pseudorapidity, azimuth and mass in GeV, the hardest jet
    first; `b_tag` (N, 4) 0 or 1; `lepton` (N, 3): pT, pseudorapidity, azimuth; `met` (N, 2): pT and
    azimuth of the missing momentum; `assignment` (N, 4): the right one of `TTBAR_PERMUTATIONS`.
    """

    jets: FloatArray
    b_tag: FloatArray
    lepton: FloatArray
    met: FloatArray
    assignment: IntArray
    sha256: str

    def __len__(self) -> int:
        return len(self.jets)

    def take(self, events: npt.NDArray[np.intp]) -> "Ttbar":
        """The events with these indices, in that order."""
        return replace(
            self,
            jets=self.jets[events],
            b_tag=self.b_tag[events],
            lepton=self.lepton[events],
            met=self.met[events],
            assignment=self.assignment[events],
        )

    def momenta(self) -> FloatArray:
        """The jets' px, py, pz and energy in GeV (N, 4, 4)."""
        pt, eta, phi, mass = np.moveaxis(self.jets.astype(np.float64), 2, 0)
        p3 = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=2)
        energy = np.sqrt((p3**2).sum(axis=2) + mass**2)
        return np.concatenate([p3, energy[..., None]], axis=2).astype(np.float32)

    def inputs(self, assignments: IntArray) -> FloatArray:
        """Network inputs (N, 26) float32, columns `TTBAR_COLUMNS`, momenta in GeV.

        `assignments` (N, 4) or (4,) says which jet stands for which role.
        """
        chosen = np.broadcast_to(assignments, self.assignment.shape)[..., None]
        tagged = np.concatenate([self.momenta(), self.b_tag[..., None]], axis=2)
        pt, eta, phi = self.lepton.T
        met, met_phi = self.met.T
        columns = (
            np.take_along_axis(tagged, chosen, axis=1).reshape(len(self), -1),
            np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1),
            np.stack([met, np.sin(met_phi), np.cos(met_phi)], axis=1),
        )
        return np.concatenate(columns, axis=1).astype(np.float32)

    def all_inputs(self) -> tuple[FloatArray, IntArray]:
        """Inputs (N, 12, 26) of all `TTBAR_PERMUTATIONS`, and which one is right (N,)."""
        right = (self.assignment[:, None] == TTBAR_PERMUTATIONS).all(axis=2).argmax(axis=1)
        return np.stack([self.inputs(one) for one in TTBAR_PERMUTATIONS], axis=1), right


def load_ttbar() -> Ttbar:
    """The shipped top quark pairs."""
    arrays, sha256 = _read("ttbar", "ttbar.npz")
    return Ttbar(
        **{
            name: np.ascontiguousarray(arrays[name], dtype=np.float32)
            for name in ("jets", "b_tag", "lepton", "met")
        },
        assignment=arrays["assignment"].astype(np.int64),
        sha256=sha256,
    )


def right_and_wrong(events: Ttbar, seed: int) -> tuple[FloatArray, IntArray]:
    """Inputs (2 N, 26) and labels: the right permutation (1) and a wrong one (0) of each."""
    inputs, right = events.all_inputs()
    # The last bits of raw words, which NumPy promises never to change.
    step = 1 + np.random.PCG64(seed).random_raw(len(events)) % (len(TTBAR_PERMUTATIONS) - 1)
    wrong = (right + step.astype(np.int64)) % len(TTBAR_PERMUTATIONS)
    rows = np.arange(len(events))
    both = np.stack([inputs[rows, right], inputs[rows, wrong]], axis=1)
    return both.reshape(-1, inputs.shape[2]), np.tile(np.array([1, 0]), len(events))


@dataclass(frozen=True, eq=False)
class TriggerEvents:
    """What a global trigger gets of each event, and what happened in it.

    `codes` (N, 57) int16: pT, pseudorapidity and azimuth of the missing momentum, 4 electrons or
    photons, 4 muons and 10 jets, named by `columns`; one code is worth `lsb` (57,) (GeV, 1 or
    radian); zeros where there is no object. `labels` (N,) into `class_names`; the classes in
    `backgrounds` are known, the others are the anomalies. `accepted_pb` (classes,) is the cross
    section of what is kept of each class.
    """

    codes: npt.NDArray[np.int16]
    labels: IntArray
    columns: tuple[str, ...]
    lsb: npt.NDArray[np.float64]
    class_names: tuple[str, ...]
    backgrounds: tuple[str, ...]
    accepted_pb: npt.NDArray[np.float64]
    sha256: str

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, *names: str) -> npt.NDArray[np.int16]:
        """The codes of the events of these classes."""
        wanted = [self.class_names.index(name) for name in names]
        return self.codes[np.isin(self.labels, wanted)]


def load_trigger_events() -> TriggerEvents:
    """The shipped events of the anomaly trigger."""
    arrays, sha256 = _read("anomaly", "anomaly.npz")
    return TriggerEvents(
        codes=np.ascontiguousarray(arrays["features"]),
        labels=arrays["label"].astype(np.int64),
        columns=tuple(str(name) for name in arrays["feature_names"]),
        lsb=arrays["lsb"],
        class_names=tuple(str(name) for name in arrays["class_names"]),
        backgrounds=tuple(str(name) for name in arrays["backgrounds"]),
        accepted_pb=arrays["accepted_pb"],
        sha256=sha256,
    )


def _read(folder: str, name: str) -> tuple[dict[str, npt.NDArray[Any]], str]:
    """The arrays of a shipped file, and its SHA-256."""
    content = (importlib.resources.files("samebits.train") / folder / name).read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    return arrays, hashlib.sha256(content).hexdigest()
