"""Curvature of the cost, by backward recursions of its own: Gauss-Newton, Kronecker factors, the Hessian's diagonal.

With outputs f, the cost's Hessian is J^T H J plus a term from the network's own curvature. Here J = df/dparams, and H
is the Hessian of the cost with respect to f. The first term alone is the Gauss-Newton matrix. The outputs f are the
activations a. If the cost has a closed form after the output activation, as cross-entropy has after sigmoid and
softmax, they are the weighted sums z, because their H has no negative eigenvalue (Schraudolph 2002). Either way J^T H J
equals (dz/dparams)^T M (dz/dparams) with one small matrix M per example, (n_out, n_out).

Activations and costs have one derivative written by hand; `jax.jacfwd` takes the second one of it. Everything is
averaged over the examples, takes one batch axis, and raises ValueError if shapes do not match. Results are finite as
long as squares of the intermediate numbers are. Those of float16 are made in float32, except for the Hessian.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mlp_jax.activations import Activation, gradient_through
from mlp_jax.backward import average_gradient, backward_pass, check_like_params, in_float32_or_finer, propagate_back
from mlp_jax.network import BatchInputs, BatchTargets, Model, Params, check_batch, checked_targets, forward_pass


def gauss_newton_diagonal(params: Params, inputs: BatchInputs, targets: BatchTargets, model: Model) -> Params:
    """The diagonal of the Gauss-Newton matrix: that of w_jk is the mean of m_jj a_k^2, that of b_j the mean of m_jj.

    m = J^T M J is the curvature in the layer's weighted sums, with J their Jacobian. Returns a pytree like params.
    Source: BackPACK's DiagGGNExact (Dangel, Kunstner and Hennig 2020, https://arxiv.org/abs/1912.10985).

    >>> from mlp_jax import Layer, Model, identity
    >>> line = (Layer(weights=jnp.ones((1, 2)), biases=jnp.zeros(1)),)
    >>> found = gauss_newton_diagonal(line, jnp.full((4, 2), 3.0), jnp.ones((4, 1)), Model(output=identity))
    >>> found[0].weights.tolist()  # 2 a^2, the second derivative of (w a - y)^2
    [[18.0, 18.0]]
    """
    curvatures, jacobians, activations = _outputs_back(params, inputs, targets, model)
    diagonals = tuple(jnp.sum(j * (curvatures @ j), axis=-2) for j in jacobians)
    return average_gradient(params, diagonals, tuple(map(jnp.square, activations)))


class KroneckerFactors(NamedTuple):
    """The two factors of one layer's block of the Gauss-Newton matrix.

    inputs: the mean of a a^T over the examples, (n_in, n_in).
    outputs: the mean of m = J^T M J, (n_out, n_out), which is the block of the biases.

    The block of the weights, w_jk against w_j'k', is about outputs[j, j'] inputs[k, k']: exactly so for one example.

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> kronecker_factors(*problem)[0].inputs.tolist()  # all activations are 1
    [[1.0, 1.0], [1.0, 1.0]]
    """

    inputs: Float[Array, "n_in n_in"]
    outputs: Float[Array, "n_out n_out"]


def kronecker_factors(
    params: Params, inputs: BatchInputs, targets: BatchTargets, model: Model
) -> tuple[KroneckerFactors, ...]:
    """For each layer the Kronecker factors of its Gauss-Newton block.

    Source: Martens and Grosse 2015, https://arxiv.org/abs/1503.05671; with the exact M in place of sampled targets,
    as KFLR has it (Botev, Ritter and Barber 2017, https://arxiv.org/abs/1706.03662).

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> [(factors.inputs.shape, factors.outputs.shape) for factors in kronecker_factors(*problem)]
    [((2, 2), (3, 3)), ((3, 3), (1, 1))]
    """
    curvatures, jacobians, activations = _outputs_back(params, inputs, targets, model)

    def mean_product(u: Array, v: Array) -> Array:  # u^T v of each example; one product of two matrices for all
        return u.reshape(-1, u.shape[-1]).T @ v.reshape(-1, v.shape[-1]) / len(u)

    return tuple(
        KroneckerFactors(inputs=mean_product(a, a), outputs=mean_product(j, curvatures @ j))
        for a, j in zip(activations, jacobians, strict=True)
    )


def gauss_newton_product(
    params: Params, inputs: BatchInputs, targets: BatchTargets, vector: Params, model: Model
) -> Params:
    """The Gauss-Newton matrix times a vector, a pytree like params: forward to the change of z, times M, and back.

    Source: Schraudolph 2002, https://doi.org/10.1162/08997660260028683.

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> gauss_newton_product(*problem[:3], problem[0], Model())  # times the parameters
    (Layer(weights=float32[3, 2], biases=float32[3]), Layer(weights=float32[1, 3], biases=float32[1]))
    """
    check_batch(inputs)
    check_like_params(vector, params, "the vector")
    weighted_sums, activations = forward_pass(params, inputs, model)
    change = jnp.zeros_like(activations[0])
    dz = change
    for (weights, _), (dw, db), a, z, sigma in zip(
        params, vector, activations[:-1], weighted_sums, model.activations(len(params)), strict=True
    ):
        dz = change @ weights.T + a @ dw.T + db
        change = _forward_through(sigma, z, dz)
    curvatures = _output_curvatures(weighted_sums[-1], checked_targets(targets, weighted_sums[-1]), model)
    deltas = propagate_back(params, weighted_sums, jnp.einsum("bij,bj->bi", curvatures, dz), model)
    return average_gradient(params, deltas, activations[:-1])


def hessian_diagonal(params: Params, inputs: BatchInputs, targets: BatchTargets, model: Model) -> Params:
    """The diagonal of the Hessian: that of w_jk is the mean of h_jj a_k^2, h the Hessian in the layer's weighted sums.

    In the last layer h comes from the cost. It goes back as d2C/da2 = W^T h W and then through the activation, which
    adds its own second derivative times dC/da. Sixteen examples at a time keep the (n, n) matrices of few in memory.
    Returns a pytree like params. Source: BackPACK's DiagHessian; Mizutani and Dreyfus 2008,
    https://doi.org/10.1016/j.neunet.2007.12.038.

    >>> from mlp_jax import Layer, Model, identity
    >>> line = (Layer(weights=jnp.ones((1, 2)), biases=jnp.zeros(1)),)
    >>> found = hessian_diagonal(line, jnp.full((4, 2), 3.0), jnp.ones((4, 1)), Model(output=identity))
    >>> found[0].weights.tolist()  # 2 a^2, the second derivative of (w a - y)^2
    [[18.0, 18.0]]
    """
    check_batch(inputs)
    weighted_sums, activations = forward_pass(params, inputs, model)
    targets = checked_targets(targets, weighted_sums[-1])
    deltas = backward_pass(params, weighted_sums, targets, model)

    def diagonals(example: tuple[tuple[Array, ...], tuple[Array, ...], Array]) -> tuple[Array, ...]:
        weighted_sums, deltas, y = example
        h = jax.jacfwd(model.cost.after(model.output).derivative)(weighted_sums[-1], y)
        found = [jnp.diagonal(h)]
        for layer, delta, z in zip(params[:0:-1], deltas[:0:-1], weighted_sums[-2::-1], strict=True):
            h = _hessian_through(model.hidden, z, delta @ layer.weights, layer.weights.T @ h @ layer.weights)
            found.append(jnp.diagonal(h))
        return tuple(reversed(found))

    found = jax.lax.map(diagonals, (weighted_sums, deltas, targets), batch_size=16)
    squares = tuple(map(jnp.square, in_float32_or_finer(activations[:-1])))
    return average_gradient(params, found, squares)


def _outputs_back(
    params: Params, inputs: BatchInputs, targets: BatchTargets, model: Model
) -> tuple[Float[Array, "batch c c"], tuple[Float[Array, "batch c _"], ...], tuple[Float[Array, "batch _"], ...]]:
    """M of each example; the Jacobian of the last weighted sums with respect to each layer's; each layer's inputs."""
    check_batch(inputs)
    weighted_sums, activations = forward_pass(params, inputs, model)
    z = weighted_sums[-1]
    curvatures = _output_curvatures(z, checked_targets(targets, z), model)
    unit = jnp.broadcast_to(jnp.eye(z.shape[-1], dtype=z.dtype), (*z.shape, z.shape[-1]))
    jacobians = propagate_back(params, tuple(z[:, None, :] for z in weighted_sums), unit, model)
    return in_float32_or_finer((curvatures, jacobians, activations[:-1]))


def _output_curvatures(
    z: Float[Array, "batch c"], y: Float[Array, "batch c"], model: Model
) -> Float[Array, "batch c c"]:
    """M: the Gauss-Newton curvature of each example's cost in its last weighted sums."""
    of_weighted_sums = model.cost.after(model.output)
    if any(of_weighted_sums is closed_form for _, _, closed_form in model.cost.closed_forms):
        return jax.vmap(jax.jacfwd(of_weighted_sums.derivative))(z, y)

    def curvature(z: Array, y: Array) -> Array:
        h = jax.jacfwd(model.cost.derivative)(model.output.value(z), y)
        through = partial(gradient_through, model.output, z)
        return through(through(h).T)

    return jax.vmap(curvature)(z, y)


def _forward_through(activation: Activation, z: Float[Array, "batch n"], dz: Float[Array, "batch n"]) -> Array:
    """The change of the activations for a change of the weighted sums."""
    derivative = activation.derivative(z)
    return derivative * dz if derivative.ndim == z.ndim else jnp.einsum("...jk,...k->...j", derivative, dz)


def _hessian_through(
    activation: Activation, z: Float[Array, " n"], gradient: Float[Array, " n"], hessian: Float[Array, "n n"]
) -> Float[Array, "n n"]:
    """d2C/dz2 from dC/da and d2C/da2 of one example."""
    through = partial(gradient_through, activation, z)
    return through(through(hessian).T) + jax.jacfwd(lambda z: gradient_through(activation, z, gradient))(z)
