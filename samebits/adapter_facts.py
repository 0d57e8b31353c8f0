"""What the report says of an input adapter: its columns, and what floats would have done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from samebits.compile.adapter.plan import Choice, Linear, Row, Table
from samebits.compile.adapter.raw import float_columns, random_fields
from samebits.compile.ir import Carrier
from samebits.compile.ops.boundary import input_mantissas
from samebits.firmware.results import Facts, Text

if TYPE_CHECKING:
    from samebits.compile.adapter import Plan
    from samebits.design import Design

__all__ = ["AdapterFacts", "AdapterRow", "measure_adapter"]

_EVENTS = 10_000


class AdapterRow(Facts):
    """One number of an object's slots.

    Attributes:
        bits: "13:0 unsigned"; computed: the arithmetic in words.
        differing: share of its values that single-precision preprocessing and the input cast make
            different; largest_lsb: by how many least significant bits of the input format at most.
    """

    columns: Text
    source: Text
    bits: Text
    lsb: Text
    value: Text
    computed: Text
    differing: float
    largest_lsb: float


class AdapterFacts(Facts):
    """The adapter of a design, measured on `events` events of random codes.

    Attributes:
        differing_events: share whose output single-precision preprocessing makes different;
            largest_difference: of an output.
    """

    name: Text
    input_format: Text
    raw_inputs: int
    rows: tuple[AdapterRow, ...]
    events: int
    seed: int
    differing_events: float
    largest_difference: float


def measure_adapter(design: Design, seed: int = 0) -> AdapterFacts | None:
    """The facts of the design's adapter, None if it has none."""
    if design.adapter is None:
        return None
    from samebits.adapter import plan_of

    plan, network = plan_of(design), design.network
    fields = random_fields(design.adapter, _EVENTS, np.random.default_rng(seed))
    floats = float_columns(plan, fields).astype(np.float32)
    tensor = network.graph.tensors[network.graph.inputs[0]]
    shaped = floats.reshape(_EVENTS, *tensor.shape)
    inputs = [fields[name].astype(np.float64) for name in design.graph.inputs]
    names = (tensor.name, *design.graph.outputs)
    columns, *answers = design.engine.run(inputs, names)
    others = network.engine.run([shaped], network.graph.outputs)
    cast = input_mantissas(floats, tensor.format, Carrier.INT64)
    mine = np.ldexp(columns.reshape(_EVENTS, -1), tensor.format.fraction).astype(np.int64)
    steps = np.abs(cast - mine)
    change = np.stack(
        [
            np.abs(a - b).reshape(_EVENTS, -1).max(axis=1)
            for a, b in zip(answers, others, strict=True)
        ]
    ).max(axis=0)
    return AdapterFacts(
        name=design.adapter.name,
        input_format=str(plan.format),
        raw_inputs=len(design.adapter.raw_columns),
        rows=tuple(_row(plan, row, steps[:, list(row.positions)]) for row in plan.rows),
        events=_EVENTS,
        seed=seed,
        differing_events=float((change > 0).mean()),
        largest_difference=float(change.max()),
    )


def _row(plan: Plan, row: Row, steps: np.ndarray) -> AdapterRow:
    field = plan.adapter.objects[row.kind].fields[row.field]
    value = row.take.value
    if row.take.offset != "0":
        value = f"{value} - {row.take.offset}"
    if row.take.scale != "1":
        value = f"({value}) x {row.take.scale}" if " " in value else f"{value} x {row.take.scale}"
    if row.empty_field is not None:
        value += f"; {row.take.empty} if {row.empty_field} = 0"
    return AdapterRow(
        columns=" to ".join(dict.fromkeys((row.names[0], row.names[-1]))),
        source=f"{row.kind}.{row.field}",
        bits=f"{field.bits} {'signed' if field.signed else 'unsigned'}",
        lsb=f"{field.lsb} {field.unit}".strip(),
        value=value,
        computed=_computed(row),
        differing=float((steps > 0).mean()),
        largest_lsb=float(steps.max()),
    )


def _computed(row: Row) -> str:
    match row.arithmetic:
        case Linear(factor, addend, fraction):
            plus = f" {'+' if addend > 0 else '-'} {abs(addend)}" if addend else ""
            words = f"(code x {factor}{plus}) x 2^{-fraction}, cast"
        case Table(entries, dropped):
            words = f"table of {len(entries)}"
            words += f", the code's lowest {dropped} bits dropped" if dropped else ""
        case Choice(category, _, _):
            words = f"code = {category}?" if row.text != "present" else "code other than 0?"
    if row.other is None:
        return words
    turned = " turned" if row.period is not None else ""
    return words.replace("code", f"difference{turned}")
