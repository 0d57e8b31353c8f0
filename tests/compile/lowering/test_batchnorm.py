"""Batch normalisation of a flattened stream: packets of one size read as packets of another."""

from typing import Any

import numpy as np
import pytest

from .converted import refusal
from .layer_lists import convert, fixed, simulate

BYTE = fixed(8, 4)


def network(io_type: str, flat: bool) -> Any:
    shape = [6] if flat else [3, 2]
    layers: list[dict[str, Any]] = [
        {"class_name": "Reshape", "name": "reshape", "inputs": ["x0"], "target_shape": shape},
        {"class_name": "BatchNormalization", "name": "norm", "inputs": ["reshape"], "n_in": 6},
    ]
    layers[1] |= {"n_filt": -1 if flat else 2, "scale_data": np.full(shape[-1], 0.5)}
    layers[1] |= {"bias_data": np.arange(shape[-1]) / 2.0}
    return convert([((3, 2), BYTE)], layers, ["norm"], {}, io_type)


@pytest.mark.parametrize(
    ("io_type", "flat"), [("io_parallel", True), ("io_parallel", False), ("io_stream", False)]
)
def test_one_packet_size_is_exact(io_type: str, flat: bool) -> None:
    x = np.arange(6).reshape(1, 3, 2) / 4
    (got,) = simulate(network(io_type, flat), [x])
    wanted = x.ravel() / 2 + (np.arange(6) if flat else np.arange(6) % 2) / 2
    assert got.ravel().tolist() == wanted.tolist()


def test_a_flattened_stream_is_refused() -> None:
    assert refusal(network("io_stream", True)) == (
        "layer norm (BatchNormalization): its input, flattened in io_stream, comes in packets of 2 "
        "but is read in packets of 6; hls4ml's C simulation is undefined there; flatten right "
        "before a Dense layer, or use io_parallel"
    )
