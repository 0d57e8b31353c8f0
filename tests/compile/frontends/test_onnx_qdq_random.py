"""Random QDQ networks: the file, the converted model and the firmware."""

import numpy as np
import onnx
import pytest

from samebits import Design

from .test_onnx_qdq import INT4, INT8, INT16, INT32, UINT4, UINT8, QdqWriter, converted, run

RANGES = {
    INT4: (-8, 7),
    UINT4: (0, 15),
    INT8: (-128, 127),
    UINT8: (0, 255),
    INT16: (-(2**15), 2**15 - 1),
}
CLIPS = [(-127, 127), (-8, 7), (-7, 7)]


def random_network(seed: int, powers: bool) -> onnx.ModelProto:
    """One to three dense layers: any integer type, zero point and Clip, scales per channel."""
    write = QdqWriter(4, seed, opset=(13, 17, 19, 21)[seed // 2 % 4])
    rng, n, x = write.rng, 4, "x"
    for _ in range(int(rng.integers(1, 4))):
        kinds = list(RANGES) if write.opset == 21 else [INT8, UINT8]
        kind = int(rng.choice(kinds))
        low, high = RANGES[kind]
        middle = low + (high - low + 1) // 2
        zero = int(rng.choice([low, 0, int(rng.integers(low, high + 1)), middle]))
        scale = 2.0 ** rng.integers(-6, -1) if powers else rng.uniform(0.004, 0.3)
        clip = CLIPS[int(rng.integers(3))] if kind == INT8 and rng.random() < 0.3 else None
        x = write.pair(x, scale, zero, kind, clip)
        m, channels = int(rng.integers(2, 6)), bool(rng.integers(0, 2))
        size = m if channels else ()
        steps = 2.0 ** rng.integers(-7, -3, size) if powers else rng.uniform(0.004, 0.03, size)
        unsigned = bool(rng.integers(0, 2))
        values = rng.integers(0, 60, (n, m)) if unsigned else rng.integers(-30, 31, (n, m))
        shift = np.full(np.shape(steps), int(rng.integers(0, 40)) if unsigned else 0)
        w = write.integers(values, steps, UINT8 if unsigned else INT8, zero=shift,
                           **({"axis": 1} if channels else {}))  # fmt: skip
        x, n = write.node("MatMul", x, w), m
        if rng.random() < 0.8:
            bias = write.integers(rng.integers(-300, 300, m), steps * scale, INT32,
                                  **({"axis": 0} if channels else {}))  # fmt: skip
            x = write.node("Add", x, bias)
        if (kind := int(rng.integers(0, 3))) < 2:
            x = write.node("Relu", x) if kind else write.node("LeakyRelu", x, alpha=0.25)
    return write.model(x)


@pytest.mark.parametrize("seed", range(24))
def test_random_networks(seed: int) -> None:
    powers = seed % 2 == 0
    model = random_network(seed, powers)
    design = Design.from_onnx(model)
    step = design.graph.tensors["x"].format.lsb
    x = np.rint(np.random.default_rng(seed).normal(0, 3, (300, 4)) / step) * step
    wanted, found = run(model, x), design.simulate(x)
    assert np.array_equal(run(converted(model), x), wanted)
    if powers:
        assert np.array_equal(found, wanted)
    else:
        difference = np.abs(found - wanted).max(axis=1)
        assert (difference > 3e-5 * np.abs(wanted).max()).mean() < 0.03
