"""fit and epochs: what is learned, that it repeats itself, what is handed out, and when training stops."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from small import (
    BATCH,
    KINDS,
    MODEL,
    PARAMS,
    PICTURES,
    PLAN,
    SETTINGS,
    SGD,
    TABLE,
    WEIGHTED,
    assert_same,
    each_kind,
    mesh_of,
)

from mlp_jax import EpochMetrics, Model, Plan, TrainState, epochs, evaluate, fit, init_params, load_dataset
from mlp_jax.training import start_population


def test_fit_learns_and_says_how():
    """With the settings that it has by default, on real data."""
    mnist = load_dataset().first(1050)
    history = []
    fit(init_params(jax.random.key(0)), mnist, epochs=5, batch_size=10, callback=lambda *both: history.append(both))
    state, last = history[-1]
    assert [metrics.epoch for _, metrics in history] == [1, 2, 3, 4, 5]
    assert last.loss < 0.5 * history[0][1].loss
    assert last.score > 0.7
    assert last[2:4] == evaluate(state.params, mnist.test, Model())[:2]
    assert all(metrics.seconds > 0 for _, metrics in history)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    first, again, other = (fit(PARAMS, TABLE, seed=seed, **SETTINGS).params for seed in (5, 5, 6))
    assert_same(first, again)
    with pytest.raises(AssertionError):
        assert_same(first, other)


DIGEST = """
import hashlib, sys
import jax, numpy as np
jax.config.update("jax_disable_most_optimizations", sys.argv[1] == "True")
jax.config.update("jax_num_cpu_devices", 2)
from small import PARAMS, SETTINGS, TABLE
from mlp_jax import fit
leaves = jax.tree.leaves(fit(PARAMS, TABLE, **SETTINGS).params)
print(hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest())
"""


def test_the_same_bits_in_another_process():
    quick = str(jax.config.values["jax_disable_most_optimizations"])
    command = [sys.executable, "-c", DIGEST, quick]
    printed = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout
    leaves = jax.tree.leaves(fit(PARAMS, TABLE, **SETTINGS).params)
    assert printed.strip() == hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest()


@pytest.mark.parametrize("settings", [{}, {"mesh": mesh_of("batch")}, {"stream": 32}], ids=["plain", "mesh", "stream"])
def test_what_the_callback_gets_is_its_own_to_keep_and_a_true_answer_stops(settings):
    kept = []

    def keep(state, metrics):
        kept.append(state)
        return metrics.epoch == 2

    final = fit(PARAMS, TABLE, callback=keep, **SETTINGS | settings | {"epochs": 5})
    assert [int(state.epoch) for state in kept] == [1, 2]
    assert_same(final, kept[-1])
    with pytest.raises(AssertionError):
        assert_same(kept[0].params, kept[1].params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((PARAMS, kept)))  # none was donated


def test_epochs_checks_at_once_and_trains_when_asked():
    start = TrainState.start(PARAMS, SGD)
    with pytest.raises(ValueError, match="number of epochs is 0"):
        epochs(start, TABLE, PLAN, until=0)
    running = epochs(start, TABLE, PLAN, until=2)
    assert [metrics.epoch for _, metrics in running] == [1, 2]
    assert list(epochs(start._replace(epoch=np.int32(2)), TABLE, PLAN, until=2)) == []


BAD = {
    "there are 2 seeds for 1 members": {"seed": (1, 2)},
    "to be augmented, but they are streamed, which would need all in memory": {"augment": max, "stream": 32},
    "examples are to be streamed to a population: train one network": {
        "stream": 32,
        "population": True,
    },
    "to be augmented, but they are the same for 2 seeds": {"augment": max, "population": True, "seed": (1, 2)},
}


@pytest.mark.parametrize("message", BAD)
def test_settings_that_do_not_go_together_are_refused(message):
    settings = dict(BAD[message])
    start = TrainState.start(PARAMS, SGD)
    if settings.pop("population", False):
        start = start_population(jax.tree.map(lambda leaf: np.stack([leaf, leaf]), PARAMS), SGD)
    with pytest.raises(ValueError, match=message):
        epochs(start, TABLE, PLAN, **settings)


@each_kind
def test_examples_held_out_are_evaluated_in_place_of_the_test_examples(kind):
    history, data = [], KINDS[kind]
    state = fit(PARAMS, data, validation=8, callback=lambda *both: history.append(both), **SETTINGS)
    split = data.held_out(8)
    assert_same(state, fit(PARAMS, split, **SETTINGS))
    found, expected = history[-1][1], evaluate(state.params, split.test, MODEL)
    assert found.test_loss == pytest.approx(expected.loss, rel=1e-5)
    assert found.score == pytest.approx(expected.score, rel=1e-5)


@pytest.mark.parametrize("data", [WEIGHTED, TABLE])
def test_patience_stops_and_returns_the_best(data):
    """After three epochs without a lower cost of the examples held out."""
    kept = []
    state = fit(
        PARAMS,
        data,
        validation=8,
        patience=3,
        callback=lambda *both: kept.append(both),
        **SETTINGS | {"epochs": 200},
    )
    losses = [metrics.test_loss for _, metrics in kept]
    best = int(np.argmin(losses))
    assert len(losses) == best + 4 < 200
    assert_same(state, kept[best][0])
    waits = [epoch - int(np.argmin(losses[: epoch + 1])) for epoch in range(len(losses))]
    assert max(waits[:-1]) < 3 == waits[-1]


def test_patience_that_is_never_lost_returns_the_best_too():
    kept = []
    state = fit(PARAMS, WEIGHTED, validation=8, patience=99, callback=lambda *both: kept.append(both), **SETTINGS)
    assert len(kept) == 2
    assert_same(state, kept[int(np.argmin([metrics.test_loss for _, metrics in kept]))][0])


@pytest.mark.parametrize(("patience", "validation"), [(0, 8), (-1, 8), (3, 0)])
def test_patience_needs_examples_held_out(patience, validation):
    message = f"the patience is {patience} epochs with {validation} examples held out: expected 1 or more of both"
    with pytest.raises(ValueError, match=message):
        fit(PARAMS, TABLE, patience=patience, validation=validation, **SETTINGS)


def test_more_examples_than_there_are_cannot_be_held_out():
    for validation in (-1, 46):
        with pytest.raises(ValueError, match=f"{validation} training examples are to be held out: expected 1 to 45"):
            fit(PARAMS, TABLE, validation=validation, **SETTINGS)


@pytest.mark.slow
def test_the_default_run_reaches_its_accuracy():
    """Median over seeds 0 to 7 of the test accuracy after 30 epochs of 784-16-16-10 with its default settings."""
    mnist, accuracies = load_dataset(), []
    for seed in range(8):
        fit(init_params(jax.random.key(seed)), mnist, seed=seed, callback=lambda _, m: accuracies.append(m.score))
    print("test accuracy of seeds 0 to 7:", accuracies[29::30])
    assert np.median(accuracies[29::30]) >= 0.947


def noisy(inputs, seed):
    """Other inputs for every seed."""
    noise = np.random.default_rng(seed).integers(0, 32, inputs.shape)
    return inputs ^ noise.astype(np.uint8) if inputs.dtype == np.uint8 else inputs + noise.astype(inputs.dtype) / 16


@pytest.mark.usefixtures("an_epoch_a_call")
@pytest.mark.parametrize("data", [PICTURES, TABLE])
def test_augmented_inputs_are_those_of_their_epoch(data):
    state = fit(PARAMS, data, augment=noisy, **SETTINGS)
    by_hand = TrainState.start(PARAMS, SGD)
    for epoch in range(2):
        shown = replace(data, train=replace(data.train, inputs=noisy(data.train.inputs, (0, epoch, 0, 1))))
        by_hand = fit(by_hand, shown, **SETTINGS | {"epochs": epoch + 1})
    assert_same(state, by_hand)
    half = fit(PARAMS, data, augment=noisy, **SETTINGS | {"epochs": 1})
    assert_same(fit(half, data, augment=noisy, **SETTINGS), state)


def test_no_epoch_is_left_for_a_state_that_has_them_behind_it():
    state = fit(PARAMS, PICTURES, **SETTINGS)
    for augment in (None, lambda inputs, seed: inputs):
        assert list(epochs(state, PICTURES, Plan(MODEL, SETTINGS["optimizer"], BATCH), 2, augment=augment)) == []


def test_a_rule_that_takes_no_weights_is_refused_at_once():
    def rule(params, inputs, targets, model):
        raise AssertionError("it is never called")

    with pytest.raises(ValueError, match="the examples have weights, but the gradient rule rule takes none"):
        epochs(TrainState.start(PARAMS, SGD), WEIGHTED, Plan(MODEL, SGD, BATCH, rule))


def test_the_best_and_the_spread_of_a_population_whose_errors_overflowed():
    metrics = EpochMetrics(1, np.ones(3), np.ones(3), np.array([-np.inf, np.nan, -np.inf]), np.ones(3), 1.0)
    assert (metrics.best, metrics.ranking.tolist()) == (0, [0, 2])
    assert metrics.spread == (-np.inf, -np.inf, -np.inf)
