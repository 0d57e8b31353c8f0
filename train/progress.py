"""A progress bar for a training, on stderr."""

import contextlib
from collections.abc import Callable, Iterator

from .fit import Epoch

__all__ = ["training_progress"]


@contextlib.contextmanager
def training_progress(title: str, epochs: int) -> Iterator[Callable[[Epoch], None]]:
    """Show a bar while the block runs; give what it yields to `fit` as `on_epoch`."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[result]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=epochs, result="")

        def show(epoch: Epoch) -> None:
            accuracy = f"validation accuracy {100 * epoch.validation_accuracy:.1f} %"
            progress.update(task, completed=epoch.number, result=accuracy)

        yield show
