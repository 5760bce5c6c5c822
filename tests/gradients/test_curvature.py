"""Curvature by its own recursions against jax.hessian and explicit Jacobians, in float64."""

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from problems import assert_close, each_model, flat, make_problem, unflat

from mlp_jax import Layer, Model, forward_pass, identity, loss
from mlp_jax.gradients import curvature

SIZES = (4, 3, 5, 3)


def explicit(params, inputs, targets, model):
    """The Hessian of the loss, and J^T H J of each example with J and H by automatic differentiation."""
    vector, unravel = ravel_pytree(params)
    in_closed_form = model.cost.after(model.output) in [form for _, _, form in model.cost.closed_forms]
    cost = model.cost.after(model.output).value if in_closed_form else model.cost.value

    def outputs(vector, x):
        weighted_sums, activations = forward_pass(unravel(vector), x, model)
        return (weighted_sums if in_closed_form else activations)[-1]

    def gauss_newton(x, y):
        jacobian = jax.jacfwd(outputs)(vector, x)
        return jacobian.T @ jax.hessian(cost)(outputs(vector, x), y) @ jacobian

    hessian = jax.hessian(lambda vector: loss(unravel(vector), inputs, targets, model))(vector)
    return hessian, jax.vmap(gauss_newton)(inputs, targets)


@each_model
@pytest.mark.usefixtures("float64")
def test_curvature_is_that_of_explicit_matrices(model):
    params, *examples = make_problem(SIZES, 6)
    vector = make_problem(SIZES, seed=1)[0]

    @jax.jit
    def everything(params, inputs, targets, vector):
        problem = params, inputs, targets
        return (
            explicit(*problem, model),
            curvature.hessian_diagonal(*problem, model),
            curvature.gauss_newton_diagonal(*problem, model),
            curvature.gauss_newton_product(*problem, vector, model),
            curvature.kronecker_factors(*problem, model),
            curvature.kronecker_factors(params, inputs[:1], targets[:1], model),
            forward_pass(params, inputs, model)[1],
        )

    (hessian, each), diagonal, gn_diagonal, product, factors, factors_of_one, activations = everything(
        params, *examples, vector
    )
    gauss_newton = np.mean(each, axis=0)
    assert_close(diagonal, unflat(np.diagonal(hessian), params), 1e-10)
    assert_close(gn_diagonal, unflat(np.diagonal(gauss_newton), params), 1e-10)
    assert_close(product, unflat(gauss_newton @ flat(vector), params), 1e-10)

    start = 0
    for layer, factor, of_one, a in zip(params, factors, factors_of_one, activations[:-1], strict=True):
        weights = slice(start, start + layer.weights.size)
        biases = slice(weights.stop, weights.stop + layer.biases.size)
        start = biases.stop
        assert_close(factor.outputs, gauss_newton[biases, biases], 1e-10)
        assert_close(factor.inputs, np.mean(a[:, :, None] * a[:, None, :], axis=0), 1e-10)
        assert_close(np.kron(of_one.outputs, of_one.inputs), each[0][weights, weights], 1e-10)


@pytest.mark.usefixtures("as_installed")
def test_shapes_that_do_not_fit_are_refused():
    params, inputs, targets = make_problem(SIZES, 6, dtype=np.float32)
    for quantity in (curvature.gauss_newton_diagonal, curvature.kronecker_factors, curvature.hessian_diagonal):
        with pytest.raises(ValueError, match="targets have shape"):
            jax.eval_shape(quantity, params, inputs, targets[:, :2], Model())
    with pytest.raises(ValueError, match="vector .*: expected that of the parameters"):
        curvature.gauss_newton_product(params, inputs, targets, params[1:], Model())


def test_squares_that_float16_does_not_hold():
    """Of inputs of 200, four of whose squares overflow in a sum, and of 300, whose own square does."""
    half, model = np.float16, Model(identity, identity)
    params = (Layer(np.zeros((1, 1), half), np.zeros(1, half)),) * 2
    targets = np.zeros((4, 1), half)
    factors = jax.jit(curvature.kronecker_factors)(params, np.full((4, 1), 200, half), targets, model)
    assert (factors[0].inputs, factors[0].outputs, factors[1].outputs) == (40_000, 0, 2)
    for diagonal in (curvature.gauss_newton_diagonal, curvature.hessian_diagonal):
        first, last = jax.jit(diagonal)(params, np.full((4, 1), 300, half), targets, model)
        assert (first.weights, first.biases, last.weights, last.biases) == (0, 0, 0, 2)
