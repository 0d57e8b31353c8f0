"""What `firmware.onnx` says about where it comes from."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from samebits import __version__

if TYPE_CHECKING:
    from samebits.design import Design

__all__ = ["firmware_metadata"]


def firmware_metadata(design: Design) -> dict[str, str]:
    """Version, fingerprint, target, features, and the SHA-256 of model.onnx and of the target."""
    target = json.dumps(design.target.to_json(), sort_keys=True)
    metadata = {
        "samebits.version": __version__,
        "samebits.fingerprint": design.fingerprint,
        "samebits.target": target,
        "samebits.target.sha256": hashlib.sha256(target.encode()).hexdigest(),
        "samebits.features": json.dumps(design.feature_names),
    }
    if design.model_bytes is not None:
        metadata["samebits.model.sha256"] = hashlib.sha256(design.model_bytes).hexdigest()
    return metadata
