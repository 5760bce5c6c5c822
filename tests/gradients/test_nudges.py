"""What one example wants, against automatic differentiation, nudging, and the lesson's own numbers."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import assert_close, automatic, each_model, flat, make_problem

from mlp_jax import Layer, Model, backprop, cross_entropy, forward_pass, identity, loss, sigmoid, silu, tanh
from mlp_jax.gradients import nudges

nudged = jax.jit(nudges.nudges)


def cost_from(activation, layers, targets, model):
    """The cost of one example from the activations that come in to the last layers."""
    if layers:
        return loss(layers, activation, targets, model)
    return model.cost.of(model.output).value(activation, targets)


@each_model
@pytest.mark.usefixtures("float64")
def test_each_nudge_is_a_negative_derivative(model):
    params, inputs, targets = make_problem(examples=None)

    @jax.jit
    def everything(params, inputs, targets):
        activations = forward_pass(params, inputs, model)[1]
        to_activations = [
            jax.grad(cost_from)(a, params[number:], targets, model) for number, a in enumerate(activations)
        ]
        return nudges.nudges(params, inputs, targets, model), to_activations

    found, to_activations = everything(params, inputs, targets)
    gradient = automatic(params, inputs, targets, model)
    assert len(found) == 3
    for number, (wanted, layer) in enumerate(zip(found, gradient, strict=True)):
        negative = jax.tree.map(jnp.negative, wanted)
        assert_close(negative.weights, layer.weights)
        assert_close(negative.biases, layer.biases)
        assert_close(negative.earlier, to_activations[number], 1e-11)
        assert_close(negative.outputs, to_activations[number + 1], 1e-11)


def test_bright_neurons_weights_are_nudged_most_and_outputs_by_how_far_they_are_off():
    """Lesson 3: the weights from bright neurons count most; what is wanted of an output is how far it is off, twice."""
    params = (Layer(np.float32([[1.0, -2.0, 0.5]]), np.zeros(1, np.float32)),)
    (wanted,) = nudged(params, np.float32([0.1, 0.9, 0.0]), np.float32([1.0]), Model(identity, identity))
    off = 1 - (0.1 - 1.8)
    np.testing.assert_allclose(wanted.outputs, [2 * off], rtol=1e-6)
    np.testing.assert_allclose(wanted.weights, [[0.2 * off, 1.8 * off, 0]], rtol=1e-6)
    np.testing.assert_allclose(wanted.earlier, [2 * off, -4 * off, off], rtol=1e-6)


@each_model
@pytest.mark.usefixtures("float64")
def test_suggested_activations_are_what_there_is_plus_a_step_of_what_is_wanted(model):
    @jax.jit
    def everything(params, inputs, targets):
        suggested = nudges.suggested_activations(params, inputs, targets, 0.5, model)
        return suggested, forward_pass(params, inputs, model)[1], nudges.nudges(params, inputs, targets, model)

    params, inputs, targets = make_problem()
    suggested, activations, wanted = everything(params, inputs, targets)
    alone = nudged(params, inputs[2], targets[2], model)  # a batch is nudged example by example
    assert_close(jax.tree.map(lambda leaf: leaf[2], wanted), alone, 1e-11)
    assert len(suggested) == 4
    np.testing.assert_array_equal(suggested[-1], targets)
    for s, a, layer in zip(suggested, activations, wanted, strict=False):
        np.testing.assert_allclose(s, a + 0.5 * layer.earlier, rtol=1e-12)


def test_sensitivity_ranks_parameters_by_their_derivative():
    params, inputs, targets = make_problem(dtype=np.float32)
    gradient = jax.tree.map(np.asarray, backprop(params, inputs, targets, Model()))
    ranking = nudges.sensitivity(params, inputs, targets, Model(), count=None)
    sizes, everything = [abs(entry.derivative) for entry in ranking], flat(gradient)
    assert sizes == sorted(np.abs(everything).tolist(), reverse=True)
    for entry in ranking[::7]:
        assert eval("gradient" + entry.parameter, {"gradient": gradient}) == np.float32(entry.derivative)
        assert entry.times == pytest.approx(abs(entry.derivative) / np.mean(np.abs(everything)), rel=1e-5)
    assert nudges.sensitivity(params, inputs, targets, Model()) == ranking[:10]


def test_thirty_two_times_as_sensitive():
    """Lesson 2's gradient: 3.20 for one weight and 0.10 for another make the first 32 times as important."""
    params = (Layer(np.float32([[1, 1]]), np.float32([0])),)
    ranking = nudges.sensitivity(params, np.float32([3.2, 0.1]), np.float32([2.8]), Model(identity, identity))
    first, last = (next(e for e in ranking if e.parameter == f"[0].weights[0, {k}]") for k in (0, 1))
    assert first.derivative == pytest.approx(3.2)
    assert first.times / last.times == pytest.approx(32)


@pytest.mark.parametrize("model", [Model(tanh, sigmoid, cross_entropy), Model(silu, identity)])
@pytest.mark.usefixtures("float64")
def test_the_chain_rule_factor_by_factor(model):
    params, inputs, targets = make_problem((1, 1, 1, 1), None, seed=3)
    gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, inputs, targets, model)
    for nudge, within in ((0.01, 0.05), (1e-6, 1e-4)):
        links = nudges.chain_rule(params, inputs, targets, model, nudge=nudge)
        for link, layer, gradient in zip(links, params, gradients[0], strict=True):
            assert link.dc_dw == pytest.approx(link.dz_dw * link.da_dz * link.dc_da)
            assert link.dc_dw == pytest.approx(gradient.weights.item())
            assert link.dc_db == pytest.approx(gradient.biases.item())
            assert (link.dz_da, link.dz_db) == (layer.weights.item(), 1)
            for exact, measured in (
                (link.dc_dw, link.measured_dw),
                (link.dc_db, link.measured_db),
                (link.dc_da_before, link.measured_da_before),
            ):
                assert measured == pytest.approx(exact, rel=within, abs=1e-9)
        assert links[0].dc_da_before == pytest.approx(gradients[1].item())
        for link, after in itertools.pairwise(links):
            assert link.dc_da == after.dc_da_before


@pytest.mark.usefixtures("as_installed")
def test_bad_input_is_refused():
    params, inputs, targets = make_problem(dtype=np.float32)
    with pytest.raises(ValueError, match=r"the layers have \(5, 4, 6, 3\) neurons: expected one in each"):
        nudges.chain_rule(params, inputs[0], targets[0], Model())
    with pytest.raises(ValueError, match="the nudge is 0"):
        nudges.chain_rule(*make_problem((1, 1), None, dtype=np.float32), Model(), nudge=0.0)
    with pytest.raises(ValueError, match="expected one example"):
        nudges.chain_rule(*make_problem((1, 1), 2, dtype=np.float32), Model())
    with pytest.raises(ValueError, match="the count is -1"):
        nudges.sensitivity(params, inputs, targets, Model(), count=-1)
    suggested = partial(nudges.suggested_activations, step=0.5)
    for function in (nudges.nudges, suggested, nudges.sensitivity):
        with pytest.raises(ValueError, match="targets have shape"):
            jax.eval_shape(partial(function, model=Model()), params, inputs, targets[0])


@pytest.mark.parametrize("bias", [-200.0, 200.0])
def test_an_output_that_has_rounded_to_0_or_1_wants_numbers_still(bias):
    """A target that it has reached makes a nudge of 1; one that it has missed an infinite one, but finite deltas."""
    params = (Layer(jnp.ones((1, 1)), jnp.full(1, bias)),)
    for target in (0.0, 1.0):
        problem = (params, np.ones(1, np.float32), np.full(1, target, np.float32), Model(cost=cross_entropy))
        reached = target == (bias > 0)
        wanted = nudged(*problem)[-1]
        assert wanted.outputs == (2 * target - 1) * (1 if reached else np.inf)
        assert wanted.biases == target - (bias > 0)
        link = nudges.chain_rule(*problem)[0]
        assert (link.dc_db, link.dc_dw, link.dc_da_before) == ((bias > 0) - target,) * 3
