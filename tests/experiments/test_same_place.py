"""same-place: walks against gradient descent in plain JAX, lines and distances against NumPy."""

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from subjects import DATA, IMAGES, LABELS, MODEL

from mlp_jax import init_params, loss
from mlp_jax.experiments import claim_of, same_place
from mlp_jax.experiments.subject import SIZES
from mlp_jax.training import epoch_order

SETTINGS = {"BATCH": 10, "RATE": 0.5, "LOOKS": 3, "EVERY": 2, "STARTS": (0, 1), "ORDERS": (0, 1), "ALONG": 3}
INPUTS, TARGETS = np.float32(IMAGES / 255), np.eye(3, dtype=np.float32)[LABELS]
cost, gradient = jax.jit(loss), jax.jit(jax.grad(loss))


@pytest.fixture(scope="module")
def measured():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setattr(same_place, name, value)
        return same_place.measure(DATA)


def walked(seed, batches):
    """Where plain gradient descent begins and ends, flat, and the cost there."""
    params = init_params(jax.random.key(seed), (16, *SIZES[1:-1], 3))
    start = ravel_pytree(params)[0]
    for batch in batches:
        slope = gradient(params, INPUTS[batch], TARGETS[batch], MODEL)
        params = jax.tree.map(lambda p, g: p - SETTINGS["RATE"] * g, params, slope)
    return start, ravel_pytree(params)[0], float(cost(params, INPUTS, TARGETS, MODEL))


def test_walkers_end_where_descent_does(measured):
    assert (measured.images, measured.steps) == (30, 6)
    batches = np.concatenate([epoch_order(1, epoch, 30).reshape(3, 10) for epoch in range(2)])
    start, careful, low = walked(0, [np.arange(30)] * 6)
    _, stumbling, other_low = walked(0, batches)
    np.testing.assert_allclose(measured.cost[0, [0, 2], -1], [low, other_low], rtol=1e-5)
    went = [np.linalg.norm(end - start) for end in (careful, stumbling)]
    np.testing.assert_allclose(measured.went[0, [0, 2]], went, rtol=1e-4)
    assert measured.apart[0, 1] == pytest.approx(float(np.linalg.norm(stumbling - careful)), rel=1e-3)
    unravel = ravel_pytree(init_params(jax.random.key(0), (16, *SIZES[1:-1], 3)))[1]
    middle = float(cost(unravel((careful + stumbling) / 2), INPUTS, TARGETS, MODEL))
    np.testing.assert_allclose(measured.between[0, 1], [low, middle, other_low], rtol=1e-5)
    _, far, _ = walked(1, [np.arange(30)] * 6)
    np.testing.assert_allclose(measured.others, [np.linalg.norm(far - careful)], rtol=1e-4)


def test_a_rise_is_counted_from_the_higher_end():
    np.testing.assert_allclose(same_place.rise(np.array([[1.0, 3, 2], [2, 1, 1]])), [1.5, 1])


@pytest.mark.parametrize(
    ("cost", "apart", "top", "fails"),
    [
        (1.05, 1.0, 1.0, []),
        (1.2, 1.0, 1.0, ["end at about the same cost"]),
        (1.0, 3.0, 1.0, ["end in the same place"]),
        (1.0, 1.0, 1.2, ["one valley between them"]),
    ],
)
def test_each_part_can_fail(measured, cost, apart, top, fails):
    numbers = measured._replace(
        cost=np.array([[[9.0, 1.0], [9.0, cost]]]),
        went=np.array([[20.0, 20.0]]),
        apart=np.array([[apart]]),
        between=np.array([[[1.0, top, 1.0]]]),
    )
    finding = same_place.judge(numbers)
    assert list(finding.parts) == list(claim_of("same-place").criteria)
    assert [name for name, holds in finding.parts.items() if not holds] == fails


def test_the_figure_names_its_axes(measured):
    on_the_way, places, line = same_place.draw(measured).axes
    assert on_the_way.get_ylabel() == line.get_ylabel() == "cost of all images"
    assert places.get_ylabel() == "units of a parameter"
