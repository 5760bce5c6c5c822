"""How one example would change the network, and how strongly: lessons 2, 3 and 4, and the article on the third.

Every nudge is a negative derivative of the example's cost: the direction in which the cost falls fastest.
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
    earlier: to the activations that come in, (*batch, n_in), the sum over the neurons of the layer.
    """

    outputs: Float[Array, "*batch n_out"]
    biases: Float[Array, "*batch n_out"]
    weights: Float[Array, "*batch n_out n_in"]
    earlier: Float[Array, "*batch n_in"]


def nudges(params: Params, inputs: Inputs, targets: Targets, model: Model) -> tuple[Nudges, ...]:
    """The nudges of an example to each layer (lesson 3); with a batch axis, of each example.

    A weight's nudge is its bias's nudge times the activation that it multiplies, so weights from bright neurons get the
    largest. An earlier activation's nudge is the sum of the biases' nudges, each times its weight. Raises ValueError
    for shapes that do not fit.
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
    below the last is (2 step)^m times as large.

    Raises ValueError for shapes that do not fit. Source: the article "Backpropagation, intuitively".
    """
    return suggested_pass(params, inputs, targets, step, model)[0]


def suggested_pass(
    params: Params, inputs: Inputs, targets: Targets, step: float, model: Model
) -> tuple[tuple[Float[Array, "*batch _"], ...], ...]:
    """The recursion on suggested activations: (suggested, deltas, activations).

    suggested: inputs first, the targets last. deltas: the errors that they make, one array for each layer.
    activations: as they are, inputs first.
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
    times: |dC/dp| over the mean of that of all parameters. Two parameters compare by the ratio of theirs: one with 32
        moves the cost 32 times as much as one with 1.
    """

    parameter: str
    derivative: float
    times: float


def sensitivity(
    params: Params, inputs: Inputs, targets: Targets, model: Model, *, count: int | None = 10
) -> list[Sensitivity]:
    """Parameters ranked by how much the average cost answers to them, most first (lessons 2 and 3).

    count: how many from the top, 1 or more; None for all. Raises ValueError for another count, or shapes that do not
    fit.
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

    nudge: what is added to w, b or the activation before; the ratios come as close as the cost is straight over it.
    Returns a ChainLink for each layer. Raises ValueError for more than one neuron in a layer, more than
    one example, or a nudge of 0.
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
