"""Per-example quantities against vmap(jax.grad), and what they hold in memory."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import assert_close, each_examples_gradient, each_model, make_problem, rows

from mlp_jax import Layer, Model, backprop, identity
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
        gradients = per_example.gradients(*problem)
        unclipped = per_example.clipped_mean(*problem[:3], 1e9, model)
        return found, gradients, unclipped, backprop(*problem), each_examples_gradient(*problem)

    found, gradients, unclipped, mean, automatic = everything(*make_problem(), model)
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
    clipped = rows(jax.tree.map(lambda leaf: leaf[None], found["clipped_mean"]))[0]
    np.testing.assert_allclose(clipped, shorter.mean(axis=0), rtol=0, atol=1e-13)
    # The covariance's trace over what is left of the squared mean without the part that noise adds to it.
    trace = np.trace(np.cov(g.T))
    signal = np.sum(g.mean(axis=0) ** 2) - trace / len(g)
    np.testing.assert_allclose(found["noise_scale"], trace / signal if signal > 0 else np.inf, rtol=1e-10)


@pytest.mark.parametrize("batch", [1, 129, 300])
def test_inner_products_of_batches_in_several_bands(batch):
    problem = make_problem((3, 2), batch, dtype=np.float32)
    found, gradients = jax.jit(lambda *p: (per_example.inner_products(*p), each_examples_gradient(*p)))(
        *problem, Model()
    )
    g = rows(gradients)
    np.testing.assert_allclose(found, g @ g.T, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found, found.T)


@pytest.mark.usefixtures("float64")
def test_the_noise_scale_of_gradients_that_are_known():
    """Of one bias b the gradient is 2 (b - y): targets of mean 3 and spread 1 make a scale of 1 / 3^2."""
    params = (Layer(jnp.zeros((1, 1)), jnp.zeros(1)),)
    targets = 3 + jnp.asarray(np.random.default_rng(0).normal(size=(20_000, 1)))
    model, noise_scale = Model(identity, identity), jax.jit(per_example.noise_scale)
    found = noise_scale(params, jnp.zeros_like(targets), targets, model)
    assert found == pytest.approx(1 / 9, rel=0.05)
    for target in (0.1, 0.2, 0.3, 0.6, 0.7):  # of whose squares rounding makes a mean above or below them
        assert 0 <= noise_scale(params, jnp.zeros((6, 1)), jnp.full((6, 1), target), model) < 1e-14
    opposite = jnp.array([[1.0], [-1.0]])
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
    params, inputs, targets = make_problem((784, 256, 256, 10), 3, dtype=np.float32)
    inputs, targets = (jnp.tile(array, (20_000, 1)) for array in (inputs, targets))
    found = jax.jit(per_example.squared_norms)(params, inputs, targets)
    few = rows(jax.jit(each_examples_gradient)(params, inputs[:3], targets[:3], Model()))
    np.testing.assert_allclose(found.reshape(-1, 3), np.tile(np.sum(few**2, axis=1), (20_000, 1)), rtol=1e-4)


@pytest.mark.usefixtures("as_installed")
def test_bad_input_is_refused():
    params, inputs, targets = make_problem(dtype=np.float32)
    for norm in (0.0, -1.0, float("nan"), jnp.zeros(()), jnp.ones(3)):
        with pytest.raises(ValueError, match="max_norm is .*: expected a norm above 0"):
            per_example.clipped_mean(params, inputs, targets, norm)
    with pytest.raises(ValueError, match="the batch has 1 example: expected 2 or more"):
        per_example.noise_scale(params, inputs[:1], targets[:1])
    with pytest.raises(ValueError, match="there is no example in them"):
        per_example.squared_norms(params, inputs[:0], targets[:0])
    with pytest.raises(ValueError, match="targets have shape"):
        per_example.second_moment(params, inputs, targets[:3])
    with pytest.raises(ValueError, match=r"inputs have shape \(5,\): expected a batch of examples, \(batch, n_in\)"):
        per_example.squared_norms(params, inputs[0], targets[0])


def test_squares_that_float16_does_not_hold():
    """An error of 0 and an activation of 300, whose square overflows; an error of 300 and an input of 0."""
    half = np.float16
    params = (Layer(jnp.array([[1, 0]], half), jnp.zeros(1, half)),)
    inputs = jnp.array([[300, 0], [0, 0]], half)
    targets = jnp.array([[300], [150]], half)
    problem = (params, inputs, targets, Model(identity, identity))

    @jax.jit
    def everything(*problem):
        unclipped, short, shorter = (
            per_example.clipped_mean(*problem[:3], norm, problem[3])[0] for norm in (np.inf, 1.0, 1e-9)
        )
        found = {name: quantity(*problem) for name, quantity in WITHOUT_FORMING_ANY.items()}
        return found, unclipped, short, shorter, backprop(*problem)[0]

    found, unclipped, short, shorter, mean = everything(*problem)
    assert_close(found["squared_norms"], np.array([0, 9e4], np.float32))
    assert_close(found["inner_products"], np.array([[0, 0], [0, 9e4]], np.float32))
    second, variance = found["second_moment"][0], found["variance"][0]
    assert_close((second.weights, variance.weights), (np.zeros((1, 2), half),) * 2)
    assert_close((second.biases, variance.biases), (np.array([4.5e4], half), np.array([2.25e4], half)), 1e-3)
    assert_close(unclipped, mean)
    assert_close(short.biases, np.array([-0.5], half), 1e-3)
    assert np.all(np.isfinite(shorter.weights))  # which float16 does not hold
