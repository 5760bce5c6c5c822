"""The gradient of each example, and of each output neuron, from one backward pass for the whole batch.

The gradient of one example is an outer product in each layer, g = delta a^T for the weights and delta for the biases:
sums of squares and products of such gradients are products of sums. Only `gradients` and `output_gradients` form them.
All functions take one batch axis, `output_gradients` any, and raise ValueError if shapes do not match.

Squares and products are made in float32 if the dtype is coarser; norms and products are returned in float32. They are
finite as long as deltas, activations and gradients are below the square root of the largest number, 1.8e19 in float32.
Beyond that they are infinite, or NaN if 0 is multiplied by infinity.
"""

from functools import reduce
from operator import add

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float

from mlp_jax.backward import (
    average_gradient,
    backward_pass,
    deltas_and_activations,
    in_float32_or_finer,
    propagate_back,
)
from mlp_jax.network import BatchInputs, BatchTargets, Inputs, Layer, Model, Params, Targets, check_batch, forward_pass


def gradients(params: Params, inputs: BatchInputs, targets: BatchTargets, model: Model) -> Params:
    """The gradient of each example's cost: a pytree like params whose leaves have the batch as a leading axis.

    Their mean is `backprop` (lessons 3 and 4). This is the only quantity here whose size is batch times parameters.

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> gradients(*problem)
    (Layer(weights=float32[4, 3, 2], biases=float32[4, 3]), Layer(weights=float32[4, 1, 3], biases=float32[4, 1]))
    """
    check_batch(inputs)
    deltas, activations = deltas_and_activations(params, inputs, targets, model)
    return tuple(
        Layer(weights=delta[:, :, None] * a[:, None, :], biases=delta)
        for delta, a in zip(deltas, activations, strict=True)
    )


def output_gradients(params: Params, inputs: Inputs, targets: Targets, model: Model) -> Params:
    """The part of each example's gradient that comes through each output neuron; they sum to the example's gradient.

    If each output activation depends on its own weighted sum alone, part j is the gradient of output j's cost,
    (a_j - y_j)^2 for the quadratic cost. After softmax, whose activations depend on every weighted sum, part j is the
    gradient that passes through weighted sum j.

    Returns a pytree like params with leading axes (*batch, n_out). Source: the article "Backpropagation, intuitively",
    which calls these the gradients of c_kj.

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> output_gradients(*problem)[0]
    Layer(weights=float32[4, 1, 3, 2], biases=float32[4, 1, 3])
    """
    weighted_sums, activations = forward_pass(params, inputs, model)
    delta = backward_pass(params, weighted_sums, targets, model)[-1]
    with jax.numpy_rank_promotion("allow"):
        one_at_a_time = delta[..., None] * jnp.eye(delta.shape[-1], dtype=delta.dtype)
    deltas = propagate_back(params, tuple(z[..., None, :] for z in weighted_sums), one_at_a_time, model)
    return tuple(
        Layer(weights=delta[..., :, None] * a[..., None, None, :], biases=delta)
        for delta, a in zip(deltas, activations[:-1], strict=True)
    )


def squared_norms(params: Params, inputs: BatchInputs, targets: BatchTargets, model: Model) -> Float[Array, " batch"]:
    """|g|^2 of each example's gradient: the sum over the layers of |delta|^2 (|a|^2 + 1).

    Source: Goodfellow 2015, Efficient per-example gradient computations, https://arxiv.org/abs/1510.01799.

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> squared_norms(*problem).shape
    (4,)
    """
    deltas, activations = _both_passes(params, inputs, targets, model)
    return _squared_norms(deltas, activations)


def inner_products(
    params: Params, inputs: BatchInputs, targets: BatchTargets, model: Model
) -> Float[Array, "batch batch"]:
    """The inner product of every two examples' gradients: sum over the layers of (delta . delta') (a . a' + 1).

    If the product of two examples is negative, a small step that lowers the cost of one raises the cost of the other.
    The diagonal is `squared_norms`. Source: BatchDotGrad in Cockpit (Schneider, Dangel and Hennig 2021,
    https://arxiv.org/abs/2102.06604), which builds on BackPACK.

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> inner_products(*problem).shape
    (4, 4)
    """
    deltas, activations = _both_passes(params, inputs, targets, model)
    batch = len(deltas[-1])
    band = max(128, -(-batch // 8))
    bands = [slice(start, min(start + band, batch)) for start in range(0, batch, band)]

    def products(rows: slice, columns: slice) -> Float[Array, "rows columns"]:
        layers = zip(deltas, activations, strict=True)
        return reduce(add, ((d[rows] @ d[columns].T) * (a[rows] @ a[columns].T + 1) for d, a in layers))

    # Bands of rows up to the diagonal, and what lies beyond from the bands below: a fifth less time than the whole.
    lower = [products(rows, slice(0, rows.stop)) for rows in bands]
    mirrored = ([below[:, rows].T for below in lower[i + 1 :]] for i, rows in enumerate(bands))
    return jnp.concatenate([jnp.hstack([left, *right]) for left, right in zip(lower, mirrored, strict=True)])


def second_moment(params: Params, inputs: BatchInputs, targets: BatchTargets, model: Model) -> Params:
    """The mean over the batch of g^2, element by element: that of w_jk is the mean of delta_j^2 a_k^2.

    Returns a pytree like params. Source: BackPACK (Dangel, Kunstner and Hennig 2020).

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> second_moment(*problem)
    (Layer(weights=float32[3, 2], biases=float32[3]), Layer(weights=float32[1, 3], biases=float32[1]))
    """
    deltas, activations = _both_passes(params, inputs, targets, model)
    return _second_moment(params, deltas, activations)


def variance(params: Params, inputs: BatchInputs, targets: BatchTargets, model: Model) -> Params:
    """The variance over the batch, element by element: mean of g^2 less the square of the mean of g.

    Returns a pytree like params. The sum of squares is divided by the batch size, not by one less. If examples nearly
    agree, the two terms nearly cancel: the error is the rounding of the second moment. The result is never negative.
    Source: BackPACK (Dangel, Kunstner and Hennig 2020).

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> variance(*problem)
    (Layer(weights=float32[3, 2], biases=float32[3]), Layer(weights=float32[1, 3], biases=float32[1]))
    """
    deltas, activations = _both_passes(params, inputs, targets, model)
    fine = in_float32_or_finer(tuple(params))
    mean = average_gradient(fine, deltas, activations)
    second = _second_moment(fine, deltas, activations)
    return jax.tree.map(lambda s, m, p: jnp.maximum(s - m**2, 0).astype(p.dtype), second, mean, tuple(params))


def clipped_mean(
    params: Params, inputs: BatchInputs, targets: BatchTargets, max_norm: float | Float[Array, ""], model: Model
) -> Params:
    """The mean of the examples' gradients, each first scaled down to max_norm if its norm is larger.

    Each example's deltas are multiplied by min(1, max_norm / |g|), or by 0 if the squared norm overflows.

    Returns a pytree like params. With noise added this is DP-SGD's step (Abadi et al. 2016,
    https://arxiv.org/abs/1607.00133). Raises ValueError if max_norm is not above 0.

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> clipped = clipped_mean(*problem[:3], 0.01, Model())
    >>> round(float(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(clipped))), 6)  # of four examples that are equal
    0.0001
    """
    if jnp.ndim(max_norm) or (not isinstance(max_norm, Tracer) and not max_norm > 0):
        raise ValueError(f"max_norm is {max_norm}: expected a norm above 0")
    deltas, activations = _both_passes(params, inputs, targets, model)
    squares = _squared_norms(deltas, activations)
    norms = jnp.sqrt(jnp.where(squares > 0, squares, 1))  # the root's derivative at 0 would make NaN of the factor's
    factors = jnp.where((squares > 0) & (norms > max_norm), max_norm / norms, 1)
    return average_gradient(params, tuple(factors[:, None] * delta for delta in deltas), activations)


def noise_scale(params: Params, inputs: BatchInputs, targets: BatchTargets, model: Model) -> Float[Array, ""]:
    """The simple gradient noise scale, tr(covariance of g) / |mean of g|^2, in examples.

    Much smaller batches mostly follow noise, much larger ones mostly repeat themselves. Both terms are estimated
    without bias from the batch: with q the mean of |g|^2 and m the squared norm of the mean of g, they are
    B (q - m) / (B - 1) and (B m - q) / (B - 1). If the batch is far too small, the second may be 0 or negative; the
    scale is then infinite. Source: McCandlish et al. 2018, https://arxiv.org/abs/1812.06162, appendix A.1.
    Raises ValueError for fewer than two examples.

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> round(float(noise_scale(*problem)), 3)  # four examples that are equal
    0.0
    """
    deltas, activations = _both_passes(params, inputs, targets, model)
    batch = len(deltas[-1])
    if batch < 2:
        raise ValueError(f"the batch has {batch} example: expected 2 or more, for their spread")
    mean = average_gradient(in_float32_or_finer(tuple(params)), deltas, activations)
    m = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(mean))
    q = jnp.mean(_squared_norms(deltas, activations))
    signal, spread = batch * m - q, jnp.maximum(q - m, 0)  # of equal examples, rounding may make q - m negative
    return jnp.where(signal > 0, batch * spread / jnp.where(signal > 0, signal, 1), jnp.inf)  # with derivatives, too


def _both_passes(
    params: Params, inputs: BatchInputs, targets: BatchTargets, model: Model
) -> tuple[tuple[Float[Array, "batch _"], ...], tuple[Float[Array, "batch _"], ...]]:
    check_batch(inputs)
    return in_float32_or_finer(deltas_and_activations(params, inputs, targets, model))


def _squared_norms(deltas: tuple[Array, ...], activations: tuple[Array, ...]) -> Float[Array, " batch"]:
    norms = (
        jnp.sum(delta**2, axis=-1) * (jnp.sum(a**2, axis=-1) + 1) for delta, a in zip(deltas, activations, strict=True)
    )
    return reduce(add, norms)


def _second_moment(params: Params, deltas: tuple[Array, ...], activations: tuple[Array, ...]) -> Params:
    return average_gradient(params, *jax.tree.map(jnp.square, (deltas, activations)))
