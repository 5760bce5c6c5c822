"""Many epochs in one call: the numbers of an epoch a call, and one program for examples of almost any number."""

from itertools import pairwise

import jax
import numpy as np
import optax
import pytest
from small import (
    BATCH,
    FLOATS,
    KINDS,
    MODEL,
    NUMBERS,
    PARAMS,
    PICTURES,
    SETTINGS,
    SIZES,
    TABLE,
    WEIGHTED,
    assert_close,
    assert_same,
    each_kind,
)

from mlp_jax import (
    Dataset,
    DivergenceError,
    Examples,
    Plan,
    TrainState,
    backprop,
    epochs,
    fit,
    fit_population,
    init_params,
    init_population,
    make_optimizer,
)
from mlp_jax.gradients import rules
from mlp_jax.training import little
from mlp_jax.training.little import EPOCHS, is_little, padded, train_epochs

MANY = SETTINGS | {"epochs": 2 * EPOCHS + 3}
ADAM = make_optimizer("adam", 0.01)


def history(data, start=PARAMS, **settings):
    kept = []
    fit(start, data, callback=lambda *both: kept.append(both), **MANY | settings)
    return kept


@pytest.mark.parametrize("batch_size", [BATCH, 46])
@pytest.mark.usefixtures("float64")
@each_kind
def test_epochs_of_one_call_are_those_of_a_call_each(kind, batch_size, monkeypatch):
    """With a last mini-batch that is smaller, and with all examples in one; weighted and not."""
    start = jax.tree.map(lambda leaf: leaf.astype(np.float64), PARAMS)
    found = history(KINDS[kind], start, batch_size=batch_size)
    monkeypatch.setattr(little, "WORK", 0)
    expected = history(KINDS[kind], start, batch_size=batch_size)
    assert [metrics.epoch for _, metrics in found] == list(range(1, MANY["epochs"] + 1))
    for (state, metrics), (other, others) in zip(found, expected, strict=True):
        assert int(state.epoch) == metrics.epoch
        assert_close(state.params, other.params, 1e-6)
        np.testing.assert_allclose(metrics[1:4], others[1:4], rtol=1e-6)


@pytest.mark.parametrize("at", [1, EPOCHS, EPOCHS + 5])
def test_training_goes_on_to_the_same_bits_from_any_epoch(at):
    whole = history(WEIGHTED)
    half = fit(PARAMS, WEIGHTED, **MANY | {"epochs": at})
    assert_same(half, whole[at - 1][0])
    rest = history(WEIGHTED, half)
    for (state, metrics), (other, others) in zip(rest, whole[at:], strict=True):
        assert_same((state, metrics._replace(seconds=0)), (other, others._replace(seconds=0)))


def test_a_population_is_its_members():
    """With orders of their own, and rates, one of which is too high."""
    seeds, rates = range(3, 7), [0.001, 0.002, 1e30, 0.003]
    settings = MANY | {"hyperparams": {"learning_rate": rates}}
    state, metrics = fit_population(init_population(seeds, SIZES), TABLE, seed=list(seeds), **settings)
    assert np.isnan([metrics.loss, metrics.test_loss, metrics.score, metrics.rmse]).tolist() == [[0, 0, 1, 0]] * 4
    for number in (0, 3):
        alone = init_population(seeds, SIZES)
        start = jax.tree.map(lambda leaf, number=number: leaf[number], alone)
        optimizer = make_optimizer("sgd", rates[number])
        expected, last = history(TABLE, start, seed=seeds[number], optimizer=optimizer)[-1]
        assert_close(jax.tree.map(lambda leaf, number=number: leaf[number], state.params), expected.params, 1e-4)
        assert metrics.test_loss[number] == pytest.approx(last.test_loss, rel=1e-4)


def test_divergence_in_the_middle_of_a_call():
    rate, kept = optax.piecewise_constant_schedule(0.002, {6 * 20: 1e30}), []
    settings = MANY | {"optimizer": optax.sgd(rate), "callback": lambda *both: kept.append(both)}
    with pytest.raises(DivergenceError, match=r"in epoch 21 .*, first the .* in mini-batch \d of 6") as error:
        fit(PARAMS, TABLE, **settings)
    assert [metrics.epoch for _, metrics in kept] == list(range(1, 21))
    assert_same(error.value.state, kept[-1][0])


def test_the_callback_stops_in_the_middle_of_a_call():
    whole = history(PICTURES)
    state = fit(PARAMS, PICTURES, callback=lambda _, metrics: metrics.epoch == 5, **MANY)
    assert_same(state, whole[4][0])


def test_the_best_epoch_is_that_of_the_lowest_cost_of_examples_held_out():
    kept = history(TABLE, validation=10, optimizer=make_optimizer("sgd", 0.02))
    costs = [metrics.test_loss for _, metrics in kept]
    settings = MANY | {"validation": 10, "patience": 100, "optimizer": make_optimizer("sgd", 0.02)}
    assert_same(fit(PARAMS, TABLE, **settings), kept[int(np.argmin(costs))][0])


def test_other_numbers_of_examples_run_the_program_that_is_compiled():
    """Within an eighth of a doubling; and whether a mini-batch has all of them or not, of training, rates and decay."""

    def train(count, test, batch_size, **settings):
        data = Examples(FLOATS, NUMBERS.astype(np.float32))
        dataset = Dataset(data.rows(slice(count)), data.rows(slice(50, 50 + test)))
        fit(PARAMS, dataset, **MANY | {"batch_size": batch_size, **settings})
        return train_epochs._cache_size()

    first = train(44, 3, 8)
    assert [train(count, 3, 8, seed=count, epochs=count) for count in (45, 46, 47)] == [first] * 3
    whole = train(44, 3, 44)
    assert [train(count, 3, count) for count in (45, 46, 47)] == [whole] * 3


def test_examples_are_padded_to_eight_sizes_in_a_doubling():
    data = Examples(np.arange(1000.0)[:, None], np.arange(1000))
    sizes = [len(padded(data.rows(slice(count)), 1)) for count in range(1, 1000)]
    for doubling in range(4, 9):
        assert len({size for size in sizes if 2**doubling < size <= 2 ** (doubling + 1)}) == 8
    assert all(size > count for count, size in enumerate(sizes, start=1))
    assert all(size <= other for size, other in pairwise(sizes))
    longer = padded(data.rows(slice(21)))
    np.testing.assert_array_equal(longer.weights, [1] * 21 + [0])
    np.testing.assert_array_equal(longer.inputs[:, 0], [*range(21), 0])


def test_what_is_little():
    """Not on a mesh, with a rule that takes no weights, with random keys, large networks or many mini-batches."""

    def answer(params=PARAMS, optimizer=ADAM, mesh=None, rule=backprop, data=TABLE):
        plan = Plan(MODEL, optimizer, BATCH, rule, mesh)
        return is_little(TrainState.start(params, optimizer), data, plan)

    assert answer()
    assert not answer(mesh=jax.make_mesh((1,), ("batch",), devices=jax.devices()[:1]))
    assert not answer(rule=lambda params, inputs, targets, model: params)
    assert answer(rule=rules.sign_symmetric)
    assert not answer(optimizer=optax.noisy_sgd(0.1, key=jax.random.key(0)))
    wide = init_params(jax.random.key(0), (6, 20_000, 3))
    assert not answer(wide, data=TABLE)  # 16 states of Adam
    long = Examples(np.zeros((2**12, 6)), np.zeros(2**12, np.int64))
    assert not answer(data=Dataset(long, long))


def test_states_may_be_kept_and_are_on_the_device():
    start = TrainState.start(PARAMS, SETTINGS["optimizer"])
    states = [state for state, _ in epochs(start, TABLE, Plan(MODEL, SETTINGS["optimizer"], BATCH), until=3)]
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(states))
    assert_same(states[1], fit(PARAMS, TABLE, **SETTINGS))
