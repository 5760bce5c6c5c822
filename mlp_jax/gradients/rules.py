"""Other backward rules: directions for the parameters that are not, or not obviously, the gradient.

Each function here returns, or is, a rule with the signature of `backprop`, for `fit` and `compare_rules`. They differ
in how the errors of the last layer reach the layers before it. All raise ValueError if shapes do not match.
"""

from math import isfinite

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from mlp_jax.activations import gradient_through
from mlp_jax.backward import GradientRule, average_gradient, backward_pass
from mlp_jax.gradients.nudges import suggested_pass
from mlp_jax.network import ExampleWeights, Inputs, Layer, Model, Params, Targets, forward_pass, init_params, sizes_of


def feedback_alignment(key: PRNGKeyArray, sizes: tuple[int, ...]) -> GradientRule:
    """Errors go back through fixed random weights instead of the transposed weights.

    sizes: of the network's layers, inputs first. The random weights are drawn as `init_params` draws weights. Source:
    Lillicrap et al. 2016, https://doi.org/10.1038/ncomms13276.

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> rule = feedback_alignment(jax.random.key(1), (2, 3, 1))  # fit(..., gradient=rule) trains with it
    >>> rule(*problem)
    (Layer(weights=float32[3, 2], biases=float32[3]), Layer(weights=float32[1, 3], biases=float32[1]))
    """
    feedback = init_params(key, sizes)

    def rule(
        params: Params, inputs: Inputs, targets: Targets, model: Model, weights: ExampleWeights | None = None
    ) -> Params:
        _check_sizes(params, sizes)
        weighted_sums, activations = forward_pass(params, inputs, model)
        deltas = backward_pass(_like(feedback, params), weighted_sums, targets, model)
        return average_gradient(params, deltas, activations[:-1], weights)

    return rule


def direct_feedback_alignment(key: PRNGKeyArray, sizes: tuple[int, ...]) -> GradientRule:
    """Errors go from the outputs straight to each hidden layer, through fixed random weights of its own.

    sizes: of the network's layers, inputs first. The random weights between the n_last outputs and the n neurons of a
    layer are Gaussian with standard deviation 1 / sqrt(n). Source: Nokland 2016, https://arxiv.org/abs/1609.01596.

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> rule = direct_feedback_alignment(jax.random.key(1), (2, 3, 1))
    >>> rule(*problem)
    (Layer(weights=float32[3, 2], biases=float32[3]), Layer(weights=float32[1, 3], biases=float32[1]))
    """
    keys = jax.random.split(key, len(sizes))
    shapes = [(sizes[-1], n) for n in sizes[1:-1]]
    feedback = [jax.random.normal(k, s, jnp.float32) / s[1] ** 0.5 for k, s in zip(keys, shapes, strict=False)]

    def rule(
        params: Params, inputs: Inputs, targets: Targets, model: Model, weights: ExampleWeights | None = None
    ) -> Params:
        _check_sizes(params, sizes)
        weighted_sums, activations = forward_pass(params, inputs, model)
        delta = backward_pass(params[-1:], weighted_sums[-1:], targets, model)[0]
        deltas = (
            gradient_through(model.hidden, z, delta @ matrix.astype(delta.dtype))
            for matrix, z in zip(feedback, weighted_sums[:-1], strict=True)
        )
        return average_gradient(params, (*deltas, delta), activations[:-1], weights)

    return rule


def sign_symmetric(
    params: Params, inputs: Inputs, targets: Targets, model: Model, weights: ExampleWeights | None = None
) -> Params:
    """Errors go back through the signs of the weights, divided by sqrt(n_in), as `init_params` scales weights.

    This function is itself a rule. Source: Liao, Leibo and Poggio 2016, https://arxiv.org/abs/1510.05067.

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> sign_symmetric(*problem)
    (Layer(weights=float32[3, 2], biases=float32[3]), Layer(weights=float32[1, 3], biases=float32[1]))
    """
    weighted_sums, activations = forward_pass(params, inputs, model)
    signs = tuple(Layer(jnp.sign(w) / w.shape[1] ** 0.5, b) for w, b in params)
    deltas = backward_pass(signs, weighted_sums, targets, model)
    return average_gradient(params, deltas, activations[:-1], weights)


def suggested_activations(step: float = 0.5) -> GradientRule:
    """Each layer takes for its targets the activations that the layer after it suggests, at quadratic cost.

    step: how far suggestions go, times the negative derivative. With 1/2 this *is* backpropagation, to rounding. With
    another step the gradient of a layer m below the last is (2 step)^m times as large: `nudges.suggested_activations`
    says why. Source: the article "Backpropagation, intuitively". Raises ValueError if the step is not finite.

    >>> from mlp_jax import Model, backprop, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> found, gradient = suggested_activations(step=0.5)(*problem), backprop(*problem)
    >>> all(jax.tree.leaves(jax.tree.map(lambda f, g: jnp.allclose(f, g, atol=1e-6), found, gradient)))
    True
    """
    if not isfinite(step):
        raise ValueError(f"the step is {step}: expected a finite number; 0.5 is backpropagation")

    def rule(
        params: Params, inputs: Inputs, targets: Targets, model: Model, weights: ExampleWeights | None = None
    ) -> Params:
        _, deltas, activations = suggested_pass(params, inputs, targets, step, model)
        return average_gradient(params, deltas, activations[:-1], weights)

    return rule


def _check_sizes(params: Params, sizes: tuple[int, ...]) -> None:
    if sizes_of(params) != tuple(sizes):
        raise ValueError(f"the random feedback is for layers of {tuple(sizes)}, but the network has {sizes_of(params)}")


def _like(feedback: Params, params: Params) -> Params:
    return jax.tree.map(lambda f, p: f.astype(p.dtype), feedback, tuple(params))
