"""Magnitude pruning: the smallest weights of every dense layer are held at zero, more every epoch.

The share of zeros rises as final * (1 - (1 - t)^3), t running from 0 to 1 between 20 % and 60 % of
the epochs; the rest of the training mends the network at full sparsity.

Source: M. Zhu, S. Gupta, "To prune, or not to prune", arXiv:1710.01878, equation 1.
"""

from typing import Any

import numpy as np

START, END = 0.2, 0.6  # share of the epochs


def sparsity_at(epoch: int, epochs: int, final: float) -> float:
    """Share of zeros wanted in this epoch (counted from 0)."""
    if epochs == 1:
        return final
    progress = (epoch / (epochs - 1) - START) / (END - START)
    return float(final * (1 - (1 - min(max(progress, 0.0), 1.0)) ** 3))


def full_from(epochs: int) -> int:
    """The first epoch (from 0) with the final sparsity; earlier weights are not pruned enough."""
    return next(epoch for epoch in range(epochs) if sparsity_at(epoch, epochs, 1.0) == 1.0)


def prune(model: Any, share: float) -> tuple[list[Any], list[Any]]:
    """The kernels, and their masks: 0 for the `share` of smallest weights of each, which are set
    to zero."""
    kernels = [layer.kernel for layer in kernel_layers(model)]
    masks = []
    for kernel in kernels:
        values = kernel.numpy()
        mask = np.ones(values.size, np.float32)
        smallest = np.argsort(np.abs(values), axis=None, kind="stable")
        mask[smallest[: round(share * values.size)]] = 0
        masks.append(mask.reshape(values.shape))
        kernel.assign(values * masks[-1])
    return kernels, masks


def kernel_layers(model: Any) -> list[Any]:
    """The layers that have a kernel which is trained."""
    found = [layer for layer in model.layers if getattr(layer, "kernel", None) is not None]
    return [layer for layer in found if layer.trainable]


def sparsity(model: Any) -> float:
    """Share of zeros among the kernels' weights as the layers use them: after quantization."""
    zeros = total = 0
    for layer in kernel_layers(model):
        quantizer = getattr(layer, "kernel_quantizer_internal", None)
        kernel = np.asarray(layer.kernel if quantizer is None else quantizer(layer.kernel))
        zeros += int(np.count_nonzero(kernel == 0))
        total += kernel.size
    return zeros / total if total else 0.0
