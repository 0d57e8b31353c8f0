"""What a tuning leaves behind: its record, and every configuration for the next run."""

from __future__ import annotations

import csv
import io
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from samebits import __version__, storage
from samebits.firmware.results import Facts, Measured, Text

if TYPE_CHECKING:
    from samebits.tune_engine import Formats, Knob
    from samebits.tune_search import Configuration

__all__ = [
    "CSV",
    "JSON",
    "SUBFOLDER",
    "Confirmation",
    "Loss",
    "Objective",
    "Point",
    "QuantizerFormat",
    "Tuning",
    "read_known",
    "write_known",
]

SUBFOLDER, JSON, CSV = "tune", "tune.json", "tune.csv"
Objective = Literal["bit-operations", "lut"]
_log = logging.getLogger("samebits")


class QuantizerFormat(Facts):
    """A quantizer of the ONNX model: its format as trained and as tuned; `fixed` says why not."""

    name: Text
    before: str
    after: str
    fixed: str = ""


class Point(Facts):
    """A configuration on the events of the search; `formats` as ap_fixed's, in the knobs' order.

    `auc_drop` is that of the class that loses most, against the network as it is.
    """

    formats: tuple[Text, ...]
    ebops: int
    bops: float
    accuracy: float
    auc: tuple[float, ...]
    accuracy_drop_points: float
    auc_drop: float
    lut: Measured


class Loss(Facts):
    """What is lost of the accuracy (in points) or of a class's AUC, with a 95 % interval."""

    quantity: Text
    value: float
    low_95: float
    high_95: float


class Confirmation(Facts):
    """The chosen configuration on events that the search has not seen; compiled, not estimated.

    `within` is True if no loss exceeds its limit there.
    """

    events: int
    data: Text
    accuracy_before: float
    accuracy_after: float
    losses: tuple[Loss, ...]
    resamples: int
    within: bool


class Tuning(Facts):
    """One search: what it was made from, what it tried, what it chose.

    `trained` says that the chosen network was trained in its formats after the search;
    `model_sha256` is the digest of its model.onnx.
    """

    network: Text
    objective: Objective
    max_auc_drop: float | None
    max_accuracy_drop_points: float | None
    max_ebops_share: float | None = None
    class_names: tuple[str, ...]
    events: int
    data: Text
    configurations: int
    evaluated_now: int
    per_minute: Measured
    trained: bool
    quantizers: tuple[QuantizerFormat, ...]
    before: Point
    after: Point
    front: tuple[Point, ...]
    confirmation: Confirmation
    inputs_sha256: str
    model_sha256: str
    samebits: Text = __version__


def write_known(
    path: Path,
    digest: str,
    knobs: tuple[Knob, ...],
    class_names: tuple[str, ...],
    known: dict[Formats, Configuration],
) -> None:
    """Every configuration: width:integer of each quantizer, bit operations, quality."""
    text = io.StringIO()
    text.write(f"# {digest}\n")
    lines = csv.writer(text, lineterminator="\n")
    one = next(iter(known.values()), None)
    classes = class_names if one is None or len(one.auc) == len(class_names) else class_names[1:]
    lines.writerow(
        [
            *(knob.name for knob in knobs),
            *("ebops", "bops", "distance", "accuracy_percent"),
            *(f"auc {name}" for name in classes),
        ]
    )
    for formats, one in known.items():
        places = [f"{width}:{integer}" for width, integer in formats]
        lines.writerow([*places, one.ebops, one.bops, one.distance, one.accuracy, *one.auc])
    with storage.replace_file(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def read_known(path: Path, digest: str, knobs: tuple[Knob, ...]) -> dict[Formats, Configuration]:
    """The configurations of an earlier search with the same network and events; else none."""
    from samebits.tune_search import Configuration

    try:
        first, _, rest = path.read_text(encoding="utf-8").partition("\n")
        rows = list(csv.reader(io.StringIO(rest)))
        count = len(knobs)
        if first != f"# {digest}" or rows[0][:count] != [knob.name for knob in knobs]:
            return {}
        known: dict[Formats, Configuration] = {}
        for row in rows[1:]:
            formats = tuple(_pair(cell) for cell in row[:count])
            ebops, bops, distance, accuracy, *auc = row[count:]
            known[formats] = Configuration(
                formats,
                int(ebops),
                float(bops),
                float(accuracy),
                tuple(map(float, auc)),
                float(distance),
            )
        return known
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, IndexError) as error:
        _log.warning("%s: cannot be used (%s): the search starts anew", path, error)
        return {}


def _pair(cell: str) -> tuple[int, int]:
    width, _, integer = cell.partition(":")
    return int(width), int(integer)
