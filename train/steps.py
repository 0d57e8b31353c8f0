"""One epoch as one compiled function, with random numbers that follow from seed and epoch alone.

Keras's own `fit` shuffles with a state that nobody can save. Here the order of the events and every
random number of epoch e follow from (seed, e), so that a training goes on bit-identically from
weights, optimiser state and e.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .config import FitOptions
from .losses import KERAS_LOSSES, column
from .passes import Samples
from .tensorflow import load, quiet

__all__ = ["Augment", "Steps", "generator", "optimizer"]

# (inputs, targets, random numbers) -> inputs, targets of the same shapes
Augment = Callable[
    [npt.NDArray[np.float32], npt.NDArray[Any], np.random.Generator],
    tuple[npt.NDArray[np.float32], npt.NDArray[Any]],
]
ORDER, NOISE, AUGMENTATION, LAYERS = range(4)  # streams of random numbers of one epoch
VALIDATION_BATCH = 4096
FINAL_SHARE = 0.01  # of the learning rate, at the end of the exponential schedule


def generator(seed: int, epoch: int, stream: int) -> np.random.Generator:
    """Random numbers of one purpose in one epoch."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, epoch, stream))))


def _words(seed: int, epoch: int, stream: int, count: int) -> npt.NDArray[np.uint64]:
    """Raw words, which NumPy promises never to change (NEP 19)."""
    source = np.random.PCG64(np.random.SeedSequence((seed, epoch, stream)))
    return np.asarray(source.random_raw(count), np.uint64)


class Steps:
    """A network with its loss and optimiser: `epoch` trains it, `loss` looks at it."""

    def __init__(self, model: Any, options: FitOptions, train: Samples) -> None:
        kit = load()
        self.model, self.options, self.train = model, options, train
        steps = -(-len(train) // options.batch_size) * options.epochs
        self.optimizer = optimizer(options, steps)
        self.optimizer.build(model.trainable_variables)
        self._generators = _stateful_generators(model)
        self._deviations = _deviations(train.inputs) * np.float32(options.input_noise)
        tf = kit.tf
        self._function = kit.keras.losses.get(KERAS_LOSSES[options.loss])
        self._epoch = tf.function(self._train, autograph=False, reduce_retracing=True)
        self._loss = tf.function(self._evaluate, autograph=False, reduce_retracing=True)

    def epoch(
        self, number: int, augment: Augment | None, kernels: Sequence[Any], masks: Sequence[Any]
    ) -> tuple[float, float]:
        """Trains for epoch `number`, from 0; means of loss and accuracy while the weights move.

        After every step `kernels` are multiplied by `masks`.
        """
        x, y = self._events(number, augment)
        for (found, _), seed in zip(
            self._generators,
            _words(self.options.seed, number, LAYERS, len(self._generators)),
            strict=True,
        ):
            found._generator.reset_from_seed(int(seed >> 33))
        found = self._epoch(x, column(y, self.options.loss), list(kernels), list(masks))
        return float(found[0]) / len(x), float(found[1]) / len(x)

    def batch(self, samples: Samples) -> float:
        """One step on these events, as they are; their loss before it."""
        targets = column(samples.targets, self.options.loss)
        return float(self._epoch(samples.inputs, targets, [], [])[0]) / len(samples)

    def loss(self, samples: Samples) -> tuple[float, float]:
        """Means of loss and accuracy of the network as it is."""
        found = self._loss(samples.inputs, column(samples.targets, self.options.loss))
        return float(found[0]) / len(samples), float(found[1]) / len(samples)

    def gradient(self, samples: Samples) -> tuple[float, npt.NDArray[np.float32]]:
        """Loss on all events at once, and its gradient by all trainable weights, as one vector."""
        tf = load().tf
        if not hasattr(self, "_slope"):
            self._slope = tf.function(self._full_gradient, autograph=False)
            self._all = (
                tf.constant(samples.inputs),
                tf.constant(column(samples.targets, self.options.loss)),
            )
        loss, slope = self._slope(*self._all)
        return float(loss), slope.numpy()

    def _events(
        self, number: int, augment: Augment | None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        """All events in this epoch's order, changed by augmentation and noise."""
        seed = self.options.seed
        order = np.argsort(_words(seed, number, ORDER, len(self.train)), kind="stable")
        x, y = self.train.inputs[order], self.train.targets[order]
        if augment is not None:
            x, y = augment(x, y, generator(seed, number, AUGMENTATION))
        if self.options.input_noise:
            drawn = generator(seed, number, NOISE).standard_normal(x.shape, np.float32)
            x = x + drawn * self._deviations
        return np.asarray(x, np.float32), y

    def release(self) -> None:
        """Gives the random layers back the kind of state that they had."""
        for found, kind in self._generators:
            found._rng_type, found._generator = kind, None

    def _train(self, x: Any, y: Any, kernels: list[Any], masks: list[Any]) -> Any:
        tf, model = load().tf, self.model
        size, events = self.options.batch_size, tf.shape(x)[0]

        def step(start: Any, loss: Any, right: Any) -> Any:
            inputs, targets = x[start : start + size], y[start : start + size]
            with tf.GradientTape() as tape:
                answers = model(inputs, training=True)
                value = self._mean_loss(targets, answers)
            slopes = tape.gradient(value, model.trainable_variables)
            self.optimizer.apply_gradients(zip(slopes, model.trainable_variables, strict=True))
            for kernel, mask in zip(kernels, masks, strict=True):
                kernel.assign(kernel * mask)
            count = tf.cast(tf.shape(inputs)[0], tf.float32)
            return start + size, loss + value * count, right + self._right(targets, answers)

        zero = tf.constant(0.0)
        return tf.while_loop(
            lambda start, *_: start < events, step, (0, zero, zero), parallel_iterations=1
        )[1:]

    def _evaluate(self, x: Any, y: Any) -> Any:
        tf, model = load().tf, self.model
        events = tf.shape(x)[0]

        def step(start: Any, loss: Any, right: Any) -> Any:
            behind = start + VALIDATION_BATCH
            inputs, targets = x[start:behind], y[start:behind]
            answers = model(inputs, training=False)
            count = tf.cast(tf.shape(inputs)[0], tf.float32)
            value = self._mean_loss(targets, answers)
            return behind, loss + value * count, right + self._right(targets, answers)

        zero = tf.constant(0.0)
        return tf.while_loop(
            lambda start, *_: start < events, step, (0, zero, zero), parallel_iterations=1
        )[1:]

    def _full_gradient(self, x: Any, y: Any) -> Any:
        tf, model = load().tf, self.model
        with tf.GradientTape() as tape:
            value = self._mean_loss(y, model(x, training=True))
        slopes = tape.gradient(value, model.trainable_variables)
        flat = [
            tf.reshape(tf.zeros_like(weight) if slope is None else slope, [-1])
            for slope, weight in zip(slopes, model.trainable_variables, strict=True)
        ]
        return value, tf.concat(flat, axis=0)

    def _mean_loss(self, targets: Any, answers: Any) -> Any:
        tf = load().tf
        value = tf.reduce_mean(self._function(targets, answers))
        return value + tf.add_n(self.model.losses) if self.model.losses else value

    def _right(self, targets: Any, answers: Any) -> Any:
        """How many events are decided as their targets say; several 0/1 answers count in parts."""
        tf = load().tf
        if self.options.loss == "mean_squared_error":
            return tf.constant(0.0)
        if self.options.loss == "binary_crossentropy":
            same = tf.equal(answers > 0.5, tf.reshape(targets, tf.shape(answers)) > 0.5)
            share = tf.reduce_mean(tf.cast(same, tf.float32))
            return share * tf.cast(tf.shape(answers)[0], tf.float32)
        wanted = targets if self.options.loss == "categorical_crossentropy" else None
        wanted = tf.argmax(targets, axis=-1) if wanted is None else tf.cast(wanted, tf.int64)
        return tf.reduce_sum(tf.cast(tf.equal(tf.argmax(answers, axis=-1), wanted), tf.float32))


def optimizer(options: FitOptions, steps: int) -> Any:
    """SGD without and with (Nesterov's) momentum, Adagrad, RMSprop or Adam, of `steps` steps."""
    keras = load().keras
    rate: Any = options.learning_rate
    schedules = keras.optimizers.schedules
    if options.schedule == "cosine":
        rate = schedules.CosineDecay(rate, steps)
    elif options.schedule == "exponential":
        rate = schedules.ExponentialDecay(rate, steps, FINAL_SHARE)
    common = {"learning_rate": rate, "global_clipnorm": options.clip_norm}
    kinds = {"adagrad": "Adagrad", "rmsprop": "RMSprop", "adam": "Adam"}
    with quiet():
        if options.optimizer in kinds:
            return getattr(keras.optimizers, kinds[options.optimizer])(**common)
        momentum = 0.0 if options.optimizer == "sgd" else options.momentum
        return keras.optimizers.SGD(
            **common, momentum=momentum, nesterov=options.optimizer == "nesterov"
        )


def _stateful_generators(model: Any) -> list[tuple[Any, str]]:
    """The generators of dropout and its like, now with a state that can be set, and their kind.

    Source: tf_keras 2.21, backend.RandomGenerator; "legacy_stateful" keeps its state in kernels.
    """
    tf = load().tf
    found = []
    for layer in model._flatten_layers():
        held = getattr(layer, "_random_generator", None)
        if held is not None:
            found.append((held, held._rng_type))
            held._rng_type, held._built = held.RNG_STATEFUL, True
            held._generator = tf.random.Generator.from_seed(0)
    return found


def _deviations(inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Standard deviations of the channels, the last axis of an event."""
    channels = inputs.reshape(-1, inputs.shape[-1] if inputs.ndim > 1 else 1)
    return np.asarray(channels.std(axis=0, dtype=np.float64), np.float32)
