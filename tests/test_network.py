"""The network against NumPy, written out example by example, and its behaviour under JAX's transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax import Layer, Model, feedforward, forward_pass, init_params, loss, predict, relu, softmax

KEY = jax.random.key(0)


def test_the_default_network_has_13002_parameters():
    params = init_params(KEY)
    assert [layer.weights.shape for layer in params] == [(16, 784), (16, 16), (10, 16)]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 13_002
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(("standard_normal", "deviations"), [(False, (1 / 20, 1 / 30)), (True, (1, 1))])
def test_random_parameters_have_the_stated_deviation(standard_normal, deviations):
    params = init_params(KEY, (400, 900, 1000), standard_normal=standard_normal)
    for layer, deviation in zip(params, deviations, strict=True):
        n = layer.weights.size
        # The standard error of the mean is s/sqrt(n), that of the deviation s/sqrt(2n): five of each.
        assert abs(layer.weights.mean()) < 5 * deviation / n**0.5
        assert abs(layer.weights.std() - deviation) < 5 * deviation / (2 * n) ** 0.5
        assert abs(layer.biases.std() - 1) < 5 / (2 * layer.biases.size) ** 0.5


def test_layers_are_drawn_independently_and_again_from_the_same_key():
    first, second = init_params(KEY, (8, 8, 8))
    assert not np.array_equal(first.weights, second.weights)
    assert not np.array_equal(first.weights[0], first.biases)
    assert jax.tree.all(jax.tree.map(np.array_equal, init_params(KEY, (8, 8, 8)), (first, second)))


def test_forward_pass_is_that_of_lesson_1_neuron_by_neuron():
    params = init_params(KEY, (5, 4, 3))
    inputs = np.random.default_rng(0).random((6, 5), np.float32)
    weighted_sums, activations = forward_pass(params, inputs)
    assert [z.shape for z in weighted_sums] == [(6, 4), (6, 3)]
    for example in range(6):
        a = inputs[example]
        np.testing.assert_array_equal(activations[0][example], a)
        for layer, z, next_a in zip(params, weighted_sums, activations[1:], strict=True):
            sums = [
                sum(layer.weights[j, k] * a[k] for k in range(len(a))) + layer.biases[j]
                for j in range(len(layer.biases))
            ]
            a = 1 / (1 + np.exp(-np.array(sums)))
            np.testing.assert_allclose(z[example], sums, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(next_a[example], a, rtol=1e-5)


def test_hidden_and_output_activations_are_where_they_belong():
    params = init_params(KEY, (5, 4, 4, 3))
    inputs = np.random.default_rng(0).random((6, 5), np.float32)
    weighted_sums, activations = forward_pass(params, inputs, Model(hidden=relu, output=softmax))
    for z, a in zip(weighted_sums[:-1], activations[1:-1], strict=True):
        np.testing.assert_array_equal(a, np.maximum(z, 0))
    np.testing.assert_allclose(activations[-1].sum(-1), 1, rtol=1e-6)


def test_loss_is_the_average_of_the_costs_and_predict_the_brightest_output():
    params = init_params(KEY, (5, 4, 3))
    inputs = np.random.default_rng(0).random((6, 5), np.float32)
    targets = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]]
    outputs = np.asarray(feedforward(params, inputs))
    np.testing.assert_allclose(loss(params, inputs, targets), ((outputs - targets) ** 2).sum() / 6, rtol=1e-6)
    np.testing.assert_array_equal(predict(params, inputs), outputs.argmax(-1))


def test_one_example_needs_no_batch_axis():
    params = init_params(KEY, (5, 4, 3))
    inputs, targets = np.ones(5, np.float32), np.ones(3, np.float32)
    assert feedforward(params, inputs).shape == (3,)
    assert predict(params, inputs).shape == ()
    assert loss(params, inputs, targets).shape == ()
    np.testing.assert_allclose(loss(params, inputs, targets), loss(params, inputs[None], targets[None]), rtol=1e-6)


def test_a_model_passes_through_jit_as_an_argument():
    assert jax.tree.leaves(Model()) == []
    params, inputs = init_params(KEY, (5, 4, 3)), np.ones((2, 5), np.float32)
    for model in (Model(), Model(hidden=relu)):
        np.testing.assert_allclose(
            jax.jit(feedforward)(params, inputs, model), feedforward(params, inputs, model), rtol=1e-6
        )


@pytest.mark.parametrize("sizes", [(), (784,), (784, 0, 10), (784, -16, 10)])
def test_sizes_of_no_network_are_refused(sizes):
    with pytest.raises(ValueError, match="at least two layers, inputs and outputs, of 1 neuron or more"):
        init_params(KEY, sizes)


def test_more_parameters_than_can_be_drawn_are_refused():
    with pytest.raises(ValueError, match=r"make 79,500,000,010 parameters: expected fewer than 2,147,483,648"):
        init_params(KEY, (784, 100_000_000, 10))


GOOD = init_params(KEY, (5, 4, 3))
INPUTS, TARGETS = np.ones((2, 5), np.float32), np.ones((2, 3), np.float32)
BAD = {
    "params are empty": ((), INPUTS, TARGETS),
    r"layer 1 has weights \(3, 4\) and biases \(4,\): expected \(n_out, 4\) and \(n_out,\)": (
        (GOOD[0], Layer(GOOD[1].weights, jnp.ones(4))),
        INPUTS,
        TARGETS,
    ),
    r"layer 1 has weights \(4, 5\).*expected \(n_out, 4\)": ((GOOD[0], GOOD[0]), INPUTS, TARGETS),
    r"inputs have shape \(2, 28, 28\), but the network has 5 input neurons": (GOOD, np.ones((2, 28, 28)), TARGETS),
    r"inputs have shape \(\)": (GOOD, np.float32(1), TARGETS),
    r"inputs have shape \(0, 5\): there is no example": (GOOD, np.ones((0, 5)), np.ones((0, 3))),
    "inputs are uint8: expected floating point; divide": (GOOD, np.ones((2, 5), np.uint8), TARGETS),
    r"targets have shape \(2,\), but the outputs have \(2, 3\)": (GOOD, INPUTS, np.ones(2)),
    r"targets have shape \(3,\), but the outputs have \(2, 3\)": (GOOD, INPUTS, np.ones(3)),
}


@pytest.mark.parametrize("message", BAD)
@pytest.mark.usefixtures("as_installed")
def test_shapes_that_do_not_fit_are_refused(message):
    with pytest.raises(ValueError, match=message):
        loss(*BAD[message])
