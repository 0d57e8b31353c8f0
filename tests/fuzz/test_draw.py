"""Random networks: the same for a seed, of every layer, and all that hls4ml may be given."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from .fuzzer import fuzzer

draw: Any = fuzzer("fuzz_draw")
networks: Any = fuzzer("fuzz_network")
KINDS: Any = fuzzer("fuzz_layers").KINDS


def converted(kind: str) -> list[Any]:
    """The graphs of the first seeds of a kind that hls4ml converts."""
    graphs = []
    for seed in range(12):
        network = networks.draw_network(seed, kind)
        assert not set(network.outputs) & {node.name for node in network.inputs}
        try:
            graphs.append(networks.to_hls4ml(network, "net"))
        except Exception as error:  # hls4ml raises whatever comes
            print(f"{kind}, seed {seed}: {error}")
    return graphs


@pytest.mark.parametrize("kind", [name for name in KINDS if name != "Input"])
def test_every_kind_is_drawn_and_converted(kind: str) -> None:
    drawn = [networks.draw_network(seed, kind) for seed in range(12)]
    assert sum(kind in network.kinds for network in drawn) >= 9
    assert len(converted(kind)) >= 6


def test_a_seed_is_a_network() -> None:
    for seed in range(40):
        first, second = (networks.draw_network(seed) for _ in range(2))
        assert first == second
    one, other = (networks.to_hls4ml(networks.draw_network(3, "Dense"), "net") for _ in range(2))
    for name, layer in one.graph.items():
        for key, weight in layer.weights.items():
            assert np.array_equal(weight.data, other.graph[name].weights[key].data)


def test_networks_of_a_batch_have_one_backend_and_few_formats() -> None:
    batch = [networks.draw_network(seed) for seed in range(networks.BATCH)]
    assert len({network.backend for network in batch}) == 1
    assert {network.io_type for network in batch} == {"io_parallel", "io_stream"}
    formats = Counter(
        text
        for network in batch
        for node in network.nodes
        for text in node.config["Precision"].values()
    )
    assert sum(1 for count in formats.values() if count > 2) >= 8


def test_all_modes_and_widths_are_drawn() -> None:
    formats = [
        text
        for seed in range(400)
        for role in ("value", "weight", "accum", "table", "any")
        for text in [draw.Palette(seed).draw(np.random.default_rng(seed), role)]
    ]
    joined = " ".join(formats)
    for mode in (*draw.ROUNDINGS, *draw.OVERFLOWS):
        assert f",{mode}," in joined
    widths = {draw.parse_format(text)[1] for text in formats}
    assert widths >= set(range(1, 41))


def test_weights_hold_extremes_ties_and_numbers_off_the_grid() -> None:
    weights = draw.Weights(1, "dense_1", {"weight": "fixed<6,2>"})("weight", (400,))
    scaled = weights * 16
    assert {0.0, -32.0, 31.0} <= set(scaled)
    assert np.any(scaled - np.floor(scaled) == 0.5)
    assert np.any(np.abs(scaled - np.rint(scaled)) % 0.5 > 0)
    assert np.max(weights) > 31 / 16


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("fixed<16,6>", (True, 16, 6)),
        ("ufixed<8,-2,RND,SAT,0>", (False, 8, -2)),
        ("int<5>", (True, 5, 5)),
    ],
)
def test_formats_are_read(text: str, wanted: tuple[bool, int, int]) -> None:
    assert draw.parse_format(text) == wanted
