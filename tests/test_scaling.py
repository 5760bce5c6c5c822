"""Scalings of columns, against scikit-learn's, and folded into a network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.preprocessing import RobustScaler, StandardScaler

from mlp_jax import Model, feedforward, init_params
from mlp_jax.scaling import Scaling, folded, robust_scaling, standard_scaling

RANDOM = np.random.default_rng(0)
COLUMNS = RANDOM.normal(size=(50, 4)) * [1, 1e-3, 1e6, 5] + [0, 7, -3e6, 5]


def test_standard_is_scikit_learns():
    weights = RANDOM.uniform(size=50)
    for given in (None, weights):
        expected = StandardScaler().fit(COLUMNS, sample_weight=given)
        np.testing.assert_allclose(standard_scaling(COLUMNS, given)(COLUMNS), expected.transform(COLUMNS), atol=1e-9)


def test_robust_is_scikit_learns_bent_at_3():
    z = RobustScaler().fit_transform(COLUMNS)
    np.testing.assert_allclose(robust_scaling(COLUMNS)(COLUMNS), z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-9)


def test_columns_that_hardly_change():
    """A constant becomes 0; of a column with equal quartiles the range becomes 2."""
    columns = np.stack([np.full(20, 0.1), np.eye(20)[3] * 8], axis=1)
    for scaled in (standard_scaling(columns)(columns), robust_scaling(columns)(columns)):
        np.testing.assert_allclose(scaled[:, 0], 0, atol=1e-12)
    assert robust_scaling(columns)(columns)[3, 1] == pytest.approx(2 / np.sqrt(1 + 4 / 9))


@pytest.mark.parametrize("make", [standard_scaling, robust_scaling])
def test_undo_gives_the_columns_back(make):
    scaling = make(COLUMNS)
    np.testing.assert_allclose(scaling.undo(scaling(COLUMNS)), COLUMNS, rtol=1e-9)


def test_it_is_a_pytree_of_its_numbers():
    scaling = robust_scaling(COLUMNS)
    assert len(jax.tree.leaves(scaling)) == 2
    double = jax.tree.map(lambda leaf: 2 * leaf, scaling)
    assert double.clip == 3
    np.testing.assert_array_equal(double.scale, 2 * scaling.scale)


def test_folded_parameters_take_inputs_as_they_are(float64):
    params, scaling = init_params(jax.random.key(0), (4, 3, 2), dtype=jnp.float64), standard_scaling(COLUMNS)
    expected = feedforward(params, jnp.asarray(scaling(COLUMNS)), Model())
    for fold in (folded, jax.jit(folded)):
        np.testing.assert_allclose(
            feedforward(fold(params, scaling), jnp.asarray(COLUMNS), Model()), expected, rtol=1e-9
        )


def test_what_cannot_be_folded_is_refused():
    params = init_params(jax.random.key(0), (4, 3, 2))
    with pytest.raises(ValueError, match=r"the scaling clips at 3.0: only a linear one"):
        folded(params, robust_scaling(COLUMNS))
    with pytest.raises(ValueError, match=r"shift \(3,\) and scale \(3,\): expected \(4,\)"):
        folded(params, Scaling(np.zeros(3), np.ones(3)))
