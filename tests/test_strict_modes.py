"""JAX's strict modes, which forbid what programs get wrong by accident, do not break the package."""

from contextlib import ExitStack

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax import (
    Dataset,
    Examples,
    Model,
    backprop,
    compare_rules,
    cross_entropy,
    evaluate,
    fit,
    fit_population,
    identity,
    init_params,
    init_population,
    leaky_relu,
    loss,
    make_optimizer,
    numerical_gradient,
    silu,
    softmax,
)
from mlp_jax.gradients import curvature, nudges, per_example, rules

MODES = {
    "dtype promotion": lambda: jax.numpy_dtype_promotion("strict"),
    "rank promotion": lambda: jax.numpy_rank_promotion("raise"),
    "debug nans": lambda: jax.debug_nans(True),
    "leaks": jax.checking_leaks,
    "float64": lambda: jax.enable_x64(True),
    "prng keys": lambda: jax.legacy_prng_key("error"),
}
MODELS = [Model(), Model(leaky_relu, softmax, cross_entropy), Model(silu, identity)]
SIZES = (3, 4, 2)
INPUTS = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
CLASSES = np.arange(12) % 2
TABLE = Dataset(Examples(INPUTS, CLASSES, np.ones(12, np.float32)), Examples(INPUTS, CLASSES))
PIXELS = Examples((20 * np.abs(INPUTS)).astype(np.uint8), CLASSES)
SETTINGS = {"epochs": 2, "batch_size": 5}


def parameters(dtype=jnp.float32):
    return jax.tree.map(lambda leaf: leaf.astype(dtype), init_params(jax.random.key(0), SIZES))


def train():
    """Weights, small batches at the end, pixels, numbers of 16 bits, a population."""
    adam = make_optimizer("adam", 0.1)
    state = fit(parameters(), TABLE, Model(), **SETTINGS)
    fit(parameters(), Dataset(PIXELS, PIXELS), Model(), optimizer=adam, **SETTINGS)
    fit(parameters(jnp.bfloat16), TABLE, Model(), optimizer=adam, **SETTINGS)
    fit_population(init_population(range(3), SIZES), TABLE, Model(), **SETTINGS)
    return evaluate(state.params, TABLE.test, Model())


def compare(model, dtype=jnp.float32):
    problem = parameters(dtype), jnp.asarray(INPUTS, dtype), jnp.eye(2, dtype=dtype)[CLASSES], model
    loss(*problem, weights=jnp.ones(12, dtype))
    backprop(*problem, weights=jnp.ones(12, dtype))
    assert compare_rules({"by hand": backprop, "jax.grad": jax.grad(loss)}, *problem, reference="jax.grad").agree
    for quantity in (
        *(per_example.gradients, per_example.output_gradients, per_example.squared_norms, per_example.inner_products),
        *(per_example.second_moment, per_example.variance, per_example.noise_scale),
        *(curvature.gauss_newton_diagonal, curvature.kronecker_factors, curvature.hessian_diagonal),
        *(rules.sign_symmetric, rules.suggested_activations(), nudges.nudges),
    ):
        quantity(*problem)


@pytest.mark.parametrize("mode", ["dtype promotion", "rank promotion"])
def test_a_step_by_hand_and_by_differentiation(mode):
    with MODES[mode]():
        problem = parameters(), jnp.asarray(INPUTS), jnp.eye(2)[CLASSES], Model()
        for one, other in zip(backprop(*problem), jax.grad(loss)(*problem), strict=True):
            np.testing.assert_allclose(one.weights, other.weights, atol=1e-6)
        assert fit(parameters(), TABLE, Model(), **SETTINGS).epoch == 2


@pytest.mark.slow
@pytest.mark.usefixtures("hundreds_of_programs")
@pytest.mark.parametrize("mode", MODES)
def test_everything(mode):
    with ExitStack() as stack:
        stack.enter_context(MODES[mode]())
        assert np.isfinite(train().loss)
        for model in MODELS:
            compare(model)
            numerical_gradient(loss, parameters(), jnp.asarray(INPUTS), jnp.eye(2)[CLASSES], model)
        compare(Model(), jnp.bfloat16)
