"""What hls4ml 1.3.0 gets wrong in Keras 3 models, put right while a model is converted.

hls4ml narrows an HGQ2 quantizer to what its input holds (passes/bit_exact.py, `produce_kif`
of FixedPointQuantizer). With overflow SAT it takes fraction bits away even where the quantizer
saturates, and with them its largest number: a quantizer of 6 fraction bits and no integer bit then
saturates 1.0 to 0.5 instead of 63/64 if its input has one fraction bit. For other modes hls4ml
keeps such a quantizer whole; so it does here for SAT, too.

A signed element of one bit with SAT_SYM has the only value 0, but `ap_fixed<1,i,...,AP_SAT_SYM>`
gives its lowest number as well. Here such elements have no bits, which hls4ml writes as 0.

The layer ReLU becomes ThresholdedReLU with a threshold of type `ap_ufixed<2,32>`
(converters/keras_v3/core.py, ReLUHandler): against that C++ compares negative numbers as if they
were large, and lets them through. Here it becomes the activation relu that it is.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["corrected_hls4ml"]

_RELU = "keras.src.layers.activations.relu.ReLU"


@contextlib.contextmanager
def corrected_hls4ml() -> Iterator[None]:
    """Inside the block hls4ml reads ReLU and propagates formats rightly."""
    from hls4ml.converters.keras_v3 import layer_handlers  # type: ignore[import-untyped]
    from hls4ml.model.optimizer.passes import bit_exact  # type: ignore[import-untyped]

    rules, kind = bit_exact._produce_kif, bit_exact.FixedPointQuantizer
    propagate, read_relu = rules.dispatch(kind), layer_handlers[_RELU]

    def whole_quantizer(layer: Any) -> Any:
        overflow = layer.SAT
        if overflow == "SAT_SYM":
            layer.mask_kbi = _without_empty(*layer.mask_kbi)
        elif overflow == "SAT":
            layer.SAT = "SAT_SYM"  # whose rule keeps a quantizer whole where it saturates
        try:
            return propagate(layer)
        finally:
            layer.SAT = overflow

    def relu(layer: Any, inputs: Any, outputs: Any) -> Any:
        (config,) = read_relu(layer, inputs, outputs)
        if config["class_name"] == "ThresholdedReLU" and not config["activ_param"]:
            del config["activ_param"]
            size = math.prod(inputs[0].shape[1:])
            config |= {"class_name": "Activation", "activation": "relu", "n_in": size}
        return (config,)

    rules.register(kind, whole_quantizer)
    layer_handlers[_RELU] = relu
    try:
        yield
    finally:
        rules.register(kind, propagate)
        layer_handlers[_RELU] = read_relu


def _without_empty(signed: Any, bits: Any, integer: Any) -> tuple[Any, ...]:
    """The formats with no bits where one bit is the sign."""
    empty = (signed == 1) & (bits == 1)
    return tuple(np.where(empty, 0, array) for array in (signed, bits, integer))
