"""What one example wants of the network, and how strongly: lessons 2, 3 and 4, and the article on the third.

Every wanted change is a negative derivative of the cost of the example: the direction in which the cost falls fastest.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mlp_jax.activations import gradient_through
from mlp_jax.backprop import backprop, backward_pass
from mlp_jax.network import Model, Params, forward_pass, loss, sizes_of


class Nudges(NamedTuple):
    """What one example wants of one layer, each number a negative derivative of its cost.

    outputs: of the layer's activations, (*batch, n_out).
    biases: (*batch, n_out).
    weights: (*batch, n_out, n_in).
    earlier: of the activations that come in, (*batch, n_in): what all neurons of the layer, added up, want of the
        layer before.
    """

    outputs: Float[Array, "*batch n_out"]
    biases: Float[Array, "*batch n_out"]
    weights: Float[Array, "*batch n_out n_in"]
    earlier: Float[Array, "*batch n_in"]


def nudges(
    params: Params,
    inputs: Float[ArrayLike, "*batch n_in"],
    targets: Float[ArrayLike, "*batch n_out"],
    model: Model = Model(),
) -> tuple[Nudges, ...]:
    """What an example wants of each layer (lesson 3); with a batch axis, what each example wants.

    A weight's nudge is its bias's times the activation that it multiplies: the brightest neurons' weights most. An
    earlier activation's is made of the biases' in proportion to the weights. Raises ValueError for shapes that do not
    fit.
    """
    weighted_sums, activations = forward_pass(params, inputs, model)
    deltas = backward_pass(params, weighted_sums, targets, model)
    wanted = -model.cost.of(model.output).derivative(activations[-1], jnp.asarray(targets))
    layers = []
    for layer, delta, a in zip(params[::-1], deltas[::-1], activations[-2::-1], strict=True):
        earlier = -delta @ layer.weights
        layers.append(Nudges(wanted, -delta, -delta[..., :, None] * a[..., None, :], earlier))
        wanted = earlier
    return tuple(reversed(layers))


def suggested_activations(
    params: Params,
    inputs: Float[ArrayLike, "*batch n_in"],
    targets: Float[ArrayLike, "*batch n_out"],
    step: float = 0.5,
    model: Model = Model(),
) -> tuple[Float[Array, "*batch _"], ...]:
    """The activations that each layer is told to take by the layer after it: inputs first, the targets last.

    What is suggested is what there is plus `step` times what the layer after wants, as if that were the last layer, the
    activations suggested to it its targets, and the cost quadratic. A layer below the last so hears 2 (a - s), which is
    2 step times what the layer after wants: with step 1/2 the recursion *is* backpropagation, to rounding (a and s are
    close, so in float32 their difference keeps few digits); with another step the gradient of a layer m below the last
    comes out (2 step)^m times as large.

    Raises ValueError for shapes that do not fit. Source: the article "Backpropagation, intuitively".
    """
    return suggested_pass(params, inputs, targets, step, model)[0]


def suggested_pass(
    params: Params,
    inputs: Float[ArrayLike, "*batch n_in"],
    targets: Float[ArrayLike, "*batch n_out"],
    step: float = 0.5,
    model: Model = Model(),
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
            wanted = 2 * (a - suggested[-1])  # the quadratic cost's derivative
            delta = gradient_through(model.hidden, weighted_sums[number - 1], wanted)
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
    params: Params,
    inputs: Float[ArrayLike, "*batch n_in"],
    targets: Float[ArrayLike, "*batch n_out"],
    model: Model = Model(),
    *,
    count: int | None = 10,
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
    params: Params,
    inputs: Float[ArrayLike, "1"],
    targets: Float[ArrayLike, "1"],
    model: Model = Model(),
    *,
    nudge: float = 0.01,
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
    weighted_sums, activations = forward_pass(params, inputs, model)
    deltas = backward_pass(params, weighted_sums, targets, model)
    dc_da = float(model.cost.of(model.output).derivative(activations[-1], jnp.asarray(targets))[0])
    links = []
    for number in reversed(range(len(params))):
        layer, before = params[number], activations[number]
        sigma = model.activations(len(params))[number]

        def cost(weight: Array, bias: Array, a: Array, number: int = number) -> Array:
            return loss(
                (params[number]._replace(weights=weight, biases=bias), *params[number + 1 :]), a, targets, model
            )

        here = cost(*layer, before)
        measured = [
            float((cost(*nudged) - here) / nudge)
            for nudged in (
                (layer.weights + nudge, layer.biases, before),
                (layer.weights, layer.biases + nudge, before),
                (layer.weights, layer.biases, before + nudge),
            )
        ]
        da_dz = float(gradient_through(sigma, weighted_sums[number], jnp.ones(1))[0])
        dz_dw, dz_db, dz_da = float(before[0]), 1.0, float(layer.weights[0, 0])
        # delta is da_dz dc_da, but finite where an output has rounded to 0 and its cross-entropy falls infinitely fast.
        products = [dz * float(deltas[number][0]) for dz in (dz_dw, dz_db, dz_da)]
        links.append(ChainLink(dz_dw, dz_db, dz_da, da_dz, dc_da, *products, *measured))
        dc_da = products[2]
    return tuple(reversed(links))
