"""Per-example quantities against vmap(jax.grad), and what they hold in memory; parts of gradients output by output."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import assert_close, by_hand, each_examples_gradient, each_model, flat, make_problem, rows

from mlp_jax import Layer, Model, forward_pass, identity
from mlp_jax.gradients import per_example


def clipped_mean(params, inputs, targets, model):
    return per_example.clipped_mean(params, inputs, targets, 0.3, model)


WITHOUT_FORMING_ANY = {
    "squared_norms": per_example.squared_norms,
    "inner_products": per_example.inner_products,
    "second_moment": per_example.second_moment,
    "variance": per_example.variance,
    "noise_scale": per_example.noise_scale,
    "clipped_mean": clipped_mean,
}


@each_model
@pytest.mark.usefixtures("float64")
def test_every_quantity_is_that_of_automatic_differentiation(model):
    @jax.jit
    def everything(*problem):
        found = {name: quantity(*problem) for name, quantity in WITHOUT_FORMING_ANY.items()}
        return found, per_example.gradients(*problem), per_example.clipped_mean(*problem[:3], 1e9, model)

    problem = (*make_problem(), model)
    found, gradients, unclipped = everything(*problem)
    mean, automatic = by_hand(*problem), each_examples_gradient(*problem)
    assert_close(unclipped, mean)
    assert_close(gradients, automatic)
    assert_close(jax.tree.map(lambda g: np.mean(g, axis=0), gradients), mean)
    g = rows(automatic)
    norms = np.linalg.norm(g, axis=1)
    assert_close(found["squared_norms"], norms**2)
    assert_close(found["inner_products"], g @ g.T)
    assert_close(found["second_moment"], jax.tree.map(lambda g: np.mean(g**2, axis=0), automatic))
    assert_close(found["variance"], jax.tree.map(lambda g: np.var(g, axis=0), automatic))
    assert max(norms) > 0.3
    shorter = g * np.minimum(1, 0.3 / norms)[:, None]
    np.testing.assert_allclose(flat(found["clipped_mean"]), shorter.mean(axis=0), rtol=0, atol=1e-13)
    # The covariance's trace over what is left of the squared mean without the part that noise adds to it.
    trace = np.trace(np.cov(g.T))
    signal = np.sum(g.mean(axis=0) ** 2) - trace / len(g)
    np.testing.assert_allclose(found["noise_scale"], trace / signal if signal > 0 else np.inf, rtol=1e-10)


@pytest.mark.parametrize("batch", [1, 300])
def test_inner_products_of_batches_in_several_bands(batch):
    problem = (*make_problem((3, 2), batch, dtype=np.float32), Model())
    found = np.asarray(jax.jit(per_example.inner_products)(*problem))
    g = rows(each_examples_gradient(*problem))
    np.testing.assert_allclose(found, g @ g.T, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found, found.T)


@pytest.mark.usefixtures("float64")
def test_the_noise_scale_of_gradients_that_are_known():
    """Of one bias b the gradient is 2 (b - y): targets of mean 3 and spread 1 make a scale of 1 / 3^2."""
    params = (Layer(np.zeros((1, 1)), np.zeros(1)),)
    targets = 3 + np.random.default_rng(0).normal(size=(20_000, 1))
    model, noise_scale = Model(identity, identity), jax.jit(per_example.noise_scale)
    found = noise_scale(params, 0 * targets, targets, model)
    assert found == pytest.approx(1 / 9, rel=0.05)
    for target in (0.1, 0.2, 0.3, 0.6, 0.7):  # of whose squares rounding makes a mean above or below them
        assert 0 <= noise_scale(params, np.zeros((6, 1)), np.full((6, 1), target), model) < 1e-14
    opposite = np.array([[1.0], [-1.0]] * 3)
    assert noise_scale(params, 0 * opposite, opposite, model) == np.inf


@pytest.fixture
def all_optimizations():
    """As an installed package compiles."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.parametrize("name", WITHOUT_FORMING_ANY)
@pytest.mark.usefixtures("all_optimizations")
def test_none_holds_an_array_of_batch_times_parameters(name):
    """From the compiled program, in which 60,000 gradients of 784-256-256-10 would be arrays of 48 GB for one layer.

    Both what it holds between its inputs and outputs, and the largest array that any of its instructions makes.
    """
    examples, sizes, parameters = 60_000, (784, 256, 256, 10), 269_322
    params, inputs, targets = jax.eval_shape(lambda: make_problem(sizes, 1, dtype=np.float32))
    inputs, targets = (jax.ShapeDtypeStruct((examples, array.shape[1]), np.float32) for array in (inputs, targets))
    program = jax.jit(WITHOUT_FORMING_ANY[name]).lower(params, inputs, targets, Model()).compile()
    held = program.memory_analysis().temp_size_in_bytes
    shapes = re.findall(r"f32\[([\d,]+)\]", program.as_text())
    largest = max(np.prod([int(size) for size in shape.split(",")]) for shape in shapes)
    if name == "inner_products":  # what it returns is examples x examples, and so are its terms
        assert held < 6 * 4 * examples**2
        assert largest == examples**2
    else:
        assert held < 4 * examples * parameters / 50
        assert largest == examples * max(sizes)


def test_60_000_examples_fit():
    params, *few_examples = make_problem((784, 256, 256, 10), 3, dtype=np.float32)
    inputs, targets = (np.tile(array, (20_000, 1)) for array in few_examples)
    found = jax.jit(per_example.squared_norms)(params, inputs, targets, Model())
    few = rows(each_examples_gradient(params, *few_examples, Model()))
    np.testing.assert_allclose(found.reshape(-1, 3), np.tile(np.sum(few**2, axis=1), (20_000, 1)), rtol=1e-4)


@pytest.mark.usefixtures("as_installed")
def test_bad_input_is_refused():
    params, inputs, targets = make_problem(dtype=np.float32)
    for norm in (0.0, -1.0, float("nan"), np.zeros(()), np.ones(3)):
        with pytest.raises(ValueError, match="max_norm is .*: expected a norm above 0"):
            per_example.clipped_mean(params, inputs, targets, norm, Model())
    with pytest.raises(ValueError, match="the batch has 1 example: expected 2 or more"):
        jax.eval_shape(per_example.noise_scale, params, inputs[:1], targets[:1], Model())
    with pytest.raises(ValueError, match="there is no example in them"):
        per_example.squared_norms(params, inputs[:0], targets[:0], Model())
    with pytest.raises(ValueError, match="targets have shape"):
        jax.eval_shape(per_example.second_moment, params, inputs, targets[:3], Model())
    with pytest.raises(ValueError, match=r"inputs have shape \(5,\): expected a batch of examples, \(batch, n_in\)"):
        per_example.squared_norms(params, inputs[0], targets[0], Model())


def test_squares_that_float16_does_not_hold():
    """An error of 0 and an activation of 300, whose square overflows; an error of 300 and an input of 0."""
    half = np.float16
    params = (Layer(np.array([[1, 0]], half), np.zeros(1, half)),)
    inputs = np.array([[300, 0], [0, 0]], half)
    targets = np.array([[300], [150]], half)
    problem = (params, inputs, targets, Model(identity, identity))

    @jax.jit
    def everything(*problem):
        unclipped, short, shorter = (
            per_example.clipped_mean(*problem[:3], norm, problem[3])[0] for norm in (np.inf, 1.0, 1e-9)
        )
        found = {name: quantity(*problem) for name, quantity in WITHOUT_FORMING_ANY.items()}
        return found, unclipped, short, shorter

    found, unclipped, short, shorter = everything(*problem)
    mean = by_hand(*problem)[0]
    assert_close(found["squared_norms"], np.array([0, 9e4], np.float32))
    assert_close(found["inner_products"], np.array([[0, 0], [0, 9e4]], np.float32))
    second, variance = found["second_moment"][0], found["variance"][0]
    assert_close((second.weights, variance.weights), (np.zeros((1, 2), half),) * 2)
    assert_close((second.biases, variance.biases), (np.array([4.5e4], half), np.array([2.25e4], half)), 1e-3)
    assert_close(unclipped, mean)
    assert_close(short.biases, np.array([-0.5], half), 1e-3)
    assert np.all(np.isfinite(shorter.weights))  # which float16 does not hold


# Parts of the gradient, one for each output neuron.


def through_output(params, inputs, targets, model, j):
    """The cost of one example, of whose last weighted sums all but number j are held fixed."""
    z = forward_pass(params, inputs, model)[0][-1]
    only = jnp.arange(z.shape[-1]) == j
    return model.cost.after(model.output).value(jnp.where(only, z, jax.lax.stop_gradient(z)), targets)


def of_output(params, inputs, targets, model, j):
    """The cost that output j incurs, where it depends on weighted sum j alone."""
    z = forward_pass(params, inputs, model)[0][-1]
    cost = model.cost.after(model.output)
    return cost.value(z[j, None], targets[j, None])


@each_model
@pytest.mark.usefixtures("float64")
def test_parts_of_the_gradient_output_by_output(model):
    one_output = through_output if "softmax" in str(model.output.value) else of_output

    @jax.jit
    def everything(*problem):
        automatic = jax.grad(one_output)
        for axes in ((None, None, None, None, 0), (None, 0, 0, None, None)):
            automatic = jax.vmap(automatic, axes)
        alone = per_example.output_gradients(problem[0], problem[1][4], problem[2][4], model)
        return per_example.output_gradients(*problem), alone, automatic(*problem, np.arange(3))

    problem = (*make_problem(), model)
    parts, alone, automatic = everything(*problem)
    assert_close(parts, automatic)
    assert_close(jax.tree.map(lambda part: np.sum(part, axis=1), parts), each_examples_gradient(*problem))
    assert_close(alone, jax.tree.map(lambda part: part[4], parts))  # a single example needs no batch axis
