"""The input adapter in the report."""

from samebits import Design
from samebits.adapter_facts import measure_adapter
from samebits.compile.adapter import Adapter
from samebits.report import ReportFacts, render_html

from ..models import quantized_mlp

ADAPTER = {
    "objects": {"jet": {"count": 2, "empty": "pt", "fields": {
        "pt": {"bits": 9, "lsb": "0.1", "unit": "GeV"},
        "phi": {"bits": 8, "lsb": "pi/128", "signed": True},
    }}},
    "columns": [{"of": "jet", "take": [{"value": "pt", "scale": "1/7", "offset": 3}, "sin(phi)"]}],
}  # fmt: skip


def test_it_states_columns_and_what_floats_cost(full_facts: ReportFacts) -> None:
    design = Design.from_onnx(quantized_mlp().model())
    assert measure_adapter(design) is None
    found = measure_adapter(design.with_adapter(Adapter.parse(ADAPTER)))
    assert found is not None
    assert [row.columns for row in found.rows] == [
        "jet0_pt to jet1_pt",
        "jet0_sin_phi to jet1_sin_phi",
    ]
    assert found.rows[0].value == "(pt - 3) x 1/7; 0 if pt = 0"
    assert found.rows[1].computed == "table of 256"
    assert all(row.largest_lsb <= 1 for row in found.rows)
    assert found.raw_inputs == 4
    page = render_html(full_facts.model_copy(update={"adapter": found}))
    assert '<a href="#adapter">Input adapter</a>' in page
    assert "table of 256" in page
    assert "Input adapter" not in render_html(full_facts)
