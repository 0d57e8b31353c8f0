"""Recurrent layers, layer normalisation, einsums, embeddings, GarNet, TimeDistributed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .fuzz_draw import Draw, Weights
from .fuzz_kind import DoesNotFit, Kind, Layer, Options, Shape

__all__ = ["KINDS"]

_GATES = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}
_CELL_ACTIVATIONS = ("tanh", "tanh", "sigmoid", "relu")


def _draw_rnn(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    class_name = draw.choice(["LSTM", "LSTM", "LSTM", "GRU", "GRU", "GRU", "GRU", "SimpleRNN"])
    n_out = draw.integer(1, 4)
    pytorch = draw.chance(0.3)
    states = pytorch and draw.chance(0.4) and class_name != "SimpleRNN"
    new_inputs = [((n_out,), None)] * (2 if class_name == "LSTM" else 1) if states else []
    return {
        "class": class_name,
        "n_out": n_out,
        "activation": draw.choice(_CELL_ACTIVATIONS),
        "recurrent_activation": draw.choice(["sigmoid", "sigmoid", "tanh", "relu"]),
        "sequences": draw.chance(0.5),
        "pytorch": pytorch,
        "states": states,
        "new_inputs": new_inputs,
    }


def _build_rnn(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    steps, n_in = shapes[0]
    n_out, class_name = options["n_out"], options["class"]
    if any(shape != (n_out,) for shape in shapes[1:]):
        raise DoesNotFit
    columns = _GATES[class_name] * n_out
    layer = {
        "class_name": class_name,
        "direction": "forward",
        "n_timesteps": steps,
        "n_in": n_in,
        "n_out": n_out,
        "activation": options["activation"],
        "recurrent_activation": options["recurrent_activation"],
        "return_sequences": options["sequences"],
        "return_state": False,
        "time_major": False,
        "pass_initial_states": options["states"],
        "data_format": "channels_last",
        "weight_data": weights("weight", (n_in, columns)),
        "recurrent_weight_data": weights("recurrent_weight", (n_out, columns)),
        "bias_data": weights("bias", (columns,)),
    }
    if class_name == "GRU":
        layer |= {"apply_reset_gate": "after"}
    if class_name == "GRU" or options["pytorch"]:
        layer["recurrent_bias_data"] = weights("recurrent_bias", (columns,))
    if options["pytorch"]:
        layer["pytorch"] = True
    return layer, (steps, n_out) if options["sequences"] else (n_out,)


def _rnn_config(
    draw: Draw, options: Options, config: dict[str, Any], inputs: Sequence[str]
) -> None:
    static = not draw.chance(0.3) and not options.get("states")
    if not static or draw.chance(0.2):
        config["static"] = static
    one_type = not static or options.get("class") == "LSTM"
    if one_type and draw.chance(0.9):  # otherwise it does not compile
        precision = config["Precision"]
        precision["accum"] = precision["result"] = inputs[0]
        if options.get("states"):
            precision["weight"] = precision["recurrent_weight"] = draw.format("weight")
            precision["bias"] = precision["recurrent_bias"] = draw.format("weight")
    if draw.chance(0.4):
        config["TableSize"] = draw.choice([64, 256, 1024])


def _draw_bidirectional(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    return {
        "classes": [draw.choice(["LSTM", "GRU"]) for _ in range(2)]
        if draw.chance(0.3)
        else [draw.choice(["LSTM", "GRU"])] * 2,
        "states": [draw.integer(1, 3), draw.integer(1, 3)]
        if draw.chance(0.3)
        else [draw.integer(1, 3)] * 2,
        "activation": draw.choice(_CELL_ACTIVATIONS),
        "sequences": draw.chance(0.5),
        "merge": "concat" if draw.chance(0.85) else draw.choice(["sum", "mul", "ave"]),
    }


def _build_bidirectional(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    steps, n_in = shapes[0]
    layer: dict[str, Any] = {
        "class_name": "Bidirectional",
        "direction": "bidirectional",
        "n_timesteps": steps,
        "n_in": n_in,
        "return_sequences": options["sequences"],
        "return_state": False,
        "time_major": False,
        "pass_initial_states": False,
        "merge_mode": options["merge"],
        "data_format": "channels_last",
    }
    for side, cell, n_states in zip(
        ("forward", "backward"), options["classes"], options["states"], strict=True
    ):
        columns = _GATES[cell] * n_states
        layer |= {
            f"{side}_name": f"{weights.node}_{side}",
            f"{side}_class_name": cell,
            f"{side}_activation": options["activation"],
            f"{side}_recurrent_activation": "sigmoid",
            f"{side}_data_format": "channels_last",
            f"{side}_n_states": n_states,
            f"{side}_weight_data": weights(f"{side}_weight", (n_in, columns)),
            f"{side}_recurrent_weight_data": weights(
                f"{side}_recurrent_weight", (n_states, columns)
            ),
            f"{side}_bias_data": weights(f"{side}_bias", (columns,)),
        }
        if cell == "GRU":
            layer[f"{side}_recurrent_bias_data"] = weights(f"{side}_recurrent_bias", (columns,))
            layer[f"{side}_apply_reset_gate"] = "after"
    forward, backward = options["states"]
    n_out = forward + backward if options["merge"] == "concat" else forward
    layer["n_out"] = n_out
    return layer, (steps, n_out) if options["sequences"] else (n_out,)


def _draw_layernorm(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    return {"epsilon": draw.integer(1, 5)}


def _build_layernorm(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    (shape,) = shapes
    if len(shape) != 2:
        raise DoesNotFit
    layer = {
        "class_name": "LayerNormalization",
        "n_in": math.prod(shape),
        "n_out": math.prod(shape),
        "seq_len": shape[0],
        "axis": 2,
        "epsilon_power_of_10": options["epsilon"],
        "gamma_data": weights("scale", (shape[-1],)),
        "beta_data": weights("bias", (shape[-1],)),
    }
    return layer, shape


def _layernorm_config(
    draw: Draw, options: Options, config: dict[str, Any], inputs: Sequence[str]
) -> None:
    if draw.chance(0.3):
        config["table_range_power2"] = draw.integer(0, 3)
    if draw.chance(0.3):
        config["TableSize"] = draw.choice([256, 1024])


_DENSE_EQUATIONS = {
    1: ("a,ab->b", "a,bac->bc", "a,ab->ba"),
    2: ("ab,bc->ac", "ab,ac->bc", "ab,abc->c", "ab,bcd->acd", "ab,abc->ac", "ab,bc->ca"),
    3: ("abc,cd->abd", "abc,bd->adc", "abc,acd->abd", "abc,bcd->ad"),
}
_EINSUM_EQUATIONS = {
    (1, 1): ("a,a->a", "a,b->ab", "a,b->ba"),
    (2, 2): ("ab,bc->ac", "ab,cb->ac", "ab,ab->a", "ab,cb->ca", "ab,ac->bc", "ab,ac->abc"),
    (1, 2): ("a,ab->b", "a,ba->b"),
    (2, 1): ("ab,b->a", "ab,a->b"),
    (3, 2): ("abc,cd->abd", "abc,dc->abd"),
    (3, 3): ("abc,adc->abd", "abc,dbc->bad", "abc,abd->acd"),
}


def _letters(text: str, shape: Shape, sizes: dict[str, int]) -> bool:
    """Notes each letter's size; False if two of them differ."""
    return len(text) == len(shape) and all(
        sizes.setdefault(letter, size) == size for letter, size in zip(text, shape, strict=True)
    )


def _draw_einsum_dense(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    (shape,) = shapes
    return {
        "equation": draw.choice(_DENSE_EQUATIONS[len(shape)]),
        "sizes": {letter: draw.integer(1, 3) for letter in "bcd"},
        "bias": draw.chance(0.7),
    }


def _build_einsum_dense(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    (shape,) = shapes
    inputs, out = options["equation"].split("->")
    data, kernel = inputs.split(",")
    sizes: dict[str, int] = {}
    if not _letters(data, shape, sizes):
        raise DoesNotFit
    kernel_shape = [sizes.setdefault(letter, options["sizes"].get(letter, 2)) for letter in kernel]
    out_shape = tuple(sizes[letter] for letter in out)
    layer = {
        "class_name": "EinsumDense",
        "equation": options["equation"],
        "inp_shape": shape,
        "out_shape": out_shape,
        "weight_data": weights("weight", kernel_shape),
        "bias_data": weights("bias", out_shape) if options["bias"] else None,
    }
    return layer, out_shape


def _einsum_pairs(left: Shape, right: Shape, draw: Draw) -> bool:
    return bool(_fitting(left, right))


def _fitting(left: Shape, right: Shape) -> list[str]:
    found = []
    for equation in _EINSUM_EQUATIONS.get((len(left), len(right)), ()):
        first, second = equation.split("->")[0].split(",")
        sizes: dict[str, int] = {}
        if _letters(first, left, sizes) and _letters(second, right, sizes):
            found.append(equation)
    return found


def _draw_einsum(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    fitting = _fitting(*shapes)
    if not fitting:
        raise DoesNotFit
    return {"equation": draw.choice(fitting)}


def _build_einsum(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    inputs, out = options["equation"].split("->")
    sizes: dict[str, int] = {}
    for text, shape in zip(inputs.split(","), shapes, strict=True):
        if not _letters(text, shape, sizes):
            raise DoesNotFit
    out_shape = tuple(sizes[letter] for letter in out)
    layer = {
        "class_name": "Einsum",
        "equation": options["equation"],
        "inp0_shape": shapes[0],
        "inp1_shape": shapes[1],
        "out_shape": out_shape,
    }
    return layer, out_shape


def _embedding_source(draw: Draw) -> tuple[Shape, str]:
    bits = draw.integer(2, 4)
    return (draw.integer(1, 5),), draw.choice([f"ufixed<{bits},{bits}>", f"uint<{bits}>"])


def _draw_embedding(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    return {"n_out": draw.integer(1, 4)}


def _build_embedding(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    (shape,) = shapes
    vocabulary = 16
    layer = {
        "class_name": "Embedding",
        "n_in": shape[0],
        "n_out": options["n_out"],
        "vocab_size": vocabulary,
        "embeddings_data": weights("embeddings", (vocabulary, options["n_out"])),
    }
    return layer, (*shape, options["n_out"])


def _draw_garnet(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    return {
        "aggregators": draw.integer(1, 3),
        "filters": draw.integer(1, 3),
        "propagate": draw.integer(1, 3),
        "layers": 0 if draw.chance(0.6) else 2,
        "collapse": draw.choice(["mean", "mean", "mean", "max"]) if draw.chance(0.6) else None,
        "mean_by_nvert": draw.chance(0.5),
        "quantize": draw.chance(0.2),
    }


def _build_garnet(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    """Vertices with features, and the number of vertices as a second input."""
    vertices, features = shapes[0]
    if len(shapes) != 2 or shapes[1] != (1,) or vertices > 15:  # the input's types end there
        raise DoesNotFit
    aggregators, filters = options["aggregators"], options["filters"]
    propagate, count = options["propagate"], options["layers"]
    layer: dict[str, Any] = {
        "class_name": "GarNetStack" if count else "GarNet",
        "n_vertices": vertices,
        "collapse": options["collapse"],
        "mean_by_nvert": options["mean_by_nvert"],
        "input_format": "xn",
        "n_in_features": features,
        "n_aggregators": aggregators,
        "n_out_features": filters,
        "n_propagate": propagate,
    }
    if options["quantize"]:
        from hls4ml.model.quantizers import TernaryQuantizer  # type: ignore[import-untyped]

        layer["quantizer"] = TernaryQuantizer()
    n_in = features
    for index in [str(i) for i in range(count)] or [""]:
        layer |= {
            f"FLR{index}_kernel_data": weights(f"FLR{index}_kernel", (n_in, propagate)),
            f"FLR{index}_bias_data": weights(f"FLR{index}_bias", (propagate,)),
            f"S{index}_kernel_data": weights(f"S{index}_kernel", (n_in, aggregators)),
            f"S{index}_bias_data": weights(f"S{index}_bias", (aggregators,)),
            f"Fout{index}_kernel_data": weights(
                f"Fout{index}_kernel", (aggregators * propagate, filters)
            ),
            f"Fout{index}_bias_data": weights(f"Fout{index}_bias", (filters,)),
        }
        n_in = filters
    if count:
        layer |= {
            "n_sublayers": count,
            "n_in_features": [features] + [filters] * (count - 1),
            "n_aggregators": [aggregators] * count,
            "n_out_features": [filters] * count,
            "n_propagate": [propagate] * count,
        }
    return layer, (filters,) if options["collapse"] else (vertices, filters)


def _draw_garnet_with_count(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    count = draw.choice(["ufixed<5,5>", "uint<4>", "fixed<16,6>", "fixed<8,5,RND,SAT,0>"])
    return _draw_garnet(draw, shapes) | {"new_inputs": [((1,), count)]}


def _draw_time_distributed(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    return {"wrapped": draw.choice(["Dense", "Activation"]), "n_out": draw.integer(1, 4)}


def _build_time_distributed(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    steps, *inner = shapes[0]
    n_out = options["n_out"]
    if options["wrapped"] == "Dense":
        wrapped: dict[str, Any] = {
            "class_name": "Dense",
            "data_format": "channels_last",
            "n_in": inner[-1],
            "n_out": n_out,
            "weight_data": weights("weight", (inner[-1], n_out)),
            "bias_data": weights("bias", (n_out,)),
            "weight_quantizer": None,
            "bias_quantizer": None,
        }
        out = [*inner[:-1], n_out]
    else:
        wrapped = {"class_name": "Activation", "activation": "relu", "n_in": math.prod(inner)}
        out = list(inner)
    wrapped |= {"name": f"{weights.node}_wrapped", "output_shape": [None, *out]}
    layer = {
        "class_name": "TimeDistributed",
        "wrapped_layer": wrapped,
        "output_shape": [steps, *out],
        "n_time_steps": steps,
    }
    return layer, (steps, *out)


def _time_distributed_config(
    draw: Draw, options: Options, config: dict[str, Any], inputs: Sequence[str]
) -> None:
    if draw.chance(0.9):  # otherwise it does not compile
        config["Precision"]["result"] = inputs[0]


def _relu(draw: Draw) -> Sequence[tuple[str, Options]]:
    """As the last layer its two markers would have one type."""
    return [("Activation", {"activation": "relu"})] if draw.chance(0.9) else ()


_RNN = {
    **{"result": "value", "accum": "accum", "weight": "weight", "bias": "weight"},
    **{"recurrent_weight": "weight", "recurrent_bias": "weight"},
}
_BIDIRECTIONAL = {
    "result": "value",
    "accum": "accum",
    **{
        f"{side}_{place}": "weight"
        for side in ("forward", "backward")
        for place in ("weight", "bias", "recurrent_weight", "recurrent_bias")
    },
}
_TABLES = {"table_t": "table"}

KINDS: dict[str, Kind] = {
    "RNN": Kind(
        _draw_rnn,
        _build_rnn,
        ranks=(2,),
        weight=1.5,
        precisions=_RNN,
        types=_TABLES,
        strategies=True,
        configure=_rnn_config,
    ),
    "Bidirectional": Kind(
        _draw_bidirectional,
        _build_bidirectional,
        ranks=(2,),
        weight=0.8,
        precisions=_BIDIRECTIONAL,
        types=_TABLES,
        strategies=True,
        streams=False,
        configure=_rnn_config,
    ),
    "LayerNormalization": Kind(
        _draw_layernorm,
        _build_layernorm,
        ranks=(2,),
        precisions={"result": "value", "scale": "weight", "bias": "weight"},
        types={"accum_t": "accum", "table_t": "table"},
        configure=_layernorm_config,
        streams=False,
    ),
    "EinsumDense": Kind(
        _draw_einsum_dense,
        _build_einsum_dense,
        precisions={"result": "value", "weight": "weight", "bias": "weight", "accum": "accum"},
        streams=False,
    ),
    "Einsum": Kind(
        _draw_einsum,
        _build_einsum,
        arity=2,
        pairs=_einsum_pairs,
        precisions={"result": "value", "accum": "accum"},
        streams=False,
    ),
    "Embedding": Kind(
        _draw_embedding,
        _build_embedding,
        weight=0.5,
        precisions={"result": "value", "embeddings": "weight"},
        source=_embedding_source,
    ),
    "GarNet": Kind(_draw_garnet_with_count, _build_garnet, ranks=(2,), weight=0.6, streams=False),
    "TimeDistributed": Kind(
        _draw_time_distributed,
        _build_time_distributed,
        ranks=(2, 3),
        weight=0.5,
        streams=False,
        configure=_time_distributed_config,
        followers=_relu,
    ),
}
