"""Columns of every kind, for every code of every field, against fractions; and what is refused."""

import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import errors
from samebits.compile.adapter import Adapter, add_adapter, plan_for, read_adapter
from samebits.compile.adapter.numbers import PI
from samebits.compile.adapter.raw import fields_of, float_columns, pack, random_fields
from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Graph, Overflow, Rounding
from samebits.sim.numpy_engine import NumpyEngine
from samebits.train.physics_samples import load_trigger_events

from ...oracle import cast
from .oracle import exact_sine, word, wrap

EXAMPLE = Path(__file__).parents[3] / "examples" / "adapter.toml"
TEXT = """
[objects.met.fields]
pt = { bits = 7, lsb = 0.3 }
phi = { bits = 8, lsb = "2*pi/144", range = [0, 143] }

[objects.jet]
count = 3
empty = "pt"
[objects.jet.fields]
pt = { bits = 6, lsb = 0.5 }
eta = { bits = 7, lsb = 0.0435, at_zero = 0.02175, signed = true }
phi = { bits = 8, lsb = "2*pi/144", range = [0, 143] }
kind = { bits = 2, signed = true }

[[columns]]
of = "met"
take = [
    "pt",
    { value = "sin(phi)", scale = 2 },
    { value = "pt", offset = 9, scale = "1/7", name = "again" },
]

[[columns]]
of = "jet"
take = [
    "pt", { value = "eta", scale = "1/3", empty = -1 }, "cos(phi)", "delta(phi, met.phi)",
    "delta(phi, jet[0].phi)", "delta(eta, jet[1].eta)", "present",
    { value = "onehot(kind)", offset = 0.5, categories = [-1, 1] },
    { value = "sin(phi)", table_bits = 5 }, "sin(eta)",
]

[[columns]]
of = "jet"
slots = "1:3"
order = "value"
take = [{ value = "pt", name = "{object}{slot}_pt2" }, { value = "eta", name = "eta2_{slot}" }]
"""
FORMATS = [
    Format(True, 12, 4, Rounding.RND_CONV, Overflow.SAT),
    Format(True, 16, 6),
    Format(True, 7, 3, Rounding.RND, Overflow.SAT_SYM),
    Format(True, 9, 3, Rounding.TRN_ZERO, Overflow.SAT_ZERO),
    Format(True, 14, 5, Rounding.RND_INF, Overflow.SAT),
]


def identity(size: int, fmt: Format) -> Graph:
    """A network that answers its input."""
    build = GraphBuilder()
    x = build.input("x", (size,), fmt)
    return build.graph((build.apply("reshape", x, shape=(1, size), name="y").name,))


def columns_of(adapter: Adapter, size: int, fmt: Format, fields: dict[str, Any]) -> Any:
    """Mantissas (N, size) by the NumPy engine."""
    network = identity(size, fmt)
    graph = add_adapter(plan_for(adapter, network), network)
    (values,) = NumpyEngine(graph).run([fields[name] * 1.0 for name in graph.inputs], graph.outputs)
    return (values.reshape(-1, size) * 2.0**fmt.fraction).astype(int)


def expected(fields: dict[str, Any], event: int, jet: int | None) -> dict[str, Fraction]:
    """The exact numbers of TEXT, by hand."""

    def code(name: str, slot: int = 0) -> int:
        return int(fields[name][event, slot])

    step = PI / 72
    if jet is None:
        pt = code("met_pt") * Fraction(3, 10)
        angle = exact_sine(code("met_phi") * step)
        return {"pt": pt, "sin": 2 * angle, "pt7": (pt - 9) / 7}
    phi, kind = code("jet_phi", jet), code("jet_kind", jet)
    middle = (phi // 8) * 8 + Fraction(7, 2)
    eta = [code("jet_eta", i) * Fraction(435, 10000) + Fraction(2175, 100000) for i in range(3)]
    values = {
        "pt": code("jet_pt", jet) * Fraction(1, 2),
        "eta3": eta[jet] / 3,
        "cos": exact_sine(phi * step + PI / 2),
        "delta_met": wrap(phi - code("met_phi"), 144) * step,
        "delta_jet0": wrap(phi - code("jet_phi", 0), 144) * step,
        "delta_eta": eta[jet] - eta[1],
        "present": Fraction(1),
        "kind_m1": Fraction(1 if kind == -1 else -1, 2),
        "kind_1": Fraction(1 if kind == 1 else -1, 2),
        "sin": exact_sine(middle * step),
        "sin_eta": exact_sine(eta[jet]),
        "eta": eta[jet],
    }
    if code("jet_pt", jet) == 0:
        values = dict.fromkeys(values, Fraction(0)) | {"eta3": Fraction(-1)}
    return values


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_every_column_is_the_cast_of_the_exact_number(fmt: Format, rng: Any) -> None:
    adapter = Adapter.parse(tomllib.loads(TEXT))
    events = 144
    fields = random_fields(adapter, events, rng)
    fields["jet_phi"][:, 1] = rng.permutation(144)
    fields["met_phi"][:, 0] = rng.permutation(144)
    fields["met_pt"][:128, 0] = np.arange(128)
    fields["jet_eta"][:128, 2] = np.arange(-64, 64)
    fields["jet_pt"][:64, 1] = np.arange(64)
    mine = Format(fmt.signed, fmt.width, fmt.integer, fmt.rounding, fmt.overflow)
    if fmt.overflow is Overflow.WRAP:  # the adapter saturates where the input type wraps
        mine = Format(fmt.signed, fmt.width, fmt.integer, fmt.rounding, Overflow.SAT)
    size = 3 + 3 * 11 + 4
    found = columns_of(adapter, size, fmt, fields_of(adapter, fields))
    for event in range(events):
        met = expected(fields, event, None)
        wanted = [met["pt"], met["sin"], met["pt7"]]
        jets = [expected(fields, event, jet) for jet in range(3)]
        names = list(jets[0])[:11]
        wanted += [jet[name] for jet in jets for name in names]
        wanted += [jet[name] for name in ("pt", "eta") for jet in jets[1:]]
        assert found[event].tolist() == [cast(number, mine) for number in wanted]


def test_all_codes_of_the_example(rng: Any) -> None:
    """13 bits of eta and phi, each code in its turn; sine and cosine are right to the last bit."""
    adapter = read_adapter(EXAMPLE)
    fmt = Format(True, 14, 4, Rounding.RND_CONV, Overflow.SAT)
    fields = random_fields(adapter, 8192, rng)
    codes = np.arange(-4096, 4096)
    fields["met_phi"][:, 0] = codes
    fields["jet_eta"][:, 0], fields["jet_pt"][:, 0] = codes, 2**14 - 1
    found = columns_of(adapter, 35, fmt, fields)
    for event in (*range(0, 8192, 97), 0, 2048, 4096, 6144):
        angle = int(codes[event]) * PI / 4096
        assert found[event, 1] == cast(exact_sine(angle), fmt)
        assert found[event, 2] == cast(exact_sine(angle + PI / 2), fmt)
    eta = [cast(Fraction(43, 10000) * int(code), fmt) for code in codes]
    assert found[:, 16].tolist() == eta


def test_double_precision_is_half_a_step_away(rng: Any) -> None:
    adapter = read_adapter(EXAMPLE)
    fmt = Format(True, 16, 6, Rounding.RND_CONV, Overflow.SAT)
    fields = random_fields(adapter, 500, rng)
    real = float_columns(plan_for(adapter, identity(35, fmt)), fields)
    real = np.clip(real, fmt.min_mantissa * fmt.lsb, fmt.max_mantissa * fmt.lsb)
    found = columns_of(adapter, 35, fmt, fields) * fmt.lsb
    tables = [i for i in range(15, 35) if i % 5 in (2, 3)]  # of 9 of 13 bits
    rest = [i for i in range(35) if i not in tables]
    assert np.abs(real - found)[:, rest].max() <= fmt.lsb / 2 * 1.0001
    assert np.abs(real - found)[:, tables].max() < np.pi / 512 + fmt.lsb


def test_words_are_the_fields(rng: Any) -> None:
    adapter = read_adapter(EXAMPLE)
    fields = random_fields(adapter, 200, rng)
    words = pack(adapter, fields)
    for kind, one in adapter.objects.items():
        for slot in range(one.count):
            codes = {name: int(fields[f"{kind}_{name}"][7, slot]) for name in one.fields}
            assert int(words[kind][7, slot]) == sum(
                word(field, codes[name]) for name, field in one.fields.items()
            )
    back = fields_of(adapter, words)
    assert all(np.array_equal(back[name], fields[name]) for name in fields)
    names = [column.split("_") for column in adapter.raw_columns]
    assert [".".join(name) for name in names[:4]] == ["met.pt", "met.phi", "muon0.pt", "muon0.eta"]


def test_words_of_100_bits(rng: Any) -> None:
    adapter = Adapter.parse(
        {
            "objects": {
                "tau": {
                    "word_bits": 100,
                    "count": 2,
                    "fields": {
                        "pt": {"bits": "69:55"},
                        "eta": {"bits": "95:80", "signed": True},
                        "low": {"bits": "4:0"},
                    },
                }
            },
            "columns": [{"of": "tau", "take": ["pt"]}],
        }
    )
    fields = random_fields(adapter, 50, rng)
    words = pack(adapter, fields)["tau"]
    assert words.shape == (50, 2, 2)
    one = adapter.objects["tau"].fields
    whole = sum(word(one[name], int(fields[f"tau_{name}"][3, 1])) for name in one)
    assert int(words[3, 1, 0]) + (int(words[3, 1, 1]) << 64) == whole
    assert all(np.array_equal(v, fields[k]) for k, v in fields_of(adapter, {"tau": words}).items())
    words[4, 0, 1] |= np.uint64(1 << 36)
    with pytest.raises(errors.DataError, match=r"bits beyond the 100 .* event 4, slot 0"):
        fields_of(adapter, {"tau": words})


def jets(**changes: Any) -> dict[str, Any]:
    fields = {"pt": {"bits": "13:0", "lsb": 0.25}, "eta": {"bits": "25:14", "signed": True}}
    jet = {"count": 2, "word_bits": 64, "empty": "pt", "sorted_by": "pt", "fields": fields}
    return {"objects": {"jet": jet | changes}, "columns": [{"of": "jet", "take": ["pt"]}]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (jets(fields={"a": {"bits": "7:0"}, "b": {"bits": "9:7"}}, empty=None, sorted_by=None),
         "objects.jet: fields a and b overlap in bit 7"),
        (jets(word_bits=20), "objects.jet: eta: bit 25 is beyond the word of 20 bits"),
        (jets(empty="et"), "objects.jet: empty names 'et'; fields: pt, eta"),
        (jets(fields={"pt": {"bits": 0}}), "objects.jet.fields.pt: has 0 bits, wanted 1 to 32"),
        (jets(fields={"pt": {"bits": 8, "lsb": 0}}),
         "objects.jet.fields.pt: has the LSB 0: no code would mean anything"),
        (jets(fields={"pt": {"bits": 8, "lsb": "a GeV"}}),
         "objects.jet.fields.pt.lsb: got 'a GeV', wanted a number such as 0.25, 1/64, 2**-6, "
         "pi/4096 or 1/pi"),
        (jets(fields={"pt": {"bits": 8, "lbs": 1}}),
         "objects.jet.fields.pt.lbs: there is no such key"),
        (jets(fields={"phi": {"bits": 8, "lsb": "pi/72", "period": 145}}),
         "objects.jet.fields.phi: has 145 codes of pi/72 in a full turn, which make 1.00694 turns; "
         "leave the period out or correct one"),
        ({"objects": {"jet": {"fields": {"pt": {"bits": 8}}}},
          "columns": [{"of": "met", "take": ["pt"]}]},
         "columns of 'met': there is no such object; objects: jet"),
        ({"objects": {"jet": {"fields": {"class": {"bits": 8}}}},
          "columns": [{"of": "jet", "take": ["class"]}]},
         "an object or field is called class, a word of the generated C++"),
    ],
)  # fmt: skip
def test_descriptions_that_make_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        Adapter.parse(values, "a.toml")
    assert str(caught.value) == f"a.toml:\n  {message}"


@pytest.mark.parametrize(
    ("take", "message"),
    [
        ("Et", "jet has no field 'Et'; fields: pt, eta"),
        ("sqrt(pt)", "wanted FIELD, sin(FIELD), cos(FIELD), delta(FIELD, OBJECT.FIELD), "
         "delta(FIELD, OBJECT[SLOT].FIELD), onehot(FIELD) or present"),
        ("delta(eta, jet.eta)", "jet has 2 slots: write jet[0] to jet[1]"),
        ("delta(eta, jet[0].pt)",
         "eta has the lsb 1, jet.pt has 0.25: a difference of codes needs the same"),
        ({"value": "onehot(eta)"},
         "has 4096 categories, wanted up to 256 different ones; give categories"),
        ({"value": "pt", "table_bits": 4}, "table_bits is for sin and cos only"),
    ],
)  # fmt: skip
def test_columns_that_cannot_be(take: Any, message: str) -> None:
    adapter = Adapter.parse({**jets(), "columns": [{"of": "jet", "take": [take]}]})
    with pytest.raises(errors.UsageError) as caught:
        plan_for(adapter, identity(2, FORMATS[0]))
    value = take if isinstance(take, str) else take["value"]
    assert str(caught.value) == f"adapter: columns.0, {value!r}: {message}"


def test_another_number_of_columns() -> None:
    message = (
        "adapter: describes 2 columns, the network's input x takes 3; described: jet0_pt, jet1_pt"
    )
    with pytest.raises(errors.UsageError) as caught:
        plan_for(Adapter.parse(jets()), identity(3, FORMATS[0]))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"jet_pt": [[3, 2], [20000, 1], [5, 16384]]},
         "jet_pt: 2 codes beyond 0 .. 16383 (14 bits, unsigned), the first in event 1, slot 0: "
         "20000"),
        ({"jet_eta": [[0, 0], [0, 3000], [0, 0]]},
         "jet_eta: 1 code beyond -2048 .. 2047 (12 bits, signed), the first in event 1, slot 1: "
         "3000; are these the bits of signed numbers? Then extend the sign first"),
        ({"jet_pt": [[9, 2], [2, 3], [1, 3]]},
         "jet: 2 events are not sorted by pt, the first is event 1: slot 0 has 2, slot 1 has 3; "
         "the firmware does not sort"),
        ({"jet_pt": [[9, 2], [2.25, 1], [4, 3]]},
         "jet_pt: 1 numbers are not whole, the first in event 1, slot 0: 2.25; the adapter takes "
         "the hardware's integers, with an LSB of 0.25, not physical values"),
        ({"jet_eta": [[1, 2]]}, "raw events: fields have [1, 3] events"),
        ({"jet_et": [[1, 2]]},
         "raw events: there is jet_et, which the adapter does not know; wanted jet_pt, jet_eta, or "
         "words jet"),
    ],
)  # fmt: skip
def test_raw_events_that_are_refused(change: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {"jet_pt": [[9, 2], [2, 1], [4, 3]], "jet_eta": np.zeros((3, 2), int)}
    with pytest.raises(errors.DataError) as caught:
        fields_of(Adapter.parse(jets()), fields | change)
    assert str(caught.value) == message


def test_the_shipped_trigger_events() -> None:
    """13,500 events in the steps of a global trigger: accepted, and the numbers they stand for."""
    given = load_trigger_events()
    adapter = read_adapter(EXAMPLE.with_name("global_trigger_adapter.toml"))
    assert adapter.raw_columns == given.columns
    fmt = Format(True, 18, 12, Rounding.RND_CONV, Overflow.SAT)
    fields = fields_of(adapter, given.codes)
    plan = plan_for(adapter, identity(76, fmt))
    real = dict(zip(plan.names, float_columns(plan, fields).T, strict=True))
    for name, codes, lsb in zip(given.columns, given.codes.T, given.lsb, strict=True):
        if not name.endswith("_phi"):
            assert np.array_equal(real[name], codes * lsb)
            continue
        owner = name.removesuffix("_phi")
        there = given.codes[:, given.columns.index(f"{owner}_pt")] > 0
        for function in ("sin", "cos"):
            values = getattr(np, function)(codes * lsb)
            found = real[f"{owner}_{function}_phi"]
            assert np.array_equal(found, values if owner == "met" else np.where(there, values, 0))
    columns = columns_of(adapter, 76, fmt, fields)
    steps = columns - np.stack(list(real.values()), axis=1) / fmt.lsb
    assert 0.4 < np.abs(steps).max() <= 0.5
