"""Dense layers: every kernel, strategy and product of hls4ml against its transcribed header."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hls4ml.model.quantizers import BinaryQuantizer, TernaryQuantizer
from hls4ml.model.types import XnorPrecisionType

from samebits import errors
from samebits.compile.ir import Format, Overflow
from samebits.compile.lowering.products import latency_walk, resource_walk

from .converted import refusal
from .single import SATURATED, Powers, Single, dense

ACCUMULATORS = [
    *("fixed<7,3>", "fixed<7,3,RND,SAT>", "fixed<7,3,RND_ZERO,SAT_SYM>", "fixed<8,3,TRN,SAT_ZERO>"),
    *("fixed<6,3,RND_INF,SAT>", "fixed<6,3,RND_MIN_INF,SAT_SYM>", "fixed<6,2,TRN_ZERO,SAT>"),
    *("ufixed<6,3,RND_CONV,SAT>", "int<4>", "fixed<20,10>"),
]
BOTH_IO = ("io_parallel", "io_stream")
WEIGHTS: dict[str, Any] = {
    "binary": BinaryQuantizer(1),
    "plus_minus_one": BinaryQuantizer(2),
    "ternary": TernaryQuantizer(),
    "powers": Powers(3),
}


def reuse_factor(value: int) -> Callable[[Any], None]:
    return lambda layer: layer.set_attr("reuse_factor", value)


@pytest.mark.parametrize("accum", ACCUMULATORS)
@pytest.mark.parametrize(
    ("strategy", "reuse"), [("Latency", 1), ("Resource", 3), ("Resource", 12), ("Unrolled", 2)]
)
def test_accumulators(strategy: str, reuse: int, accum: str, rng: np.random.Generator) -> None:
    strategy = strategy.replace("Unrolled", "resource_unrolled")
    Single(dense(rng, 6, 4), (6,), strategy=strategy, reuse=reuse, accum=accum).check(rng)


@pytest.mark.parametrize("io_type", BOTH_IO)
@pytest.mark.parametrize("backend", ["Vivado", "Vitis"])
@pytest.mark.parametrize("strategy", ["Resource", "resource_unrolled"])
@pytest.mark.parametrize("reuse", [1, 2, 3, 6, 12, 24])
def test_reuse_factors(
    backend: str, io_type: str, strategy: str, reuse: int, rng: np.random.Generator
) -> None:
    Single(dense(rng, 6, 4), (6,), backend, io_type, strategy, reuse).check(rng)


@pytest.mark.parametrize("reuse", [7, 9, 11, 13, 23, 30])
@pytest.mark.parametrize("accum", [SATURATED, "fixed<7,3>"])
def test_the_kernel_for_any_reuse_factor(reuse: int, accum: str, rng: np.random.Generator) -> None:
    # only Vitis in io_stream chooses it, and no configuration gives such a reuse factor
    attributes, tweak = dense(rng, 6, 4), reuse_factor(reuse)
    single = Single(attributes, (6,), "Vitis", "io_stream", "Resource", 6, accum, tweak=tweak)
    single.check(rng)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("data", ["fixed<6,3>", "ufixed<5,3>", "fixed<6,-2>", "xnor"])
@pytest.mark.parametrize("strategy", ["Latency", "resource_unrolled"])
def test_products(weights: str, data: str, strategy: str, rng: np.random.Generator) -> None:
    attributes = dense(rng, 6, 4, weight_quantizer=WEIGHTS[weights])
    attributes["weight_data"] = rng.normal(0, 2, (6, 4))
    kind = XnorPrecisionType() if data == "xnor" else data
    reuse = 2 if strategy != "Latency" else 1
    Single(attributes, (6,), strategy=strategy, reuse=reuse, data=kind).check(rng)


@pytest.mark.parametrize("reuse", [1, 2])
def test_binary_data(reuse: int, rng: np.random.Generator) -> None:
    kind, strategy = XnorPrecisionType(), "Latency" if reuse == 1 else "resource_unrolled"
    Single(dense(rng, 6, 4), (6,), strategy=strategy, reuse=reuse, data=kind).check(rng)


@pytest.mark.parametrize("backend", ["Vivado", "Vitis"])
def test_only_generated_code_skips_zeros(backend: str, rng: np.random.Generator) -> None:
    # in io_stream Vitis takes the resource kernel instead; zero stands for -1 here
    attributes = dense(rng, 6, 4, weight_quantizer=BinaryQuantizer(1))
    Single(attributes, (6,), backend, "io_stream", "resource_unrolled", 2).check(rng)


def test_two_bit_weights_count_as_their_sign(rng: np.random.Generator) -> None:
    attributes = dense(rng, 6, 4)
    attributes["weight_data"] = rng.integers(-2, 2, (6, 4)).astype(float)
    types = {"weight": "int<2>", "bias": "fixed<6,2>", "result": "fixed<12,5>"}
    options = {"Precision": types | {"accum": SATURATED}}
    Single(attributes, (6,), options=options).check(rng)


@pytest.mark.parametrize("data", ["fixed<5,-3>", "fixed<5,8>", "ufixed<5,2>"])
def test_products_with_powers_of_two_that_lose_bits(data: str, rng: np.random.Generator) -> None:
    attributes = dense(rng, 6, 4, weight_quantizer=Powers(4))
    attributes["weight_data"] = 2.0 ** rng.integers(-8, 8, (6, 4)) * rng.choice([-1, 1], (6, 4))
    Single(attributes, (6,), data=data, accum="fixed<34,16>").check(rng)


def test_weights_of_one_bit_that_are_no_xnor(rng: np.random.Generator) -> None:
    # the type ap_uint<1> alone makes hls4ml count matches in the end
    attributes = dense(rng, 5, 3)
    attributes["weight_data"] = rng.integers(0, 2, (5, 3)).astype(float)
    types = {"weight": "uint<1>", "bias": "fixed<6,2>", "result": "fixed<12,5>"}
    options = {"Precision": types | {"accum": "fixed<8,6>"}}
    Single(attributes, (5,), data="uint<1>", options=options).check(rng)


def test_a_wrapping_accumulator_needs_no_order_of_its_own() -> None:
    # reuse factor 4 of a 3 x 2 layer: the second output starts with its third input
    walk = resource_walk(3, 2, 4, "here", any_reuse=True)
    assert walk.orders.T.tolist() == [[0, 1, 2], [1, 2, 0]]
    assert walk.common_order(Format(True, 8, 4, overflow=Overflow.SAT)) is None
    assert walk.common_order(Format(True, 8, 4)) == (0, 1, 2)


def test_where_weights_stand() -> None:
    assert latency_walk(3, 2).places.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert resource_walk(3, 2, 1, "here").places.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert resource_walk(4, 1, 2, "here").orders.T.tolist() == [[0, 2, 1, 3]]


@pytest.mark.parametrize(
    ("backend", "io_type"), [("Vivado", "io_stream"), ("Vitis", "io_parallel")]
)
def test_only_vitis_in_io_stream_has_a_kernel_for_any_reuse_factor(
    backend: str, io_type: str, rng: np.random.Generator
) -> None:
    tweak = reuse_factor(9)
    single = Single(dense(rng, 6, 4), (6,), backend, io_type, "Resource", 6, tweak=tweak)
    assert refusal(single.model()) == (
        "layer layer (Dense): reuse factor 9 is neither a divisor nor a multiple of the 6 inputs; "
        "hls4ml's resource kernel is undefined there"
    )


def test_hls4ml_cannot_convert_compressed_weights(rng: np.random.Generator) -> None:
    # if it does one day, the kernel of nnet_dense_compressed.h must be lowered
    with pytest.raises(KeyError, match="dense_function"):
        Single(dense(rng, 6, 4), (6,), strategy="Resource", options={"Compression": True}).model()


def test_an_integer_accumulator_of_terms_without_integer_bits(rng: np.random.Generator) -> None:
    single = Single(dense(rng, 6, 4), (6,), data="fixed<6,-2>", accum="int<6>")
    assert refusal(single.model()) == (
        "layer layer (Dense): its accumulator is an ap_int that adds ap_fixed<12,0,TRN,WRAP>, "
        "which has no integer bits; hls4ml's C simulation is undefined there; use an ap_fixed "
        "accumulator"
    )


def test_unrolled_with_reuse_factor_1(rng: np.random.Generator) -> None:
    # hls4ml falls back to it where no other reuse factor fits
    single = Single(dense(rng, 1, 5), (1,), strategy="resource_unrolled", reuse=3)
    assert refusal(single.model()) == (
        "layer layer (Dense): strategy resource_unrolled with reuse factor 1; hls4ml writes no "
        "kernel for it, its C++ does not compile; use resource"
    )


def test_input_of_another_size(rng: np.random.Generator) -> None:
    single = Single(dense(rng, 6, 4), (6,), tweak=lambda layer: layer.set_attr("n_in", 5))
    assert refusal(single.model()) == "layer layer (Dense): input shape (6,) is not (5,)"


def test_biases_of_another_number(rng: np.random.Generator) -> None:
    def shorten(layer: Any) -> None:
        layer.weights["bias"].data = layer.weights["bias"].data[:3]

    single = Single(dense(rng, 6, 4), (6,), tweak=shorten)
    assert refusal(single.model(), errors.ModelError) == (
        "layer layer (Dense): 3 numbers in bias for 4 outputs"
    )
