"""The order of axes: every tensor as the firmware stores it, images with their channels last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samebits import errors

from . import elements, images, pooling, roots
from .nodes import Check
from .storage import Layout, Stored

__all__ = ["CHECKS", "write_layout"]

CHECKS: dict[str, Check] = {
    **elements.CHECKS,
    **images.CHECKS,
    **pooling.CHECKS,
    **roots.CHECKS,
}
_RULES = {**elements.RULES, **images.RULES, **pooling.RULES, **roots.RULES}


def write_layout(wrapper: Any, own: Mapping[str, str]) -> list[str]:
    """Rewrites a cleaned-up qonnx model so that images have their channels last.

    Every node is written again by its operator's rule: from the stored tensors that it needs, with
    constants in their axes. A Transpose of the model costs nothing: it only says which axis is
    which, and numbers move where the next node needs them in another order. Inputs and outputs
    keep the model's axes, so that events are the same for every engine.

    Args:
        own: the model's names of its inputs, by those in the wrapper.

    Returns:
        Notes for the user.

    Raises:
        UnsupportedError: every node that hls4ml's layers cannot express, by name and reason.
        ModelError: a node with attributes or constants that make no sense.
    """
    layout = Layout(wrapper, own)
    refused = []
    for node in layout.computed:
        try:
            _RULES.get(node.op_type, elements.unknown)(layout, node)
        except errors.UnsupportedError as error:
            refused.append(f"{node.op_type} ({node.name}: {error})")
        except errors.ModelError as error:
            raise errors.ModelError(f"{node.op_type} {node.name}: {error}") from None
        for name in node.output:
            if name and name not in layout.stored:  # refused: all others are looked at, too
                shape = layout.shapes[name]
                layout.stored[name] = Stored(name, tuple(range(len(shape))), shape)
    if refused:
        raise errors.UnsupportedError(f"unsupported operators: {'; '.join(refused)}")
    layout.finish()
    return layout.notes
