"""What holds for every network, batch, type and setting, whatever the numbers: drawn by Hypothesis.

The quick tests draw numbers for a few networks, for each network has to be compiled; the slow ones draw the networks
as well. All are derandomized: what fails fails again, here and elsewhere.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from problems import ACTIVATIONS, OUTPUTS
from strategies import (
    DTYPES,
    Case,
    cases,
    extreme,
    ordinary,
    rounding_errors,
    seeds,
    small_enough,
    whole_numbers,
)

import mlp_jax
from mlp_jax import (
    Layer,
    backprop,
    compare_gradients,
    cross_entropy,
    evaluate,
    feedforward,
    forward_pass,
    init_params,
    loss,
    numerical_gradient,
    predict,
    quadratic,
    train_epoch,
)
from mlp_jax.data import Examples
from mlp_jax.gradients import curvature, nudges, per_example, rules
from mlp_jax.network import as_inputs
from mlp_jax.training import Plan, TrainState, epoch_order

slow = pytest.mark.slow


def holds(check, examples, **draws):
    """Run check for so many draws of its arguments, in float64 where the case says so."""

    def in_its_type(case, **drawn):
        with jax.enable_x64(case.dtype == "float64"):
            check(case, **drawn)

    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large]
    chosen = settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=quiet,
        phases=[Phase.generate],  # a smaller example is a network to compile, and shapes are small as they are
    )
    chosen(given(**draws)(in_its_type))()


def assert_all(predicate, found, what=""):
    for path, leaf in jax.tree.leaves_with_path(found):
        numbers = np.asarray(leaf, np.float64)
        assert np.all(predicate(numbers)), f"{what}{jax.tree_util.keystr(path)} is {numbers}"


def no_nan(numbers):
    return ~np.isnan(numbers)


def assert_within(found, expected, error):
    """Leaf by leaf, each number within its error."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for f, e, bound in zip(*map(jax.tree.leaves, (found, expected, error)), strict=True):
        f, e = np.asarray(f, np.float64), np.asarray(e, np.float64)
        assert np.shape(f) == np.shape(e)
        assert np.all(np.abs(f - e) <= bound), f"off by {np.abs(f - e)}, allowed {bound}"


def assert_identical(found, expected):
    jax.tree.map(
        lambda f, e: np.testing.assert_array_equal(*(np.asarray(a, np.float64) for a in (f, e))), found, expected
    )


# No NaN, and nothing infinite, from what is finite.


@jax.jit
def activations_and_costs(z, other, y):
    """All of them, by name: of z, and of outputs whose targets are `other`, or, for cross-entropy, y."""
    found = {}
    for name in ACTIVATIONS:
        activation = getattr(mlp_jax, name)
        a = activation.value(z)
        found[name] = a
        found[f"derivative of {name}"] = activation.derivative(z)
        if name in ("sigmoid", "softmax"):
            by_outputs, by_sums = cross_entropy.of(activation), cross_entropy.after(activation)
            found[f"cross-entropy of {name}"] = by_outputs.value(a, y)
            found[f"cross-entropy's derivative of {name}"] = by_outputs.derivative(a, y)
            found[f"cross-entropy after {name}"] = by_sums.value(z, y)
            found[f"cross-entropy's derivative after {name}"] = by_sums.derivative(z, y)
            found[f"automatic derivative after {name}"] = jax.grad(lambda z, f=by_sums: f.value(z, y).sum())(z)
    found["quadratic"], found["quadratic's derivative"] = quadratic.value(z, other), quadratic.derivative(z, other)
    return found


def floats(dtype, shape, **limits):
    """Finite numbers of a type, the largest and the subnormal among them; bfloat16 as float32."""
    kind = np.float32 if dtype == "bfloat16" else np.dtype(dtype)
    width = np.dtype(kind).itemsize * 8
    ends = jnp.finfo(DTYPES[dtype])
    limits = {"min_value": float(ends.min), "max_value": float(ends.max)} | limits
    return arrays.arrays(kind, shape, elements=st.floats(width=width, **limits))


def check_activations_and_costs(case, numbers):
    """Each value in its range, finite derivatives; costs never NaN, nor below 0, infinite only as they must be."""
    z, other, y = case.as_jax(numbers)
    found = activations_and_costs(z, other, y)
    largest, eps = float(case.limits.max), float(case.limits.eps)
    found = {name: np.asarray(numbers, np.float64) for name, numbers in found.items()}
    z, other, y = (np.asarray(leaf, np.float64).astype(np.longdouble) for leaf in (z, other, y))
    for name in ACTIVATIONS:
        low, high = getattr(mlp_jax, name).range
        assert_all(np.isfinite, (found[name], found[f"derivative of {name}"]), name)
        assert np.all(low - eps <= found[name]), name
        assert np.all(found[name] <= high), name
        steepest = 1.1 * (1 + 2 * eps) if name == "silu" else 1  # z (1 - s) and the product are rounded, too
        assert np.max(np.abs(found[f"derivative of {name}"])) <= steepest, name
    np.testing.assert_allclose(found["softmax"].sum(-1), 1, atol=4 * eps)
    np.testing.assert_allclose(found["derivative of softmax"].sum(-1), 0, atol=4 * eps)
    spread = np.max(np.abs(z), axis=-1) * 2 * z.shape[-1]
    for name in ("sigmoid", "softmax"):
        cost, after = found[f"cross-entropy of {name}"], found[f"cross-entropy after {name}"]
        assert_all(no_nan, (cost, found[f"cross-entropy's derivative of {name}"]), name)
        a = found[name]
        lost = (y > 0) & (a == 0) | ((y < 1) & (a == 1) if name == "sigmoid" else False)
        assert_all(np.isfinite, cost[~lost.any(-1)], name)
        assert_all(np.isfinite, found[f"cross-entropy's derivative of {name}"][~lost & (a > 1 / largest)], name)
        assert_all(np.isfinite, found[f"cross-entropy's derivative after {name}"], name)
        assert_all(np.isfinite, found[f"automatic derivative after {name}"], name)
        assert np.all(np.isfinite(after) | (spread > largest)), name
        assert_all(no_nan, after, name)
        assert np.all(after >= 0), name
    assert_all(no_nan, (found["quadratic"], found["quadratic's derivative"]))
    assert np.all(found["quadratic"] >= 0)
    assert np.all(np.isfinite(found["quadratic"]) | (((z - other) ** 2).sum(-1) > largest / 2))
    assert np.all(np.isfinite(found["quadratic's derivative"]) | (np.abs(z - other) > largest / 4))


@pytest.mark.parametrize("examples", [pytest.param(20, id="quick"), pytest.param(200, marks=slow, id="slow")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_and_costs_of_finite_numbers(dtype, examples):
    shape = (4, 3)
    unit = floats(dtype, shape, min_value=0, max_value=1)
    certain = arrays.arrays(np.float32, shape, elements=st.sampled_from([0, 1, 0.5]))
    numbers = st.tuples(floats(dtype, shape), floats(dtype, shape), unit | certain)
    holds(check_activations_and_costs, examples, case=st.just(Case(dtype)), numbers=numbers)


@partial(jax.jit, static_argnums=4)
def passes(params, inputs, targets, model, sizes):
    """Whatever is made of one forward and one backward pass, by name."""
    problem, key = (params, inputs, targets), jax.random.key(0)
    found = {
        "forward pass": forward_pass(params, inputs, model),
        "feedforward": feedforward(params, inputs, model),
        "predict": predict(params, inputs, model),
        "loss": loss(*problem, model),
        "backprop": backprop(*problem, model),
        "automatic": jax.grad(loss)(*problem, model),
        "per output": per_example.output_gradients(*problem, model),
        "suggested activations": nudges.suggested_activations(*problem, 0.5, model),
    }
    every_rule = {
        "feedback alignment": rules.feedback_alignment(key, sizes),
        "direct feedback alignment": rules.direct_feedback_alignment(key, sizes),
        "sign symmetric": rules.sign_symmetric,
        "suggested": rules.suggested_activations(),
    }
    found |= {name: rule(*problem, model) for name, rule in every_rule.items()}
    wanted = nudges.nudges(*problem, model)
    found["nudges"] = (wanted[:-1], wanted[-1]._replace(outputs=jnp.zeros(())))
    # The outputs' wishes alone may be infinite: cross-entropy's derivative of an output that has rounded to 0 or 1.
    return found, wanted[-1].outputs


@jax.jit
def squares(params, inputs, targets, model):
    """Whatever multiplies numbers of the two passes with one another; the Hessian's apart."""
    problem = (params, inputs, targets)
    norms = {
        "squared norms": per_example.squared_norms(*problem, model),
        "inner products": per_example.inner_products(*problem, model),
    }
    of_params = {
        "clipped": per_example.clipped_mean(*problem, 1e-3, model),
        "second moment": per_example.second_moment(*problem, model),
        "variance": per_example.variance(*problem, model),
        "diagonal": curvature.gauss_newton_diagonal(*problem, model),
        "factors": curvature.kronecker_factors(*problem, model),
    }
    of_the_hessian = {
        "product": curvature.gauss_newton_product(*problem, params, model),
        "hessian": curvature.hessian_diagonal(*problem, model),
    }
    return norms, of_params, of_the_hessian, per_example.noise_scale(*problem, model)


def check_passes(case, seed, reach):
    problem = extreme(case, seed, reach, power=1)
    found, wishes = passes(*problem, case.model, case.sizes)
    assert_all(np.isfinite, found)
    assert_all(np.isfinite if case.cost == "quadratic" else no_nan, wishes)
    assert np.all((np.asarray(found["predict"]) >= 0) & (np.asarray(found["predict"]) < case.sizes[-1]))
    assert found["loss"] >= 0
    if case.examples is not None and case.dtype == "float16":  # whose squares float32 holds
        norms, of_params, _, noise_scale = squares(*problem, case.model)
        assert_all(np.isfinite, norms)
        assert_all(no_nan, (of_params, noise_scale))


def check_squares(case, seed, reach):
    """Of any numbers; of as many times the same example, which no noise parts; of a network that wants nothing."""
    params, inputs, targets = problem = extreme(case, seed, reach, power=2)
    same = params, jnp.tile(inputs[:1], (len(inputs), 1)), jnp.tile(targets[:1], (len(targets), 1))
    for numbers in (problem, same, jax.tree.map(jnp.zeros_like, problem)):
        norms, of_params, of_the_hessian, noise_scale = squares(*numbers, case.model)
        assert_all(np.isfinite, (norms, of_params, of_the_hessian))
        assert_all(lambda n: n >= 0, (norms["squared norms"], of_params["variance"], of_params["second moment"]))
        assert noise_scale >= 0


FEW = [
    Case("float16", "relu", "identity"),
    Case("bfloat16", "softmax", "sigmoid", "cross_entropy", examples=3),
    Case("float32", "silu", "softmax", "cross_entropy", examples=None),
    pytest.param(Case("float64", "leaky_relu", "tanh", sizes=(1, 2, 3, 1), examples=2), marks=slow),
]
reaches = st.floats(0, 1, width=16)


@pytest.mark.parametrize("case", FEW, ids=str)
def test_both_passes_of_finite_numbers(case):
    holds(check_passes, 12, case=st.just(case), seed=seeds, reach=reaches)


@pytest.mark.parametrize("case", FEW[:2], ids=str)
def test_squares_of_finite_numbers(case):
    holds(check_squares, 8, case=st.just(case), seed=seeds, reach=reaches)


@slow
def test_both_passes_of_finite_numbers_in_many_networks():
    every = cases(examples=st.none() | st.integers(2, 6))
    holds(check_passes, 6, case=every, seed=seeds, reach=reaches)


@slow
def test_squares_of_finite_numbers_in_many_networks():
    holds(check_squares, 5, case=cases(dtypes=("bfloat16", "float32", "float64")), seed=seeds, reach=reaches)


def gradients_of_all_sizes(dtype, shape=(2, 3)):
    return st.lists(floats(dtype, shape), min_size=1, max_size=2)


def check_comparison(case, found, reference):
    """Of any finite numbers: a comparison without NaN, but for the direction of nothing; with itself, agreement."""
    found, reference = case.as_jax(found), case.as_jax(reference)
    report = compare_gradients({"found": found, "itself": found, "reference": reference}, "reference")
    back = compare_gradients({"found": reference, "reference": found}, "reference")
    assert compare_gradients({"found": found, "itself": found}, "itself").agree
    for leaf, other in zip(report.leaves["found"], back.leaves["found"], strict=False):
        if leaf.remark:  # one of them has no such leaf
            continue
        assert leaf.absolute == other.absolute
        assert leaf.norm_ratio >= 0 or np.isnan(leaf.angle)
        assert 0 <= leaf.angle <= 180 or 0 in (leaf.norm_ratio, other.norm_ratio)
        for number in (leaf.absolute, leaf.relative, leaf.bound, leaf.ulps, leaf.value, leaf.reference):
            assert not np.isnan(number), leaf
        if leaf.absolute == 0:
            assert leaf.agrees


@pytest.mark.parametrize("examples", [pytest.param(20, id="quick"), pytest.param(200, marks=slow, id="slow")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_comparisons_of_finite_numbers(dtype, examples):
    numbers = gradients_of_all_sizes(dtype)
    holds(check_comparison, examples, case=st.just(Case(dtype)), found=numbers, reference=numbers)


def check_numerical_gradient(case, seed):
    params, *examples = ordinary(case, seed)
    measured = numerical_gradient(loss, params, *examples, case.model)
    assert_all(np.isfinite, (measured.slopes, measured.errors))
    gradient = backprop(params, *examples, case.model)
    assert compare_gradients({"measured": measured, "manual": gradient}, "manual").agree


@slow
def test_numerical_gradients_of_finite_numbers():
    every = cases(hidden=("sigmoid", "tanh", "silu", "identity", "softmax"), outputs=OUTPUTS[3:6] + OUTPUTS[7:])
    holds(check_numerical_gradient, 4, case=every, seed=seeds)


# The gradient and the examples, the gradient and the neurons.


@jax.jit
def answers(params, inputs, targets, model):
    """The same in several ways: the whole batch at once, two parts of it, each example alone."""
    parts = [(inputs[:2], targets[:2]), (inputs[2:], targets[2:])]
    of_parts = [backprop(params, *part, model) for part in parts]
    counts = [len(part) for part, _ in parts]

    def mean_of_parts(*leaves):
        return sum(count * leaf for count, leaf in zip(counts, leaves, strict=True)) / len(inputs)

    def alone(example):
        return feedforward(params, example[0], model), loss(params, *example, model), backprop(params, *example, model)

    outputs, costs, gradients = jax.lax.map(alone, (inputs, targets))
    return {
        "forward": forward_pass(params, inputs, model),
        "loss": loss(params, inputs, targets, model),
        "gradient": backprop(params, inputs, targets, model),
        "parts": jax.tree.map(mean_of_parts, *of_parts),
        "examples": jax.tree.map(lambda leaf: jnp.mean(leaf, 0), per_example.gradients(params, inputs, targets, model)),
        "alone": jax.tree.map(lambda leaf: jnp.mean(leaf, 0), gradients),
        "outputs alone": outputs,
        "costs alone": jnp.mean(costs),
    }


def rearranged(params, orders):
    """The same network with each layer's neurons, inputs first, in another order."""
    layers = zip(params, orders[:-1], orders[1:], strict=True)
    return tuple(Layer(layer.weights[after][:, before], layer.biases[after]) for layer, before, after in layers)


def check_orders_and_averages(case, seed, exact):
    """However examples and neurons are ordered, and the batch is taken apart, it is the same gradient.

    Exactly so of whole numbers, whose sums are exact in any order; else within what rounding explains.
    """
    params, inputs, targets = problem = (whole_numbers if exact else ordinary)(case, seed)
    draw = np.random.default_rng(seed)
    found = answers(*problem, case.model)
    gradient, outputs = found["gradient"], found["forward"][1][-1]
    if exact:
        error = jax.tree.map(np.zeros_like, gradient)
        error_of_outputs = error_of_cost = 0
    else:
        error, error_of_outputs, error_of_cost = rounding_errors(case, *problem, found["forward"])
    twice = jax.tree.map(lambda e: 2 * e, error)  # both may be off

    order = draw.permutation(len(inputs))
    shuffled = answers(params, inputs[order], targets[order], case.model)
    assert_within(shuffled["gradient"], gradient, twice)
    assert_within(shuffled["loss"], found["loss"], 2 * error_of_cost)
    assert_within(shuffled["forward"][1][-1], outputs[order], 2 * error_of_outputs)

    orders = [draw.permutation(n) for n in case.sizes]
    turned = answers(rearranged(params, orders), inputs[:, orders[0]], targets[:, orders[-1]], case.model)
    assert_within(turned["gradient"], rearranged(gradient, orders), rearranged(twice, orders))
    assert_within(turned["loss"], found["loss"], 2 * error_of_cost)

    assert_within(found["outputs alone"], outputs, 2 * error_of_outputs)
    if not exact or DTYPES[case.dtype] in (jnp.float32, jnp.float64):  # means of whole numbers may round in the others
        assert_within(found["costs alone"], found["loss"], 2 * error_of_cost)
        for way in ("parts", "examples", "alone"):
            assert_within(found[way], gradient, twice)


EXACT = [
    Case("float32", "relu", "identity", sizes=(3, 4, 3, 2)),
    pytest.param(Case("float16", "relu", "relu"), marks=slow),
    pytest.param(Case("bfloat16", "identity", "relu"), marks=slow),
]
ROUNDED = [
    Case("float32", "silu", "sigmoid"),
    Case("float64", "tanh", "softmax", "cross_entropy"),
]


@pytest.mark.parametrize("case", EXACT, ids=str)
def test_the_order_of_examples_and_neurons_changes_nothing_where_sums_are_exact(case):
    holds(check_orders_and_averages, 8, case=st.just(case), seed=seeds, exact=st.just(True))


@pytest.mark.parametrize("case", ROUNDED, ids=str)
def test_the_order_of_examples_and_neurons_changes_the_gradient_by_rounding_only(case):
    holds(check_orders_and_averages, 8, case=st.just(case), seed=seeds, exact=st.just(False))


@slow
def test_orders_and_averages_in_many_networks():
    shallow = cases(hidden=("relu", "identity"), outputs=[("relu", "quadratic"), ("identity", "quadratic")], widest=4)
    shallow = shallow.map(lambda case: case._replace(sizes=case.sizes[:3], examples=6))
    holds(check_orders_and_averages, 4, case=shallow, seed=seeds, exact=st.just(True))
    rounded = cases(dtypes=("float32", "float64"), examples=st.integers(3, 6))
    holds(check_orders_and_averages, 8, case=rounded, seed=seeds, exact=st.just(False))


@jax.jit
def gradient_and_outputs(params, inputs, targets, model):
    return backprop(params, inputs, targets, model), feedforward(params, inputs, model)


def check_equivariance(case, seed, power):
    """Weights and biases into a layer of ReLUs times c, those out of it over c: the same outputs.

    The gradient answers the other way round. With c a power of 2 nothing is rounded.
    """
    params, inputs, targets = ordinary(case, seed)
    c = 2.0**power

    def scaled(layers, c):
        first, last = layers
        return Layer(c * first.weights, c * first.biases), last._replace(weights=last.weights / c)

    gradient, outputs = gradient_and_outputs(params, inputs, targets, case.model)
    found = gradient_and_outputs(scaled(params, c), inputs, targets, case.model)
    assert_identical(found, (scaled(gradient, 1 / c), outputs))


@pytest.mark.parametrize(
    "case", [Case("float32", "relu", "sigmoid"), Case("bfloat16", "leaky_relu", "identity")], ids=str
)
def test_what_goes_into_relus_may_be_scaled_and_what_comes_out_scaled_back(case):
    holds(check_equivariance, 8, case=st.just(case), seed=seeds, power=st.integers(-12, 12))


@slow
def test_eager_is_jit_to_rounding():
    def check(case, seed):
        problem = ordinary(case, seed)
        forward, model = forward_pass(*problem[:2], case.model), case.model
        error, error_of_outputs, _ = rounding_errors(case, *problem, forward)
        gradient, outputs = gradient_and_outputs(*problem, model)
        assert_within(gradient, backprop(*problem, model), jax.tree.map(lambda e: 2 * e, error))
        assert_within(outputs, forward[1][-1], 2 * error_of_outputs)

    holds(check, 3, case=cases(dtypes=("float32", "float64")), seed=seeds)


# Downhill.


@jax.jit
def step(params, inputs, targets, model, rate):
    """The loss before one step, and after it; and how it came to be."""
    gradient = backprop(params, inputs, targets, model)
    moved = jax.tree.map(lambda p, g: p - rate * g, params, gradient)
    before, after = (loss(where, inputs, targets, model) for where in (params, moved))
    return before, after, gradient, forward_pass(params, inputs, model)


def check_descent(case, seed):
    """The loss falls by half of what it would on a straight line, at the least, and so never rises."""
    problem = ordinary(case, seed)
    *_, gradient, forward = step(*problem, case.model, 0.0)
    rate, slope = small_enough(case, *problem, gradient, forward)
    assert rate >= 0
    before, after, *_ = step(*problem, case.model, rate)
    rounding = 100 * float(case.limits.eps) * max(1, float(before))  # of either loss, a sum of some ten terms
    assert after <= before - rate * slope / 2 + rounding


@pytest.mark.parametrize(
    "case", [Case("float64", "sigmoid", "softmax", "cross_entropy"), Case("float64", "relu", "tanh")], ids=str
)
def test_a_small_enough_step_never_raises_the_loss(case):
    holds(check_descent, 15, case=st.just(case), seed=seeds)


@slow
def test_a_small_enough_step_never_raises_the_loss_of_many_networks():
    holds(check_descent, 12, case=cases(dtypes=("float64",)), seed=seeds)


# Training.


def images_and_labels(case, seed):
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, (case.examples, case.sizes[0]), np.uint8)
    return images, draw.integers(case.sizes[-1], size=case.examples)


def check_epoch(case, seed, batch_size):
    """Finite numbers; every example once; and where one batch is all, the order of no consequence."""
    params, _, _ = ordinary(case, seed)
    images, labels = images_and_labels(case, seed)
    examples = Examples(images, labels)
    plan = Plan(case.model, mlp_jax.make_optimizer(learning_rate=0.01), batch_size)

    def epoch(order):
        state = TrainState.start(jax.tree.map(jnp.array, params), plan.optimizer)
        return train_epoch(state, images, labels, order, plan)

    order = epoch_order(seed, 0, case.examples)
    state, cost = epoch(order)
    assert_all(np.isfinite, (state, cost))
    found = evaluate(state.params, examples, case.model)
    assert np.isfinite(found.loss)
    assert found.confusion.sum() == case.examples
    np.testing.assert_array_equal(found.confusion.sum(1), np.bincount(labels, minlength=case.sizes[-1]))
    before = evaluate(params, examples, case.model)
    if batch_size >= case.examples:
        again, same = epoch(np.arange(case.examples, dtype=np.int32))
        tolerance = 100 * float(case.limits.eps)
        for one, other in zip(*map(jax.tree.leaves, (again.params, state.params)), strict=True):
            np.testing.assert_allclose(
                np.asarray(one, np.float64), np.asarray(other, np.float64), rtol=0, atol=tolerance
            )
        for other in (float(same), before.loss):
            assert float(cost) == pytest.approx(other, rel=tolerance)


@pytest.mark.parametrize(("dtype", "batch_size"), [("float32", 6), ("bfloat16", 4)])
def test_an_epoch_of_finite_numbers(dtype, batch_size):
    holds(check_epoch, 4, case=st.just(Case(dtype, "relu")), seed=seeds, batch_size=st.just(batch_size))


@slow
def test_an_epoch_of_finite_numbers_in_many_networks():
    holds(check_epoch, 4, case=cases(), seed=seeds, batch_size=st.integers(1, 7))


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(seed=seeds, epoch=st.integers(0, 2**31), examples=st.integers(0, 200), shard=st.integers(0, 300))
def test_an_epochs_order_is_a_permutation_that_its_arguments_decide(seed, epoch, examples, shard):
    order = epoch_order(seed, epoch, examples, shard)
    np.testing.assert_array_equal(np.sort(order), np.arange(examples))
    np.testing.assert_array_equal(order, epoch_order(seed, epoch, examples, shard))
    if examples >= 20:  # two permutations of 20 are the same once in 2e18
        for other in ((seed ^ 1, epoch, shard), (seed, epoch + 1, shard), (seed, epoch, shard + 1)):
            assert not np.array_equal(order, epoch_order(*other[:2], examples, other[2]))


def check_init(case, seed):
    """The key decides; the spread is a factor and nothing else; the first layers are no prefix of a larger network."""
    dtype = DTYPES[case.dtype]
    params, again, other = (init_params(jax.random.key(s), case.sizes, dtype=dtype) for s in (seed, seed, seed ^ 1))
    assert_identical(params, again)
    assert not np.array_equal(params[0].weights, other[0].weights)
    assert [leaf.dtype for leaf in jax.tree.leaves(params)] == [dtype] * 2 * len(params)
    assert_all(np.isfinite, params)
    wide = init_params(jax.random.key(seed), case.sizes, standard_normal=True, dtype=dtype)
    for layer, wider in zip(params, wide, strict=True):
        np.testing.assert_array_equal(layer.biases, wider.biases)
        expected = np.asarray(wider.weights, np.float64) / wider.weights.shape[1] ** 0.5
        np.testing.assert_allclose(np.asarray(layer.weights, np.float64), expected, rtol=2 * float(case.limits.eps))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_random_parameters_are_finite_and_the_keys_alone(dtype):
    holds(check_init, 4, case=st.just(Case(dtype, sizes=(3, 4, 3, 2))), seed=st.integers(0, 2**31 - 1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_pixel_is_an_activation_from_0_to_1(dtype):
    with jax.enable_x64(dtype == "float64"):
        params = (Layer(jnp.zeros((1, 256), DTYPES[dtype]), jnp.zeros(1, DTYPES[dtype])),)
        inputs = np.asarray(as_inputs(jnp.arange(256, dtype=jnp.uint8), params), np.float64)
    assert (inputs[0], inputs[-1]) == (0, 1)
    assert np.all(np.diff(inputs) >= 0)
    np.testing.assert_allclose(inputs, np.arange(256) / 255, rtol=2 * float(jnp.finfo(DTYPES[dtype]).eps))
