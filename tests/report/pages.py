"""Report pages as tests read them, and facts whose every name is hostile."""

import dataclasses
from collections.abc import Iterator
from html.parser import HTMLParser

from samebits.bits import BitFacts
from samebits.report import ReportFacts
from samebits.report.facts import Gate, MetricsFacts, NotRun, VerificationFacts
from samebits.trigger import TriggerFacts

VOID = {"meta", "br", "wbr", "hr", "img", "link", "input"}
HOSTILE = '<script>alert("1")</script>&amp;\'$x_{$ --> _\\frac'


class Page(HTMLParser):
    """Elements with their attributes, the text, and a check that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in ("style", "script"):
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def attributes(self, name: str) -> Iterator[str]:
        for _, attributes in self.elements:
            if attributes.get(name) is not None:
                yield str(attributes[name])


def hostile(facts: ReportFacts) -> ReportFacts:
    """The same facts with every name that a file can bring replaced by a hostile one."""
    assert isinstance(facts.metrics, MetricsFacts)
    assert isinstance(facts.verification, VerificationFacts)
    models = {}
    for name, metrics in facts.metrics.models.items():
        names = (HOSTILE, *metrics.class_names[1:])
        classes = tuple(
            dataclasses.replace(c, name=n) for c, n in zip(metrics.classes, names, strict=True)
        )
        models[f"_{HOSTILE}{name}"] = dataclasses.replace(
            metrics, class_names=names, classes=classes
        )
    trigger = facts.trigger
    assert isinstance(trigger, TriggerFacts)
    assert isinstance(facts.bits, BitFacts)
    scores = {
        f"_{HOSTILE}{name}": model.model_copy(
            update={
                "turn_ons": {HOSTILE: model.turn_ons["t"]},
                "points": tuple(
                    dataclasses.replace(
                        point,
                        efficiency=dict.fromkeys([HOSTILE], point.efficiency.get("t")),
                        signal_at_cut=dict.fromkeys([HOSTILE], point.signal_at_cut.get("t")),
                    )
                    for point in model.points
                ),
            }
        )
        for name, model in trigger.models.items()
    }
    layers = tuple(
        layer.model_copy(update={"name": HOSTILE, "class_name": HOSTILE, "result_format": HOSTILE})
        for layer in facts.layers
    )
    return facts.model_copy(
        update={
            "design": HOSTILE,
            "commands": (HOSTILE,),
            "versions": {HOSTILE: HOSTILE},
            "layers": layers,
            "metrics": facts.metrics.model_copy(update={"models": models}),
            "verification": facts.verification.model_copy(
                update={
                    "engines": tuple(
                        e.model_copy(
                            update={
                                "detail": HOSTILE,
                                "status": "MISMATCH",
                                "mismatching_bits": 1,
                                "event_sets": tuple(
                                    s.model_copy(update={"kind": HOSTILE}) for s in e.event_sets
                                ),
                            }
                        )
                        for e in facts.verification.ran
                    )
                }
            ),
            "gates": (Gate(name=HOSTILE, passed=False, detail=HOSTILE),),
            "trigger": trigger.model_copy(
                update={
                    **dict.fromkeys(("score", "unbiased", "offline"), HOSTILE),
                    "signals": {HOSTILE: 400},
                    "models": scores,
                    "differences": tuple(
                        dataclasses.replace(d, model=HOSTILE, reference=HOSTILE, signal=HOSTILE)
                        for d in trigger.differences
                    ),
                }
            ),
            "latency": NotRun(reason=HOSTILE),
            "bits": facts.bits.model_copy(
                update={
                    "data": HOSTILE,
                    "layers": tuple(
                        dataclasses.replace(row, layer=HOSTILE, format=HOSTILE)
                        for row in facts.bits.layers
                    ),
                }
            ),
        }
    )
