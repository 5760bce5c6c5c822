"""The hand-written backward pass against jax.grad, central differences, PyTorch, and the algebra itself."""

import itertools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, PartitionSpec

import mlp_jax
from mlp_jax import Layer, Model, backprop, cross_entropy, loss, relu, softmax, tanh
from mlp_jax.backprop import backward_pass

ACTIVATIONS = ("sigmoid", "relu", "leaky_relu", "tanh", "silu", "identity", "softmax")
OUTPUTS = [(name, "quadratic") for name in ACTIVATIONS] + [("sigmoid", "cross_entropy"), ("softmax", "cross_entropy")]
# Layers do not know of one another: every hidden activation before one output, every output after one hidden.
PAIRS = [(hidden, ("identity", "quadratic")) for hidden in ACTIVATIONS] + [("silu", output) for output in OUTPUTS]
SMALL = (5, 4, 6, 3)


def make_problem(sizes, examples, seed, dtype=jnp.float64):
    """Random parameters, inputs and targets; without a batch axis where examples is None."""
    draw = np.random.default_rng(seed)
    batch = () if examples is None else (examples,)
    params = tuple(
        Layer(*(jnp.asarray(array, dtype) for array in (draw.normal(size=(j, k)) / k**0.5, draw.normal(size=j))))
        for k, j in itertools.pairwise(sizes)
    )
    inputs = jnp.asarray(draw.random((*batch, sizes[0])), dtype)
    targets = jnp.asarray(np.eye(sizes[-1])[draw.integers(sizes[-1], size=batch)], dtype)
    return params, inputs, targets


automatic = jax.jit(jax.grad(loss))


def make_model(hidden, output, cost):
    return Model(getattr(mlp_jax, hidden), getattr(mlp_jax, output), getattr(mlp_jax, cost))


def assert_equal_to_rounding(gradient, reference, tolerance=1e-12):
    """Leaf by leaf, the norm of the difference is at most `tolerance` of the norm of the reference."""
    assert jax.tree.structure(gradient) == jax.tree.structure(reference)
    for g, r in zip(jax.tree.leaves(gradient), jax.tree.leaves(reference), strict=True):
        assert g.shape == r.shape
        assert g.dtype == r.dtype
        assert np.linalg.norm(g - r) <= tolerance * np.linalg.norm(r)


@jax.jit
def by_hand_and_automatic(*problem):
    return backprop(*problem), jax.grad(loss)(*problem)


random_problems = given(
    sizes=st.lists(st.integers(1, 64), min_size=2, max_size=7),
    hidden=st.sampled_from(ACTIVATIONS),
    output=st.sampled_from(OUTPUTS),
    examples=st.none() | st.integers(1, 32),
    seed=st.integers(0, 2**31),
)


def check_against_automatic_differentiation(sizes, hidden, output, examples, seed):
    assert_equal_to_rounding(*by_hand_and_automatic(*make_problem(sizes, examples, seed), make_model(hidden, *output)))


def repeat(examples):
    # The same draws every time: where a leaf nearly cancels out, 1e-12 of its norm can be less than its rounding.
    chosen = settings(max_examples=examples, deadline=None, derandomize=True)
    chosen(random_problems(check_against_automatic_differentiation))()


@pytest.mark.usefixtures("float64")
def test_equals_automatic_differentiation():
    repeat(8)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_equals_automatic_differentiation_100_times():
    repeat(100)


@pytest.mark.parametrize(("hidden", "output"), PAIRS)
@pytest.mark.usefixtures("float64")
def test_every_activation_and_costs(hidden, output):
    assert_equal_to_rounding(*by_hand_and_automatic(*make_problem(SMALL, 7, 1), make_model(hidden, *output)))


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.usefixtures("float64")
def test_equals_central_differences(output):
    """Every partial derivative of a smooth network, from two values of the loss each."""
    (params, *examples), model = make_problem(SMALL, 7, 2), make_model("silu", *output)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    # The truncation error is step^2 |C'''| / 6, the rounding error about 1e-16 |C| / step: both below 1e-9 here.
    step = 1e-5
    losses = jax.jit(jax.vmap(lambda flat: loss(unravel(flat), *examples, model)))
    nudges = step * jnp.eye(len(flat))
    numerical = (losses(flat + nudges) - losses(flat - nudges)) / (2 * step)
    by_hand, _ = jax.flatten_util.ravel_pytree(jax.jit(backprop)(params, *examples, model))
    np.testing.assert_allclose(by_hand, numerical, atol=1e-9)


@pytest.mark.parametrize(("hidden", "output"), PAIRS)
@pytest.mark.usefixtures("float64")
def test_equals_pytorch(hidden, output):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
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
        "quadratic": lambda z, y: ((by_name[output[0]](z) - y) ** 2).sum(-1),
        "cross_entropy": {
            "sigmoid": lambda z, y: functional.binary_cross_entropy_with_logits(z, y, reduction="none").sum(-1),
            "softmax": lambda z, y: functional.cross_entropy(z, y, reduction="none"),
        }.get(output[0]),
    }
    params, inputs, targets = make_problem(SMALL, 7, 3)
    leaves = [torch.tensor(np.array(leaf), requires_grad=True) for leaf in jax.tree.leaves(params)]
    a = torch.tensor(np.array(inputs))
    for weights, biases in zip(leaves[0:-2:2], leaves[1:-2:2], strict=True):
        a = by_name[hidden](functional.linear(a, weights, biases))
    z = functional.linear(a, leaves[-2], leaves[-1])
    costs[output[1]](z, torch.tensor(np.array(targets))).mean().backward()
    expected = jax.tree.unflatten(jax.tree.structure(params), [leaf.grad.numpy() for leaf in leaves])
    assert_equal_to_rounding(jax.jit(backprop)(params, inputs, targets, make_model(hidden, *output)), expected)


LOW = [(hidden, OUTPUTS[0], jnp.bfloat16) for hidden in ACTIVATIONS] + [
    (hidden, output, dtype)
    for hidden, output in zip(("silu", "tanh", "relu"), OUTPUTS[6:], strict=True)
    for dtype in (jnp.float32, jnp.bfloat16)
]


@pytest.mark.parametrize(("hidden", "output", "dtype"), LOW)
def test_low_precision_differs_by_rounding_only(hidden, output, dtype):
    """Each number of the two gradients is within the bound that their operations allow.

    Both start from the same weighted sums and activations, for each operation runs by itself: only the backward passes
    round differently. Each is a chain of products and sums; a chain in which every intermediate result is rounded at
    most K times is off by at most gamma = K u / (1 - K u) times the same chain evaluated with absolute values (Higham,
    Accuracy and Stability of Numerical Algorithms, 2002, section 3.1), with u the unit roundoff, half of eps. Along
    one path K counts at the output a difference, a factor 2 and a factor 1/batch; in each layer at most 10 for the
    derivative of its activation, exponentials and all, and its product; the terms of each sum: over a layer's neurons,
    in a softmax too, and over the examples.
    """
    sizes, examples, model = (6, 5, 3), 7, make_model(hidden, *output)
    params, inputs, targets = make_problem(sizes, examples, 4, dtype)
    by_hand, automatic = backprop(params, inputs, targets, model), jax.grad(loss)(params, inputs, targets, model)
    roundings = 3 + sum(10 + 2 * n for n in sizes[1:]) + examples
    unit = float(jnp.finfo(dtype).eps) / 2
    gamma = roundings * unit / (1 - roundings * unit)
    expected_size = magnitudes(params, inputs, targets, model)
    for g, r, magnitude in zip(*map(jax.tree.leaves, (by_hand, automatic, expected_size)), strict=True):
        assert g.dtype == r.dtype == dtype
        assert np.all(np.abs(in_float64(g) - in_float64(r)) <= 2 * gamma * magnitude)  # either may be off by gamma


def in_float64(array):
    return np.asarray(array, np.float64)


def magnitudes(params, inputs, targets, model):
    """The gradient's chains of products and sums with every term replaced by its absolute value, in NumPy."""
    weighted_sums, activations = jax.tree.map(in_float64, mlp_jax.forward_pass(params, inputs, model))
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

    delta = activations[-1] + in_float64(targets)  # |a| + |y|, for a - y
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
    params = (Layer(jnp.zeros((3, 2)), jnp.zeros(3)), Layer(jnp.ones((1, 3)), jnp.zeros(1)))
    for hidden in (relu, mlp_jax.leaky_relu):
        assert_equal_to_rounding(*by_hand_and_automatic(params, jnp.ones(2), jnp.ones(1), Model(hidden=hidden)), 1e-6)


def test_deltas_are_the_sensitivity_to_each_weighted_sum():
    """dC_0/dz_j is what the cost of one example answers to its neuron's bias."""
    problem = make_problem(SMALL, None, 5, jnp.float32)
    weighted_sums, _ = mlp_jax.forward_pass(*problem[:2])
    deltas = backward_pass(problem[0], weighted_sums, problem[2])
    for delta, layer in zip(deltas, automatic(*problem), strict=True):
        np.testing.assert_allclose(delta, layer.biases, rtol=1e-5)


@pytest.mark.usefixtures("float64")
def test_under_vmap_over_data_and_over_parameters():
    params, inputs, targets = make_problem(SMALL, 7, 6)
    per_example = jax.jit(jax.vmap(backprop, (None, 0, 0)))(params, inputs, targets)
    mean = jax.tree.map(lambda g: np.mean(g, axis=0), per_example)
    assert_equal_to_rounding(mean, automatic(params, inputs, targets))

    population = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(make_problem(SMALL, 7, seed)[0] for seed in (7, 8)))
    gradients = jax.jit(jax.vmap(backprop, (0, None, None)))(population, inputs, targets)
    for member in range(2):
        one, gradient = jax.tree.map(lambda leaf, member=member: np.asarray(leaf)[member], (population, gradients))
        assert_equal_to_rounding(gradient, automatic(one, inputs, targets))


@pytest.mark.parametrize("model", [Model(), Model(tanh, softmax, cross_entropy)])
@pytest.mark.usefixtures("float64")
def test_second_derivatives(model):
    """The Jacobian of the gradient by hand is the Hessian of the loss."""
    params, inputs, targets = make_problem((3, 4, 2), 5, 9)
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    def gradient(flat):
        return jax.flatten_util.ravel_pytree(backprop(unravel(flat), inputs, targets, model))[0]

    hessian = jax.jit(jax.hessian(lambda flat: loss(unravel(flat), inputs, targets, model)))(flat)
    for jacobian in (jax.jit(jax.jacfwd(gradient))(flat), jax.jit(jax.jacrev(gradient))(flat)):
        np.testing.assert_allclose(jacobian, hessian, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_inside_shard_map():
    """Each device takes half of the batch; the mean of their gradients is the gradient of the whole batch."""
    mesh = Mesh(jax.devices()[:2], "batch")
    params, inputs, targets = make_problem(SMALL, 8, 10)

    def mean_over_devices(params, inputs, targets):
        return jax.lax.pmean(backprop(params, inputs, targets), "batch")

    split, whole = PartitionSpec("batch"), PartitionSpec()
    sharded = jax.shard_map(mean_over_devices, mesh=mesh, in_specs=(whole, split, split), out_specs=whole)
    assert_equal_to_rounding(jax.jit(sharded)(params, inputs, targets), automatic(params, inputs, targets))


@pytest.mark.parametrize("batch", [(1,), (2, 3)])
@pytest.mark.usefixtures("float64")
def test_any_leading_axes_are_a_batch(batch):
    params, inputs, targets = make_problem(SMALL, int(np.prod(batch)), 11)
    gradients = by_hand_and_automatic(params, inputs.reshape(*batch, -1), targets.reshape(*batch, -1))
    for gradient in gradients:
        assert_equal_to_rounding(gradient, automatic(params, inputs, targets))


@pytest.mark.parametrize(("of_params", "of_inputs"), [(jnp.bfloat16, jnp.float32), (jnp.float32, jnp.float64)])
@pytest.mark.usefixtures("float64")
def test_the_gradient_has_the_types_of_the_parameters(of_params, of_inputs):
    params, _, _ = make_problem((4, 3, 2), 3, 13, of_params)
    _, inputs, targets = make_problem((4, 3, 2), 3, 13, of_inputs)
    by_hand, automatic = by_hand_and_automatic(params, inputs, targets)
    for g, r in zip(jax.tree.leaves(by_hand), jax.tree.leaves(automatic), strict=True):
        assert g.dtype == r.dtype == of_params


def test_sums_over_a_batch_do_not_overflow_in_float16():
    params = (Layer(jnp.ones((1, 1), jnp.float16), jnp.zeros(1, jnp.float16)),)
    inputs = jnp.full((10_000, 1), 2, jnp.float16)
    gradient = jax.jit(backprop)(params, inputs, 0 * inputs, Model(mlp_jax.identity, mlp_jax.identity))
    assert (gradient[0].weights.item(), gradient[0].biases.item()) == (8, 4)


@pytest.mark.usefixtures("as_installed")
def test_targets_of_another_shape_are_refused():
    params, inputs, _ = make_problem(SMALL, 3, 12, jnp.float32)
    with pytest.raises(ValueError, match=r"targets have shape \(3,\), but the outputs have \(3, 3\)"):
        backprop(params, inputs, jnp.ones(3))
