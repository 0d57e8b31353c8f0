"""Records a network of every activation and of accumulators in random modes, run by hls4ml's csim.

    python tests/corpus/record.py FOLDER SEED

Writes a case folder for `runner.py`: what hls4ml's own test suite leaves out (softmax legacy,
relu1, relu6, softplus, accumulators that round and saturate in resource order). Needs the extra
`train` and a C++ compiler.
"""

import argparse
import importlib.metadata
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

FEATURES = 6
ROUNDINGS = ("TRN", "TRN_ZERO", "RND", "RND_ZERO", "RND_INF", "RND_MIN_INF", "RND_CONV")
OVERFLOWS = ("WRAP", "SAT", "SAT_ZERO", "SAT_SYM")
SOFTMAXES = ("stable", "latency", "legacy", "argmax")
PLAIN = ("softplus", "softsign", "elu", "selu", "tanh", "sigmoid", "hard_sigmoid", "relu")
# (strategy, reuse factor) of the dense layers, which differ in the order of their sums
DENSE = [("Latency", 1), ("Latency", 1), ("Resource", 2), ("Resource", 3), ("Resource", 6)]


def network(keras: Any, rng: np.random.Generator) -> Any:
    """All layers side by side on one input, with random weights."""
    layers = keras.layers
    x = layers.Input((FEATURES,), name="x")
    made = [layers.Activation(name, name=name) for name in PLAIN]
    made += [layers.Activation("softmax", name=f"softmax_{name}") for name in SOFTMAXES]
    made += [
        layers.ReLU(max_value=6, name="relu6"),
        layers.ReLU(max_value=1, name="relu1"),
        layers.LeakyReLU(alpha=0.3, name="leaky"),
        layers.ThresholdedReLU(theta=0.7, name="thresholded"),
        layers.PReLU(name="prelu"),
        layers.ELU(alpha=0.4, name="elu_alpha"),
        layers.BatchNormalization(name="batchnorm"),
        *(layers.Dense(4, name=f"dense{i}") for i in range(len(DENSE))),
    ]
    outputs = [layer(x) for layer in made]
    rows = layers.Reshape((2, FEATURES // 2), name="rows")(x)
    outputs.append(layers.Activation("softmax", name="rows_softmax")(rows))
    model = keras.Model(x, outputs)
    for layer in model.layers:
        weights = [rng.normal(0, 1, w.shape) for w in layer.get_weights()]
        if layer.name == "batchnorm":
            weights[3] = np.abs(weights[3]) + 0.1  # the variance
        layer.set_weights(weights)
    return model


def configuration(hls4ml: Any, model: Any, rng: np.random.Generator, seed: int) -> Any:
    """Random precisions, rounding and overflow modes for everything."""

    def precision(low: int, high: int) -> str:
        width = int(rng.integers(low, high))
        modes = f"{rng.choice(ROUNDINGS)},{rng.choice(OVERFLOWS)}"
        return f"fixed<{width},{rng.integers(1, width)},{modes},0>"

    config = hls4ml.utils.config_from_keras_model(
        model, granularity="name", backend="Vitis", default_precision="fixed<14,6>"
    )
    for name, layer in config["LayerName"].items():
        layer["Precision"] = {
            key: precision(8, 14) if name == "x" else precision(6, 16) for key in layer["Precision"]
        }
        if name.startswith("softmax"):
            layer["Implementation"] = name.removeprefix("softmax_")
            layer["exp_table_size"] = layer["inv_table_size"] = 256
            layer["Precision"] = dict.fromkeys(layer["Precision"], "fixed<12,5>")
            layer["Precision"] |= {"result": precision(6, 14), "accum": precision(10, 14)}
    for i, (strategy, reuse) in enumerate(DENSE):
        layer = config["LayerName"][f"dense{i}"]
        modes = f"{ROUNDINGS[(i + seed) % 7]},{OVERFLOWS[(i + seed) % 4]}"
        accumulator = f"fixed<{rng.integers(7, 12)},{rng.integers(3, 6)},{modes},0>"
        layer["Precision"] |= {"weight": "fixed<6,2>", "bias": "fixed<6,3>", "accum": accumulator}
        layer["Strategy"], layer["ReuseFactor"] = strategy, reuse
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("seed", type=int)
    options = parser.parse_args()
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tf_keras

    sys.modules["keras"] = tf_keras  # hls4ml's Keras 2 reader looks at this name
    import hls4ml
    from hls4ml.utils.serialization import serialize_model

    rng = np.random.default_rng(options.seed)
    model = network(tf_keras, rng)
    config = configuration(hls4ml, model, rng, options.seed)
    x = np.concatenate([rng.normal(0, spread, (40, FEATURES)) for spread in (0.3, 2, 10)])
    x[0] = 0
    with tempfile.TemporaryDirectory() as project:
        graph = hls4ml.converters.convert_from_keras_model(
            model, hls_config=config, backend="Vitis", io_type="io_parallel", output_dir=project
        )
        graph.compile()
        outputs = graph.predict(x)
    graph.config.config["OutputDir"] = "prj"
    case = options.folder / f"samebits__every_activation__seed{options.seed}"
    case.mkdir(parents=True)
    serialize_model(graph, case / "graph.fml")
    np.savez_compressed(case / "inputs.npz", x0=x)
    outputs = {f"y{i}": np.asarray(y, dtype=np.float64) for i, y in enumerate(outputs)}
    np.savez_compressed(case / "outputs.npz", **outputs)
    meta = {
        "case_id": case.name,
        "test_id": f"tests/corpus/record.py FOLDER {options.seed}",
        "backend": "Vitis",
        "io_type": "io_parallel",
        "input_names": ["x"],
        "layer_classes": sorted({layer.class_name for layer in graph.get_layers()}),
        "output_exact": True,
        "compiled_with": "g++ (hls4ml's build_lib.sh)",
        "versions": {name: importlib.metadata.version(name) for name in ("hls4ml", "tf_keras")},
    }
    (case / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")


if __name__ == "__main__":
    main()
