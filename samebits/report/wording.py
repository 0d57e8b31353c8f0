"""How numbers and the verdict are written, the same in the report and in the terminal."""

from .facts import Measured, NotRun, Quantity, ReportFacts

__all__ = [
    "format_number",
    "format_points",
    "format_quantity",
    "format_share",
    "origin",
    "verdict_words",
]


def format_number(value: int | float) -> str:
    """Four significant digits, whole numbers in full with thousands separated by commas.

    >>> format_number(33376), format_number(3.14159), format_number(18234.4), format_number(1.19e-7)
    ('33,376', '3.142', '18,234', '1.19e-07')
    """
    if isinstance(value, int) or abs(value) >= 1000 or value == 0:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.4g}"
    return f"{value:.4g}"


def format_share(fraction: float | None, digits: int = 2) -> str:
    """A fraction as per cent; "undefined" for None; never 0 or 100 for what only rounds to it.

    >>> format_share(0.70267), format_share(0.00001), format_share(None)
    ('70.27 %', '< 0.01 %', 'undefined')
    """
    if fraction is None:
        return "undefined"
    least = 10.0**-digits
    percent = 100 * fraction
    if 0 < percent < least / 2:
        return f"< {least:.{digits}f} %"
    if 100 - least / 2 < percent < 100:
        return f"> {100 - least:.{digits}f} %"
    return f"{percent:.{digits}f} %"


def format_points(fraction: float, digits: int = 2) -> str:
    """A difference of fractions in percentage points, with its sign; a zero has none.

    >>> format_points(-0.00133), format_points(0.0)
    ('-0.13', '0.00')
    """
    text = f"{100 * fraction:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def format_quantity(measured: Measured) -> str:
    """Value and unit; "not run" for what was not run."""
    if isinstance(measured, NotRun):
        return "not run"
    return f"{format_number(measured.value)} {measured.unit}".strip()


def origin(measured: Measured) -> str:
    """Where a number comes from, for example "estimated, alkaid 0.8.2"; or why there is none."""
    if isinstance(measured, Quantity):
        return f"{measured.kind}, {measured.tool}"
    return measured.reason


def verdict_words(facts: ReportFacts) -> tuple[str, str]:
    """The verdict in one short line, and the sentence that says how far it reaches."""
    verification = facts.verification
    if isinstance(verification, NotRun):
        return "Bits not compared", verification.reason
    if not verification.ran:
        reasons = "; ".join(f"{e.engine}: {e.reason}" for e in verification.not_run)
        return "Bits not compared", reasons or "no engine was asked for"
    engines = ", ".join(e.engine for e in verification.ran)
    differing = verification.mismatching_bits
    head = "Same bits: yes" if differing == 0 else "Same bits: NO"
    tail = (
        f"{differing:,} of {verification.bits_compared:,} bits differ between "
        f"{verification.reference} and {engines}."
    )
    if verification.not_run:
        tail += f" Not run: {', '.join(e.engine for e in verification.not_run)}."
    return head, tail
