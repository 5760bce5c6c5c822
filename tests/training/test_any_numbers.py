"""Every kind of examples through every way of training: the numbers of a training in NumPy."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import (
    BATCH,
    CLASSES,
    DRAW,
    FLOATS,
    KINDS,
    MODEL,
    NUMBERS,
    PARAMS,
    PLAN,
    RATE,
    SETTINGS,
    SGD,
    SIZES,
    TABLE,
    TRAIN,
    WEIGHTED,
    WEIGHTS,
    arrays_of,
    assert_close,
    assert_same,
    assert_trained,
    each_kind,
    epoch_by_numpy,
    make_data,
    member_of,
    mesh_of,
    one_device_order,
    two_devices_order,
)

from mlp_jax import (
    Dataset,
    Model,
    TrainState,
    cross_entropy,
    epochs,
    fit,
    fit_population,
    init_population,
    make_optimizer,
    sigmoid,
    tanh,
)
from mlp_jax.training import member, start_population

POPULATION = init_population((5, 0, 3, 1), SIZES)
RATES = np.float32([0.5, 1, 2, 0.1]) * RATE
WAYS = {"one device": {}, "stream": {"stream": 32}, "mesh": {"mesh": mesh_of("batch")}}


def history_of(data, train=fit, params=PARAMS, **settings):
    history = []
    train(params, data, **SETTINGS | settings, callback=lambda *both: history.append(both))
    return history


@pytest.mark.parametrize("way", WAYS)
@each_kind
def test_one_network(kind, way):
    """The last mini-batch is smaller; of the weights some are 0."""
    history = history_of(KINDS[kind], **WAYS[way])
    assert_trained(history, KINDS[kind], two_devices_order if way == "mesh" else one_device_order)


@pytest.mark.parametrize("axes", [None, ("population",), ("batch", "population")], ids=str)
@pytest.mark.parametrize("seed", [7, (7, 8, 9, 10)], ids=["shared", "own"])
@each_kind
def test_a_population(kind, seed, axes):
    """Members with rates of their own, on mini-batches of all or of their own."""
    if axes and (seed == 7) == (kind in ("pixels-classes", "floats-numbers")):
        return  # on meshes half of the pairs, each kind and each of both ways of drawing with some of them
    mesh = mesh_of(*axes) if axes else None
    settings = {"hyperparams": {"learning_rate": RATES}, "seed": seed, "mesh": mesh}
    history = history_of(KINDS[kind], fit_population, POPULATION, **settings)
    draw = two_devices_order if axes and axes[0] == "batch" else one_device_order
    for number in (0, 3):
        mine = seed if seed == 7 else seed[number]
        assert_trained(
            member_of(history, number),
            KINDS[kind],
            lambda epoch, mine=mine: draw(epoch, mine),
            params=member(POPULATION, number),
            rate=float(RATES[number]),
        )


@each_kind
@pytest.mark.parametrize("population", [False, True])
def test_resuming(kind, population):
    """From a state as it lies on a disk; its rates are those of the arguments, here the same."""
    train, params = (fit_population, POPULATION) if population else (fit, PARAMS)
    whole = history_of(KINDS[kind], train, params)
    rest = history_of(KINDS[kind], train, jax.tree.map(np.asarray, whole[0][0]))
    assert_same(rest[-1][0], whole[-1][0])
    assert_same(rest[-1][1]._replace(seconds=0), whole[-1][1]._replace(seconds=0))


def test_epochs_yields_what_fit_hands_out():
    for start, train, params in (
        (TrainState.start(PARAMS, SGD), fit, PARAMS),
        (start_population(POPULATION, SGD), fit_population, POPULATION),
    ):
        found = list(epochs(start, WEIGHTED, PLAN, until=2))
        for (state, metrics), (other, others) in zip(found, history_of(WEIGHTED, train, params), strict=True):
            assert_same((state, metrics._replace(seconds=0)), (other, others._replace(seconds=0)))


def test_a_mini_batch_of_negative_numbers_is_not_its_first_row():
    """Reading a batch before it is used, which makes it come sooner, relies on bytes of 0 or more."""
    data = make_data(-abs(FLOATS) - 1, NUMBERS.astype(np.float32))
    assert_trained(history_of(data), data)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_inputs_of_other_types(dtype):
    data = make_data(FLOATS.astype(dtype), NUMBERS)
    assert_trained(history_of(data), data)


def test_float16_weights_whose_sum_is_beyond_float16():
    weights = np.full(len(FLOATS), 3e4, np.float16)
    weights[::3] = 0
    data = make_data(FLOATS, NUMBERS, weights)
    assert_trained(history_of(data), data)
    assert_trained(history_of(data, stream=32), data)


@pytest.mark.parametrize("way", WAYS)
def test_a_chunk_of_examples_that_do_not_count(way):
    """Those of the first 20 steps of the order: mini-batches, and of a stream a chunk, whose weights are all 0."""
    weights = WEIGHTS.copy()
    weights[two_devices_order(0)[:40] if way == "mesh" else one_device_order(0)[:40]] = 0
    data = make_data(FLOATS, CLASSES, weights)
    history = history_of(data, epochs=1, **WAYS[way])
    assert_trained(history, data, two_devices_order if way == "mesh" else one_device_order)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("way", ["one device", "mesh"])
def test_parameters_of_few_bits_train(dtype, way):
    """To the few digits that they have; the rates, which count the steps of an epoch, are float32.

    What the optimiser remembers of gradients (here without effect) keeps its dtype too.
    """
    optimizer = optax.chain(optax.trace(0.0), SGD)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), PARAMS)
    (state, metrics), *_ = history_of(WEIGHTED, params=params, epochs=1, optimizer=optimizer, **WAYS[way])
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(dtype)}
    assert {leaf.dtype for leaf in state.optimizer_state[1].hyperparams.values()} == {jnp.dtype("float32")}
    order = two_devices_order if way == "mesh" else one_device_order
    expected, cost = epoch_by_numpy(PARAMS, WEIGHTED.train, order(0))
    assert_close(state.params, expected, 4 * float(jnp.finfo(dtype).eps))
    assert metrics.loss == pytest.approx(cost, rel=0.02)


@pytest.mark.usefixtures("float64")
def test_a_weight_of_2_is_the_example_twice_and_one_of_0_is_none():
    """In steps on all examples, on one device and on two."""
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), PARAMS)
    sgd = make_optimizer("sgd", RATE)
    counts = DRAW.choice([0, 1, 2], TRAIN)
    table = TABLE.train.rows(slice(None))
    settings = {"model": MODEL, "optimizer": sgd, "epochs": 3}

    def trained(examples, **more):
        kept = []
        fit(params, Dataset(examples, examples), callback=lambda *both: kept.append(both), **settings, **more)
        return [(state.params, metrics.loss, metrics.test_loss, metrics.score, metrics.rmse) for state, metrics in kept]

    expected = trained(table.rows(np.repeat(np.arange(TRAIN), counts)), batch_size=int(counts.sum()))
    weighted = replace(table, weights=counts.astype(np.float32))
    for mesh in (None, mesh_of("batch")):
        assert_close(trained(weighted, batch_size=TRAIN, mesh=mesh), expected, 1e-12)


PEERS = {"regression": (MODEL, NUMBERS), "classification": (Model(tanh, sigmoid, cross_entropy), CLASSES)}


def twenty_epochs(name):
    """Of float inputs in float64: the data, the initial parameters and the final ones."""
    model, targets = PEERS[name]
    data = make_data(FLOATS.astype(np.float64), targets)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), PARAMS)
    settings = SETTINGS | {"model": model, "optimizer": make_optimizer("sgd", RATE), "epochs": 20}
    return data, params, fit(params, data, **settings).params


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.usefixtures("float64")
def test_twenty_epochs_are_those_of_numpy(name):
    data, expected, found = twenty_epochs(name)
    last = {"output": "sigmoid", "cost": "cross_entropy"} if name == "classification" else {}
    for epoch in range(20):
        expected, _ = epoch_by_numpy(expected, data.train, one_device_order(epoch), **last)
    assert_close(found, expected, 1e-10)


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.usefixtures("float64")
def test_twenty_epochs_are_those_of_pytorch(name):
    torch = pytest.importorskip("torch")
    data, params, found = twenty_epochs(name)
    inputs, targets, _ = (torch.tensor(array) for array in arrays_of(data.train))
    leaves = [torch.tensor(np.array(leaf), requires_grad=True) for leaf in jax.tree.leaves(params)]
    optimizer = torch.optim.SGD(leaves, lr=RATE)
    for epoch in range(20):
        order = torch.tensor(one_device_order(epoch).astype(np.int64))
        for batch in order.split(BATCH):
            hidden = torch.tanh(torch.nn.functional.linear(inputs[batch], *leaves[:2]))
            z = torch.nn.functional.linear(hidden, *leaves[2:])
            if name == "regression":
                costs = (z - targets[batch]) ** 2
            else:
                costs = torch.nn.functional.binary_cross_entropy_with_logits(z, targets[batch], reduction="none")
            optimizer.zero_grad()
            costs.sum(dim=1).mean().backward()
            optimizer.step()
    assert_close(jax.tree.leaves(found), [leaf.detach().numpy() for leaf in leaves], 1e-10)
