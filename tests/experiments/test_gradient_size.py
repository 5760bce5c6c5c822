"""gradient-size: against errors of networks worked out in NumPy, on data that take no time."""

import jax
import numpy as np
import pytest
from subjects import DATA, IMAGES, LABELS

from mlp_jax import init_params
from mlp_jax.experiments import gradient_size


def errors(params, relu):
    """The root mean square of each layer's errors, in NumPy, with sigmoids in the last layer and quadratic cost."""

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    a, sums = IMAGES / 255, []
    for number, (weights, biases) in enumerate(params):
        z = a @ np.asarray(weights, float).T + np.asarray(biases, float)
        a = np.maximum(z, 0) if relu and number < len(params) - 1 else sigmoid(z)
        sums.append(z)
    delta = 2 * (a - np.eye(3)[LABELS]) * a * (1 - a)
    sizes = [np.sqrt(np.mean(delta**2))]
    for number in range(len(params) - 1, 0, -1):
        z = sums[number - 1]
        slope = (z > 0) if relu else sigmoid(z) * (1 - sigmoid(z))
        delta = delta @ np.asarray(params[number].weights, float) * slope
        sizes.append(np.sqrt(np.mean(delta**2)))
    return sizes[::-1]


@pytest.fixture(scope="module")
def measured():
    with pytest.MonkeyPatch.context() as patch:
        settings = {"DEPTHS": (1, 3), "WIDTH": 4, "LEARNING_RATES": (0.01, 1.0), "SEEDS": (0, 1), "BATCH_SIZE": 5}
        for name, value in settings.items():
            patch.setattr(gradient_size, name, value)
        return gradient_size.measure(DATA)


def test_errors_at_the_start_are_those_of_numpy(measured):
    for depth, sizes in zip((1, 3), measured.sizes, strict=True):
        assert sizes.shape == (2, 2, 3, depth + 1)
        for function in (0, 1):
            for seed in (0, 1):
                params = init_params(jax.random.key(seed), (16, *(4,) * depth, 3))
                np.testing.assert_allclose(sizes[function, seed, 0], errors(params, bool(function)), rtol=1e-4)


def test_the_rate_that_learns_is_chosen_and_what_it_learns_is_reported(measured):
    assert measured.rates.shape == (2, 2)
    assert measured.rates[0].tolist() == [1, 1]
    assert measured.accuracies.shape == measured.costs.shape == (2, 2, 2)
    assert measured.accuracies[0, 1].min() > 0.5
    for seed in (0, 1):
        last = errors(init_params(jax.random.key(seed), (16, 4, 3)), relu=False)[-1]
        assert measured.sizes[0][0, seed, -1, -1] != pytest.approx(last, rel=1e-3)  # it has been trained


def example(costs, accuracy):
    """A measurement of networks with one and two hidden layers: of sigmoids, then of ReLU."""
    sizes = tuple(np.ones((2, 3, 3, layers)) for layers in (2, 3))
    sizes[1][..., 0] = np.array([1e-4, 0.1])[:, None, None]
    accuracies = np.full((2, 2, 3), 0.9)
    accuracies[1] = np.add.outer(accuracy, [0, -0.05, 0.01])
    costs = np.array([[1.0, 1.0], costs])[..., None] + [0.0, 0.3, -0.01]
    return gradient_size.Measurement((1, 2), 8, ("sigmoid", "ReLU"), sizes, np.ones((2, 2)), accuracies, costs)


@pytest.mark.parametrize(
    ("costs", "accuracy", "parts"),
    [
        ((0.9, 0.1), (0.2, 0.85), [True, True, True]),
        ((0.9, 0.5), (0.2, 0.85), [False, True, True]),
        ((0.9, 0.1), (0.6, 0.85), [True, False, True]),
        ((0.9, 0.1), (0.2, 0.80), [True, True, False]),
    ],
)
def test_each_part_of_the_claim_can_fail(costs, accuracy, parts):
    finding = gradient_size.judge(example(costs, accuracy))
    assert list(finding.parts.values()) == parts
    low, high = accuracy[0] - 0.05, accuracy[0] + 0.01
    assert f"sigmoids get {accuracy[0]:.0%} of the test images right" in finding.text
    assert finding.table["sigmoids, lowest to highest of 3 seeds"] == f"{low:.0%} to {high:.0%}"
    assert finding.table["errors in the second layer (params[0]) over the last layer's, sigmoids"] == "1e-04"
    assert finding.table["the same, ReLU; both before training"] == "0.1"


@pytest.mark.parametrize("diverged", [np.nan, np.inf])
def test_deep_networks_that_diverge_are_not_easier_to_train(diverged):
    parts = gradient_size.judge(example((0.9, diverged), (0.2, 0.1))).parts
    assert parts == {"much easier to train": False, "very difficult with sigmoids": True, "very well when deep": False}


def test_the_figure_names_its_axes(measured):
    layers, thinned, learned = gradient_size.draw(measured).axes
    assert layers.get_ylabel() == "size of errors (rms of delta)"
    assert thinned.get_ylabel() == "second layer's errors / last layer's"
    assert learned.get_ylabel() == "test accuracy, %"
