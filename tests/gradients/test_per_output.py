"""One gradient per output neuron against automatic differentiation of one output's cost at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import assert_close, each_examples_gradient, each_model, make_problem

from mlp_jax import forward_pass
from mlp_jax.gradients import per_output

OUTPUTS = 3


def through_output(params, inputs, targets, model, j):
    """The cost of one example, of whose last weighted sums all but number j are held fixed."""
    z = forward_pass(params, inputs, model)[0][-1]
    only = jnp.arange(OUTPUTS) == j
    return model.cost.after(model.output).value(jnp.where(only, z, jax.lax.stop_gradient(z)), targets)


def of_output(params, inputs, targets, model, j):
    """The cost that output j incurs, where it depends on weighted sum j alone."""
    z = forward_pass(params, inputs, model)[0][-1]
    cost = model.cost.after(model.output)
    return cost.value(z[j, None], targets[j, None])


@each_model
@pytest.mark.usefixtures("float64")
def test_parts_of_the_gradient_output_by_output(model):
    one_output = through_output if "softmax" in str(model.output.value) else of_output

    @jax.jit
    def everything(*problem):
        automatic = jax.grad(one_output)
        for axes in ((None, None, None, None, 0), (None, 0, 0, None, None)):
            automatic = jax.vmap(automatic, axes)
        parts = per_output.gradients(*problem)
        return parts, automatic(*problem, jnp.arange(OUTPUTS)), each_examples_gradient(*problem)

    parts, automatic, whole = everything(*make_problem(), model)
    assert_close(parts, automatic)
    assert_close(jax.tree.map(lambda part: np.sum(part, axis=1), parts), whole)


def test_a_single_example_needs_no_batch_axis():
    params, inputs, targets = make_problem(dtype=np.float32)
    gradients = per_output.gradients
    batch, one = jax.jit(lambda p, x, y: (gradients(p, x, y), gradients(p, x[4], y[4])))(params, inputs, targets)
    for many, single in zip(jax.tree.leaves(batch), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(many[4], single, rtol=1e-5, atol=1e-7)
