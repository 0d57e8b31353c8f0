"""TensorBoard's event files, written by TensorFlow alone: TensorBoard need not be installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samebits import errors

from .passes import Pass
from .tensorflow import load

__all__ = ["EventLog"]

SCALAR = 1  # DATA_CLASS_SCALAR of tensorflow/core/framework/summary.proto


class EventLog:
    """Losses, accuracies and the learning rate of every pass, as TensorBoard's scalars."""

    def __init__(self, folder: Path) -> None:
        tf = load().tf
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = tf.summary.create_file_writer(str(folder))
        except (OSError, tf.errors.OpError) as error:
            raise errors.UsageError(
                f"tensorboard folder {folder}: cannot be written: {error}"
            ) from error

    def write(self, entry: Pass) -> None:
        """Adds a pass."""
        values: dict[str, Any] = {
            "loss/training": entry.loss,
            "loss/validation": entry.validation_loss,
            "accuracy/training": entry.accuracy,
            "accuracy/validation": entry.validation_accuracy,
            "learning_rate": entry.learning_rate,
        }
        tf = load().tf
        with self._writer.as_default():
            for name, value in values.items():
                if value is not None:
                    kind = tf.compat.v1.SummaryMetadata(
                        plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
                        data_class=SCALAR,
                    )
                    tf.summary.write(name, tf.constant(value, tf.float32), entry.number, kind)
        self._writer.flush()

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()
