"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from samebits import errors
from samebits.compile.target import TABLE_SIZE, Target
from samebits.design import Design

if TYPE_CHECKING:
    from samebits.sim.firmware_file import Port

__all__ = [
    "Backend",
    "BudgetNs",
    "Build",
    "Clock",
    "Columns",
    "Force",
    "IoType",
    "Json",
    "Label",
    "LabelledEvents",
    "Output",
    "Part",
    "Precision",
    "RegressionTargets",
    "Reuse",
    "Seed",
    "Strategy",
    "TableSize",
    "Tree",
    "Within",
    "column_names",
    "data_range",
    "events_of",
    "target_of",
]

TARGET = "Target"  # headings of --help

Build = Annotated[Path, typer.Argument(help="Build directory of a compiled design.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Build directory to write.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns", help="Columns of the events in the input's order, separated by commas."
    ),
]
Tree = Annotated[
    str | None, typer.Option("--tree", help="The tree, if a .root has several; or FILE.root:TREE.")
]
LabelledEvents = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Labelled events, a file or 'jets'; default: the test part of the training data.",
    ),
]
Label = Annotated[
    str | None, typer.Option("--label", help="Column of these events with labels (label).")
]
RegressionTargets = Annotated[
    str | None,
    typer.Option("--target", help="Columns of --data that a regression predicts: A or A,B,..."),
]
BudgetNs = Annotated[
    float | None, typer.Option("--budget-ns", help="Latency that the trigger allows.")
]
Within = Annotated[
    list[str] | None,
    typer.Option(
        "--within",
        help="What inputs to expect: data, format, LOW:HIGH, or INPUT=LOW:HIGH; repeatable.",
    ),
]
Backend = Annotated[str, typer.Option("--backend", help="Vitis or Vivado.", rich_help_panel=TARGET)]
IoType = Annotated[
    str, typer.Option("--io-type", help="io_parallel or io_stream.", rich_help_panel=TARGET)
]
Part = Annotated[
    str,
    typer.Option(
        "--part", help="Full name of the FPGA, with package and grades.", rich_help_panel=TARGET
    ),
]
Clock = Annotated[
    float, typer.Option("--clock-mhz", help="Target clock in MHz.", rich_help_panel=TARGET)
]
Strategy = Annotated[
    str,
    typer.Option(
        "--strategy", help="Latency, Resource or distributed_arithmetic.", rich_help_panel=TARGET
    ),
]
Reuse = Annotated[
    int,
    typer.Option(
        "--reuse-factor", help="Uses of one multiplier for every event.", rich_help_panel=TARGET
    ),
]
Precision = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        help="Default precision such as 'fixed<16,6>', or LAYER=PRECISION; repeatable.",
        rich_help_panel=TARGET,
    ),
]
TableSize = Annotated[
    list[str] | None,
    typer.Option(
        "--table-size",
        help="Entries of the tables of sigmoid, tanh, softmax, LSTM, GRU (1024), or LAYER=ENTRIES; "
        "repeatable.",
        rich_help_panel=TARGET,
    ),
]


def target_of(
    backend: str,
    io_type: str,
    part: str,
    clock_mhz: float,
    strategy: str,
    reuse_factor: int,
    precision: list[str] | None,
    table_size: list[str] | None = None,
) -> Target:
    """The target that the options describe.

    Raises:
        UsageError: two defaults, or a value that makes no sense.
    """
    precisions = _by_layer("--precision", precision)
    sizes: dict[str, int] = {}
    for name, text in _by_layer("--table-size", table_size).items():
        if not text.isdecimal():
            raise errors.UsageError(f"--table-size: got {text!r}, wanted a number such as 4096")
        sizes[name] = int(text)
    return Target(
        backend,
        io_type,
        part,
        clock_mhz,
        strategy,
        reuse_factor,
        precisions or None,
        sizes.get("default", TABLE_SIZE) if set(sizes) <= {"default"} else sizes,
    )


def _by_layer(option: str, texts: list[str] | None) -> dict[str, str]:
    """VALUE and LAYER=VALUE by layer, "default" for all others."""
    found: dict[str, str] = {}
    for text in texts or []:
        name, _, value = text.rpartition("=")
        if (name or "default") in found:
            raise errors.UsageError(f"{option}: {name or 'the default'} is given twice")
        found[name or "default"] = value
    return found


def column_names(columns: str | None) -> list[str]:
    """The names in a `--columns`."""
    return [name.strip() for name in columns.split(",")] if columns else []


def events_of(design: Design, path: Path, tree: str | None = None) -> Any:
    """The events of a file, or of `FILE.root:TREE`, as `Design.simulate` takes them.

    Columns are found by name where the design knows the names that its network was trained on.
    For several inputs the file is a .npz or .h5 with one array for each, named like the input.

    Raises:
        DataError: a file that cannot be used.
    """
    from samebits.train.data import in_order, load_features
    from samebits.train.readers import READERS, split_tree

    if design.adapter is not None:
        from samebits.raw_files import read_raw

        return read_raw(design.adapter, path, tree)
    path, tree = split_tree(path, tree)
    names, kind = design.graph.inputs, path.suffix.lower()
    wide = any(port.dtype == "tensor(double)" for port in _ports(design))
    foreign = kind != "" and kind not in READERS and len(names) == 1
    if kind == ".csv" or foreign or wide or (kind == ".h5" and len(names) > 1):
        return _of_columns(design, path, tree)
    if len(names) == 1:
        return in_order(load_features(path, tree=tree), design.feature_names).features
    wanted = (
        f"the network has {len(names)} inputs: give a .npz or .h5 file with arrays "
        f"{', '.join(names)}"
    )
    if kind != ".npz":
        raise errors.DataError(f"{path}: {wanted}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if missing := [name for name in names if name not in arrays]:
                raise errors.DataError(
                    f"{path}: has no array {', '.join(missing)}, only {', '.join(arrays)}; {wanted}"
                )
            return {name: arrays[name] for name in names}
    except errors.SamebitsError:
        raise
    except Exception as error:  # of zipfile, zlib, NumPy's reader of headers, or no memory
        raise errors.DataError(f"{path}: cannot be read as .npz: {error}") from None


@dataclass(frozen=True, slots=True)
class _Inputs:
    inputs: tuple[Port, ...]
    features: tuple[str, ...]


def _ports(design: Design) -> tuple[Port, ...]:
    """The inputs as firmware.onnx has them: float32 where every value of the format fits."""
    from samebits.compile.emitters.interface import input_dtype
    from samebits.sim.firmware_file import Port

    return tuple(
        Port(
            tensor.name,
            tensor.shape,
            tensor.format,
            "tensor(float)" if input_dtype(tensor.format) is np.float32 else "tensor(double)",
        )
        for tensor in design.graph.tensors_of(design.graph.inputs)
    )


def _of_columns(design: Design, path: Path, tree: str | None) -> dict[str, Any]:
    """Events as `samebits emulate` reads them."""
    from samebits.event_files import open_events

    ports = _ports(design)
    with open_events(path, _Inputs(ports, design.feature_names), tree) as source:
        pieces = [arrays for _, arrays in source.pieces()]
    return {
        port.name: np.concatenate([arrays[position] for arrays in pieces])
        for position, port in enumerate(ports)
    }


def data_range(design: Design, events: Any = None, within: Sequence[str] = ()) -> tuple[Any, str]:
    """The inputs to expect, as `Design.ranges` takes them, and what they are in words.

    Args:
        events: data whose smallest and largest numbers count.
        within: "data": the events, or the test part of what the network was trained on; "format":
            all that the input formats hold; "LOW:HIGH" for all inputs or "NAME=LOW:HIGH". Empty:
            "data" if there are any, else "format".

    Raises:
        UsageError: a text that is none of these.
    """
    if within and list(within) not in (["data"], ["format"]):
        bounds = dict(_bounds(design, text) for text in within)
        return bounds, ", ".join(within)
    if list(within) == ["format"]:
        return None, "all that the input formats hold"
    if events is not None:
        return events, "the range of the data"
    from samebits.recipe import recipe_of

    recipe, _ = recipe_of(design)
    if recipe is not None:
        return recipe.split().test.features, "the range of the test set"
    if within:
        raise errors.UsageError(
            "--within data: there are no data: give events, or a folder with the training"
        )
    return None, "all that the input formats hold"


def _bounds(design: Design, text: str) -> tuple[str, tuple[float, float]]:
    names = design.graph.inputs
    name, _, numbers = text.rpartition("=")
    low, _, high = numbers.partition(":")
    try:
        bounds = float(low), float(high)
    except ValueError:
        raise errors.UsageError(
            f"--within must be data, format, LOW:HIGH or INPUT=LOW:HIGH, got {text!r}"
        ) from None
    if not name and len(names) > 1:
        raise errors.UsageError(
            f"--within {text}: the network has {len(names)} inputs: give INPUT=LOW:HIGH for "
            f"{', '.join(names)}"
        )
    return name or names[0], bounds
