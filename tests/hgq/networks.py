"""Small HGQ2 networks, one for every layer class that can become firmware."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from hgq import layers as q
from hgq.config import LayerConfigScope, QuantizerConfigScope
from hgq.quantizer import Quantizer
from hgq.quantizer.internal import FixedPointQuantizerKBI, FixedPointQuantizerKIF
from hgq.utils import trace_minmax

k = keras.layers
Build = Callable[[Any], Any]

# name -> (input shape, from input to outputs)
NETWORKS: dict[str, tuple[tuple[int, ...], Build]] = {
    "QDense": ((6,), lambda x: q.QDense(4, activation="relu")(x)),
    "QDense of three positions": ((3, 6), lambda x: q.QDense(4, activation="relu")(x)),
    "QBatchNormDense": ((6,), lambda x: q.QBatchNormDense(4)(x)),
    "QConv1D": (
        (8, 3),
        lambda x: q.QConv1D(4, 3, padding="same", strides=2, activation="relu")(x),
    ),
    "QConv2D": ((6, 5, 2), lambda x: q.QConv2D(3, (3, 2))(x)),
    "QEinsumDense": ((4, 6), lambda x: q.QEinsumDense("bij,jk->bik", (4, 5), bias_axes="k")(x)),
    "QEinsumDenseBatchnorm": (
        (4, 6),
        lambda x: q.QEinsumDenseBatchnorm("bij,jk->bik", (4, 5), bias_axes="k")(x),
    ),
    "QBatchNormalization": ((6,), lambda x: q.QBatchNormalization()(x)),
    "QEinsum": ((4, 6), lambda x: q.QEinsum("bij,bkj->bik")([q.QDense(5)(x), q.QDense(5)(x)])),
    "merges": (
        (6,),
        lambda x: [
            merge()([q.QDense(4)(x), q.QDense(4)(x)])
            for merge in (
                *(q.QAdd, q.QSubtract, q.QMultiply, q.QMaximum, q.QMinimum, q.QAveragePow2),
            )
        ],
    ),
    "QDot": ((6,), lambda x: q.QDot(axes=1)([q.QDense(4)(x), q.QDense(4)(x)])),
    "QSoftmax": ((6,), lambda x: q.QSoftmax()(q.QDense(5)(x))),
    "QUnaryFunctionLUT": (
        (6,),
        lambda x: q.QUnaryFunctionLUT("tanh", allow_heterogeneous_table=False)(x),
    ),
    "pooling of one axis": (
        (8, 3),
        lambda x: [
            *(q.QMaxPool1D(2)(x), q.QAvgPool1D(2)(x)),
            *(q.QGlobalAvgPool1D()(x), q.QGlobalMaxPool1D()(x)),
        ],
    ),
    "pooling of two axes": (
        (8, 4, 3),
        lambda x: [
            *(q.QMaxPool2D(2)(x), q.QAvgPool2D(2)(x)),
            *(q.QGlobalAvgPool2D()(x), q.QGlobalMaxPool2D()(x)),
        ],
    ),
    "QSum": ((4, 6), lambda x: q.QSum(axes=1)(x)),
    "QMeanPow2": ((4, 6), lambda x: q.QMeanPow2(axes=1)(x)),
    "QDenseT": ((6,), lambda x: q.QDenseT(3, n_hl=1, d_hl=2)(x)),
    "Quantizer": ((6,), lambda x: q.QDense(3)(Quantizer(place="datalane")(x))),
    "QMultiHeadAttention": (
        (4, 6),
        lambda x: q.QMultiHeadAttention(num_heads=2, key_dim=3, fuse="none")(x, x),
    ),
    "QLinformerAttention": (
        (4, 6),
        lambda x: q.QLinformerAttention(num_heads=2, key_dim=3, lin_kv_proj_dim=2)(x, x),
    ),
    "Keras layers between": (
        (4, 6),
        lambda x: q.QDense(3)(
            k.Flatten()(
                k.Permute((2, 1))(
                    k.Concatenate()([k.Dropout(0.5)(q.QDense(4)(x)), k.ReLU()(q.QDense(4)(x))])
                )
            )
        ),
    ),
    "LeakyReLU": ((6,), lambda x: q.QDense(3)(k.LeakyReLU(0.25)(q.QDense(5)(x)))),
    "shared layer": ((6,), lambda x: twice(q.QDense(4), x)),
}
# rounding and overflow of the quantizers on data; da4ml, which writes some layers, knows these two
MODES = (("RND", "WRAP"), ("RND", "SAT"), ("TRN", "SAT_SYM"))


def twice(layer: Any, x: Any) -> Any:
    return q.QAdd()([layer(x), layer(q.QDense(6)(x))])


@contextlib.contextmanager
def quantizers(
    rounding: str = "RND", overflow: str = "WRAP", one_format: bool = False
) -> Iterator[None]:
    """HGQ2's settings: a format for every element of data and of weights, or one for data."""
    with (
        QuantizerConfigScope(place="all", overflow_mode="SAT_SYM"),
        QuantizerConfigScope(
            place="datalane",
            default_q_type="kif" if overflow == "WRAP" else "kbi",
            overflow_mode=overflow,
            round_mode=rounding,
            homogeneous_axis=None if one_format else (0,),
            heterogeneous_axis=() if one_format else None,
        ),
        LayerConfigScope(enable_ebops=False),
    ):
        yield


def network(
    name: str,
    rng: np.random.Generator,
    rounding: str = "RND",
    overflow: str = "WRAP",
    one_format: bool = False,
) -> tuple[Any, np.ndarray[Any, Any]]:
    """The network with random weights and random bit widths per element, and events for it."""
    shape, build = NETWORKS[name]
    keras.utils.set_random_seed(int(rng.integers(2**31)))
    with quantizers(rounding, overflow, one_format):
        x = keras.Input(shape, name="data")
        model = keras.Model(x, build(x))
    randomize(model, rng)
    events = rng.normal(0, 2, (400, *shape)).astype(np.float32)
    trace_minmax(model, events[:200])
    return model, events


def randomize(model: Any, rng: np.random.Generator) -> None:
    """Bit widths, of weights down to zero; biases; statistics for the batch normalisations."""
    for layer in model._flatten_layers():
        inner = getattr(layer, "quantizer", None)
        if isinstance(inner, FixedPointQuantizerKBI) and layer.config.place != "table":
            fewest = 3 if layer.config.place == "datalane" else 0
            inner._b.assign(rng.integers(fewest, 8, inner._b.shape))
            inner._i.assign(rng.integers(-1, 3, inner._i.shape))
        elif isinstance(inner, FixedPointQuantizerKIF):
            inner._f.assign(rng.integers(-1, 5, inner._f.shape))
            inner._i.assign(rng.integers(0, 4, inner._i.shape))
        elif hasattr(layer, "moving_variance"):
            layer.moving_variance.assign(rng.uniform(0.3, 2, layer.moving_variance.shape))
            layer.moving_mean.assign(rng.normal(0, 0.5, layer.moving_mean.shape))
        bias = getattr(layer, "bias", None)
        if hasattr(bias, "assign"):
            layer.bias.assign(rng.normal(0, 0.5, bias.shape))


def answers(model: Any, events: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """What Keras answers, always as a list."""
    found = model.predict(events, verbose=0)
    return [np.asarray(one) for one in (found if isinstance(found, list) else [found])]
