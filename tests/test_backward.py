"""The hand-written backward pass against jax.grad, central differences, PyTorch, and the algebra itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, PartitionSpec
from problems import (
    ACTIVATIONS,
    EXAMPLES,
    MODELS,
    OUTPUTS,
    SIZES,
    assert_equal_to_rounding,
    automatic,
    by_hand,
    flat,
    loss_and_gradients,
    make_model,
    make_problem,
    unflat,
)

import mlp_jax
from mlp_jax import Layer, Model, backprop, loss, relu, softmax
from mlp_jax.backward import deltas_and_activations

# Layers do not know of one another: each activation once before the outputs, and each output and cost once.
PAIRS = [(ACTIVATIONS[(number + 4) % 7], *output) for number, output in enumerate(OUTPUTS)]


def check_against_automatic_differentiation(sizes, hidden, output, examples, seed):
    problem = make_problem(tuple(sizes), examples, seed)
    _, found, expected = loss_and_gradients(*problem, make_model(hidden, *output))
    assert_equal_to_rounding(found, expected)


@pytest.mark.parametrize(
    ("sizes", "hidden", "output", "examples"),
    [((3, 2), "relu", OUTPUTS[3], None), ((1, 1, 1), "silu", OUTPUTS[7], 2), ((4, 9, 1, 5, 3), "tanh", OUTPUTS[8], 33)],
)
@pytest.mark.usefixtures("float64")
def test_equals_automatic_differentiation(sizes, hidden, output, examples):
    check_against_automatic_differentiation(sizes, hidden, output, examples, 0)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
# The same draws every time: if a leaf nearly cancels out, 1e-12 of its norm can be less than its rounding.
@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 64), min_size=2, max_size=7),
    hidden=st.sampled_from(ACTIVATIONS),
    output=st.sampled_from(OUTPUTS),
    examples=st.none() | st.integers(1, 32),
    seed=st.integers(0, 2**31),
)
def test_equals_automatic_differentiation_100_times(sizes, hidden, output, examples, seed):
    check_against_automatic_differentiation(sizes, hidden, output, examples, seed)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.usefixtures("float64")
def test_equals_automatic_differentiation_and_central_differences(pair):
    """Every partial derivative from two values of the loss each; no weighted sum lies within a step of a kink."""
    (params, *examples), model = make_problem(), make_model(*pair)
    _, found, expected = loss_and_gradients(params, *examples, model)
    assert_equal_to_rounding(found, expected)
    # The truncation error is step^2 |C'''| / 6, the rounding error about 1e-16 |C| / step: both below 1e-9 here.
    vector, step = flat(params), 1e-5

    def changed_loss(change):
        return float(loss_and_gradients(unflat(vector + change, params), *examples, model)[0])

    nudges = step * np.eye(len(vector))
    numerical = [(changed_loss(nudge) - changed_loss(-nudge)) / (2 * step) for nudge in nudges]
    np.testing.assert_allclose(flat(found), numerical, atol=1e-9)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.usefixtures("float64")
def test_equals_pytorch(pair):
    torch = pytest.importorskip("torch")
    functional, (hidden, output, cost) = torch.nn.functional, pair
    by_name = {
        "sigmoid": torch.sigmoid,
        "relu": functional.relu,
        "leaky_relu": functional.leaky_relu,
        "tanh": torch.tanh,
        "silu": functional.silu,
        "identity": lambda z: z,
        "softmax": lambda z: functional.softmax(z, dim=-1),
    }
    costs = {
        "quadratic": lambda z, y: ((by_name[output](z) - y) ** 2).sum(-1),
        "cross_entropy": {
            "sigmoid": lambda z, y: functional.binary_cross_entropy_with_logits(z, y, reduction="none").sum(-1),
            "softmax": lambda z, y: functional.cross_entropy(z, y, reduction="none"),
        }.get(output),
    }
    params, inputs, targets = make_problem()
    leaves = [torch.tensor(np.array(leaf), requires_grad=True) for leaf in jax.tree.leaves(params)]
    a = torch.tensor(np.array(inputs))
    for weights, biases in zip(leaves[0:-2:2], leaves[1:-2:2], strict=True):
        a = by_name[hidden](functional.linear(a, weights, biases))
    z = functional.linear(a, leaves[-2], leaves[-1])
    average = costs[cost](z, torch.tensor(np.array(targets))).mean()
    average.backward()
    found, gradient, _ = loss_and_gradients(params, inputs, targets, make_model(*pair))
    assert float(found) == pytest.approx(average.item(), rel=1e-12)
    expected = jax.tree.unflatten(jax.tree.structure(params), [leaf.grad.numpy() for leaf in leaves])
    assert_equal_to_rounding(gradient, expected)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("pair", [PAIRS[0], PAIRS[3], PAIRS[7], PAIRS[8]])
def test_low_precision_differs_by_rounding_only(pair, dtype):
    """Each number of the two gradients is within the bound that their operations allow.

    Both start from the same weighted sums and activations, in one program: only the backward passes round differently.
    Each is a chain of products and sums; a chain in which every intermediate result is rounded at most K times is off
    by at most gamma = K u / (1 - K u) times the same chain evaluated with absolute values (Higham, Accuracy and
    Stability of Numerical Algorithms, 2002, section 3.1), with u the unit roundoff, half of eps. Along one path K
    counts at the output a difference, a factor 2 and a factor 1/batch; in each layer at most 10 for the derivative of
    its activation, exponentials and all, and its product; the terms of each sum: over a layer's neurons, in a softmax
    too, and over the examples.
    """
    problem = (*make_problem(dtype=dtype), make_model(*pair))
    _, *gradients = loss_and_gradients(*problem)
    roundings = 3 + sum(10 + 2 * n for n in SIZES[1:]) + EXAMPLES
    unit = float(jnp.finfo(dtype).eps) / 2
    gamma = roundings * unit / (1 - roundings * unit)
    for g, r, magnitude in zip(*map(jax.tree.leaves, (*gradients, magnitudes(*problem))), strict=True):
        assert g.dtype == r.dtype == dtype
        assert np.all(np.abs(in_float64(g) - in_float64(r)) <= 2 * gamma * magnitude)  # either may be off by gamma


def in_float64(array):
    return np.asarray(array, np.float64)


def magnitudes(params, inputs, targets, model):
    """The gradient's chains of products and sums with every term replaced by its absolute value, in NumPy."""
    weighted_sums, activations = jax.tree.map(in_float64, jax.jit(mlp_jax.forward_pass)(params, inputs, model))
    slopes = {
        "sigmoid": lambda z, a: a * (1 + a),
        "relu": lambda z, a: z > 0,
        "leaky_relu": lambda z, a: np.where(z >= 0, 1, 0.01),
        "tanh": lambda z, a: (1 + np.abs(a)) ** 2,
        "silu": lambda z, a: 1 + 2 * np.abs(z),
        "identity": lambda z, a: np.ones_like(z),
    }

    def through(sigma, z, a, gradient):
        if sigma == softmax:
            return a * gradient + a * (gradient * a).sum(-1, keepdims=True)
        return gradient * next(slope for name, slope in slopes.items() if getattr(mlp_jax, name) == sigma)(z, a)

    delta = np.abs(activations[-1]) + in_float64(targets)  # |a| + |y|, for a - y
    if model.cost == mlp_jax.quadratic:
        delta = through(model.output, weighted_sums[-1], activations[-1], 2 * delta)
    layers = []
    for number in reversed(range(len(params))):
        layers.insert(0, Layer(delta.T @ np.abs(activations[number]) / len(delta), delta.mean(0)))
        if number:
            gradient = delta @ np.abs(in_float64(params[number].weights))
            delta = through(model.hidden, weighted_sums[number - 1], activations[number], gradient)
    return tuple(layers)


def test_the_gradient_at_relus_kink_is_jaxs():
    """All weighted sums of the hidden layer are exactly 0."""
    params = (Layer(np.zeros((3, 2)), np.zeros(3)), Layer(np.ones((1, 3)), np.zeros(1)))
    problem = jax.tree.map(np.float32, (params, np.ones(2), np.ones(1)))
    for hidden in (relu, mlp_jax.leaky_relu):
        _, found, expected = loss_and_gradients(*problem, Model(hidden=hidden))
        assert_equal_to_rounding(found, expected, 1e-6)


@pytest.mark.usefixtures("float64")
def test_deltas_are_the_sensitivity_to_each_weighted_sum():
    """dC_0/dz_j is what the cost of one example answers to its neuron's bias; a is what comes in."""
    problem = make_problem(examples=None)
    deltas, activations = jax.jit(deltas_and_activations)(*problem, Model())
    for delta, a, layer in zip(deltas, activations, automatic(*problem, Model()), strict=True):
        np.testing.assert_allclose(delta, layer.biases, rtol=1e-12)
        np.testing.assert_allclose(np.outer(delta, a), layer.weights, rtol=1e-12)


@pytest.mark.usefixtures("float64")
def test_under_vmap_over_data_and_over_parameters():
    params, inputs, targets = make_problem()
    per_example = jax.jit(jax.vmap(backprop, (None, 0, 0, None)))(params, inputs, targets, Model())
    mean = jax.tree.map(lambda g: np.mean(g, axis=0), per_example)
    assert_equal_to_rounding(mean, automatic(params, inputs, targets, Model()))

    population = jax.tree.map(lambda *leaves: np.stack(leaves), *(make_problem(seed=seed)[0] for seed in (7, 8)))
    gradients = jax.jit(jax.vmap(backprop, (0, None, None, None)))(population, inputs, targets, Model())
    for member in range(2):
        one, gradient = jax.tree.map(lambda leaf, member=member: np.asarray(leaf)[member], (population, gradients))
        assert_equal_to_rounding(gradient, automatic(one, inputs, targets, Model()))


@pytest.mark.parametrize("model", [MODELS["softmax"], pytest.param(Model(), marks=pytest.mark.slow)])
@pytest.mark.usefixtures("float64")
def test_second_derivatives(model):
    """The gradient by hand differentiates, forward and backward, as the automatic one does: the Hessian times v."""
    problem = (*make_problem(), model)
    vector = make_problem(seed=1)[0]

    @jax.jit
    def products(params, vector, *rest):
        def along_vector(gradient):
            return jax.jvp(lambda p: gradient(p, *rest), (params,), (vector,))[1]

        transposed = jax.vjp(lambda p: backprop(p, *rest), params)[1](vector)[0]
        return along_vector(jax.grad(loss)), along_vector(backprop), transposed

    expected, *found = products(problem[0], vector, *problem[1:])
    for product in found:
        assert_equal_to_rounding(product, expected, 1e-11)


@pytest.mark.usefixtures("float64")
def test_inside_shard_map():
    """Each device takes half of the batch; the mean of their gradients is the gradient of the whole batch."""
    mesh = Mesh(jax.devices()[:2], "batch")
    params, inputs, targets = make_problem(examples=8)

    def mean_over_devices(params, inputs, targets):
        return jax.lax.pmean(backprop(params, inputs, targets, Model()), "batch")

    split, whole = PartitionSpec("batch"), PartitionSpec()
    sharded = jax.shard_map(mean_over_devices, mesh=mesh, in_specs=(whole, split, split), out_specs=whole)
    expected = automatic(params, inputs, targets, Model())
    assert_equal_to_rounding(jax.jit(sharded)(params, inputs, targets), expected)


@pytest.mark.usefixtures("float64")
def test_any_leading_axes_are_a_batch():
    params, inputs, targets = make_problem(examples=8)
    shape = (2, 4)
    found = loss_and_gradients(params, inputs.reshape(*shape, -1), targets.reshape(*shape, -1), Model())
    for gradient in found[1:]:
        assert_equal_to_rounding(gradient, automatic(params, inputs, targets, Model()))


@pytest.mark.parametrize(("of_params", "of_inputs"), [(jnp.bfloat16, jnp.float32), (jnp.float32, jnp.float64)])
@pytest.mark.usefixtures("float64")
def test_the_gradient_has_the_types_of_the_parameters(of_params, of_inputs):
    params, *examples = make_problem()
    params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, of_params), params)
    examples = [jax.ShapeDtypeStruct(array.shape, of_inputs) for array in examples]
    weights = jax.ShapeDtypeStruct((7,), np.float64)
    for rule in (backprop, jax.grad(loss)):
        for weighting in ({}, {"weights": weights}):
            found = jax.eval_shape(rule, params, *examples, Model(), **weighting)
            assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(of_params)}


def test_sums_over_a_batch_do_not_overflow_in_float16():
    params = (Layer(np.ones((1, 1), np.float16), np.zeros(1, np.float16)),)
    inputs = np.full((20_000, 1), 2, np.float16)
    gradient = by_hand(params, inputs, 0 * inputs, Model(mlp_jax.identity, mlp_jax.identity))
    assert (gradient[0].weights.item(), gradient[0].biases.item()) == (8, 4)


@pytest.mark.usefixtures("as_installed")
def test_targets_of_another_shape_are_refused():
    params, inputs, _ = make_problem(examples=3, dtype=np.float32)
    with pytest.raises(ValueError, match=r"targets have shape \(3,\), but the outputs have \(3, 3\)"):
        jax.eval_shape(backprop, params, inputs, np.ones(3, np.float32), Model())
