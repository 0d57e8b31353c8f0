"""How numbers and the verdict are written, the same in the report and in the terminal."""

from samebits.sim.turn_on import Plateau
from samebits.tune_record import Loss, Tuning

from .facts import LatencyEstimate, Measured, NotRun, Quantity, ReportFacts

__all__ = [
    "budget_words",
    "chi_words",
    "clock_caveat",
    "failed_gates",
    "format_number",
    "format_points",
    "format_quantity",
    "format_share",
    "loss_words",
    "origin",
    "turn_on_words",
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
    unit = measured.unit
    if measured.value == 1 and unit in ("cycles", "blocks", "values"):
        unit = unit[:-1]
    return f"{format_number(measured.value)} {unit}".strip()


def origin(measured: Measured) -> str:
    """Where a number comes from, for example "estimated, alkaid 0.8.2"; or why there is none."""
    if isinstance(measured, Quantity):
        return f"{measured.kind}, {measured.tool}"
    return measured.reason


def clock_caveat(estimate: LatencyEstimate) -> str:
    """Says that the clock is faster than the tool expects it to be met; empty where it is not."""
    clock, fmax = estimate.clock_mhz, estimate.fmax_mhz
    if not (isinstance(clock, Quantity) and isinstance(fmax, Quantity)):
        return ""
    if fmax.value >= clock.value:
        return ""
    return (
        f"the clock of {format_quantity(clock)} is above Fmax {format_quantity(fmax)} "
        f"({origin(fmax)}): the worst stage takes {1000 / fmax.value:.4g} ns of "
        f"{1000 / clock.value:.4g} ns"
    )


def turn_on_words(fit: Plateau) -> str:
    """Plateau, 50 % and 95 % point of a fit, with errors; and whether the events have its shape."""
    doubt = f"; the events do not have this shape: {chi_words(fit)}" if fit.is_doubtful else ""
    return (
        f"plateau {fit.plateau:.3f} ± {fit.plateau_error:.3f}, "
        f"50 % at {fit.half:.4g} ± {fit.half_error:.2g}, "
        f"95 % at {fit.at_95:.4g} ± {fit.at_95_error:.2g}{doubt}"
    )


def chi_words(fit: Plateau) -> str:
    """Chi squared and degrees of freedom of a fit, and what follows."""
    if fit.chi_squared is None:
        return "too few events"
    return f"chi squared {fit.chi_squared:.1f} for {fit.degrees}"


def budget_words(tuning: Tuning) -> str:
    """The limits of a tuning, in words."""
    words = []
    if tuning.max_auc_drop is not None:
        words.append(f"at most {tuning.max_auc_drop:g} of each class's AUC lost")
    if tuning.max_accuracy_drop_points is not None:
        words.append(f"at most {tuning.max_accuracy_drop_points:g} points of accuracy lost")
    if tuning.max_ebops_share is not None:
        words.append(f"at most {100 * tuning.max_ebops_share:g} % of the EBOPs left")
    return ", ".join(words)


def loss_words(loss: Loss) -> tuple[str, str]:
    """What is lost, and its 95 % interval: points with two digits, AUC with five."""
    digits = 2 if "points" in loss.quantity else 5
    # adding zero takes the sign from what rounds to zero
    value, low, high = (round(v, digits) + 0.0 for v in (loss.value, loss.low_95, loss.high_95))
    return f"{value:.{digits}f}", f"{low:.{digits}f} to {high:.{digits}f}"


def failed_gates(facts: ReportFacts) -> str:
    """Which gates failed besides that on the bits, which the verdict tells; empty if none did."""
    names = [g.name for g in facts.gates if g.passed is False and g.name != "same bits"]
    if not names:
        return ""
    return f"Gate{'s' if len(names) > 1 else ''} failed: {', '.join(names)}"


def verdict_words(facts: ReportFacts) -> tuple[str, str]:
    """The verdict in one short line, and the sentence that says how far it reaches."""
    verification = facts.verification
    if isinstance(verification, NotRun):
        return "Bits not compared", verification.reason
    if not verification.ran:
        reasons = "; ".join(f"{e.engine}: {e.detail}" for e in verification.not_run)
        return "Bits not compared", reasons or "no engine was asked for"
    differing = [e for e in verification.ran if e.mismatching_bits]
    equal = ", ".join(e.engine for e in verification.ran if not e.mismatching_bits)
    head = "Same bits: NO" if differing else "Same bits: yes"
    if differing:
        counts = ", ".join(
            f"{e.engine} in {e.mismatching_bits:,} of {e.bits_compared:,} bits" for e in differing
        )
        tail = f"Different from {verification.reference}: {counts}."
        if equal:
            tail += f" Equal: {equal}."
    else:
        tail = (
            f"0 of {verification.bits_compared:,} bits differ between {verification.reference} "
            f"and {equal}."
        )
    if verification.not_run:
        tail += f" Not run: {', '.join(e.engine for e in verification.not_run)}."
    return head, tail
