"""What experiments need of data and networks, and what they share."""

import importlib

import numpy as np
import pytest
from subjects import AFTER, BEFORE, DATA, MODEL, NUMBERS, one, subject

from mlp_jax import feedforward
from mlp_jax.experiments import EXPERIMENTS
from mlp_jax.experiments.subject import SubjectError, batch_of, both_times, outputs_of_all
from mlp_jax.training import member


def measure(name, data):
    module = importlib.import_module(f"mlp_jax.experiments.{name.replace('-', '_')}")
    return module.measure(data if EXPERIMENTS[name] == "data" else subject(data=data))


@pytest.mark.parametrize(
    "name",
    [
        "accuracy",
        "how-much-data",
        "learning",
        "moved",
        "shuffled-labels",
        "minima",
        "descent",
        "same-place",
        "binary",
        "gradient-size",
        "noise",
        "mistakes",
        "maximizing-input",
        "one-example",
        "hand-set",
        "by-hand",
        "layer-three",
    ],
)
def test_what_needs_classes_says_so_of_numbers(name):
    with pytest.raises(SubjectError, match="needs classes: the data have wanted outputs, 3 numbers for each example"):
        measure(name, NUMBERS)


@pytest.mark.parametrize("name", ["first-layer", "batch-angle", "sensitivity", "suggested"])
def test_what_does_not_need_classes_takes_numbers(name):
    assert measure(name, NUMBERS)


def test_networks_of_a_population_are_asked_together():
    networks = both_times(subject(initial=BEFORE))
    inputs, targets = batch_of(DATA.test, networks)
    np.testing.assert_allclose(inputs, DATA.test.inputs / 255, rtol=1e-6)
    np.testing.assert_array_equal(targets, np.eye(3)[DATA.test.targets])
    outputs = outputs_of_all(networks, inputs, MODEL)
    for number, network in enumerate((member(BEFORE, 0), member(BEFORE, 1), member(AFTER, 0), member(AFTER, 1))):
        np.testing.assert_allclose(outputs[number], feedforward(network, inputs, MODEL), rtol=1e-5)


def test_a_subject_is_asked_for_its_sizes_and_its_pictures():
    assert (subject().sizes, subject().members) == ((16, 5, 4, 3), 2)
    assert subject(one(member(AFTER, 0))).members == 1
    assert subject().images_as(DATA.test.inputs).shape == (30, 4, 4)
