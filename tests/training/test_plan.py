"""What stays the same from epoch to epoch: when two plans are one, and what cannot be trained."""

import jax
import numpy as np
import optax
import pytest
from small import (
    FLOATS,
    MODEL,
    NUMBERS,
    PARAMS,
    PICTURES,
    PLAN,
    SETTINGS,
    SGD,
    SIZES,
    TABLE,
    make_data,
    mesh_of,
)

from mlp_jax import (
    Model,
    Plan,
    TrainState,
    backprop,
    cross_entropy,
    fit,
    identity,
    init_params,
    loss,
    make_optimizer,
    sigmoid,
    tanh,
)
from mlp_jax.training import count_steps, little, train_epoch, train_population
from mlp_jax.training.little import train_epochs
from mlp_jax.training.population import fit_population, init_population


def test_plans_are_equal_if_they_compute_the_same_steps():
    optimizer = optax.sgd(0.1)
    same = [Plan(Model(), optimizer, 8, backprop) for _ in range(2)]
    assert same[0] == same[1]
    assert len({*same}) == 1
    of_rates = {Plan(Model(), make_optimizer("sgd", rate, "cosine", steps)) for rate, steps in ((0.1, 5), (3.0, 7))}
    assert len(of_rates) == 1
    others = [
        Plan(Model(tanh), optimizer, 8),
        Plan(Model(), optax.sgd(0.1), 8),
        Plan(Model(), optimizer, 9),
        Plan(Model(), optimizer, 8, jax.grad(loss)),
        Plan(Model(), optimizer, 8, mesh=mesh_of("batch")),
        "a plan",
    ]
    assert all(same[0] != other for other in others)


@pytest.mark.parametrize("work", [0, 2**25])
def test_other_rates_run_the_program_that_is_compiled(work, monkeypatch):
    """Another learning rate, length of the schedule and weight decay, for one network and for a population."""
    population = init_population(range(2), SIZES)
    settings = SETTINGS | {"epochs": 1}
    compiled, programs = [], (train_epoch, train_population) if work == 0 else (train_epochs,)
    monkeypatch.setattr(little, "WORK", work)
    for number in (1, 2, 3):
        for schedule, steps in (("constant", None), ("cosine", 10 * number)):
            optimizer = make_optimizer("sgd", 0.001 * number, schedule, steps, weight_decay=0.1 * number)
            fit(PARAMS, TABLE, **settings | {"optimizer": optimizer})
            rates = {"learning_rate": [0.001 * number, 0.1], "weight_decay": [0, 0.1 * number]}
            fit_population(population, TABLE, hyperparams=rates, **settings | {"optimizer": optimizer})
            compiled.append([program._cache_size() for program in programs])
    assert compiled == [compiled[0]] * 6


def test_the_updates_of_an_epoch_are_counted():
    assert [count_steps(3, examples, 8) for examples in (1, 8, 9, 16)] == [3, 3, 6, 6]


BAD = {
    r"sizes are \(7, 4, 3\), but the data have 6 inputs and 3 classes: let the sizes start at 6 and end at 3": {
        "params": init_params(jax.random.key(0), (7, 4, 3))
    },
    r"sizes are \(6, 4, 2\), but the data have 6 inputs and 3 columns of targets: .* end at 3": {
        "params": init_params(jax.random.key(0), (6, 4, 2)),
        "dataset": TABLE,
    },
    "batch size is 0: expected 1 or more": {"batch_size": 0},
    "batch size is 47: expected 1 to 46, the number of training examples": {"batch_size": 47},
    "number of epochs is 0: expected 1 or more": {"epochs": 0},
    "seed is -1: expected 0 to": {"seed": -1},
    "seed is 4294967296: expected 0 to": {"seed": 2**32},
    "targets are from -[0-9.]+ to [0-9.]+, but the cost takes 0 to 1: use the quadratic cost": {
        "model": Model(tanh, sigmoid, cross_entropy),
        "dataset": TABLE,
    },
    "targets are from -[0-9.]+ to [0-9.]+, but the output activation gives 0 to 1: use the output activation id": {
        "model": Model(),
        "dataset": TABLE,
    },
    "batch size is 7, which does not divide over the 2 devices of the mesh's axis batch": {
        "batch_size": 7,
        "mesh": mesh_of("batch"),
    },
    "number of training examples is 45, which does not divide over the 2 devices": {
        "dataset": PICTURES.first(45),
        "mesh": mesh_of("batch"),
    },
    "mesh has the axes data: expected no other than batch": {"mesh": mesh_of("data")},
    "mesh has the axes population, batch: expected no other than batch": {"mesh": mesh_of("population", "batch")},
}


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_trained_is_refused(message):
    settings = {"params": PARAMS, "dataset": PICTURES} | SETTINGS | BAD[message]
    with pytest.raises(ValueError, match=message):
        fit(settings.pop("params"), settings.pop("dataset"), **settings)


def test_targets_at_the_ends_of_the_domain_train():
    data = make_data(FLOATS, (NUMBERS > 0).astype(np.float32))
    state = fit(PARAMS, data, Model(tanh, sigmoid, cross_entropy), epochs=1, batch_size=46)
    assert int(state.epoch) == 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_a_state_that_training_cannot_go_on_from_is_refused():
    state = TrainState.start(PARAMS, SGD)._replace(epoch=np.int32(1))
    with pytest.raises(ValueError, match="1 of 1 epochs are behind the state already, and none is left: ask for more"):
        fit(state, TABLE, **SETTINGS | {"epochs": 1})
    with pytest.raises(ValueError, match="the state is one of another optimiser: it remembers .* but this one"):
        fit(state, TABLE, **SETTINGS | {"optimizer": optax.adam(0.1)})


def test_a_model_of_values_is_made_of_those_of_the_state():
    state = TrainState(PARAMS, (), np.int32(0), {"hidden": sigmoid, "output": identity})
    assert Plan(Model, SGD).model_of(state) == Model(sigmoid, identity)
    assert PLAN.model_of(state) == MODEL


def test_a_state_shows_shapes_and_counts():
    layer = "(Layer(weights=float32[2, 3], biases=float32[2]),)"
    state = TrainState.start(init_params(jax.random.key(0), (3, 2)), optax.adam(0.1))
    assert repr(state) == f"TrainState(epoch=0, params={layer}, optimizer_state=<17 numbers>)"
    members = state._replace(epoch=np.zeros(8, np.int32), model_params={"slope": np.ones(8)})
    assert repr(members).startswith("TrainState(epoch=int32[8], ")
    assert repr(members).endswith("<17 numbers>, model_params=slope)")
    seen = []
    jax.make_jaxpr(lambda state: seen.append(repr(state)))(state)
    assert f"params={layer}, optimizer_state=<17 numbers>" in seen[0]
    assert "epoch=None" in repr(jax.tree.map(lambda _: None, state))
