"""Progress bars for trainings, on stderr."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from .config import FitOptions
from .passes import Pass

__all__ = ["bench_progress"]


@contextlib.contextmanager
def bench_progress(
    options: FitOptions, fine_tuning: FitOptions | None = None
) -> Iterator[Callable[[str, Pass], None]]:
    """Show a bar for each stage of `train_network`; give it what this yields as `on_pass`."""
    epochs = {"float": options.epochs, "quantized": -(-options.epochs // 2)}
    if fine_tuning is not None:
        epochs["quantized"] = fine_tuning.epochs
    with _bars() as progress:
        tasks: dict[str, Any] = {}

        def show(stage: str, entry: Pass) -> None:
            if stage not in tasks:
                title, total = f"{stage} network", epochs[stage]
                tasks[stage] = progress.add_task(title, total=total, result="")
            result = f"validation loss {entry.validation_loss:.4g}"
            if entry.validation_accuracy is not None:
                result = f"validation accuracy {100 * entry.validation_accuracy:.1f} %"
            progress.update(tasks[stage], completed=entry.number, result=result)

        yield show


def _bars() -> Any:
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
    return Progress(*columns, console=Console(stderr=True))
