"""Small Keras models, one for every layer and option that the exporter has."""

from collections.abc import Callable
from typing import Any

import numpy as np

from samebits.train.tensorflow import quiet

BITS = "quantized_bits(5,1,0,alpha=1)"
INPUT = "quantized_bits(8,3,0,alpha=1)"
KERNEL = {"kernel_quantizer": BITS, "bias_quantizer": BITS}
DEPTH = {"depthwise_quantizer": BITS, "bias_quantizer": BITS}
CELL = {**KERNEL, "recurrent_quantizer": BITS}
STATE = "quantized_bits(6,1,0,alpha=1)"
QUANTIZED_CELL = {
    **CELL,
    "activation": STATE,
    "state_quantizer": STATE,
}
GATED_CELL = {**QUANTIZED_CELL, "recurrent_activation": "quantized_sigmoid(4)"}
SEPARABLE = {**DEPTH, "pointwise_quantizer": BITS}

Make = Callable[[Any, Any, Any], Any]  # (keras.layers, qkeras, x) -> y

IMAGE, SIGNAL, VECTOR, STEPS = (6, 5, 2), (9, 3), (7,), (4, 3)

# name: input shape, layers; all sums fit in float32, so that equality is provable
EXACT: dict[str, tuple[tuple[int, ...], Make]] = {
    "conv1d": (SIGNAL, lambda k, q, x: q.QConv1D(4, 3, **KERNEL)(x)),
    "conv1d_same": (SIGNAL, lambda k, q, x: q.QConv1D(4, 4, 2, padding="same", **KERNEL)(x)),
    "conv1d_causal": (
        SIGNAL,
        lambda k, q, x: q.QConv1D(4, 3, padding="causal", dilation_rate=2, **KERNEL)(x),
    ),
    "conv2d": (IMAGE, lambda k, q, x: q.QConv2D(3, (3, 2), **KERNEL)(x)),
    "conv2d_same": (
        IMAGE,
        lambda k, q, x: q.QConv2D(3, (3, 2), (2, 1), padding="same", **KERNEL)(x),
    ),
    "conv2d_dilated": (
        IMAGE,
        lambda k, q, x: q.QConv2D(3, 2, dilation_rate=2, use_bias=False, **KERNEL)(x),
    ),
    "conv2d_relu": (
        IMAGE,
        lambda k, q, x: q.QConv2D(3, 3, activation="quantized_relu(6,3)", **KERNEL)(x),
    ),
    "conv2d_binary": (
        IMAGE,
        lambda k, q, x: q.QConv2D(3, 3, kernel_quantizer="binary(alpha=1)", use_bias=False)(x),
    ),
    "conv2d_auto_po2": (
        IMAGE,
        lambda k, q, x: q.QConv2D(
            3, 3, kernel_quantizer="quantized_bits(4,0,1,alpha='auto_po2')", use_bias=False
        )(x),
    ),
    "conv2d_po2": (
        IMAGE,
        lambda k, q, x: q.QConv2D(3, 3, kernel_quantizer="quantized_po2(4)", use_bias=False)(x),
    ),
    "transposed": (
        IMAGE,
        lambda k, q, x: q.QConv2DTranspose(3, 3, 2, padding="same", **KERNEL)(x),
    ),
    "transposed_valid": (
        IMAGE,
        lambda k, q, x: q.QConv2DTranspose(
            2, (2, 3), (3, 2), activation="quantized_relu(6,3)", **KERNEL
        )(x),
    ),
    "depthwise": (IMAGE, lambda k, q, x: q.QDepthwiseConv2D((3, 2), **DEPTH)(x)),
    "depthwise_two": (
        IMAGE,
        lambda k, q, x: q.QDepthwiseConv2D(3, depth_multiplier=2, padding="same", **DEPTH)(x),
    ),
    "separable1d": (SIGNAL, lambda k, q, x: q.QSeparableConv1D(4, 3, **SEPARABLE)(x)),
    "separable2d": (
        IMAGE,
        lambda k, q, x: q.QSeparableConv2D(4, 3, depth_multiplier=2, **SEPARABLE)(x),
    ),
    "mobile_separable": (
        IMAGE,
        lambda k, q, x: q.QMobileNetSeparableConv2D(
            4, 3, depthwise_activation="quantized_relu(6,3)", name="mobile", **SEPARABLE
        )(x),
    ),
    "folded": (
        IMAGE,
        lambda k, q, x: q.QConv2DBatchnorm(
            3, 3, kernel_quantizer=BITS, bias_quantizer="quantized_bits(8,3,0,alpha=1)"
        )(x),
    ),
    "folded_depthwise": (
        IMAGE,
        lambda k, q, x: q.QDepthwiseConv2DBatchnorm(
            3, depthwise_quantizer=BITS, bias_quantizer="quantized_bits(8,3,0,alpha=1)"
        )(x),
    ),
    "conv1d_groups": (
        (8, 4),
        lambda k, q, x: q.QConv1D(6, 3, groups=2, kernel_quantizer=BITS, use_bias=False)(x),
    ),
    "depthwise_dilated": (
        IMAGE,
        lambda k, q, x: q.QDepthwiseConv2D(2, dilation_rate=2, padding="same", **DEPTH)(x),
    ),
    "dense_rows": (
        SIGNAL,
        lambda k, q, x: q.QDense(4, activation="quantized_relu(5,2)", **KERNEL)(x),
    ),
    "dense_image": (IMAGE, lambda k, q, x: q.QDense(4, **KERNEL)(x)),
    "max1d": (SIGNAL, lambda k, q, x: k.MaxPooling1D(2, padding="same")(x)),
    "max2d": (IMAGE, lambda k, q, x: k.MaxPooling2D((2, 3), 1)(x)),
    "max2d_same": (IMAGE, lambda k, q, x: k.MaxPooling2D(3, 2, padding="same")(x)),
    "average1d": (SIGNAL, lambda k, q, x: k.AveragePooling1D(2)(x)),
    "average2d": (IMAGE, lambda k, q, x: k.AveragePooling2D((2, 2))(x)),
    "qaverage2d": (
        IMAGE,
        lambda k, q, x: q.QAveragePooling2D(
            2, average_quantizer="quantized_bits(8,0,0,alpha=1)", activation=INPUT
        )(x),
    ),
    "global_max1d": (SIGNAL, lambda k, q, x: k.GlobalMaxPooling1D()(x)),
    "global_max2d": (IMAGE, lambda k, q, x: k.GlobalMaxPooling2D(keepdims=True)(x)),
    "global_average2d": ((4, 8, 3), lambda k, q, x: k.GlobalAveragePooling2D()(x)),
    "flatten": (IMAGE, lambda k, q, x: q.QDense(3, **KERNEL)(k.Flatten()(x))),
    "reshape": (IMAGE, lambda k, q, x: q.QDense(3, **KERNEL)(k.Reshape((3, 20))(x))),
    "permute": (IMAGE, lambda k, q, x: k.Permute((3, 1, 2))(x)),
    "padding1d": (SIGNAL, lambda k, q, x: k.ZeroPadding1D((1, 2))(x)),
    "padding2d": (IMAGE, lambda k, q, x: k.ZeroPadding2D(((1, 0), (2, 3)))(x)),
    "cropping1d": (SIGNAL, lambda k, q, x: k.Cropping1D((1, 2))(x)),
    "cropping2d": (IMAGE, lambda k, q, x: k.Cropping2D(((1, 0), (2, 1)))(x)),
    "up1d": (SIGNAL, lambda k, q, x: k.UpSampling1D(3)(x)),
    "up2d": (IMAGE, lambda k, q, x: k.UpSampling2D((2, 3))(x)),
    "repeat": (VECTOR, lambda k, q, x: k.RepeatVector(3)(x)),
    "dropouts": (
        SIGNAL,
        lambda k, q, x: k.ReLU()(
            k.SpatialDropout1D(0.5)(
                k.GaussianNoise(1.0)(k.GaussianDropout(0.5)(k.ActivityRegularization(0.1)(x)))
            )
        ),
    ),
    "relu_six": (VECTOR, lambda k, q, x: k.ReLU(max_value=6)(x)),
    "relu_slope": (VECTOR, lambda k, q, x: k.ReLU(max_value=2, negative_slope=0.25)(x)),
    "relu_threshold": (VECTOR, lambda k, q, x: k.ReLU(threshold=0.5)(x)),
    "thresholded": (VECTOR, lambda k, q, x: k.ThresholdedReLU(1.0)(x)),
    "leaky": (IMAGE, lambda k, q, x: k.LeakyReLU(0.25)(x)),
    "prelu": (
        IMAGE,
        lambda k, q, x: k.PReLU(shared_axes=[1, 2])(x),
    ),
    "binary": (VECTOR, lambda k, q, x: q.QActivation("binary(alpha=1)")(x)),
    "binary_none": (VECTOR, lambda k, q, x: q.QActivation("binary()")(x)),
    "binary_01": (VECTOR, lambda k, q, x: q.QActivation("binary(use_01=True, alpha=1)")(x)),
    "binary_half": (VECTOR, lambda k, q, x: q.QActivation("binary(alpha=0.5)")(x)),
    "one_bit": (VECTOR, lambda k, q, x: q.QActivation("quantized_bits(1,0,alpha=1)")(x)),
    "ternary": (VECTOR, lambda k, q, x: q.QActivation("ternary(alpha=1)")(x)),
    "ternary_half": (VECTOR, lambda k, q, x: q.QActivation("ternary(alpha=1,threshold=0.5)")(x)),
    "bits_alpha": (VECTOR, lambda k, q, x: q.QActivation("quantized_bits(5,1,alpha=0.5)")(x)),
    "relu_sigmoid": (VECTOR, lambda k, q, x: q.QActivation("quantized_relu(4,1,use_sigmoid=1)")(x)),
    "po2": (VECTOR, lambda k, q, x: q.QActivation("quantized_po2(3)")(x)),
    "relu_po2": (VECTOR, lambda k, q, x: q.QActivation("quantized_relu_po2(3)")(x)),
    "relu_po2_slope": (
        VECTOR,
        lambda k, q, x: q.QActivation("quantized_relu_po2(2,negative_slope=0.5)")(x),
    ),
    "dense_hswish": (
        VECTOR,
        lambda k, q, x: q.QDense(3, kernel_quantizer="quantized_hswish(8,3)", bias_quantizer=INPUT)(
            x
        ),
    ),
    "hswish_four": (
        VECTOR,
        lambda k, q, x: q.QActivation("quantized_hswish(6,2,1,alpha=1,relu_upper_bound=4)")(x),
    ),
    "sigmoid_symmetric": (
        VECTOR,
        lambda k, q, x: q.QActivation("quantized_sigmoid(4,symmetric=1)")(x),
    ),
    "adaptive": (
        VECTOR,
        lambda k, q, x: q.QAdaptiveActivation("quantized_relu", 6, current_step=1)(x),
    ),
    "add": (VECTOR, lambda k, q, x: k.Add()([x, k.ReLU()(x), x])),
    "subtract": (IMAGE, lambda k, q, x: k.Subtract()([k.ReLU()(x), x])),
    "multiply": (VECTOR, lambda k, q, x: k.Multiply()([k.ReLU()(x), x])),
    "average": (VECTOR, lambda k, q, x: k.Average()([k.ReLU()(x), x])),
    "maximum": (VECTOR, lambda k, q, x: k.Maximum()([q.QDense(7, **KERNEL)(x), x])),
    "minimum": (IMAGE, lambda k, q, x: k.Minimum()([q.QConv2D(2, 1, **KERNEL)(x), x])),
    "concatenate": (
        IMAGE,
        lambda k, q, x: q.QConv2D(2, 1, **KERNEL)(
            k.Concatenate()([x, q.QConv2D(3, 1, **KERNEL)(x), x])
        ),
    ),
    "concatenate_rows": (IMAGE, lambda k, q, x: k.Concatenate(axis=1)([x, k.ReLU()(x)])),
    "dot": (VECTOR, lambda k, q, x: k.Dot(axes=1)([x, k.ReLU()(x)])),
    "qrnn": (STEPS, lambda k, q, x: q.QSimpleRNN(4, **QUANTIZED_CELL)(x)),
    "qrnn_relu": (
        STEPS,
        lambda k, q, x: q.QSimpleRNN(
            2, activation="relu", **(CELL | {"recurrent_quantizer": "binary(alpha=0.5)"})
        )(x),
    ),
    "qrnn_binary_state": (
        STEPS,
        lambda k, q, x: q.QSimpleRNN(
            3, **(QUANTIZED_CELL | {"state_quantizer": "binary(alpha=1)"})
        )(x),
    ),
    "qlstm": (STEPS, lambda k, q, x: q.QLSTM(3, return_sequences=True, **GATED_CELL)(x)),
    "qlstm_fused": (
        STEPS,
        lambda k, q, x: q.QLSTM(3, implementation=2, go_backwards=True, **GATED_CELL)(x),
    ),
    "qlstm_hard": (
        STEPS,
        lambda k, q, x: q.QLSTM(3, **(GATED_CELL | {"recurrent_activation": "hard_sigmoid"}))(x),
    ),
    "qgru": (STEPS, lambda k, q, x: q.QGRU(3, return_sequences=True, **GATED_CELL)(x)),
    "qgru_after": (STEPS, lambda k, q, x: q.QGRU(3, reset_after=True, **GATED_CELL)(x)),
    "qbidirectional": (
        STEPS,
        lambda k, q, x: q.QBidirectional(q.QLSTM(2, return_sequences=True, **GATED_CELL))(x),
    ),
    "dot_matrices": (SIGNAL, lambda k, q, x: k.Dot(axes=(1, 1))([x, k.ReLU()(x)])),
    "dot_rows": (SIGNAL, lambda k, q, x: k.Dot(axes=2)([x, k.ReLU()(x)])),
    "time_dense": (SIGNAL, lambda k, q, x: k.TimeDistributed(q.QDense(4, **KERNEL))(x)),
    "time_image": (
        (3, 4, 4, 2),
        lambda k, q, x: k.TimeDistributed(k.Flatten())(
            k.TimeDistributed(q.QConv2D(3, 2, **KERNEL))(x)
        ),
    ),
    "rescaling": (VECTOR, lambda k, q, x: k.Rescaling(0.5, 0.25)(k.Identity()(x))),
    "residual": (
        IMAGE,
        lambda k, q, x: k.ReLU()(k.Add()([x, q.QConv2D(2, 3, padding="same", **KERNEL)(x)])),
    ),
}

# name: input shape, layers; what rounds in float32 is bounded
BOUNDED: dict[str, tuple[tuple[int, ...], Make]] = {
    "float_conv2d": (IMAGE, lambda k, q, x: k.Conv2D(4, 3, activation="relu")(x)),
    "float_conv1d": (SIGNAL, lambda k, q, x: k.Conv1D(4, 3, groups=1, activation="tanh")(x)),
    "float_transposed1d": (
        SIGNAL,
        lambda k, q, x: k.Conv1DTranspose(4, 2, 3, padding="same")(x),
    ),
    "float_depthwise1d": (SIGNAL, lambda k, q, x: k.DepthwiseConv1D(3)(x)),
    "float_depthwise2d": (IMAGE, lambda k, q, x: k.DepthwiseConv2D(3)(x)),
    "float_separable2d": (IMAGE, lambda k, q, x: k.SeparableConv2D(4, 3)(x)),
    "conv2d_auto": (
        IMAGE,
        lambda k, q, x: q.QConv2D(
            3, 3, kernel_quantizer="quantized_bits(4,0,1,alpha='auto')", use_bias=False
        )(x),
    ),
    "dense_alpha": (
        VECTOR,
        lambda k, q, x: q.QDense(3, kernel_quantizer="quantized_bits(4,0,1,alpha=0.7)")(x),
    ),
    "dense_ternary": (
        VECTOR,
        lambda k, q, x: q.QDense(3, kernel_quantizer="ternary(alpha='auto')", use_bias=False)(x),
    ),
    "dense_binary": (
        VECTOR,
        lambda k, q, x: q.QDense(3, kernel_quantizer="binary(alpha='auto')", use_bias=False)(x),
    ),
    "batchnorm": (VECTOR, lambda k, q, x: k.BatchNormalization()(x)),
    "batchnorm_image": (IMAGE, lambda k, q, x: k.BatchNormalization()(x)),
    "qbatchnorm": (IMAGE, lambda k, q, x: q.QBatchNormalization()(x)),
    "global_average1d": (SIGNAL, lambda k, q, x: k.GlobalAveragePooling1D()(x)),
    "qglobal_average2d": (
        IMAGE,
        lambda k, q, x: q.QGlobalAveragePooling2D(
            average_quantizer="quantized_bits(8,0,0,alpha=1)"
        )(x),
    ),
    "average2d_same": (IMAGE, lambda k, q, x: k.AveragePooling2D(2, padding="same")(x)),
    "average_three": (VECTOR, lambda k, q, x: k.Average()([k.ReLU()(x), x, x])),
    "elu": (VECTOR, lambda k, q, x: k.ELU(0.5)(x)),
    "selu": (VECTOR, lambda k, q, x: k.Activation("selu")(x)),
    "softsign": (VECTOR, lambda k, q, x: k.Activation("softsign")(x)),
    "softplus": (VECTOR, lambda k, q, x: k.Activation("softplus")(x)),
    "hard_sigmoid": (VECTOR, lambda k, q, x: k.Activation("hard_sigmoid")(x)),
    "sigmoid": (VECTOR, lambda k, q, x: k.Activation("sigmoid")(x)),
    "dense_ulaw": (
        VECTOR,
        lambda k, q, x: q.QDense(3, kernel_quantizer="quantized_ulaw(6,1)", bias_quantizer=INPUT)(
            x
        ),
    ),
    "hswish": (VECTOR, lambda k, q, x: q.QActivation("quantized_hswish(8,3)")(x)),
    "ulaw": (VECTOR, lambda k, q, x: q.QActivation("quantized_ulaw(6,1)")(x)),
    "softmax": (VECTOR, lambda k, q, x: k.Softmax()(x)),
    "softmax_rows": (SIGNAL, lambda k, q, x: k.Softmax(axis=1)(x)),
    "einsum_dense": (
        SIGNAL,
        lambda k, q, x: k.EinsumDense("abc,cde->abde", (9, 2, 2), bias_axes="de")(x),
    ),
    "attention": (SIGNAL, lambda k, q, x: k.Attention(use_scale=True)([x, k.ReLU()(x)])),
    "multi_head": (
        (5, 3),
        lambda k, q, x: k.MultiHeadAttention(2, 3)(k.Softmax()(x), k.Activation("tanh")(x)),
    ),
    "layer_normalization": (
        SIGNAL,
        lambda k, q, x: k.LayerNormalization(epsilon=0.01)(k.Activation("tanh")(x)),
    ),
    "then_quantized": (
        VECTOR,
        lambda k, q, x: q.QDense(3, **KERNEL)(
            q.QActivation("quantized_bits(6,0,0,alpha=1)")(k.Activation("tanh")(x))
        ),
    ),
}

# errors grow from step to step, and the bound with them
RECURRENT: dict[str, tuple[tuple[int, ...], Make]] = {
    "lstm": (STEPS, lambda k, q, x: k.LSTM(4)(x)),
    "lstm_no_bias": (
        STEPS,
        lambda k, q, x: k.LSTM(
            3, activation="softsign", recurrent_activation="hard_sigmoid", use_bias=False
        )(x),
    ),
    "gru": (STEPS, lambda k, q, x: k.GRU(4, return_sequences=True)(x)),
    "gru_before": (
        STEPS,
        lambda k, q, x: k.GRU(4, reset_after=False, return_sequences=True, go_backwards=True)(x),
    ),
    "rnn": (STEPS, lambda k, q, x: k.SimpleRNN(4, activation="elu")(x)),
    "rnn_cell": (STEPS, lambda k, q, x: k.RNN(k.LSTMCell(3))(x)),
    "lstm_states": (
        STEPS,
        lambda k, q, x: k.LSTM(3)(x, initial_state=[k.Flatten()(k.Cropping1D((0, 3))(x))] * 2),
    ),
    "bidirectional": (STEPS, lambda k, q, x: k.Bidirectional(k.LSTM(3, return_sequences=True))(x)),
    "bidirectional_last": (STEPS, lambda k, q, x: k.Bidirectional(k.GRU(3))(x)),
    "bidirectional_ave": (
        STEPS,
        lambda k, q, x: k.Bidirectional(k.GRU(2, return_sequences=True), merge_mode="ave")(x),
    ),
    "bidirectional_mul": (
        STEPS,
        lambda k, q, x: k.Bidirectional(k.SimpleRNN(2), merge_mode="mul")(x),
    ),
    "qlstm_weights": (
        STEPS,
        lambda k, q, x: q.QLSTM(
            3, **(CELL | {"activation": "tanh", "kernel_quantizer": "quantized_bits(4,0,1)"})
        )(x),
    ),
    "qgru_auto": (
        STEPS,
        lambda k, q, x: q.QGRU(
            3,
            activation="tanh",
            recurrent_activation="sigmoid",
            **(CELL | {"recurrent_quantizer": "quantized_bits(4,0,1,alpha='auto')"}),
        )(x),
    ),
}


def build(kit: Any, shape: tuple[int, ...], make: Make, seed: int = 3) -> Any:
    """The layers behind a quantized input, with random weights."""
    with quiet():
        x = kit.keras.Input(shape, name="x")
        inside = kit.qkeras.QActivation(INPUT, name="rounded")(x)
        model = kit.keras.Model(x, make(kit.keras.layers, kit.qkeras, inside))
    randomize(model, seed)
    return model


def randomize(model: Any, seed: int) -> None:
    """Random weights; variances are positive."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if not variable.dtype.is_floating or not variable.shape.rank or "ema" in variable.name:
            continue
        values = rng.normal(0, 0.7, variable.shape)
        if "variance" in variable.name:
            values = np.abs(values) + 0.3
        if "alpha" in variable.name:  # slopes have no quantizers
            values = np.rint(values * 8) / 8
        variable.assign(values)


def events(shape: tuple[int, ...], count: int = 60, seed: int = 4) -> np.ndarray:
    """Raw numbers, some of them on the grid and between two of its points."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 3, (count, *shape))
    values[: count // 2] = np.rint(values[: count // 2] * 32) / 32
    return values.astype(np.float32)
