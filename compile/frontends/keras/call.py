"""One call of a Keras layer, as the exporting functions get it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from samebits import errors

from .graph import GraphBuilder

__all__ = ["Call", "Export"]


@dataclass(frozen=True)
class Call:
    """A layer, its inputs' tensors and shapes (without batch), its output's shape and name.

    `options` are the arguments that it is called with by name.
    """

    graph: GraphBuilder
    layer: Any
    inputs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def x(self) -> str:
        """The only input.

        Raises:
            UnsupportedError: the layer is called with several.
        """
        if len(self.inputs) != 1:
            raise errors.UnsupportedError(f"has {len(self.inputs)} inputs, not 1")
        return self.inputs[0]

    def channels_last(self) -> None:
        """Raises UnsupportedError for a layer with data_format='channels_first'."""
        if getattr(self.layer, "data_format", "channels_last") != "channels_last":
            raise errors.UnsupportedError(
                "data_format='channels_first': supported is 'channels_last'"
            )

    def channels_first(
        self, operator: str, name: str, inputs: Sequence[str], rank: int, **attributes: Any
    ) -> str:
        """A node that wants channels first, between two transpositions.

        Args:
            name: of the last tensor, with the channels last.
            inputs: the first one is transposed.
            rank: of the tensors, the batch axis included.
        """
        graph = self.graph
        axes = list(range(rank))
        first = graph.node(
            "Transpose", f"{name}_first", [inputs[0]], perm=[0, axes[-1], *axes[1:-1]]
        )
        y = graph.node(operator, f"{name}_channels", [first, *inputs[1:]], **attributes)
        return graph.node("Transpose", name, [y], perm=[0, *axes[2:], 1])


Export = Callable[[Call], str]
