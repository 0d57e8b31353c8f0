"""What a converted hls4ml `ModelGraph` says about its target, and where it differs from it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from samebits import errors
from samebits.compile.target import Target

__all__ = ["check_target", "deviations", "target_of"]


def target_of(model_graph: Any) -> Target:
    """What a converted hls4ml model says about its target; samebits' defaults for the rest.

    Strategy and reuse factor are those of most layers that multiply.
    """
    config = model_graph.config
    default = Target()
    period = config.get_config_value("ClockPeriod")
    choices = Counter((strategy, reuse) for _, strategy, reuse in _multiplying(model_graph))
    strategy, reuse = (
        choices.most_common(1)[0][0] if choices else (default.strategy, default.reuse_factor)
    )
    return Target(
        backend=str(config.backend.name),
        io_type=str(config.get_config_value("IOType")),
        part=str(config.get_config_value("Part") or default.part),
        clock_mhz=1000 / float(period) if period else default.clock_mhz,
        strategy=strategy,
        reuse_factor=reuse,
    )


def _multiplying(model_graph: Any) -> list[tuple[str, str, int]]:
    """(name, strategy, reuse factor) of the layers for which hls4ml chose a strategy."""
    found = []
    for layer in model_graph.get_layers():
        strategy = str(layer.get_attr("strategy")).lower()
        if strategy == "distributed_arithmetic":  # which has removed the weights
            found.append((str(layer.name), strategy, 1))
        elif layer.get_attr("strategy") is not None and "weight" in layer.weights:
            name = "Resource" if "resource" in strategy else "Latency"
            found.append((str(layer.name), name, int(layer.get_attr("reuse_factor") or 1)))
    return found


def deviations(model_graph: Any, target: Target) -> list[str]:
    """Where hls4ml took another strategy or reuse factor than the target's, one note per layer."""
    notes = []
    for name, strategy, reuse in _multiplying(model_graph):
        if strategy != target.strategy:
            notes.append(f"{name}: strategy {strategy} instead of {target.strategy}")
        if reuse != target.reuse_factor:
            notes.append(
                f"{name}: reuse factor {reuse} instead of {target.reuse_factor}, as hls4ml chose"
            )
    return notes


def check_target(model_graph: Any, target: Target | None, found: Target) -> None:
    """Raises UsageError if a target that was given is not what the graph was converted for."""
    for name in ("backend", "io_type", "part") if target is not None else ():
        if name == "part" and not model_graph.config.get_config_value("Part"):
            continue
        if getattr(target, name) != getattr(found, name):
            raise errors.UsageError(
                f"from_hls4ml: the target's {name} is {getattr(target, name)}, but the model "
                f"was converted for {getattr(found, name)}; convert it again or give no target"
            )
