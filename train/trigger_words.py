"""The integers in which trigger hardware keeps pT, pseudorapidity and azimuth.

Steps and widths are those of the CMS global trigger of Runs 2 and 3: 0.5 GeV in pT; 2 pi / 144 in
azimuth and 0.0435 in pseudorapidity, for muons a quarter of that (cmssw, scales.h and masks.h of
EventFilter/L1ScoutingRawToDigi). Muons of CMS have pT codes larger by one; here 0 GeV is code 0.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .reconstruction import Kinematics

__all__ = ["COLUMNS", "EGAMMA", "JET", "LSB", "MET", "MUON", "OBJECTS", "WordFormat", "words"]

PT_GEV = 0.5


@dataclass(frozen=True)
class WordFormat:
    """One kind of object: so many slots, empty ones all zero.

    pT has `pt_bits` and saturates; a full turn in azimuth has `phi_codes`, from 0.
    """

    name: str
    count: int
    pt_bits: int
    eta_step: float
    phi_codes: int

    @property
    def columns(self) -> tuple[str, ...]:
        """met_pt, met_eta, met_phi; muon0_pt and so on."""
        slots = [str(slot) for slot in range(self.count)] if self.count > 1 else [""]
        return tuple(
            f"{self.name}{slot}_{value}" for slot in slots for value in ("pt", "eta", "phi")
        )


MET = WordFormat("met", 1, 12, 0.0435, 144)
EGAMMA = WordFormat("egamma", 4, 9, 0.0435, 144)
MUON = WordFormat("muon", 4, 9, 0.010875, 576)
JET = WordFormat("jet", 10, 11, 0.0435, 144)
OBJECTS = (MET, EGAMMA, MUON, JET)
COLUMNS = tuple(name for one in OBJECTS for name in one.columns)
LSB = np.array(
    [
        step
        for one in OBJECTS
        for _ in range(one.count)
        for step in (PT_GEV, one.eta_step, 2 * np.pi / one.phi_codes)
    ]
)


def words(kind: WordFormat, objects: Kinematics) -> npt.NDArray[np.int16]:
    """The codes (3 x count,) of the first objects: pT, eta, phi of each; zeros in empty slots.

    Values are rounded to the nearest code; one code stands for code x step.
    """
    chosen = objects.take(slice(0, kind.count))
    codes = np.zeros((kind.count, 3))
    codes[: len(chosen), 0] = np.minimum(np.rint(chosen.pt_gev / PT_GEV), 2**kind.pt_bits - 1)
    codes[: len(chosen), 1] = np.rint(chosen.eta / kind.eta_step)
    codes[: len(chosen), 2] = np.mod(
        np.rint(chosen.phi / (2 * np.pi) * kind.phi_codes), kind.phi_codes
    )
    return codes.ravel().astype(np.int16)
