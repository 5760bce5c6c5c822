"""Optimisers by name, and when one thread is enough."""

import os

import jax.numpy as jnp
import optax
import pytest

from mlp_jax import make_optimizer
from mlp_jax.training import use_one_thread_if_small


def change(optimizer, steps):
    """How far `steps` gradients of 1 move a parameter, step by step."""
    state, changes = optimizer.init(jnp.zeros(1)), []
    for _ in range(steps):
        update, state = optimizer.update(jnp.ones(1), state, jnp.zeros(1))
        changes.append(float(update[0]))
    return changes


def test_plain_sgd_steps_by_the_learning_rate():
    assert change(make_optimizer("sgd", 0.5), 3) == [-0.5, -0.5, -0.5]


def test_the_cosine_falls_from_the_learning_rate_to_zero():
    first, *_, half, _, _, _, _, last = change(make_optimizer("sgd", 2.0, "cosine", 10), 11)
    assert (first, last) == (-2.0, 0.0)
    assert half == pytest.approx(-1.0)


@pytest.mark.parametrize("name", ["adam", "adamw", "lion", "rmsprop", "nadam", "adagrad"])
def test_any_optimiser_of_optax(name):
    assert change(make_optimizer(name, 0.1), 2) == change(getattr(optax, name)(0.1), 2)


def test_the_same_settings_are_the_same_object_so_that_nothing_is_compiled_twice():
    assert make_optimizer("sgd", 0.5, "cosine", 7) is make_optimizer("sgd", 0.5, "cosine", 7)


@pytest.mark.parametrize(
    "name",
    ["sdg", "", "apply_updates", "chain", "polyak_sgd", "lbfgs", "scale", "clip", "scale_by_adam", "freeze", "losses"],
)
def test_what_is_no_optimiser_is_refused(name):
    with pytest.raises(ValueError, match=f"Optax has no optimiser '{name}' .*: try sgd, adam"):
        make_optimizer(name, 0.1)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_learning_rate_that_goes_nowhere_is_refused(rate):
    with pytest.raises(ValueError, match="learning rate is .*: expected a finite number above 0"):
        make_optimizer("sgd", rate)


@pytest.mark.parametrize(("schedule", "steps"), [("cosine", None), ("cosine", 0), ("cosin", 10)])
@pytest.mark.usefixtures("as_installed")
def test_a_schedule_that_cannot_be_is_refused(schedule, steps):
    with pytest.raises(ValueError, match=f"schedule is '{schedule}' over {steps} steps: expected constant, or cosine"):
        make_optimizer("sgd", 0.1, schedule, steps)


@pytest.mark.parametrize(
    ("sizes", "batch", "before", "after"),
    [
        ((784, 16, 16, 10), 100, None, "1"),
        ((784, 16, 16, 10), 100, "4", "4"),
        ((784, 256, 10), 100, None, None),
        ((784, 16, 10), 5000, None, None),
    ],
)
def test_a_small_network_takes_one_thread_unless_told_otherwise(monkeypatch, sizes, batch, before, after):
    monkeypatch.setenv("PJRT_NPROC", before or "")
    if before is None:
        monkeypatch.delenv("PJRT_NPROC")
    use_one_thread_if_small(sizes, batch)
    assert os.environ.get("PJRT_NPROC") == after
