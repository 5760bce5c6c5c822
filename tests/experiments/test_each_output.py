"""each-output: wanted changes output by output, against automatic differentiation of one output's cost alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from subjects import AFTER, BEFORE, IMAGES, LABELS, MODEL, dataset, subject

from mlp_jax import forward_pass
from mlp_jax.experiments import claim_of, each_output
from mlp_jax.experiments.subject import SubjectError
from mlp_jax.training import member

INPUTS, TARGETS = np.float32(IMAGES / 255), np.eye(3, dtype=np.float32)[LABELS]


def cost_of_one(last, before, target, output):
    """What output number `output` adds to the cost of one example, from the activations before it on."""
    z = last.weights[output] @ before + last.biases[output]
    return (1 / (1 + jnp.exp(-z)) - target[output]) ** 2


slopes = jax.jit(
    jax.vmap(jax.vmap(jax.grad(cost_of_one, (0, 1)), (None, None, None, 0)), (None, 0, 0, None)),
)


@pytest.fixture(scope="module")
def measured():
    return each_output.measure(subject(AFTER, BEFORE))


@pytest.fixture(scope="module")
def single():
    """By network, untrained and trained: activations before the outputs, outputs, and each output's own gradients."""
    found = []
    for networks in (BEFORE, AFTER):
        for number in range(2):
            params = member(networks, number)
            before, outputs = map(np.asarray, forward_pass(params, INPUTS, MODEL)[1][-2:])
            layer, activations = slopes(params[-1], before, TARGETS, jnp.arange(3))
            own = np.arange(3)
            of_weights = np.asarray(layer.weights)[:, own, own]  # an output's cost answers to its own row alone
            found.append((before, outputs, of_weights, np.asarray(layer.biases)[:, own, own], np.asarray(activations)))
    return found


def test_wishes_of_one_image_are_negative_gradients_of_single_outputs(measured, single):
    assert (measured.image, measured.label) == (2, 2)
    for when, number in enumerate((0, 2)):
        _, outputs, of_weights, of_biases, of_activations = (part[2] for part in single[number])
        np.testing.assert_allclose(measured.outputs[when], outputs, rtol=1e-5)
        np.testing.assert_allclose(measured.wanted_outputs[when], 2 * (np.eye(3)[2] - outputs), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(measured.wanted[when], -of_activations.T, atol=1e-6)
        squares = [of_biases**2, np.sum(of_weights**2, axis=-1), np.sum(of_activations**2, axis=-1)]
        np.testing.assert_allclose(measured.promised[when], squares / np.sum(squares), rtol=1e-4, atol=1e-6)


def test_numbers_over_many_images(measured, single):
    for number, (before, outputs, of_weights, of_biases, of_activations) in enumerate(single):
        when, own = divmod(number, 2)
        wishes = -of_activations
        digits_own = wishes[np.arange(len(wishes)), LABELS]
        cosines = [
            wishes[i, j] @ digits_own[i] / np.linalg.norm(wishes[i, j]) / np.linalg.norm(digits_own[i])
            for i in range(len(wishes))
            for j in range(3)
            if j != LABELS[i]
        ]
        assert measured.cosines[when, own] == pytest.approx(np.median(cosines), abs=1e-4)
        overruled = np.mean(wishes.sum(axis=1) * digits_own < 0)
        assert measured.overruled[when, own] == pytest.approx(overruled, abs=0.01)
        off, pull = np.abs(TARGETS - outputs).ravel(), np.abs(of_biases).ravel()
        assert measured.in_proportion[when, own] == pytest.approx(np.corrcoef(off, pull)[0, 1], abs=1e-4)
        far = (off >= 0.5) & (off < 0.8)
        np.testing.assert_allclose(measured.half_way[when, own], pull[far].mean() if far.any() else np.nan, rtol=1e-4)
        squares = [np.sum(part**2) for part in (of_biases, of_weights, of_activations)]
        np.testing.assert_allclose(measured.avenues[when, own], squares / np.sum(squares), rtol=1e-4)
        for found, firing in ((measured.together, outputs), (measured.wanted_together, TARGETS)):
            product = (firing[..., None] * before[:, None, :]).ravel()
            expected = np.corrcoef(product, -of_weights.ravel())[0, 1]
            assert found[when, own] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("field", "value", "fails"),
    [("cosines", 0.6, "thoughts of its own"), ("in_proportion", 0.8, "in proportion to how far off"),
     ("together", -0.1, "neurons that fire together")],
)  # fmt: skip
@pytest.mark.parametrize("when", [0, 1])
def test_each_part_can_fail_in_untrained_and_in_trained_networks(measured, field, value, fails, when):
    good = {"cosines": 0.1, "in_proportion": 0.95, "together": 0.3}
    good = measured._replace(**{name: np.full((2, 2), number) for name, number in good.items()})
    finding = each_output.judge(good)
    assert list(finding.parts) == list(claim_of("each-output").criteria)
    assert finding.verdict == "holds"
    numbers = getattr(good, field).copy()
    numbers[when] = value
    finding = each_output.judge(good._replace(**{field: numbers}))
    assert [name for name, holds in finding.parts.items() if not holds] == [fails]


def test_the_figure_shows_every_column_and_their_sum(measured):
    axes = each_output.draw(measured).axes
    columns = [each for each in axes if each.get_xlabel() == "what each output wants"]
    assert [len(each.get_xticks()) for each in columns] == [3, 3]
    assert sum([label.get_text() for label in each.get_xticklabels()] == ["sum"] for each in axes) == 2
    assert axes[1].get_ylabel() == "activation"


def test_inputs_that_are_no_images_are_refused():
    with pytest.raises(SubjectError, match="images of one channel"):
        each_output.measure(subject(data=dataset(shape=None)))
