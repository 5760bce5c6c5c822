"""How one example would change the network, and how strongly: lessons 2, 3 and 4, and the article on the third.

Every nudge is a negative derivative of the example's cost: the direction in which the cost falls fastest. All functions
raise ValueError if shapes do not match.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mlp_jax.activations import gradient_through
from mlp_jax.backward import backprop, backward_pass
from mlp_jax.network import Inputs, Model, Params, Targets, forward_pass, loss, sizes_of


class Nudges(NamedTuple):
    """The nudges of one example to one layer: negative derivatives of its cost.

    outputs: to the layer's activations, (*batch, n_out).
    biases: (*batch, n_out).
    weights: (*batch, n_out, n_in).
    earlier: to the layer's input activations, (*batch, n_in), the sum over the neurons of the layer.

    >>> from mlp_jax import Layer, Model
    >>> half = (Layer(weights=jnp.zeros((1, 2)), biases=jnp.zeros(1)),)  # sigmoid(0) is 1/2
    >>> found = nudges(half, jnp.array([3.0, 1.0]), jnp.ones(1), Model())[0]
    >>> found.biases.tolist(), found.weights.tolist()  # the weight from the brighter neuron gets more
    ([0.25], [[0.75, 0.25]])
    """

    outputs: Float[Array, "*batch n_out"]
    biases: Float[Array, "*batch n_out"]
    weights: Float[Array, "*batch n_out n_in"]
    earlier: Float[Array, "*batch n_in"]


def nudges(params: Params, inputs: Inputs, targets: Targets, model: Model) -> tuple[Nudges, ...]:
    """The nudges of an example to each layer (lesson 3); with a batch axis, of each example.

    A weight's nudge is its bias's nudge times the activation that it multiplies, so weights from bright neurons get the
    largest. An earlier activation's nudge is the sum of the biases' nudges, each times its weight.

    >>> from mlp_jax import Layer, Model
    >>> half = (Layer(weights=jnp.zeros((1, 2)), biases=jnp.zeros(1)),)  # sigmoid(0) is 1/2
    >>> nudges(half, jnp.ones(2), jnp.ones(1), Model())[-1].outputs.tolist()  # 1/2 should be 1: up
    [1.0]
    """
    weighted_sums, activations = forward_pass(params, inputs, model)
    deltas = backward_pass(params, weighted_sums, targets, model)
    nudge = -model.cost.of(model.output).derivative(activations[-1], jnp.asarray(targets))
    layers = []
    for layer, delta, a in zip(params[::-1], deltas[::-1], activations[-2::-1], strict=True):
        earlier = -delta @ layer.weights
        layers.append(Nudges(nudge, -delta, -delta[..., :, None] * a[..., None, :], earlier))
        nudge = earlier
    return tuple(reversed(layers))


def suggested_activations(
    params: Params, inputs: Inputs, targets: Targets, step: float, model: Model
) -> tuple[Float[Array, "*batch _"], ...]:
    """The activations that each layer should take according to the layer after it: inputs first, the targets last.

    A suggestion s is the activation a plus `step` times the nudge from the layer after. That layer makes its nudges as
    if it were the last, with the activations suggested to it as targets and the quadratic cost. So a layer below the
    last gets 2 (a - s), which is 2 step times the nudge. With step 1/2 the recursion *is* backpropagation, to rounding:
    a and s are close, so in float32 their difference keeps few digits. With another step the gradient of a layer m
    below the last is (2 step)^m times as large. Source: the article "Backpropagation, intuitively".

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> [s.shape for s in suggested_activations(*problem[:3], 0.5, Model())]
    [(4, 2), (4, 3), (4, 1)]
    """
    return suggested_pass(params, inputs, targets, step, model)[0]


def suggested_pass(
    params: Params, inputs: Inputs, targets: Targets, step: float, model: Model
) -> tuple[tuple[Float[Array, "*batch _"], ...], ...]:
    """The recursion on suggested activations: (suggested, deltas, activations).

    suggested: inputs first, the targets last. deltas: the errors that they make, one array for each layer.
    activations: as they are, inputs first.

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> suggested, deltas, activations = suggested_pass(*problem[:3], 0.5, Model())
    >>> len(suggested), [delta.shape for delta in deltas]
    (3, [(4, 3), (4, 1)])
    """
    weighted_sums, activations = forward_pass(params, inputs, model)
    delta = backward_pass(params[-1:], weighted_sums[-1:], targets, model)[0]
    suggested, deltas = [jnp.asarray(targets)], [delta]
    for number in reversed(range(len(params))):
        a = activations[number]
        suggested.append(a - step * delta @ params[number].weights)
        if number:
            slope = 2 * (a - suggested[-1])  # the quadratic cost's derivative
            delta = gradient_through(model.hidden, weighted_sums[number - 1], slope)
            deltas.append(delta)
    return tuple(reversed(suggested)), tuple(reversed(deltas)), activations


class Sensitivity(NamedTuple):
    """How the cost answers to one parameter.

    parameter: its path and index, "[0].weights[3, 512]" for instance.
    derivative: dC/dp.
    times: |dC/dp| divided by its mean over all parameters. A parameter with 32 moves the cost 32 times as much as one
        with 1.

    >>> Sensitivity("[0].weights[3, 512]", derivative=-0.8, times=32.0).parameter
    '[0].weights[3, 512]'
    """

    parameter: str
    derivative: float
    times: float


def sensitivity(
    params: Params, inputs: Inputs, targets: Targets, model: Model, *, count: int | None = 10
) -> list[Sensitivity]:
    """Parameters ranked by how much the average cost answers to them, most first (lessons 2 and 3).

    count: how many from the top, 1 or more; None for all. Raises ValueError for another count.

    >>> from mlp_jax import Layer, Model
    >>> half = (Layer(weights=jnp.zeros((1, 2)), biases=jnp.zeros(1)),)  # sigmoid(0) is 1/2
    >>> first, *others = sensitivity(half, jnp.array([3.0, 1.0]), jnp.ones(1), Model())
    >>> first.parameter, round(first.derivative, 3), round(first.times, 3)
    ('[0].weights[0, 0]', -0.75, 1.8)
    """
    if count is not None and count < 1:
        raise ValueError(f"the count is {count}: expected 1 or more, or None for all parameters")
    gradient = jax.tree.map(np.asarray, backprop(params, inputs, targets, model))
    paths, leaves = zip(*jax.tree.leaves_with_path(gradient), strict=True)
    flat = np.concatenate([np.ravel(leaf) for leaf in leaves])
    starts = np.cumsum([0] + [leaf.size for leaf in leaves])
    typical = np.mean(np.abs(flat)) or 1.0
    ranking = []
    for place in np.argsort(-np.abs(flat), kind="stable")[:count]:
        number = int(np.searchsorted(starts, place, side="right")) - 1
        index = np.unravel_index(place - starts[number], leaves[number].shape)
        name = f"{jax.tree_util.keystr(paths[number])}[{', '.join(map(str, index))}]"
        ranking.append(Sensitivity(name, float(flat[place]), float(abs(flat[place]) / typical)))
    return ranking


class ChainLink(NamedTuple):
    """The chain rule over one layer of one neuron, z = w a_before + b and a = sigma(z): lesson 4.

    The factors: dz_dw = a_before, dz_db = 1, dz_da = w (a_before's), da_dz = sigma'(z), dc_da (this layer's).
    The products: dc_dw = dz_dw da_dz dc_da, and dc_db and dc_da_before likewise.
    measured_dw, measured_db, measured_da_before: change of the cost over a nudge of w, b, a_before.

    >>> from mlp_jax import Layer, Model
    >>> half = (Layer(weights=jnp.zeros((1, 1)), biases=jnp.zeros(1)),)  # sigmoid(0) is 1/2
    >>> link = chain_rule(half, jnp.array([3.0]), jnp.ones(1), Model())[0]
    >>> link.dz_dw, link.da_dz, link.dc_da, link.dc_dw  # the last is the product of the others
    (3.0, 0.25, -1.0, -0.75)
    """

    dz_dw: float
    dz_db: float
    dz_da: float
    da_dz: float
    dc_da: float
    dc_dw: float
    dc_db: float
    dc_da_before: float
    measured_dw: float
    measured_db: float
    measured_da_before: float


def chain_rule(
    params: Params, inputs: Float[ArrayLike, "1"], targets: Float[ArrayLike, "1"], model: Model, *, nudge: float = 0.01
) -> tuple[ChainLink, ...]:
    """Each factor of the chain rule in a network of one neuron per layer, beside what nudging measures (lesson 4).

    nudge: added to w, b or the activation before. The smaller it is, the closer the ratios come, until rounding counts.

    Returns a ChainLink for each layer. Raises ValueError for more than one neuron in a layer, more than one example,
    or a nudge of 0.

    >>> from mlp_jax import Layer, Model
    >>> half = (Layer(weights=jnp.zeros((1, 1)), biases=jnp.zeros(1)),)  # sigmoid(0) is 1/2
    >>> link = chain_rule(half, jnp.array([3.0]), jnp.ones(1), Model(), nudge=0.001)[0]
    >>> link.dc_dw, round(link.measured_dw, 2)
    (-0.75, -0.75)
    """
    if set(sizes_of(params)) != {1}:
        raise ValueError(f"the layers have {sizes_of(params)} neurons: expected one in each, as in lesson 4")
    if jnp.ndim(inputs) != 1:
        raise ValueError(f"inputs have shape {jnp.shape(inputs)}: expected one example, (1,)")
    if not 0 < abs(nudge) < float("inf"):
        raise ValueError(f"the nudge is {nudge}: expected a small number that is not 0, 0.01 for instance")
    return tuple(ChainLink(*map(float, link)) for link in _links(params, inputs, targets, model, nudge))


@jax.jit
def _links(params: Params, inputs: Inputs, targets: Targets, model: Model, nudge: ArrayLike) -> list[tuple[Array, ...]]:
    weighted_sums, activations = forward_pass(params, inputs, model)
    deltas = backward_pass(params, weighted_sums, targets, model)
    dc_da = model.cost.of(model.output).derivative(activations[-1], jnp.asarray(targets))[0]
    links = []
    for number in reversed(range(len(params))):
        layer, before = params[number], activations[number]
        sigma = model.activations(len(params))[number]

        def cost(weights: Array, biases: Array, a: Array, number: int = number) -> Array:
            layers = (params[number]._replace(weights=weights, biases=biases), *params[number + 1 :])
            return loss(layers, a, targets, model)

        here = cost(*layer, before)
        measured = [
            (cost(*nudged) - here) / nudge
            for nudged in (
                (layer.weights + nudge, layer.biases, before),
                (layer.weights, layer.biases + nudge, before),
                (layer.weights, layer.biases, before + nudge),
            )
        ]
        da_dz = gradient_through(sigma, weighted_sums[number], jnp.ones(1))[0]
        factors = before[0], jnp.ones(()), layer.weights[0, 0]
        # delta is da_dz dc_da, but finite if an output has rounded to 0 and its cross-entropy falls infinitely fast.
        products = [dz * deltas[number][0] for dz in factors]
        links.append((*factors, da_dz, dc_da, *products, *measured))
        dc_da = products[2]
    return links[::-1]
