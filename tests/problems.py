"""Networks and batches that tests share, and compiled functions of them: a program compiles once for all tests.

Arrays are made by NumPy, because JAX compiles a program for each operation on each shape. Tests that need no shapes of
their own use the ones here, so that JAX finds the program in its cache.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mlp_jax
from mlp_jax import Layer, Model, backprop, feedforward, loss

ACTIVATIONS = ("sigmoid", "relu", "leaky_relu", "tanh", "silu", "identity", "softmax")
OUTPUTS = [(name, "quadratic") for name in ACTIVATIONS] + [("sigmoid", "cross_entropy"), ("softmax", "cross_entropy")]
SIZES = (5, 4, 6, 3)
EXAMPLES = 7
MODELS = {
    "sigmoid": Model(),
    "softmax": Model(mlp_jax.tanh, mlp_jax.softmax, mlp_jax.cross_entropy),
    "silu-cross-entropy": Model(mlp_jax.silu, mlp_jax.sigmoid, mlp_jax.cross_entropy),
    "softmax-quadratic": Model(mlp_jax.softmax, mlp_jax.softmax),
    "relu-linear": Model(mlp_jax.relu, mlp_jax.identity),
}
QUICK = ("sigmoid", "softmax")
each_model = pytest.mark.parametrize(
    "model", [pytest.param(m, id=name, marks=[pytest.mark.slow] * (name not in QUICK)) for name, m in MODELS.items()]
)


def make_model(hidden, output="sigmoid", cost="quadratic"):
    return Model(getattr(mlp_jax, hidden), getattr(mlp_jax, output), getattr(mlp_jax, cost))


def make_problem(sizes=SIZES, examples=EXAMPLES, seed=0, dtype=np.float64):
    """Random parameters, inputs and one-hot targets; without a batch axis if examples is None."""
    draw = np.random.default_rng(seed)
    batch = () if examples is None else (examples,)
    params = tuple(Layer(draw.normal(size=(j, k)) / k**0.5, draw.normal(size=j)) for k, j in itertools.pairwise(sizes))
    inputs = draw.random((*batch, sizes[0]))
    targets = np.eye(sizes[-1])[draw.integers(sizes[-1], size=batch)]
    return jax.tree.map(lambda leaf: jnp.asarray(leaf.astype(dtype)), (params, inputs, targets))


@jax.jit
def loss_and_gradients(params, inputs, targets, model, weights=None):
    """The loss, its gradient by hand, and by automatic differentiation."""
    problem = params, inputs, targets, model, weights
    return loss(*problem), backprop(*problem), jax.grad(loss)(*problem)


automatic = jax.jit(jax.grad(loss))
by_hand = jax.jit(backprop)
outputs_of = jax.jit(feedforward)
each_examples_gradient = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0, None)))


def rows(gradients):
    """One row for each example, with all parameters in it."""
    return np.concatenate([np.reshape(leaf, (len(leaf), -1)) for leaf in jax.tree.leaves(gradients)], axis=1)


def flat(gradient):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])


def unflat(vector, like):
    """The pytree of whose numbers `flat` makes the vector."""
    leaves, structure = jax.tree.flatten(like)
    parts = np.split(np.asarray(vector), np.cumsum([leaf.size for leaf in leaves])[:-1])
    return structure.unflatten(part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True))


def assert_close(actual, expected, tolerance=1e-12):
    """Leaf by leaf, to a fraction of the largest number of the leaf."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert np.shape(a) == np.shape(e)
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * np.max(np.abs(e)) + 1e-300)


def assert_equal_to_rounding(gradient, reference, tolerance=1e-12):
    """Leaf by leaf, types included, the norm of the difference is at most `tolerance` of that of the reference."""
    assert jax.tree.structure(gradient) == jax.tree.structure(reference)
    for g, r in zip(jax.tree.leaves(gradient), jax.tree.leaves(reference), strict=True):
        assert (g.shape, g.dtype) == (r.shape, r.dtype)
        g, r = (np.asarray(leaf, np.float64) for leaf in (g, r))
        assert np.linalg.norm(g - r) <= tolerance * np.linalg.norm(r)
