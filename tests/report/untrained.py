"""Networks to make pages of."""

from mlp_jax import activations, costs
from mlp_jax.network import Model

SIZES = (784, 16, 16, 10)


def model_of(hidden, output, cost):
    return Model(getattr(activations, hidden), getattr(activations, output), getattr(costs, cost))
