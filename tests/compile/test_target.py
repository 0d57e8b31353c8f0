"""`Target`: what makes sense, and the message for what does not."""

import json
from typing import Any

import pytest

from samebits import Target, errors

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"backend": "Quartus"}, "backend must be one of Vitis, Vivado, got 'Quartus'"),
    ({"io_type": "serial"}, "io_type must be one of io_parallel, io_stream, got 'serial'"),
    (
        {"strategy": "latency"},
        "strategy must be one of Latency, Resource, distributed_arithmetic, got 'latency'",
    ),
    (
        {"strategy": "distributed_arithmetic", "reuse_factor": 2},
        "strategy distributed_arithmetic has no multipliers to reuse: reuse_factor must be 1, "
        "got 2",
    ),
    ({"part": ""}, "part must be the FPGA's name, got ''"),
    ({"clock_mhz": 0}, "clock_mhz must be a clock between 1 and 2000 MHz, got 0"),
    ({"clock_mhz": -5.0}, "clock_mhz must be a clock between 1 and 2000 MHz, got -5.0"),
    (
        {"clock_mhz": float("nan")},
        "clock_mhz must be a clock between 1 and 2000 MHz, got nan",
    ),
    ({"reuse_factor": 0}, "reuse_factor must be a whole number from 1, got 0"),
    ({"reuse_factor": 1.5}, "reuse_factor must be a whole number from 1, got 1.5"),
    *(
        (
            {"precision": text},
            f"precision must be like fixed<16,6> or ufixed<8,3,RND_CONV,SAT>, got {text!r}",
        )
        for text in ("", "fixed<8", "float", "16,6", "fixed<0,0>", "fixed<8,3,FOO>", "int<8,3>", 8)
    ),
    (
        {"precision": {"default": "fixed<16,6>", "fc1": "wide"}},
        "precision of fc1 must be like fixed<16,6> or ufixed<8,3,RND_CONV,SAT>, got 'wide'",
    ),
    ({"table_size": 1000}, "table_size must be a power of two from 64 to 65536, got 1000"),
    (
        {"table_size": {"lstm": 1 << 20}},
        "table_size of lstm must be a power of two from 64 to 65536, got 1048576",
    ),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        Target(**fields)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "precision",
    [
        None,
        "fixed<16,6>",
        "ap_ufixed<8, -2, RND_CONV, SAT_SYM>",
        "int<4>",
        {"fc1": "fixed<9,3,TRN>"},
    ],
)
def test_json_and_back(precision: Any) -> None:
    target = Target("Vivado", "io_stream", "xcku115", 320, "Resource", 4, precision)
    assert target.clock_ns == 3.125
    assert Target(**json.loads(json.dumps(target.to_json()))) == target


@pytest.mark.parametrize("size", [1024, 4096, {"lstm": 4096}])
def test_table_sizes_in_json(size: Any) -> None:
    target = Target(table_size=size)
    values = json.loads(json.dumps(target.to_json()))
    assert ("table_size" in values) == (size != 1024)  # earlier designs keep their fingerprint
    assert Target(**values) == target
