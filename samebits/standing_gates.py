"""The gates that every report has: the same bits, accuracy, latency budget."""

from __future__ import annotations

from samebits.report.facts import Gate, LatencyFacts, MetricsFacts, NotRun, Quantity, ReportFacts

__all__ = ["standing_gates"]


def standing_gates(
    facts: ReportFacts, metrics: MetricsFacts | NotRun, latency: LatencyFacts
) -> tuple[Gate, ...]:
    """What decides the exit code of a report besides the limits of a gates file."""
    return (*_bit_gates(facts), *_accuracy_gates(metrics), *_budget_gates(latency))


def _accuracy_gates(metrics: MetricsFacts | NotRun) -> list[Gate]:
    gate = getattr(getattr(metrics, "comparison", None), "gate", None)
    if gate is None:
        return []
    verb = "loses" if gate.drop_points > 0 else "gains"
    detail = (
        f"firmware {verb} {abs(gate.drop_points):.2f} percentage points against "
        f"{gate.reference}, limit of the loss {gate.limit_points:g}"
    )
    return [Gate(name="accuracy", passed=gate.passed, detail=detail)]


def _budget_gates(latency: LatencyFacts) -> list[Gate]:
    """Whether the headline latency keeps the budget, if there is one."""
    estimate, budget = latency.headline, latency.budget_ns
    if not isinstance(budget, Quantity):
        return []
    if estimate is None or isinstance(estimate.latency_ns, NotRun):
        return [Gate(name="latency budget", passed=None, detail="no latency to compare")]
    detail = (
        f"{estimate.latency_ns.value:g} ns ({estimate.latency_ns.kind}: "
        f"{estimate.latency_ns.tool}), budget {budget.value:g} ns"
    )
    passed: bool | None = estimate.latency_ns.value <= budget.value
    fmax, clock = estimate.fmax_mhz, estimate.clock_mhz
    if isinstance(fmax, Quantity) and isinstance(clock, Quantity) and fmax.value < clock.value:
        at_fmax = estimate.latency_ns.value * clock.value / fmax.value
        detail += (
            f"; but {fmax.tool} expects the logic to reach {fmax.value:.4g} MHz, not "
            f"{clock.value:g}: {at_fmax:.4g} ns"
        )
        passed = None if passed and at_fmax > budget.value else passed
    return [Gate(name="latency budget", passed=passed, detail=detail)]


def _bit_gates(facts: ReportFacts) -> list[Gate]:
    if isinstance(facts.verification, NotRun) or not facts.verification.ran:
        detail = "bits not compared: run `samebits verify`"
        return [Gate(name="same bits", passed=None, detail=detail)]
    engines = ", ".join(engine.engine for engine in facts.verification.ran)
    detail = f"{facts.verification.mismatching_bits} mismatching bits against {engines}"
    if facts.verification.not_run:
        absent = ", ".join(engine.engine for engine in facts.verification.not_run)
        detail += f"; not run: {absent}"
    if "csim" not in {engine.engine for engine in facts.verification.engines}:
        detail += "; csim not asked for"
    plain = [
        engine.engine
        for engine in facts.verification.ran
        if not any(events.is_adversarial for events in engine.event_sets)
    ]
    if plain:
        detail += f"; no adversarial inputs: {', '.join(plain)}"
    return [Gate(name="same bits", passed=facts.same_bits, detail=detail)]
