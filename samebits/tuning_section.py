"""The report's section on the tuning that made a build, from what `samebits tune` left there."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

from pydantic import ValidationError

from samebits.tune_record import JSON, SUBFOLDER, Tuning

if TYPE_CHECKING:
    from samebits.design import Design

__all__ = ["no_labels", "tuning_of"]

_log = logging.getLogger("samebits")


def tuning_of(design: Design) -> Tuning | None:
    """The tuning that made a saved design; a record of another network is left out, with a warning.

    The record belongs to the design if it names the digest of its model.onnx.
    """
    if design.folder is None:
        return None
    path = design.folder / SUBFOLDER / JSON
    if not path.is_file():
        return None
    try:
        found = Tuning.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        _log.warning("%s: cannot be read (%s): the report says nothing of the tuning", path, why)
        return None
    digest = hashlib.sha256(design.network.model_bytes or b"").hexdigest()
    if digest != found.model_sha256:
        _log.warning(
            "%s: is of another network (model.onnx of sha256 %s, this one's is %s): the report "
            "says nothing of it",
            path,
            found.model_sha256[:12],
            digest[:12],
        )
        return None
    return found


def no_labels(tuning: Tuning | None) -> str:
    """Why there are no metrics, and what to do; where the losses of a tuned network stand."""
    remedy = "no labelled data: give --data FILE"
    if tuning is None:
        return remedy
    return f"{remedy}; what the tuning lost on {tuning.confirmation.data} stands under Tuning"
