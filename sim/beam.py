"""The beam that a trigger's rate is quoted for."""

from dataclasses import dataclass

import numpy as np

from samebits import errors

__all__ = ["BUNCH_SLOTS", "REVOLUTION_HZ", "Beam"]

REVOLUTION_HZ = 11_245.6
BUNCH_SLOTS = 3564


@dataclass(frozen=True)
class Beam:
    """The beam that a rate is quoted for.

    Attributes:
        bunches: colliding bunches in the machine, 1 to 3564.
        luminosity_ratio: instantaneous luminosity per bunch of the target over that of the
            unbiased events.
    """

    bunches: int
    luminosity_ratio: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.bunches <= BUNCH_SLOTS:
            raise errors.UsageError(
                f"bunches must be 1 to {BUNCH_SLOTS} (the LHC's slots), got {self.bunches}"
            )
        if not (np.isfinite(self.luminosity_ratio) and self.luminosity_ratio > 0):
            raise errors.UsageError(
                f"the luminosity ratio must be above 0, got {self.luminosity_ratio}"
            )

    @property
    def crossings_khz(self) -> float:
        """The rate of a trigger that takes every crossing, in kHz."""
        return self.bunches * REVOLUTION_HZ * self.luminosity_ratio / 1000
