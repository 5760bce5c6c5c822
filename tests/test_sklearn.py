"""The estimators, with scikit-learn as the truth: its checks, its own networks, and what it does with estimators."""

import pickle
import warnings

import jax
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn import config_context, datasets
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score, learning_curve
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import estimator_checks

from mlp_jax.network import Layer
from mlp_jax.sklearn import MLPClassifier, MLPRegressor, _Table
from mlp_jax.training.little import train_epochs

ROUNDING = {"check_sample_weight_equivalence_on_dense_data": "float32 rounds what Adam then makes larger"}
FLOWERS = datasets.load_iris(return_X_y=True)
PATIENTS = datasets.load_diabetes(return_X_y=True)
LABELS = datasets.make_multilabel_classification(150, 6, n_classes=3, random_state=0)
QUICK = {"hidden_layer_sizes": 8, "max_iter": 20, "random_state": 0}
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.usefixtures("as_installed"),  # the checks of settings are the package's own
]


def check_all(estimator, excused=ROUNDING):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator_checks.check_estimator(estimator, expected_failed_checks=excused, on_skip=None)


EARLY = {"early_stopping": True}
MANY = {"n_members": 4}


@pytest.mark.slow
@pytest.mark.usefixtures("hundreds_of_programs")
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("settings", [{}, EARLY, MANY, MANY | EARLY], ids=str)
def test_all_checks_for_one_network_and_a_committee_with_and_without_early_stopping(kind, settings):
    check_all(kind(**settings))
    for excused in ROUNDING:
        getattr(estimator_checks, excused)(kind.__name__, kind(**settings, dtype="float64"))


PEERS = {
    "classes": (MLPClassifier, TheirClassifier, FLOWERS),
    "labels": (MLPClassifier, TheirClassifier, LABELS),
    "numbers": (MLPRegressor, TheirRegressor, PATIENTS),
    "several numbers": (MLPRegressor, TheirRegressor, (PATIENTS[0], PATIENTS[0][:, :2] + PATIENTS[0][:, 2:4])),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", PEERS)
def test_from_the_same_parameters_scikit_learns_network_learns_the_same(name, weighted):
    """Plain gradient descent in batches of all: learning rates, alpha, weights and the cost mean the same."""
    ours, theirs, (X, y) = PEERS[name]
    X = StandardScaler().fit_transform(X)
    y = y if ours is MLPClassifier else StandardScaler().fit_transform(y.reshape(len(y), -1)).squeeze()
    weights = np.random.default_rng(0).integers(0, 4, len(X)).astype(float) if weighted else None
    same = {"hidden_layer_sizes": (5, 4), "activation": "tanh", "alpha": 0.3, "batch_size": len(X), "random_state": 0}
    same |= {"learning_rate_init": 0.1, "n_iter_no_change": 1000, "warm_start": True}
    peer = theirs(solver="sgd", momentum=0, nesterovs_momentum=False, shuffle=False, max_iter=1, **same)
    peer.fit(X, y, sample_weight=weights)
    mine = ours(optimizer="sgd", scaling=None, dtype="float64", max_iter=1, **same).fit(X, y, weights)
    layers = zip(peer.coefs_, peer.intercepts_, strict=True)
    mine.params_ = tuple(Layer(weights.T[None].copy(), biases[None].copy()) for weights, biases in layers)
    if ours is MLPRegressor:  # theirs knows no scaling: undo ours, which differs from 1 if there are weights
        mine.target_scaling_ = type(mine.target_scaling_)(np.zeros(mine.n_outputs_), np.ones(mine.n_outputs_))
    peer.set_params(max_iter=25).fit(X, y, sample_weight=weights)
    mine.set_params(max_iter=25).fit(X, y, weights)
    answers = [each.predict_proba(X) if ours is MLPClassifier else each.predict(X) for each in (mine, peer)]
    np.testing.assert_allclose(*answers, rtol=1e-9, atol=1e-9)
    assert mine.n_iter_ == 25


def test_the_cost_is_scikit_learns():
    model = MLPClassifier(alpha=0, learning_rate_init=1e-9, batch_size=150, **QUICK).fit(*FLOWERS)
    assert model.loss_ == pytest.approx(log_loss(FLOWERS[1], model.predict_proba(FLOWERS[0])), rel=1e-4)


@pytest.mark.parametrize("estimator", [MLPClassifier(), MLPClassifier(n_members=3, early_stopping=True)], ids=str)
def test_training_stops_when_the_cost_no_longer_falls(estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        estimator = clone(estimator).set_params(**QUICK | {"max_iter": 1000, "learning_rate_init": 0.03, "tol": 1e-3})
        estimator.fit(*FLOWERS)
    assert estimator.n_iter_ == len(estimator.loss_curve_) < 1000
    with pytest.warns(ConvergenceWarning, match="still falling after 2 epochs: raise max_iter"):
        clone(estimator).set_params(max_iter=2, n_iter_no_change=1, tol=0).fit(*FLOWERS)


def test_a_committee_is_the_average_of_its_members():
    whole = MLPClassifier(n_members=3, **QUICK).fit(*FLOWERS)
    assert {len(leaf) for leaf in jax.tree.leaves(whole.params_)} == {3}
    answers = []
    for number in range(3):
        alone = pickle.loads(pickle.dumps(whole))
        alone.params_ = jax.tree.map(lambda leaf, number=number: leaf[number : number + 1], whole.params_)
        answers.append(alone.predict_proba(FLOWERS[0]))
    np.testing.assert_allclose(whole.predict_proba(FLOWERS[0]), np.mean(answers, axis=0), rtol=1e-6)
    assert not np.allclose(answers[0], answers[1], atol=1e-3)


def test_members_take_turns_in_what_they_hold_out():
    flowers = MLPClassifier(early_stopping=True, n_members=4, validation_fraction=0.1)
    inputs, classes = FLOWERS
    table = _Table(inputs, inputs, np.append(classes[:-1], 3), np.ones(150))  # the last class has one row
    parts = flowers._held_out(table, np.random.RandomState(0), most=4)
    assert len(parts) == 4
    assert len(np.unique(np.concatenate([out for _, out in parts]))) == sum(len(out) for _, out in parts)
    for kept, out in parts:
        np.testing.assert_array_equal(np.sort(np.append(kept, out)), np.arange(150))
        assert np.bincount(table.targets[out], minlength=4).tolist() in ([5, 5, 4, 0], [5, 5, 5, 0])
    assert len(flowers._held_out(table, np.random.RandomState(0), most=99)) == 10
    flowers.set_params(**QUICK | {"max_iter": 1}, warm_start=True, n_members=12).fit(*FLOWERS)
    before = flowers.params_[0].weights
    assert before.shape == (12, 8, 4)
    after = flowers.set_params(learning_rate_init=1e-6).fit(*FLOWERS).params_[0].weights
    np.testing.assert_allclose(after, before, atol=1e-4)  # each member goes on from itself


def test_members_that_vary_are_chosen_by_the_examples_held_out():
    whole = MLPRegressor(n_members=8, vary=True, early_stopping=True, **QUICK).fit(*PATIENTS)
    assert {len(leaf) for leaf in jax.tree.leaves(whole.params_)} == {2}
    assert whole.validation_loss_[0] <= whole.validation_loss_[1]
    with pytest.raises(ValueError, match="set early_stopping=True"):
        MLPRegressor(vary=True).fit(*PATIENTS)


def test_the_spread_of_the_members_is_there_beside_the_mean():
    model = MLPRegressor(n_members=4, **QUICK).fit(*PATIENTS)
    mean, spread = model.predict(PATIENTS[0], return_std=True)
    np.testing.assert_array_equal(mean, model.predict(PATIENTS[0]))
    assert spread.shape == mean.shape
    assert (spread > 0).all()


@pytest.mark.parametrize("scaling", ["standard", "robust"])
def test_a_weight_of_two_is_the_row_twice(scaling):
    """Held-out rows, scalings and training, in float64."""
    X, y = FLOWERS
    weights = np.random.default_rng(0).integers(0, 3, len(X))
    settings = {
        **QUICK,
        "max_iter": 5,
        "batch_size": 1000,
        "early_stopping": True,
        "dtype": "float64",
        "scaling": scaling,
    }
    repeated = MLPClassifier(**settings).fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    weighted = MLPClassifier(**settings).fit(X, y, weights)
    if scaling == "robust":  # NumPy's percentiles lie between numbers if no weights are given
        np.testing.assert_allclose(weighted.scaling_.shift, repeated.scaling_.shift, rtol=0.05)
    else:
        np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-6)


def test_weights_of_classes():
    X, y = FLOWERS
    few = np.concatenate([np.arange(50), np.arange(50, 55), np.arange(100, 150)])
    weights = np.where(y[few] == 1, 7.0, 0.7)
    by_sample = MLPClassifier(**QUICK).fit(X[few], y[few], weights)
    by_class = MLPClassifier(class_weight={0: 0.7, 1: 7.0, 2: 0.7}, **QUICK).fit(X[few], y[few])
    balanced = MLPClassifier(class_weight="balanced", **QUICK).fit(X[few], y[few])
    np.testing.assert_allclose(by_class.predict_proba(X), by_sample.predict_proba(X), rtol=1e-5)
    np.testing.assert_allclose(balanced.predict_proba(X), by_sample.predict_proba(X), rtol=1e-4)
    with pytest.raises(ValueError, match="class_weight has 7: expected classes of"):
        MLPClassifier(class_weight={7: 1.0}).fit(X, y)


def test_labels():
    X, y = LABELS
    model = MLPClassifier(**QUICK | {"max_iter": 200, "learning_rate_init": 0.01}).fit(X, y)
    assert model.predict(X).shape == model.predict_proba(X).shape == y.shape
    assert (model.predict(X) == y).mean() > 0.8


def test_partial_fit_goes_on():
    X, y = FLOWERS
    model = MLPClassifier(**QUICK | {"learning_rate_init": 0.01})
    for _ in range(100):
        model.partial_fit(X, y, classes=[0, 1, 2])
    assert model.n_iter_ == 100
    assert model.score(X, y) > 0.9
    assert model.loss_curve_[-1] < model.loss_curve_[0] / 2
    with pytest.raises(ValueError, match=r"the classes are \[0 1\], but those of the first call \[0 1 2\]"):
        model.partial_fit(X, y, classes=[0, 1])


def test_a_warm_start_begins_where_the_last_fit_ended():
    model = MLPRegressor(warm_start=True, **QUICK | {"max_iter": 40}).fit(*PATIENTS)
    before = model.loss_
    model.fit(*PATIENTS)
    assert model.loss_curve_[0] < 1.02 * before
    assert model.loss_ < before


def test_pandas_in_and_out_and_names_of_columns():
    X, y = datasets.load_iris(return_X_y=True, as_frame=True)
    names = pd.Series(["setosa", "versicolor", "virginica"])[y].to_numpy()
    model = MLPClassifier(**QUICK).fit(X, names)
    assert model.feature_names_in_.tolist() == X.columns.tolist()
    assert set(model.predict(X)) <= set(names)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X[X.columns[::-1]])
    with config_context(transform_output="pandas"):
        pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), MLPClassifier(**QUICK)).fit(X, names)
    assert pipeline[-1].feature_names_in_.tolist() == X.columns.tolist()


def test_pickles_and_clones_answer_the_same():
    model = MLPClassifier(n_members=2, **QUICK).fit(*FLOWERS)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(FLOWERS[0]), model.predict_proba(FLOWERS[0]))
    np.testing.assert_array_equal(clone(model).fit(*FLOWERS).predict_proba(FLOWERS[0]), model.predict_proba(FLOWERS[0]))


def test_what_scikit_learn_does_with_estimators():
    X, y = FLOWERS
    search = GridSearchCV(MLPClassifier(**QUICK), {"alpha": [1e-4, 1e-2], "learning_rate_init": [0.01, 0.03]}, cv=3)
    compiled = train_epochs._cache_size()
    assert search.fit(X, y).best_score_ > 0.8
    assert train_epochs._cache_size() <= compiled + 2  # for 12 fits of two thirds of the rows, and one of all
    fast = MLPClassifier(**QUICK | {"learning_rate_init": 0.03, "max_iter": 100})
    assert cross_val_score(make_pipeline(StandardScaler(), fast), X, y).min() > 0.8
    assert learning_curve(fast, X, y, train_sizes=[0.5, 1.0], cv=3, shuffle=True, random_state=0)[2].min() > 0.7
    calibrated = CalibratedClassifierCV(fast, cv=3).fit(X, y)
    assert calibrated.score(X, y) > 0.8


@pytest.mark.slow
def test_two_processes_search():
    search = GridSearchCV(MLPRegressor(**QUICK), {"alpha": [1e-4, 1e-2]}, cv=3, n_jobs=2)
    one = clone(search).set_params(n_jobs=1)
    found, expected = (each.fit(*PATIENTS).cv_results_["mean_test_score"] for each in (search, one))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_what_cannot_be_learned_from_is_refused_with_advice():
    X, y = datasets.load_iris(return_X_y=True, as_frame=True)
    text = X.assign(colour=np.where(y == 1, "blue", "white"))
    refused = {
        "colour has text, and MLPClassifier takes numbers: put sklearn.preprocessing.OneHotEncoder": (text, y),
        r"X is a sparse matrix of shape \(150, 4\).*TruncatedSVD": (csr_array(X.to_numpy()), y),
        "contains NaN": (X.mask(X > 7), y),
        "y has only one class, 0": (X, 0 * y),
        "2 columns of classes.*MultiOutputClassifier": (X, np.column_stack([y, y[::-1]])),
    }
    for message, given in refused.items():
        with pytest.raises((ValueError, TypeError), match=message):
            MLPClassifier().fit(*given)
    encoded = make_column_transformer((OneHotEncoder(), ["colour"]), remainder="passthrough")
    assert make_pipeline(encoded, MLPClassifier(**QUICK)).fit(text, y).score(text, y) > 0.3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"hidden_layer_sizes": (5, 0)}, r"hidden_layer_sizes is \(5, 0\): expected 1 or more neurons"),
        ({"activation": "swish"}, "activation is 'swish': expected relu or silu"),
        ({"n_members": 0}, "n_members is 0: expected 1 network or more"),
        ({"scaling": "minmax"}, "scaling is 'minmax': expected None or 'standard' or 'robust'"),
        ({"batch_size": 0}, "batch_size is 0: expected 'auto', or 1 or more"),
        ({"max_iter": 0}, "max_iter is 0: expected 1 epoch or more"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0: expected a number above 0 and below 1"),
        ({"dtype": "float16"}, "dtype is 'float16': expected 'float32' or 'float64'"),
        ({"alpha": -1.0}, "the weight decay is -"),
        ({"learning_rate_init": 0}, "the learning rate is 0: expected a finite number above 0"),
        ({"optimizer": "adamant"}, "Optax has no optimiser 'adamant'"),
    ],
)
def test_settings_that_cannot_be(setting, message):
    with pytest.raises(ValueError, match=message):
        MLPRegressor(**setting).fit(*PATIENTS)
