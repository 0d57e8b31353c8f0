"""Tests of a compiled network in your own repository: copy to tests/, run

pytest tests --samebits-build=build --samebits-golden=golden
"""

import numpy as np


def test_same_bits(same_bits):
    """The golden vectors, and all engines on adversarial inputs."""
    same_bits()


def test_events_of_our_own(design, same_bits):
    """The engines on events that matter here: a thousand random ones, and the empty event."""
    shape = design.graph.tensors[design.graph.inputs[0]].shape
    events = np.random.default_rng(1).normal(0, 1, (1000, *shape))
    events[0] = 0
    same_bits(events, adversarial=False)


def test_the_answer_to_the_empty_event(design):
    """An empty event must not look like signal; adapt the class and the threshold."""
    shape = design.graph.tensors[design.graph.inputs[0]].shape
    answer = design.simulate(np.zeros((1, *shape)))
    assert np.isfinite(answer).all()
