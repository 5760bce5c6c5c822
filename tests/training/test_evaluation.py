"""Loss and score of a network: against formulas in NumPy, as scikit-learn defines them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import (
    FLOATS,
    KINDS,
    MODEL,
    PARAMS,
    PICTURES,
    TABLE,
    TRAIN,
    WEIGHTED,
    WEIGHTS,
    activations_by_numpy,
    arrays_of,
    assert_close,
    each_kind,
    scores_by_numpy,
)

from mlp_jax import Evaluation, Examples, Layer, Model, TrainState, cross_entropy, evaluate, identity
from mlp_jax.training.evaluation import evaluator


@each_kind
def test_loss_and_score(kind):
    examples = KINDS[kind].train
    found = evaluate(PARAMS, examples, MODEL)
    loss, score, rmse = scores_by_numpy(PARAMS, examples)
    assert_close((found.loss, found.score), (loss, score), 1e-5)
    assert found.rmse == (None if rmse is None else pytest.approx(rmse, rel=1e-5))
    assert {type(number) for number in found[:2]} == {float}


@pytest.mark.parametrize("data", [PICTURES, WEIGHTED])
def test_answers_are_counted_by_class(data):
    """Of weighted examples too: the matrix counts examples."""
    found = evaluate(PARAMS, data.train, MODEL)
    answers = activations_by_numpy(PARAMS, arrays_of(data.train)[0])[-1].argmax(axis=1)
    expected = np.zeros((3, 3), int)
    for wanted, answer in zip(data.train.targets, answers, strict=True):
        expected[wanted, answer] += 1
    np.testing.assert_array_equal(found.confusion, expected)
    assert found.wrong == sum(answers != data.train.targets)
    if data.train.weights is None:
        assert found.score == pytest.approx(1 - found.wrong / TRAIN)


def test_there_are_no_wrong_numbers():
    with pytest.raises(ValueError, match="no wrong answers to count: the targets are numbers, or there are many"):
        _ = evaluate(PARAMS, TABLE.train, MODEL).wrong


@pytest.mark.parametrize("weights", [None, WEIGHTS[:TRAIN].astype(np.float16)])
def test_the_score_of_answering_the_mean_and_of_targets_that_never_change(weights):
    """R^2 is 0 for the mean; and, of a target that is always the same, 1 if the answer is right and 0 if it is not."""
    targets = TABLE.train.targets.copy()
    targets[:, 1:] = 2
    mean = np.average(targets[:, 0], weights=weights)
    still = (*PARAMS[:-1], Layer(jnp.zeros((3, 4)), jnp.array([mean, 2, 3], jnp.float32)))
    found = evaluate(still, Examples(FLOATS[:TRAIN], targets, weights), MODEL)
    assert found.score == pytest.approx((0 + 1 + 0) / 3, abs=1e-6)
    spread = np.average((targets[:, 0] - mean) ** 2, weights=weights) ** 0.5
    assert found.rmse == pytest.approx((spread + 0 + 1) / 3, rel=1e-6)


@each_kind
def test_a_population_is_evaluated_member_by_member(kind):
    params = jax.tree.map(lambda leaf: np.stack([leaf, 2 * leaf, -leaf]), PARAMS)
    state, examples = TrainState(params, (), np.zeros(3, np.int32)), KINDS[kind].test
    found = evaluator(examples, MODEL)(state)
    for number, factor in enumerate((1, 2, -1)):
        alone = evaluate(jax.tree.map(lambda leaf, factor=factor: factor * leaf, PARAMS), examples, MODEL)
        for each, expected in zip(found[:3], alone[:3], strict=True):
            assert each is expected or each[number] == pytest.approx(expected, rel=1e-6)
    assert found.confusion is None


def test_what_does_not_fit_the_network_is_refused():
    with pytest.raises(ValueError, match=r"examples\.targets\[\d+\] is 3: expected a class from 0 to 2 \(\d+ of 46"):
        evaluate(PARAMS, replace(PICTURES.train, targets=PICTURES.train.targets + 1), MODEL)
    with pytest.raises(ValueError, match=r"examples\.targets have 2 columns: expected 3, one for each output"):
        evaluate(PARAMS, replace(TABLE.train, targets=TABLE.train.targets[:, :2]), MODEL)
    with pytest.raises(ValueError, match=r"inputs have shape \(46, 5\), but the network has 6 input neurons"):
        evaluate(PARAMS, replace(TABLE.train, inputs=TABLE.train.inputs[:, :5]), MODEL)
    wrong = TABLE.train.inputs.copy()
    wrong[2, 3] = np.nan
    with pytest.raises(ValueError, match=r"examples\.inputs\[2, 3\] is nan: expected finite numbers"):
        evaluate(PARAMS, replace(TABLE.train, inputs=wrong), MODEL)


def test_an_output_whose_targets_are_all_the_same_is_right_or_wrong():
    """Its variance is rounding alone: divided by it, a difference of 1e-9 would be all that R^2 tells."""
    targets = np.stack([np.full(10, 0.1), np.arange(10.0)], axis=1).astype(np.float32)
    params = (Layer(np.array([[0.0], [1.0]], np.float32), np.array([0.1, 0.0], np.float32)),)
    examples = Examples(np.arange(10, dtype=np.float32)[:, None], targets)
    assert evaluate(params, examples, Model(output=identity)).score == 1
    wrong = (params[0]._replace(biases=np.array([0.2, 0.0], np.float32)),)
    assert evaluate(wrong, examples, Model(output=identity)).score == 0.5


def test_scores_are_measured_against_targets_that_are_not_rounded():
    params = (Layer(jnp.zeros((1, 1), jnp.bfloat16), jnp.array([1000.0], jnp.bfloat16)),)
    examples = Examples(np.zeros((3, 1), np.float32), np.array([[1001.0], [999.0], [1000.5]], np.float32))
    found = evaluate(params, examples, Model(output=identity))
    assert found.rmse == pytest.approx(np.sqrt(2.25 / 3))
    assert found.score < 0


def test_wanted_outputs_outside_the_domain_of_the_cost_are_refused():
    params = (Layer(np.zeros((1, 1), np.float32), np.zeros(1, np.float32)),)
    with pytest.raises(ValueError, match="the targets are from 2 to 2, but the cost takes 0 to 1"):
        evaluate(params, Examples(np.ones((3, 1)), np.full((3, 1), 2.0)), Model(cost=cross_entropy))


def test_an_evaluation_shows_its_score_and_no_wall_of_numbers():
    assert repr(Evaluation(0.123456789, 0.95, confusion=np.eye(10, dtype=int))) == (
        "Evaluation(loss=0.12346, score=0.95, confusion=int64[10, 10])"
    )
    assert repr(Evaluation(2.0, -0.5, 1.25)) == "Evaluation(loss=2, score=-0.5, rmse=1.25)"
    assert repr(Evaluation(np.ones(3, np.float32), np.ones(3))) == "Evaluation(loss=float32[3], score=float64[3])"
