"""The images that most light a neuron do, and are compared with digits as they should be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from subjects import AFTER, COUNT, IMAGES, LABELS, MEANS, MODEL, SIZES, dataset, one, subject

from mlp_jax import Layer, Model, init_params
from mlp_jax.activations import relu, tanh
from mlp_jax.experiments.maximizing_input import draw, judge, measure, uphill
from mlp_jax.experiments.subject import SubjectError
from mlp_jax.network import feedforward, forward_pass
from mlp_jax.training import member

climb = jax.jit(uphill, static_argnums=(1, 2))


def test_a_neuron_of_the_first_layer_wants_ink_where_its_weights_are_positive():
    params = member(AFTER, 0)
    weights, images = np.asarray(params[0].weights[:4]), np.asarray(climb(params[:1], 4, MODEL))
    strong = np.abs(weights) > 0.1
    np.testing.assert_allclose(images[strong], weights[strong] > 0)


def test_goes_as_high_as_scipy():
    params, model = init_params(jax.random.key(1), SIZES, standard_normal=True), Model(hidden=tanh)
    heights = jax.jit(lambda image: forward_pass(params, image, model)[0][-1])
    slopes = jax.jit(jax.jacobian(heights))
    images = climb(params, 3, model)
    assert 0 <= images.min() <= images.max() <= 1
    for output, image in enumerate(images):
        found = minimize(
            lambda x: -float(heights(jnp.float32(x))[output]),  # noqa: B023
            np.zeros(16),
            jac=lambda x: -np.float64(slopes(jnp.float32(x))[output]),  # noqa: B023
            bounds=[(0, 1)] * 16,
        )
        assert float(heights(image)[output]) >= -found.fun - 0.02


def test_a_neuron_that_nothing_lights_leaves_the_page_blank():
    dead = (Layer(-jnp.ones((2, 16)), -jnp.ones(2)), Layer(jnp.ones((3, 2)), jnp.zeros(3)))
    np.testing.assert_array_equal(climb(dead, 3, Model(hidden=relu)), np.zeros((3, 16)))


def test_every_number_is_that_of_a_loop():
    measured = measure(subject())
    for number in range(2):
        params = member(AFTER, number)
        images = np.asarray(climb(params, 3, MODEL))
        for k in range(3):
            mean = IMAGES[k == LABELS].mean(axis=0)
            of_digits = [np.corrcoef(image, mean)[0, 1] for image in IMAGES]
            own = np.array(of_digits)[k == LABELS]
            answers = feedforward(params, jnp.float32(IMAGES[k == LABELS] / 255), MODEL)[:, k]
            assert measured.likeness[number, k] == pytest.approx(np.corrcoef(images[k], mean)[0, 1], abs=1e-4)
            assert measured.lit[number, k] == pytest.approx(float(feedforward(params, images[k], MODEL)[k]), abs=1e-4)
            assert measured.digits_lit[number, k] == pytest.approx(float(jnp.median(answers)), abs=1e-5)
            np.testing.assert_allclose(measured.digits_likeness[:, k], np.percentile(own, (5, 50)), atol=1e-5)
            others = np.median(np.array(of_digits)[k != LABELS])
            assert measured.others_likeness[k] == pytest.approx(others, abs=1e-5)
            if number == 0:
                np.testing.assert_allclose(measured.outputs[k].ravel(), 255 * images[k], atol=0.51)
                np.testing.assert_allclose(measured.digits[k].ravel(), mean, atol=0.51)
    assert [len(layer) for layer in measured.hidden] == [len(lit) for lit in measured.hidden_lit] == [5, 4]


def test_a_network_whose_weights_are_the_digits_can_draw_them():
    centred = MEANS - MEANS.mean(axis=1, keepdims=True)
    able = one((Layer(jnp.float32(centred), jnp.zeros(3)),))
    finding = judge(measure(subject(able)))
    assert not finding.parts["what it draws is no digit"], finding.text
    scrawling = one((Layer(-jnp.float32(centred), jnp.zeros(3)),))
    measured = measure(subject(scrawling))
    assert judge(measured).verdict == "holds"
    dim = judge(measured._replace(lit=measured.digits_lit - 0.01))
    assert dim.parts == {"lit by what it draws": False, "what it draws is no digit": True}


def test_draws_every_layer_with_labelled_axes():
    measured = measure(subject(data=dataset(labels=np.where(LABELS == 1, 2, LABELS))))
    assert measured.classes == (0, 2)
    figure = draw(measured)
    assert sum(bool(panel.images) for panel in figure.axes) == 2 + 2 + 5 + 4
    assert figure.axes[-1].get_xlabel() == "output"
    assert figure.axes[-1].get_ylabel() == "correlation with the mean digit"


def test_needs_images_of_two_classes():
    with pytest.raises(SubjectError, match="two classes with training and test images: there are 1"):
        measure(subject(data=dataset(labels=np.zeros(COUNT, int))))
    with pytest.raises(SubjectError, match="images of one channel"):
        measure(subject(data=dataset(shape=(2, 2, 4))))
