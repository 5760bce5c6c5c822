"""What is made of gradients can be differentiated again: no NaN that mathematics does not ask for."""

import jax
import jax.numpy as jnp
import pytest

from mlp_jax import Model, backprop, init_params
from mlp_jax.gradients import curvature, per_example, rules
from mlp_jax.gradients.compare import angles

MODEL = Model()
PARAMS = init_params(jax.random.key(0), (3, 2))
ZERO = jax.tree.map(jnp.zeros_like, PARAMS)
INPUTS, FITS = jnp.ones((3, 3)), jnp.full((3, 2), 0.5)  # what a network of zeros answers: every gradient is 0
FUNCTIONS = {
    "gradients": per_example.gradients,
    "output_gradients": per_example.output_gradients,
    "squared_norms": per_example.squared_norms,
    "inner_products": per_example.inner_products,
    "second_moment": per_example.second_moment,
    "variance": per_example.variance,
    "clipped_mean": lambda params, inputs, targets, model: per_example.clipped_mean(
        params, inputs, targets, 0.1, model
    ),
    "noise_scale": per_example.noise_scale,
    "gauss_newton_diagonal": curvature.gauss_newton_diagonal,
    "kronecker_factors": curvature.kronecker_factors,
    "hessian_diagonal": curvature.hessian_diagonal,
    "sign_symmetric": rules.sign_symmetric,
    "suggested_activations": rules.suggested_activations(),
}


def summed(tree):
    return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact))


@pytest.mark.parametrize("params", [PARAMS, ZERO], ids=["params", "zero"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_are_finite_also_where_gradients_are_0(name, params):
    def total(params, inputs):
        return summed(FUNCTIONS[name](params, inputs, FITS, MODEL))

    found = jax.grad(total, (0, 1))(params, INPUTS)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_the_angle_between_equal_gradients():
    def angle(params):
        gradient = backprop(params, INPUTS, FITS, MODEL)
        return angles(gradient, gradient)[0]

    value, slope = jax.value_and_grad(angle)(PARAMS)
    assert value == 0
    assert all(jnp.all(leaf == 0) for leaf in jax.tree.leaves(slope))
