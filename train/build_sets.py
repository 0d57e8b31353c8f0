"""How Keras builds the layers for events of several rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .layers import Layer, Recurrent, SelfAttention, SetPool
from .tensorflow import load

if TYPE_CHECKING:
    from .build import Making

__all__ = ["BUILDERS"]

PRESENT, ABSENT = "input.present", "input.absent"  # layers that a network has once
FLOAT_GAIN = 2.0**20  # makes a 1 of every number from 2^-20
ONE_BIT, ONES = "quantized_relu(1,1)", "quantized_bits(2,1,0,1,alpha=1)"
ABSENT_SCORE = 16.0  # exp(-16) is below every step of hls4ml's table
SCORES = "quantized_bits(6,5,0,1,alpha=1)"  # holds it
CELLS = {"simple": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}


def _present(making: Making) -> Any:
    """1 for every row (n, 1) whose first number is above zero behind the input's rounding, else 0.

    The kernel picks the first number, in steps of its format, and clips it at 1: one OR.
    """
    if PRESENT in making.made:
        return making.made[PRESENT]
    kit, rows = load(), making.inputs
    rows_of_numbers(rows)
    options: dict[str, Any] = {"use_bias": False, "trainable": False}
    if making.formats is None:
        gain, picked = FLOAT_GAIN, f"{PRESENT}.first"
        clipped = kit.keras.layers.ReLU(1.0, name=PRESENT)
    else:
        # a name of its own: this kernel is not the float network's
        form = making.formats["input"]
        bits = max(0, form.width - form.integer)
        gain, picked = 2.0**bits, f"{PRESENT}.steps"
        clipped = kit.qkeras.QActivation(ONE_BIT, name=PRESENT)
        options["kernel_quantizer"] = f"quantized_bits({bits + 1},{bits + 1},0,0,alpha=1)"
    kernel = [[gain], *[[0.0]] * (int(rows.shape[-1]) - 1)]
    options["kernel_initializer"] = kit.keras.initializers.Constant(kernel)
    first = making.layer("Dense")(1, name=picked, **options)(rows)
    making.made[PRESENT] = clipped(first)
    return making.made[PRESENT]


def rows_of_numbers(x: Any) -> None:
    """Raises ValueError unless x has the shape (rows, features)."""
    if len(x.shape) != 3:
        raise ValueError("it needs rows of features, (n, f)")


def _set_pool(x: Any, name: str, layer: SetPool, making: Making) -> Any:
    rows_of_numbers(x)
    kit = load()
    layers = kit.keras.layers
    if layer.padded:
        present = _present(making)
        if present.shape[1] != x.shape[1]:
            raise ValueError("padded rows are known only while the rows are those of the input")
        x = layers.Multiply(name=f"{name}.present")([x, present])
    if layer.how == "max":
        return layers.GlobalMaxPooling1D(name=name)(x)
    if layer.how == "mean":
        x = layers.GlobalAveragePooling1D(name=name)(x)
        return making.rounded(x, name, f"{name}.rounded")
    x = layers.Permute((2, 1), name=f"{name}.columns")(x)
    options = {} if making.formats is None else {"kernel_quantizer": ONES}
    ones = making.layer("Dense")(
        1,
        use_bias=False,
        trainable=False,
        kernel_initializer="ones",
        name=f"{name}.ones",
        **options,
    )
    x = layers.Flatten(name=name)(ones(x))
    return making.rounded(x, name, f"{name}.rounded")


def _attention(x: Any, name: str, layer: SelfAttention, making: Making) -> Any:
    rows_of_numbers(x)
    layers, features = load().keras.layers, int(x.shape[-1])

    def dense(part: str, units: int, of: Any) -> Any:
        full = f"{name}.{part}" if part else name
        made = making.layer("Dense")(units, **making.weights(full, "kernel", "bias"))(of)
        return making.rounded(made, full, f"{full}.rounded")

    mixed = []
    for head in range(1, layer.heads + 1):
        query, key, value = (
            dense(f"{role}_{head}", layer.size, x) for role in ("query", "key", "value")
        )
        scores = layers.Dot(axes=(2, 2), name=f"{name}.scores_{head}")([query, key])
        if layer.padded:
            scores = layers.Add(name=f"{name}.seen_{head}")([scores, _absent(making)])
        part = f"{name}.shares_{head}"
        shares = making.softmax(scores, part, f"{part}.input", f"{part}.wider")
        shares = making.rounded(shares, part, f"{part}.rounded")
        mix = layers.Dot(axes=(2, 1), name=f"{name}.mix_{head}")([shares, value])
        mixed.append(making.rounded(mix, f"{name}.mix_{head}", f"{name}.mix_{head}.rounded"))
    together = mixed[0]
    if len(mixed) > 1:
        together = layers.Concatenate(name=f"{name}.together")(mixed)
    return dense("", features, together)


def _absent(making: Making) -> Any:
    """What is added to the scores of every row's view (1, n): 0 of real rows, -16 of padding."""
    layers, initializers = load().keras.layers, load().keras.initializers
    if ABSENT not in making.made:
        options: dict[str, Any] = {"trainable": False, "name": f"{ABSENT}.scores"}
        if making.formats is not None:
            options |= {"kernel_quantizer": SCORES, "bias_quantizer": SCORES}
        made = making.layer("Dense")(
            1,
            kernel_initializer=initializers.Constant(ABSENT_SCORE),
            bias_initializer=initializers.Constant(-ABSENT_SCORE),
            **options,
        )(_present(making))
        making.made[ABSENT] = layers.Permute((2, 1), name=ABSENT)(made)
    return making.made[ABSENT]


def _recurrent(x: Any, name: str, layer: Recurrent, making: Making) -> Any:
    rows_of_numbers(x)
    options = making.weights(name, "kernel", "recurrent", "bias")
    options |= {"return_sequences": layer.sequence, "go_backwards": layer.backwards}
    if layer.cell == "gru":
        options["reset_after"] = True  # the only GRU that hls4ml has
    if making.formats is not None:
        options["activation"] = "tanh"
        if layer.cell != "simple":
            options["recurrent_activation"] = "sigmoid"
    x = making.layer(CELLS[layer.cell])(layer.units, **options)(x)
    return making.rounded(x, name, f"{name}.rounded")


BUILDERS: dict[type[Layer], Callable[[Any, str, Any, Making], Any]] = {
    SetPool: _set_pool,
    SelfAttention: _attention,
    Recurrent: _recurrent,
}
