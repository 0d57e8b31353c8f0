"""The closing table in the terminal, and how numbers are written."""

import io

import pytest
from rich.console import Console

from samebits.report import ReportFacts, render_terminal
from samebits.report.facts import EngineFacts, NotRun, Quantity, VerificationFacts
from samebits.report.wording import (
    format_number,
    format_points,
    format_quantity,
    format_share,
    origin,
)


def show(facts: ReportFacts, width: int = 160) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=False).print(render_terminal(facts))
    return "\n".join(" ".join(line.split()) for line in stream.getvalue().splitlines())


def test_the_table_says_what_matters(full_facts: ReportFacts) -> None:
    text = show(full_facts, width=240)
    for line in (
        "csim equal: 0 of 20,160 bits differ measured, tool 1.0",
        "RTL not run no verilator found",
        "latency 65 ns, 13 cycles, 2.6 BX: RTL assumed, cycles measured by Verilator 5.48, "
        "clock assumed: the target",
        "LUT 1,296,000 LUT, 75.00 % of xcvu13p-flga2577-2-e: RTL estimated, alkaid 0.8.2",
        "caveat: the clock of 200 MHz is above Fmax 160 MHz (estimated, alkaid's delay model): the "
        "worst stage takes 6.25 ns of 5 ns",
        "Latency by layer: RTL",
        "layer ns BX 0 to 1,000 ns; budget 1,000 ns",
        "relu1 0 0",
        "LUT 75.00 % 70 % ██████████████████████████████",
        "gate accuracy passed 0.1 of 0.5 points lost",
        "bits in use 1,234 values wrap, 5 saturate above, 0 below, besides ReLU's zeros; within 1 "
        "accumulators not counted measured, 400 events",
        "noise y 0.0025 rms to model.onnx, whose rms is 0.5 measured, 400 events",
        "Same bits: yes",
    ):
        assert line in text.splitlines()
    assert "points to float, 95 %:" in text


def test_what_was_not_run_says_so(bare_facts: ReportFacts) -> None:
    lines = show(bare_facts).splitlines()
    assert "bits not run no verification in this run" in lines
    assert "accuracy not run no labelled data in this run" in lines
    assert "latency not run no latency estimate in this run" in lines
    assert "resources not run no resource estimate in this run" in lines
    assert "Bits not compared" in lines


def test_names_steer_neither_the_markup_nor_the_terminal(bare_facts: ReportFacts) -> None:
    engine = EngineFacts(
        engine="[red]csim[/nonsense]\x1b[2J", tool="t", status="equal", bits_compared=8
    )
    verification = VerificationFacts(reference="NumPy", engines=(engine,))
    text = show(bare_facts.model_copy(update={"verification": verification}))
    assert "[red]csim[/nonsense]?[2J equal: 0 of 8 bits differ" in text
    assert "\x1b" not in text


def test_a_narrow_terminal_keeps_the_values(full_facts: ReportFacts) -> None:
    text = show(full_facts, width=60)
    assert "65 ns" in text
    assert "not run" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0, "0"), (13, "13"), (1728000, "1,728,000"), (2.6, "2.6"), (1.19e-7, "1.19e-07")],
)
def test_numbers(value: float, text: str) -> None:
    assert format_number(value) == text


def test_shares_never_round_to_a_promise() -> None:
    assert format_share(0.99999, 1) == "> 99.9 %"
    assert format_share(1e-6) == "< 0.01 %"
    assert (format_share(0.0), format_share(1.0)) == ("0.00 %", "100.00 %")
    assert (format_points(0.0), format_points(-0.00001), format_points(0.004)) == (
        "0.00",
        "0.00",
        "+0.40",
    )


def test_quantities_carry_unit_and_origin() -> None:
    one = Quantity(value=1, unit="cycles", kind="synthesised", tool="Vitis 2024.1")
    assert (format_quantity(one), origin(one)) == ("1 cycle", "synthesised, Vitis 2024.1")
    absent = NotRun(reason="no labels")
    assert (format_quantity(absent), origin(absent)) == ("not run", "no labels")
