"""Train an HGQ2 jet tagger, compile it, and count the bits that differ from Keras: none.

    python examples/hgq_jets.py

HGQ2 has an environment of its own: pip install "samebits[hgq]". About a minute.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from hgq.config import LayerConfigScope, QuantizerConfigScope
from hgq.layers import QBatchNormDense, QDense
from hgq.utils import trace_minmax

from samebits import Design
from samebits.train.data import load_jets

jets = load_jets().split(1)
mean, spread = jets.train.features.mean(axis=0), jets.train.features.std(axis=0)


def features(part):
    return ((part.features - mean) / spread).astype(np.float32)


keras.utils.set_random_seed(1)
with (
    QuantizerConfigScope(place="all", overflow_mode="SAT_SYM"),
    QuantizerConfigScope(place="datalane", default_q_type="kif", overflow_mode="WRAP"),
    LayerConfigScope(beta0=3e-6),
):
    model = keras.Sequential(
        [
            keras.Input((len(jets.train.feature_names),), name="jet"),
            QBatchNormDense(32, activation="relu"),
            QBatchNormDense(16, activation="relu"),
            QDense(len(jets.train.class_names)),
        ]
    )
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(features(jets.train), jets.train.labels, batch_size=256, epochs=20, verbose=0)
trace_minmax(model, features(jets.train))  # the integer bits of the data, from the training part

design = Design.from_keras(model)
x = features(jets.test)
expected, found = model.predict(x, verbose=0), design.simulate(x)
accuracy = (found.argmax(axis=1) == jets.test.labels).mean()
print(f"accuracy of the firmware: {accuracy:.3f}")
print(f"values that differ from Keras: {(expected != found).sum()} of {expected.size}")
verification = design.verify(x)
print(f"mismatching bits: {verification.mismatching_bits}")
for engine in verification.engines:
    print(f"  {engine.engine}: {engine.status}")
