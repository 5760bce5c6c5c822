"""Small networks and batches, and derivatives that JAX makes, to hold the algebra against."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import mlp_jax
from mlp_jax import Layer, Model, loss

MODELS = {
    "sigmoid": Model(),
    "silu-cross-entropy": Model(mlp_jax.silu, mlp_jax.sigmoid, mlp_jax.cross_entropy),
    "softmax": Model(mlp_jax.softmax, mlp_jax.softmax, mlp_jax.cross_entropy),
    "softmax-quadratic": Model(mlp_jax.tanh, mlp_jax.softmax),
    "relu-linear": Model(mlp_jax.relu, mlp_jax.identity),
}
SLOW = ("silu-cross-entropy", "softmax-quadratic", "relu-linear")
each_model = pytest.mark.parametrize(
    "model", [pytest.param(m, id=name, marks=[pytest.mark.slow] * (name in SLOW)) for name, m in MODELS.items()]
)


def make_problem(sizes=(5, 4, 6, 3), examples=7, seed=0, dtype=np.float64):
    """Random parameters, inputs and targets; without a batch axis where examples is None."""
    draw = np.random.default_rng(seed)
    batch = () if examples is None else (examples,)
    params = tuple(
        Layer(draw.normal(size=(j, k)).astype(dtype) / dtype(k**0.5), draw.normal(size=j).astype(dtype))
        for k, j in itertools.pairwise(sizes)
    )
    inputs = draw.random((*batch, sizes[0])).astype(dtype)
    targets = np.eye(sizes[-1], dtype=dtype)[draw.integers(sizes[-1], size=batch)]
    return jax.tree.map(jnp.asarray, (params, inputs, targets))


def each_examples_gradient(params, inputs, targets, model):
    """By automatic differentiation."""
    return jax.vmap(jax.grad(loss), (None, 0, 0, None))(params, inputs, targets, model)


def rows(gradients):
    """One row for each example, with all parameters in it."""
    return np.concatenate([np.reshape(leaf, (len(leaf), -1)) for leaf in jax.tree.leaves(gradients)], axis=1)


def flat(gradient):
    return np.asarray(ravel_pytree(gradient)[0])


def assert_close(actual, expected, tolerance=1e-12):
    """Leaf by leaf, to a fraction of the largest number of the leaf."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert np.shape(a) == np.shape(e)
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * np.max(np.abs(e)) + 1e-300)
