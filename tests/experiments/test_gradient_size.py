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


def example(thinned, accuracy):
    """A measurement of networks with one and two hidden layers: of sigmoids, then of ReLU."""
    sizes = [np.ones((2, 3, 3, layers)) for layers in (2, 3)]
    for function in (0, 1):
        sizes[1][function, :, :, 0] = thinned[function]
    accuracies = np.full((2, 2, 3), 0.9)
    accuracies[1] = np.array(accuracy)[:, None]
    rates = np.ones((2, 2))
    return gradient_size.Measurement((1, 2), 8, ("sigmoid", "ReLU"), tuple(sizes), rates, accuracies, accuracies)


@pytest.mark.parametrize(
    ("thinned", "accuracy", "holds"),
    [((1e-4, 0.1), (0.2, 0.8), True), ((0.1, 0.1), (0.2, 0.8), False), ((1e-4, 0.1), (0.8, 0.8), False)],
)
def test_the_claim_needs_both_thinned_errors_and_slower_learning(thinned, accuracy, holds):
    finding = gradient_size.judge(example(thinned, accuracy))
    assert finding.holds is holds
    assert f"{accuracy[0]:.0%} and {accuracy[1]:.0%} of the test images" in finding.text


def test_the_figure_names_its_axes(measured):
    layers, thinned, learned = gradient_size.draw(measured).axes
    assert layers.get_ylabel() == "size of errors (rms of delta)"
    assert thinned.get_ylabel() == "first layer's errors / last layer's"
    assert learned.get_ylabel() == "test accuracy, %"
