"""Derivatives by nudging against derivatives that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax.gradients.numerical import EVERY_COORDINATE, NumericalGradient, numerical_gradient, rounding_inside

PARAMS = {"a": np.linspace(-3, 3, 5).reshape(5, 1) + 0.1, "b": np.float64(0.3)}
EXACT = {"a": np.cos(PARAMS["a"]) * np.exp(0.3), "b": np.sum(np.sin(PARAMS["a"])) * np.exp(0.3)}


def function(params, scale=1.0):
    return scale * jnp.sum(jnp.sin(params["a"]) * jnp.exp(params["b"]))


def in_type(dtype):
    """The same with everything rounded to a type, and its result back to float32, so that only tracing shows it."""
    return lambda params: function(jax.tree.map(lambda leaf: leaf.astype(dtype), params)).astype(jnp.float32)


def assert_within_errors(found, exact, largest):
    for slope, error, truth in zip(*map(jax.tree.leaves, (found.slopes, found.errors, exact)), strict=True):
        assert slope.dtype == error.dtype == np.float64
        assert np.shape(slope) == np.shape(truth)
        assert np.all(np.abs(slope - truth) <= error)
        assert np.all(error <= largest)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_it_computes_in_float64_whatever_the_input(dtype):
    params = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), PARAMS)
    rounded = jax.tree.map(np.float64, params)
    exact = {"a": np.cos(rounded["a"]) * np.exp(rounded["b"]), "b": np.sum(np.sin(rounded["a"])) * np.exp(rounded["b"])}
    found = numerical_gradient(function, params)
    assert isinstance(found, NumericalGradient)
    assert found.directions is None
    assert_within_errors(found, exact, 1e-9)


@pytest.mark.parametrize(
    ("dtype", "eps", "largest"),
    [(jnp.float32, 2**-23, 1e-2), (jnp.float16, 2**-10, 2), (jnp.bfloat16, 2**-7, 8)],
)
def test_a_coarse_type_inside_is_found_and_stepped_over(dtype, eps, largest):
    """A fixed small step would lose itself in the rounding."""
    with jax.enable_x64(True):
        assert rounding_inside(in_type(dtype), jax.tree.map(jnp.asarray, PARAMS)) == eps
    found = numerical_gradient(in_type(dtype), PARAMS)
    assert_within_errors(found, EXACT, largest)
    off = max(np.max(np.abs(s - e)) for s, e in zip(jax.tree.leaves(found.slopes), jax.tree.leaves(EXACT), strict=True))
    assert off < 16 * eps  # a relative step of 1e-4 would be off by 1 and more in float16


def test_rounding_that_does_not_depend_on_the_parameters_does_not_count():
    pixels = np.arange(5, dtype=np.uint8).reshape(5, 1)

    @jax.jit
    def of_images(params):
        return jnp.sum(params["a"] * (jnp.asarray(pixels).astype(jnp.float16) / 255))

    def in_a_loop(params):  # what goes around depends on the parameters from the second time on
        return jax.lax.fori_loop(0, 3, lambda _, x: jnp.float64(jnp.float32(x)) + params["b"], jnp.float64(0))

    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, PARAMS)
        assert rounding_inside(of_images, params) == 2**-52
        assert rounding_inside(in_a_loop, params) == 2**-23


def test_many_parameters_are_nudged_along_random_directions():
    draw = np.random.default_rng(0)
    params = {"big": draw.normal(size=(EVERY_COORDINATE // 10, 10)), "small": draw.normal(size=3)}
    found = numerical_gradient(lambda params: sum(jnp.sum(leaf**3) for leaf in params.values()), params)
    assert found.directions is not None
    for name, leaf in params.items():
        signs = found.directions[name]
        assert (signs.shape, signs.dtype) == ((16, *leaf.shape), np.int8)
        assert set(np.unique(signs)) == {-1, 1}
        exact = np.sum(signs * 3 * leaf**2, axis=tuple(range(1, signs.ndim)))
        assert np.all(np.abs(found.slopes[name] - exact) <= found.errors[name])
        assert np.all(found.errors[name] < 1e-6)


@pytest.mark.parametrize(
    ("function", "place"),
    [(jnp.sin, 1e3), (jnp.sin, 1e4), (jnp.log, 1e-3), (jnp.square, 1e9), (jax.nn.relu, 1e-3), (jnp.abs, -1e-5)],
)
def test_steps_fit_the_place(function, place):
    """Large numbers, short scales, the edge of a domain, a kink nearby: the best of several steps, honestly rated."""
    found = numerical_gradient(function, np.float64(place))
    with jax.enable_x64(True):
        exact = float(jax.grad(function)(place))
    assert abs(found.slopes - exact) <= found.errors < 1e-5 * max(1, abs(exact))


@pytest.mark.parametrize("directions", [None, 2])
@pytest.mark.parametrize("params", [np.zeros((0, 3)), {"empty": np.zeros(0), "scalar": np.float64(3)}])
def test_leaves_without_numbers(params, directions):
    def squares(params):
        return sum((jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)), jnp.zeros(()))

    found = numerical_gradient(squares, params, directions=directions)
    for slopes, leaf in zip(jax.tree.leaves(found.slopes), jax.tree.leaves(params), strict=True):
        assert slopes.shape == (np.shape(leaf) if directions is None else (2,))
        np.testing.assert_allclose(np.abs(slopes), 2 * leaf if np.size(leaf) else np.zeros(slopes.shape), rtol=1e-9)
    assert all(np.isfinite(error).all() for error in jax.tree.leaves(found.errors))


def test_at_a_kink_the_error_says_so():
    found = numerical_gradient(jax.nn.relu, np.float64(0))
    assert found.errors >= 0.5


def test_further_arguments_are_passed_on():
    found = numerical_gradient(function, PARAMS, np.float32(2))
    np.testing.assert_allclose(found.slopes["b"], 2 * EXACT["b"], rtol=1e-10)


@pytest.mark.parametrize(
    ("function", "params", "message"),
    [
        (function, {}, "params have no leaves"),
        (lambda params: None, {"a": np.ones(3)}, "the function returns None: expected one real number"),
        (function, {"a": np.arange(3), "b": np.ones(1)}, r"params\['a'\] is int.*: expected floating point"),
        (lambda params: params["a"], {"a": np.ones(3)}, "expected one real number"),
        (lambda params: (params["a"][0], 1.0), {"a": np.ones(3)}, "expected one real number"),
        (lambda params: jnp.argmax(params["a"]), {"a": np.ones(3)}, "expected one real number"),
    ],
)
def test_what_has_no_derivative_is_refused(function, params, message):
    with pytest.raises(ValueError, match=message):
        numerical_gradient(function, params)


def test_no_directions_are_refused():
    with pytest.raises(ValueError, match="the number of directions is 0: expected 1 or more"):
        numerical_gradient(function, PARAMS, directions=0)


def test_where_the_second_derivative_jumps_the_error_is_as_large_as_it_is():
    """Differences are then off by a multiple of the step, and not of its square: ELU at 0, a hinge's square, Huber."""

    def total(x):
        halves = jnp.where(x[0] > 0, x[0] ** 2, 0.0), jax.nn.elu(x[1]), jnp.maximum(0, 1 - x[2]) ** 2
        return sum(halves) + jnp.where(x[3] < 1, x[3] ** 2 / 2, x[3] - 0.5) + x[4] * jnp.abs(x[4]) + jnp.exp(x[5])

    found = numerical_gradient(total, jnp.array([0.0, 0.0, 1.0, 1.0, 0.0, 1.0]))
    off = np.abs(found.slopes - [0, 1, 0, 1, 0, np.e])
    assert np.all(off < found.errors)
    assert np.all(found.errors[:5] < 2 * off[:5])
    assert found.errors[5] < 1e-10  # of a smooth one it stays sharp
