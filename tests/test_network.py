"""The network against NumPy, written out example by example, and its behaviour under JAX's transformations."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import (
    assert_close,
    assert_equal_to_rounding,
    each_model,
    loss_and_gradients,
    make_problem,
    outputs_of,
)

from mlp_jax import (
    Activation,
    Layer,
    Model,
    backprop,
    cross_entropy,
    feedforward,
    forward_pass,
    identity,
    init_params,
    loss,
    predict,
    relu,
    sigmoid,
    softmax,
)
from mlp_jax.network import as_inputs, as_targets

KEY = jax.random.key(0)


def test_the_default_network_has_13002_parameters():
    params = init_params(KEY)
    assert [layer.weights.shape for layer in params] == [(16, 784), (16, 16), (10, 16)]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 13_002
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def test_random_parameters_have_the_stated_deviation():
    sizes = (400, 300, 100)
    by_default, wide = (init_params(KEY, sizes, standard_normal=wide) for wide in (False, True))
    for number, n_in in enumerate(sizes[:-1]):
        n = wide[number].weights.size
        # The standard error of the mean is s/sqrt(n), that of the deviation s/sqrt(2n): five of each.
        assert abs(np.mean(wide[number].weights)) < 5 / n**0.5
        assert abs(np.std(wide[number].weights) - 1) < 5 / (2 * n) ** 0.5
        assert abs(np.std(wide[number].biases) - 1) < 5 / (2 * sizes[number + 1]) ** 0.5
        np.testing.assert_allclose(by_default[number].weights, wide[number].weights / np.sqrt(n_in), rtol=1e-6)
        np.testing.assert_array_equal(by_default[number].biases, wide[number].biases)


def test_layers_are_drawn_independently_and_again_from_the_same_key():
    first, second = init_params(KEY, (8, 8, 8))
    assert not np.array_equal(first.weights, second.weights)
    assert not np.array_equal(first.weights[0], first.biases)
    assert jax.tree.all(jax.tree.map(np.array_equal, init_params(KEY, (8, 8, 8)), (first, second)))


forward = jax.jit(forward_pass)


def test_forward_pass_is_that_of_lesson_1_neuron_by_neuron():
    """With another activation function for the outputs, so that each stands in its place."""
    params, inputs, _ = make_problem(dtype=np.float32)
    weighted_sums, activations = forward(params, inputs, Model(sigmoid, relu))
    assert [z.shape for z in weighted_sums] == [(7, 4), (7, 6), (7, 3)]
    params, inputs = jax.tree.map(np.asarray, (params, inputs))
    for example in range(7):
        a = inputs[example]
        np.testing.assert_array_equal(activations[0][example], a)
        for number, (layer, z, next_a) in enumerate(zip(params, weighted_sums, activations[1:], strict=True)):
            sums = np.array(
                [
                    sum(layer.weights[j, k] * a[k] for k in range(len(a))) + layer.biases[j]
                    for j in range(len(layer.biases))
                ]
            )
            a = np.maximum(sums, 0) if number == 2 else 1 / (1 + np.exp(-sums))
            np.testing.assert_allclose(z[example], sums, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(next_a[example], a, rtol=1e-5, atol=1e-6)


def test_loss_is_the_average_of_the_costs_and_predict_the_brightest_output():
    params, inputs, targets = make_problem(dtype=np.float32)
    outputs = np.asarray(outputs_of(params, inputs, Model()))
    found = loss_and_gradients(params, inputs, targets, Model())[0]
    np.testing.assert_allclose(found, ((outputs - targets) ** 2).sum() / 7, rtol=1e-6)
    np.testing.assert_array_equal(jax.jit(predict)(params, inputs, Model()), outputs.argmax(-1))


def test_one_example_needs_no_batch_axis():
    params, inputs, targets = make_problem(dtype=np.float32)
    alone = jax.jit(lambda *problem: (loss(*problem), feedforward(params, problem[1], problem[3])))
    cost, outputs = alone(params, inputs[2], targets[2], Model())
    assert jax.eval_shape(predict, params, inputs[2], Model()).shape == ()
    assert (cost.shape, outputs.shape) == ((), (3,))
    np.testing.assert_allclose(cost, np.sum((outputs - targets[2]) ** 2), rtol=1e-6)
    np.testing.assert_allclose(outputs, outputs_of(params, inputs, Model())[2], rtol=1e-6)


def test_a_model_is_a_pytree_without_leaves():
    assert jax.tree.leaves(Model()) == []


@pytest.mark.usefixtures("as_installed")
def test_a_function_without_a_model_is_refused():
    """The gradient of a network of ReLUs must not silently be that of one of sigmoids."""
    params, inputs, targets = make_problem(dtype=np.float32)
    for function in (loss, backprop):
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'model'"):
            function(params, inputs, targets)


def test_inputs_and_targets_come_in_the_type_of_the_parameters():
    params = (Layer(np.zeros((3, 4), np.float32), np.zeros(3, np.float32)),)
    pixels, numbers = np.array([[0, 51, 255, 1]], np.uint8), np.array([[-3, 0.5, 300, 0]])
    np.testing.assert_allclose(as_inputs(pixels, params), [[0, 0.2, 1, 1 / 255]], rtol=1e-7)
    np.testing.assert_array_equal(as_inputs(numbers, params), numbers)
    np.testing.assert_array_equal(as_targets(np.array([2, 0]), params), [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(as_targets(numbers[:, :3], params), numbers[:, :3])
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    for to, array in ((as_inputs, pixels), (as_inputs, numbers), (as_targets, np.arange(3)), (as_targets, numbers)):
        for network in (params, half):
            assert jax.eval_shape(to, array, network).dtype == network[0].weights.dtype
    for wrong in (pixels.astype(np.int32), pixels > 0):
        with pytest.raises(ValueError, match=f"inputs are {wrong.dtype}: expected uint8, from 0 to 255, or floating"):
            as_inputs(wrong, params)
    with pytest.raises(ValueError, match="targets are bool: expected integers, one class an example, or floating"):
        as_targets(pixels > 0, params)


COUNTS = np.array([2, 0, 1, 3, 1, 0, 0])  # of seven examples, so that shapes stay the same


@each_model
@pytest.mark.usefixtures("float64")
def test_a_weight_is_how_often_an_example_is_there(model):
    params, inputs, targets = make_problem()
    repeated = loss_and_gradients(params, *(np.repeat(array, COUNTS, axis=0) for array in (inputs, targets)), model)
    for weights in (COUNTS.astype(np.float64), 0.3 * COUNTS):
        cost, by_hand, automatic = loss_and_gradients(params, inputs, targets, model, weights)
        assert float(cost) == pytest.approx(float(repeated[0]), rel=1e-12)
        assert_equal_to_rounding(by_hand, repeated[1])
        assert_equal_to_rounding(automatic, repeated[1])
    cost, *gradients = loss_and_gradients(params, inputs, targets, model, np.zeros(7))
    assert cost == 0
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(gradients))


@pytest.mark.usefixtures("float64")
def test_the_weight_of_a_single_example_changes_nothing():
    params, inputs, targets = make_problem(examples=None)
    expected = loss_and_gradients(params, inputs, targets, Model())
    for found, e in zip(loss_and_gradients(params, inputs, targets, Model(), np.float64(3)), expected, strict=True):
        assert_close(found, e)


def test_weights_that_float16_does_not_hold():
    half = np.float16
    params = (Layer(np.ones((1, 1), half), np.zeros(1, half)),)
    inputs, weights = np.full((4, 1), 2, half), np.float32([1e5, 1e5, 0, 0])
    found = loss_and_gradients(params, inputs, 0 * inputs, Model(identity, identity), weights)
    assert found == (4, (Layer(8, 4),), (Layer(8, 4),))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(found)} == {"float16"}


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
    r"params\[1\] has weights \(3, 4\) and biases \(4,\): expected \(n_out, 4\) and \(n_out,\)": (
        (GOOD[0], Layer(GOOD[1].weights, jnp.ones(4))),
        INPUTS,
        TARGETS,
    ),
    r"params\[1\] has weights \(4, 5\).*expected \(n_out, 4\)": ((GOOD[0], GOOD[0]), INPUTS, TARGETS),
    r"inputs have shape \(2, 28, 28\), but the network has 5 input neurons": (GOOD, np.ones((2, 28, 28)), TARGETS),
    r"inputs have shape \(\)": (GOOD, np.float32(1), TARGETS),
    r"inputs have shape \(0, 5\): there is no example": (GOOD, np.ones((0, 5)), np.ones((0, 3))),
    r"inputs have shape \(5, 1\), .* expected \(\.\.\., 5\), as inputs\.reshape\(-1, 5\) makes it": (
        GOOD,
        np.ones((5, 1)),
        TARGETS,
    ),
    "inputs are uint8: expected floating point; divide pixels by 255.0": (GOOD, np.ones((2, 5), np.uint8), TARGETS),
    "inputs are int32: expected floating point; convert them": (GOOD, np.ones((2, 5), np.int32), TARGETS),
    r"targets have shape \(2,\), but the outputs have \(2, 3\): give one wanted": (GOOD, INPUTS, np.ones(2)),
    r"targets have shape \(2,\), .* jax\.nn\.one_hot\(classes, 3\) makes": (GOOD, INPUTS, np.array([0, 2])),
    r"targets have shape \(3,\), but the outputs have \(2, 3\)": (GOOD, INPUTS, np.ones(3)),
}


@pytest.mark.parametrize("message", BAD)
@pytest.mark.usefixtures("as_installed")
def test_shapes_that_do_not_fit_are_refused(message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(loss, *BAD[message], Model())


@pytest.mark.usefixtures("as_installed")
def test_there_is_one_weight_for_each_example():
    for function in (loss, backprop):
        with pytest.raises(ValueError, match=r"the weights have shape \(3,\), but the examples have \(2,\)"):
            function(GOOD, INPUTS, TARGETS, Model(), np.ones(3, np.float32))


def test_classes_of_few_bits_are_one_hot_among_more_outputs_than_their_type_counts():
    """JAX counts the outputs in the type of the classes: of 300, uint8 would find class 3 at 3 and at 259."""
    params = (Layer(jnp.zeros((300, 1)), jnp.zeros(300)),)
    np.testing.assert_array_equal(np.flatnonzero(as_targets(np.uint8([3]), params)), [3])


def test_what_a_cell_shows_are_names_and_shapes():
    params = init_params(KEY, (5, 3))
    assert repr(params) == "(Layer(weights=float32[3, 5], biases=float32[3]),)"
    assert repr(Model(relu, softmax, cross_entropy)) == "Model(hidden=relu, output=softmax, cost=cross_entropy)"
    own = Activation(jax.nn.relu6, jnp.sign)
    assert repr(Model(own)).startswith("Model(hidden=jax._src.nn.functions.relu6, output=sigmoid")
    seen = []
    jax.make_jaxpr(lambda params: seen.append(repr(params)))(params)
    assert seen == [repr(params)]
    assert repr(Layer(None, 0.5)) == "Layer(weights=None, biases=0.5)"
    assert repr(jax.tree.map(lambda _: object, params)[0]) == "Layer(weights=<class 'object'>, biases=<class 'object'>)"
    assert jax.tree.all(jax.tree.map(np.array_equal, pickle.loads(pickle.dumps(params)), params))
