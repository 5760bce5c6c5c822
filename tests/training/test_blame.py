"""What is blamed when numbers stop being finite: the first that did, wherever training ran."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlp_jax import Activation, DivergenceError, Model, TrainState, backprop, fit, identity, init_params, sigmoid
from mlp_jax.training.blame import first_failure
from mlp_jax.training.devices import place_order
from tests.training.test_devices import DATA, PIXELS, TRAIN, mesh_of

PARAMS = init_params(jax.random.key(0), (PIXELS, 4, 4, 3))
SGD = optax.sgd(0.1)


def blamed(params=PARAMS, model=Model(), optimizer=SGD, gradient=backprop, mesh=None):
    state, order = TrainState.start(params, optimizer), place_order(0, 0, TRAIN, mesh)
    return first_failure(state, DATA.train_images, DATA.train_labels, order, model, optimizer, 8, gradient, mesh)


def with_weights(layer, value):
    return tuple(p._replace(weights=p.weights + value) if number == layer else p for number, p in enumerate(PARAMS))


def wrong_in(layer, value):
    """A gradient with that value in one layer."""

    def rule(params, inputs, targets, model):
        gradient = list(backprop(params, inputs, targets, model))
        gradient[layer] = gradient[layer]._replace(biases=gradient[layer].biases + value)
        return tuple(gradient)

    return rule


def nan_above(limit):
    return Activation(lambda z: jnp.where(z > limit, jnp.nan, z), lambda z: jnp.ones_like(z))


CASES = {
    "None": {},
    "weighted sums of layers.0 in mini-batch 1 of": {"params": with_weights(0, np.nan)},
    "weighted sums of layers.2 in mini-batch 1 of": {"params": with_weights(2, np.inf)},
    "activations of layers.2 in mini-batch 1 of": {"model": Model(sigmoid, nan_above(-np.inf))},
    "cost in mini-batch 1 of": {"model": Model(identity, identity), "params": with_weights(2, 1e25)},
    "gradient of layers.1 in mini-batch 1 of": {"gradient": wrong_in(1, np.inf)},
    "parameters of layers.0 in mini-batch 1 of": {"optimizer": optax.chain(optax.scale(-1e38), optax.scale(1e10))},
    "optimiser's memory in mini-batch 1 of": {"optimizer": optax.chain(optax.scale(1e25), optax.scale_by_adam())},
}


@pytest.mark.parametrize("axes", [None, ("batch",)])
@pytest.mark.parametrize("first", CASES)
def test_the_first_that_is_not_finite_is_named(first, axes):
    assert str(blamed(**CASES[first], mesh=mesh_of(*axes) if axes else None)).startswith(first)


def test_the_mini_batch_is_counted():
    """The rule is wrong from the third mini-batch on, where a bias has passed a limit that it reaches by steps of 1."""

    def rule(params, inputs, targets, model):
        late = params[1].biases[0] < PARAMS[1].biases[0] - 1.5
        gradient = [layer._replace(weights=0 * layer.weights) for layer in params]
        gradient[1] = gradient[1]._replace(biases=jnp.where(late, jnp.nan, jnp.ones(4)))
        return tuple(gradient)

    assert blamed(gradient=rule, optimizer=optax.sgd(1.0)) == "gradient of layers.1 in mini-batch 3 of 6"


@pytest.mark.parametrize("settings", [{}, {"stream": 16}, {"mesh": mesh_of("batch")}], ids=["plain", "stream", "mesh"])
def test_fit_says_where(settings):
    with pytest.raises(DivergenceError, match=r"in epoch 1 .*, first the gradient of layers\.1 in mini-batch 1 of 6: "):
        fit(PARAMS, DATA, epochs=1, batch_size=8, gradient=wrong_in(1, np.nan), **settings)
