"""Records data/classifier.npz: what hls4ml 1.3 itself predicts and traces (`ModelGraph.trace`).

Run after a change of networks.classifier, with hls4ml's g++ on PATH:
    python -P tests/firmware/record_golden.py
"""

import contextlib
import importlib.util
import io
import tempfile
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent


def main() -> None:
    """Writes the file."""
    spec = importlib.util.spec_from_file_location("networks", FOLDER / "networks.py")
    assert spec is not None
    assert spec.loader is not None
    networks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(networks)
    rng = np.random.default_rng(4)
    x = np.concatenate([2 * rng.normal(size=(60, 4)), 40 * rng.normal(size=(20, 4))])
    arrays = {"x": x}
    for backend, io_type in (("Vitis", "io_parallel"), ("Vivado", "io_stream")):
        model = networks.classifier(backend, io_type)
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            model.config.config["OutputDir"] = folder
            for layer in model.get_layers():
                layer.set_attr("trace", bool(layer.get_attr("function_cpp", None)))
            output, layers = model.trace(x)
        arrays[f"{backend}/{io_type}"] = output
        arrays.update({f"{backend}/{io_type}/{name}": a for name, a in layers.items()})
    np.savez_compressed(FOLDER / "data" / "classifier.npz", **arrays)


if __name__ == "__main__":
    main()
