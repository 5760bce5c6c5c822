"""Differences between gradients, leaf by leaf."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax import Layer, backprop, init_params, loss
from mlp_jax.gradients.compare import leaf_differences, rounding_bound


def test_each_leaf_has_its_own_numbers():
    reference = {"a": np.array([1.0, -4.0, 1e-9]), "b": np.zeros(2)}
    gradient = {"a": np.array([1.0, -3.0, 0.0]), "b": np.zeros(2)}
    first, second = leaf_differences(gradient, reference)
    assert (first.path, first.shape, first.absolute, first.relative) == ("['a']", (3,), 1.0, 0.25)
    assert (second.absolute, second.relative) == (0.0, 0.0)


def test_a_difference_from_nothing_is_huge_but_for_underflow():
    assert leaf_differences([np.ones(1)], [np.zeros(1)])[0].relative > 1e30
    assert leaf_differences([np.array([1e-44])], [np.zeros(1)])[0].relative < 1e-12  # underflow is no disagreement


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_never_agrees(wrong):
    difference = leaf_differences([np.array([wrong, 1.0])], [np.ones(2)])[0]
    assert not difference.relative <= 1.0


def test_other_structures_and_shapes_are_refused():
    layer = Layer(jnp.ones((2, 3)), jnp.ones(2))
    with pytest.raises(ValueError, match="the gradient has the structure .* the reference .* expected the same"):
        leaf_differences((layer, layer), (layer,))
    with pytest.raises(ValueError, match=r"\[0\].biases: shape \(2,\), in the reference \(1,\)"):
        leaf_differences((layer,), (layer._replace(biases=jnp.ones(1)),))


@pytest.mark.parametrize(("sizes", "batch"), [((784, 16, 16, 10), 100), ((20, 100, 5), 3)])
def test_the_bound_tells_rounding_from_a_mistake(sizes, batch):
    draw = np.random.default_rng(0)
    params = init_params(jax.random.key(0), sizes)
    inputs = draw.random((batch, sizes[0]), np.float32)
    targets = np.eye(sizes[-1], dtype=np.float32)[draw.integers(sizes[-1], size=batch)]
    by_hand, automatic = (jax.jit(rule)(params, inputs, targets) for rule in (backprop, jax.grad(loss)))
    bound = rounding_bound(sizes, batch, float(jnp.finfo(jnp.float32).eps))
    assert all(leaf.relative <= bound for leaf in leaf_differences(by_hand, automatic))
    slip = by_hand[0].weights.at[3, 7].multiply(1.001)
    slipped = (by_hand[0]._replace(weights=slip), *by_hand[1:])
    worst = max(leaf_differences(slipped, automatic), key=lambda leaf: leaf.relative)
    assert (worst.path, worst.relative > bound) == ("[0].weights", abs(slip[3, 7]) > 0)
