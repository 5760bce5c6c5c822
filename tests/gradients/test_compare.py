"""Reports on gradients: the numbers, the verdict, and where a deliberate mistake is found."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import MODELS, automatic, by_hand, loss_and_gradients, make_problem, outputs_of

from mlp_jax import (
    Layer,
    Model,
    assert_gradients_match,
    backprop,
    compare_gradients,
    compare_rules,
    cross_entropy,
    identity,
    loss,
    softmax,
    tanh,
)
from mlp_jax.activations import gradient_through
from mlp_jax.backward import average_gradient
from mlp_jax.gradients.compare import angles
from mlp_jax.gradients.finite import first_not_finite, quantities
from mlp_jax.gradients.numerical import NumericalGradient, numerical_gradient
from mlp_jax.network import forward_pass

EPS = 2.0**-23
slow = pytest.mark.slow


def compare(gradient, reference, **options):
    report = compare_gradients({"mine": gradient, "theirs": reference}, "theirs", **options)
    return *report.leaves["mine"], report.overall["mine"]


def test_each_leaf_has_its_own_numbers():
    reference = {"a": np.array([[1, -4], [1e-9, 0]], np.float32), "b": np.array([3, 4], np.float32)}
    gradient = {"a": np.array([[1, -3], [0, 0]], np.float32), "b": np.array([6, 8], np.float32)}
    a, b, overall = compare(gradient, reference, roundings=100)
    assert (a.path, a.shape, a.dtype, a.absolute, a.relative) == ("['a']", (2, 2), "float32", 1, 0.25)
    assert (a.worst, a.value, a.reference, a.wrong, a.where, a.agrees) == ("['a'][0, 1]", -3, -4, 1, "[0, 1]", False)
    assert a.bound == pytest.approx(40 * EPS)
    assert a.ulps == 0.25 / EPS  # numbers from 4 to 8 lie 4 eps apart
    assert a.angle == pytest.approx(np.degrees(np.arctan2(4, 1) - np.arctan2(3, 1)))
    assert a.norm_ratio == pytest.approx((10 / 17) ** 0.5)
    assert (b.absolute, b.relative, b.angle, b.norm_ratio, b.wrong, b.where) == (4, 1, 0, 2, 2, "")
    assert (overall.absolute, overall.relative, overall.wrong, overall.agrees) == (4, 1, 3, False)
    assert (overall.worst, overall.value, overall.reference) == ("['b'][1]", 8, 4)
    u, v = np.array([1, -3, 0, 0, 6, 8]), np.array([1, -4, 0, 0, 3, 4])
    cosine = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
    assert overall.angle == pytest.approx(np.degrees(np.arccos(cosine)))


def test_a_number_near_zero_does_not_drown_the_rest():
    a, _ = compare([np.array([1, 1e-20], np.float32)], [np.array([1 + EPS, -1e-12], np.float32)])
    assert (a.relative, a.worst, a.agrees) == (pytest.approx(EPS), "[0][0]", True)


def test_the_angle_of_nearly_equal_gradients_keeps_its_digits():
    leaf, _ = compare([np.array([1, 1e-9])], [np.array([1.0, 0])])
    assert leaf.angle == pytest.approx(np.degrees(1e-9))


def test_nothing_is_no_disagreement_and_something_else_is():
    zero, _ = compare([np.zeros(2)], [np.zeros(2)])
    assert (zero.agrees, zero.relative, zero.angle, zero.norm_ratio) == (True, 0, 0, 1)
    assert compare([np.array([1e-307])], [np.zeros(1)])[0].agrees  # underflow
    assert not compare([np.array([1e-20])], [np.zeros(1)])[0].agrees
    assert compare({"a": np.zeros((0, 3)), "b": np.ones(1)}, {"a": np.zeros((0, 3)), "b": np.ones(1)})[-1].agrees


def test_the_coarser_type_counts_and_other_types_are_said():
    one, third = np.ones(1), np.full(1, 1 / 3)
    half, _ = compare([jnp.asarray(third, jnp.bfloat16)], [third])
    assert (half.agrees, half.remark) == (True, "bfloat16, in the reference float64")
    single, _ = compare([third.astype(np.float32)], [third])
    assert (single.agrees, single.remark) == (True, "float32, in the reference float64")
    assert not compare([one * 1.00001], [one])[0].agrees


def test_what_is_missing_or_has_another_shape_is_said_by_path():
    reference = {"a": np.ones((2, 3)), "b": np.ones(2), "c": np.ones(1)}
    gradient = {"a": np.ones((3, 2)), "b": np.ones(2), "d": np.ones(4)}
    report = compare_gradients({"mine": gradient, "theirs": reference}, "theirs")
    remarks = {leaf.path: leaf.remark for leaf in report.leaves["mine"]}
    assert remarks == {
        "['a']": "shape (3, 2), in the reference (2, 3)",
        "['b']": "",
        "['c']": "only in the reference",
        "['d']": "only here",
    }
    assert not report.agree
    assert "structure" in report.overall["mine"].remark
    other = compare([np.ones(1)], (np.ones(1),))[-1]  # a list is not a tuple
    assert (other.agrees, other.wrong) == (False, 0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_said_by_path(wrong):
    broken = np.ones((2, 3))
    broken[1, 2] = wrong
    leaf, overall = compare([broken], [np.ones((2, 3))])
    assert (leaf.agrees, leaf.wrong, leaf.worst) == (False, 1, "[0][1, 2]")
    assert leaf.remark == "1 not finite, first [1, 2]"
    assert compare([np.ones((2, 3))], [broken])[0].remark == "1 not finite in the reference, first [1, 2]"
    assert not compare([broken], [broken])[-1].agrees
    assert not overall.agrees


def test_the_report_is_a_table_json_and_an_assertion():
    right, wrong = [np.ones((4, 3))], [np.ones((4, 3))]
    wrong[0][2] = np.array([2, np.nan, 1e9])
    report = compare_gradients({"right": right, "wrong": wrong, "reference": right}, "reference")
    text = str(report)
    assert "right and reference agree" in text
    assert "wrong and reference DISAGREE" in text
    assert "DISAGREE: 3 wrong in [2, :], the worst [0][2, 1]: +nan, reference +1.000000e+00; 1 not finite" in text
    header, *rows = [line for line in text.splitlines() if line.startswith("  ") and not line.startswith("    D")][:3]
    assert header.split() == ["shape", "error", "relative", "bound", "ulps", "angle", "norm", "ratio"]
    assert [row.split()[:2] for row in rows] == [["[0]", "4x3"], ["all", "0.0e+00"]]
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (found["reference"], found["agree"]) == ("reference", False)
    assert found["gradients"]["right"]["overall"]["agrees"] is True
    assert found["gradients"]["wrong"]["leaves"][0]["where"] == "[2, :]"
    assert found["gradients"]["wrong"]["overall"]["angle"] is None
    assert_gradients_match({"right": right, "reference": right}, "reference")
    with pytest.raises(AssertionError, match=r"(?s)do not match\nwrong and reference DISAGREE.*\[2, :\]"):
        assert_gradients_match({"wrong": wrong, "reference": right}, "reference")


@pytest.mark.parametrize(("names", "reference"), [(["a", "b"], "c"), (["a"], "a"), ([], "a")])
def test_a_reference_that_is_not_there_is_refused(names, reference):
    with pytest.raises(ValueError, match=f"the reference is '{reference}' and the gradients are .*expected"):
        compare_gradients({name: [np.ones(1)] for name in names}, reference)


# A backward pass with places to go wrong in. All layers but the first are square, so that each mistake runs.
SIZES = (6, 5, 5, 5, 5)
MODEL = Model(tanh, tanh)


def backward(params, inputs, targets, model, mistake):
    weighted_sums, activations = forward_pass(params, inputs, model)
    delta = (1 if mistake == "factor" else 2) * (activations[-1] - targets)
    delta = gradient_through(model.output, weighted_sums[-1], delta)
    deltas = [delta]
    for number in reversed(range(len(params) - 1)):
        weights, z = params[number + 1].weights, weighted_sums[number]
        delta = delta @ (weights.T if (mistake, number) == ("transposed", 2) else weights)
        if (mistake, number) == ("previous layer", 1):
            z = weighted_sums[number - 1]
        if (mistake, number) != ("derivative", 1):
            delta = gradient_through(model.hidden, z, delta)
        if (mistake, number) == ("sign", 2):
            delta = delta.at[:, 3].multiply(-1)
        deltas.append(delta)
    incoming = list(activations[:-1])
    if mistake == "next activations":
        incoming[2] = activations[3]
    return average_gradient(params, tuple(reversed(deltas)), tuple(incoming))


PLANTED = {  # which layer is found, at what, and which leaves still agree
    "derivative": ("params[1], at [1].weights and [1].biases", 4),
    "transposed": ("params[2], at [2].weights and [2].biases", 2),
    "factor": ("params[3], at [3].weights and [3].biases", 0),
    "sign": ("params[2], at [2].weights[3, :] and [2].biases[3]", 2),
    "previous layer": ("params[1], at [1].weights and [1].biases", 4),
    "next activations": ("params[2], at [2].weights", 7),
}


@pytest.mark.usefixtures("float64")
def test_planted_mistakes_are_caught_and_located():
    def rule(mistake):
        return lambda *problem: backward(*problem, mistake)

    rules = {name: rule(name) for name in (*PLANTED, "right")}
    report = compare_rules(rules, *make_problem(SIZES, 9), MODEL)
    assert report.overall["right"].agrees
    assert len(report.notes) == len(PLANTED)
    for note, (name, (place, agreeing)) in zip(report.notes, PLANTED.items(), strict=True):
        assert note.startswith(f"{name}: from the outputs backward, the first to differ from automatic is {place}:")
        assert sum(leaf.agrees for leaf in report.leaves[name]) == agreeing
        assert ("its errors (deltas) are right" in note) == (name == "next activations")
        assert note in str(report)
    half = report.overall["factor"]
    assert (half.norm_ratio, half.angle) == (pytest.approx(0.5), pytest.approx(0, abs=1e-6))


def test_a_single_wrong_number_is_named():
    params, *examples = make_problem((784, 16, 16, 10), 20, dtype=np.float32)
    gradient = by_hand(params, *examples, Model())
    slip = gradient[0].weights.at[3, 7].multiply(1.001)
    slipped = (gradient[0]._replace(weights=slip), *gradient[1:])
    report = compare_gradients({"slipped": slipped, "right": gradient}, "right")
    overall = report.overall["slipped"]
    assert (overall.worst, overall.wrong, overall.value) == ("[0].weights[3, 7]", 1, float(slip[3, 7]))


def test_any_pytree_scalars_included():
    gradients = {"mine": {"a": [1.0, np.float32(2)], "b": (3.0,)}, "theirs": {"a": [1.0, np.float32(2)], "b": (3.5,)}}
    report = compare_gradients(gradients, "theirs")
    assert [leaf.agrees for leaf in report.leaves["mine"]] == [True, True, False]
    assert (report.overall["mine"].worst, report.overall["mine"].where) == ("['b'][0]", "")
    assert compare_gradients({"a": 1.0, "b": 1.0}, "a").agree


def test_squares_neither_overflow_nor_vanish():
    for size in (1e-300, 1e300):
        leaf, _ = compare([np.array([size, 0])], [np.array([size, size])])
        assert (leaf.norm_ratio, leaf.angle) == (pytest.approx(0.5**0.5), pytest.approx(45))
    small = Layer(np.float32([[1e-30, 0]]), np.zeros(1, np.float32))
    assert angles((small,), (jax.tree.map(lambda leaf: leaf * 1e25, small),))[0] == 0


@pytest.mark.parametrize(
    ("gradients", "options", "message"),
    [
        ([{}, {}], {}, "have no leaves"),
        ([{"a": np.arange(3)}] * 2, {}, r"mine\['a'\] is int64: expected floating point"),
        ([{"a": np.ones(3) * 1j}] * 2, {}, r"mine\['a'\] is complex128: expected floating point"),
        ([[np.ones(1)]] * 2, {"roundings": 0}, "the number of roundings is 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(gradients, options, message):
    with pytest.raises(ValueError, match=message):
        compare_gradients(dict(zip(("mine", "theirs"), gradients, strict=True)), "theirs", **options)


def least_squares(draw):
    """Linear regression at its optimum, where the gradient is what is left of terms that cancel."""
    inputs, targets = draw.normal(size=(50, 5)), draw.normal(size=(50, 2))
    solution = np.linalg.lstsq(np.c_[inputs, np.ones(50)], targets, rcond=None)[0].T
    return (Layer(solution[:, :5], solution[:, 5]),), inputs, targets, Model(identity, identity)


def balanced_classes(draw):
    """Softmax regression from zero on as many examples of each class."""
    params = (Layer(np.zeros((4, 5)), np.zeros(4)),)
    return params, draw.normal(size=(40, 5)), np.eye(4)[np.arange(40) % 4], Model(identity, softmax, cross_entropy)


def saturated(draw):
    """Outputs within 1e-3 of their targets: 1 - a loses three digits and more."""
    params, inputs, _ = jax.tree.map(np.asarray, make_problem((5, 6, 3), 30, 2))
    params = (params[0], Layer(8 * params[1].weights, params[1].biases))
    model = Model(tanh, softmax, cross_entropy)
    return params, inputs, np.eye(3)[np.argmax(outputs_of(params, inputs, model), axis=1)], model


def hidden_softmax(draw):
    """Through a softmax, what every activation wants alike cancels."""
    params, inputs, targets = make_problem((5, 6, 3), 30, 2)
    return (params[0], Layer(np.ones((3, 6)), params[1].biases)), inputs, targets, Model(softmax)


@pytest.mark.parametrize(
    "make",
    [least_squares, saturated, pytest.param(balanced_classes, marks=slow), pytest.param(hidden_softmax, marks=slow)],
)
def test_terms_that_cancel_are_no_disagreement(make):
    *problem, model = make(np.random.default_rng(0))
    problem = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), problem)
    report = compare_rules({"manual": backprop}, *problem, model)
    assert report.agree, str(report)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, pytest.param(jnp.float16, marks=slow)])
def test_coarse_types_do_not_hide_mistakes(dtype):
    problem = (*make_problem((20, 10, 5), 500, dtype=dtype), Model())

    def times(factor):
        return lambda *problem: jax.tree.map(lambda g: (g * factor).astype(g.dtype), backprop(*problem))

    rules = {"right": backprop, "zero": times(0), "twice": times(2)}
    report = compare_rules(rules, *problem)
    assert {name: overall.agrees for name, overall in report.overall.items()} == {n: n == "right" for n in rules}


def check_that_rounding_is_told_from_mistakes(sizes, examples, model, dtype, seed):
    problem = make_problem(tuple(sizes), examples, seed, dtype)
    report = compare_rules({"manual": backprop}, *problem, MODELS[model])
    assert report.agree, str(report)


random_networks = given(
    sizes=st.lists(st.integers(1, 80), min_size=2, max_size=6),
    examples=st.integers(1, 200),
    model=st.sampled_from(sorted(MODELS)),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**31),
)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_rounding_is_told_from_mistakes_in_20_networks():
    chosen = settings(max_examples=20, deadline=None, derandomize=True)
    chosen(random_networks(check_that_rounding_is_told_from_mistakes))()


@pytest.mark.parametrize("name", ["sigmoid", *(pytest.param(n, marks=slow) for n in MODELS if n != "sigmoid")])
@pytest.mark.usefixtures("float64")
def test_three_gradients_agree(name):
    problem, model = make_problem(), MODELS[name]
    numerical = numerical_gradient(loss, *problem, model)
    report = compare_rules({"manual": backprop}, *problem, model, gradients={"numerical": numerical})
    assert report.agree, str(report)
    assert list(report.overall) == ["numerical", "manual"]
    assert report.overall["numerical"].bound < 1e-6


@pytest.mark.usefixtures("float64")
def test_slopes_along_random_directions_find_a_mistake():
    problem = make_problem()
    measured = numerical_gradient(loss, *problem, Model(), directions=4)
    gradient = jax.tree.map(np.array, by_hand(*problem, Model()))
    for reference in ("measured", "mine"):
        assert compare_gradients({"mine": gradient, "measured": measured}, reference).agree
    wrong = jax.tree.map(np.copy, gradient)
    wrong[1].weights[2, 2] += 1e-6
    report = compare_gradients({"wrong": wrong, "measured": measured}, "measured")
    assert [leaf.path for leaf in report.leaves["wrong"] if not leaf.agrees] == ["[1].weights"]
    assert report.overall["wrong"].worst.startswith("[1].weights direction ")
    # As many directions as a leaf has numbers: they are directions still.
    leaf = compare_gradients({"mine": gradient, "measured": measured}, "measured").leaves["mine"][1]
    assert (leaf.shape, leaf.worst[:21]) == ((4,), "[0].biases direction ")
    off = jax.tree.map(lambda leaf, signs: leaf + 0.9e-9 * signs[0], gradient, measured.directions)
    coordinates = NumericalGradient(off, jax.tree.map(lambda leaf: 0 * leaf + 1e-9, gradient))
    assert compare_gradients({"coordinates": coordinates, "directions": measured}, "directions").agree
    others = measured._replace(directions=jax.tree.map(np.negative, measured.directions))
    with pytest.raises(ValueError, match="along different directions"):
        compare_gradients({"others": others, "measured": measured}, "measured")


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("inputs", "inputs [2, 4], one of 1 there"),
        ("weights", "weights of layers.1 [3, 2], one of 1 there"),
        ("overflow", "weighted sums of layers.2 [0, 0], one of 21 there"),
        ("cost", "cost, one of 1 there"),
        ("errors", "errors (deltas) of layers.2 [0, 0], one of 7 there"),
    ],
)
def test_nan_is_reported_where_it_first_appears(place, found):
    params, inputs, targets = jax.tree.map(np.array, make_problem(dtype=np.float32))
    model = Model()
    if place == "inputs":
        inputs[2, 4] = np.nan
    if place == "weights":
        params[1].weights[3, 2] = np.nan
    if place == "overflow":
        params = (*params[:2], Layer(np.full((3, 6), 3e38, np.float32), np.full(3, 3e38, np.float32)))
    if place == "errors":
        cost = model.cost._replace(derivative=lambda a, y: (a - y) / np.float32([0, 1, 1]))
        model = Model(cost=cost)
    if place == "cost":
        targets[1, 1] = 1e30
    note = f"the first number that is not finite: {found}"
    assert first_not_finite(params, inputs, targets, model) == note
    if place in ("inputs", "overflow"):
        report = compare_rules({"manual": backprop}, params, inputs, targets, model)
        assert report.agree == (place == "overflow")  # a sigmoid makes 1 of infinity, with a gradient of 0
        assert report.notes[-1] == note


@pytest.mark.usefixtures("float64")
def test_the_quantities_of_a_step_come_in_the_order_of_computing():
    params, inputs, targets = make_problem((3, 4, 2))
    weights = np.arange(7.0)

    def signs(*problem, weights):
        return jax.tree.map(jnp.sign, backprop(*problem, weights))

    @jax.jit
    def both(*problem):
        return quantities(*problem), quantities(*problem[:-1], problem[-1], signs, weights)

    found, by_signs = both(params, inputs, targets, Model())
    assert list(found) == [
        *("weights of layers.0", "biases of layers.0", "weights of layers.1", "biases of layers.1"),
        *("inputs", "targets", "weighted sums of layers.0", "activations of layers.0"),
        *("weighted sums of layers.1", "activations of layers.1", "cost", "errors (deltas) of layers.1"),
        *("gradient of the weights of layers.1", "gradient of the biases of layers.1", "errors (deltas) of layers.0"),
        *("gradient of the weights of layers.0", "gradient of the biases of layers.0"),
    ]
    gradient = automatic(params, inputs, targets, Model())
    np.testing.assert_allclose(found["gradient of the weights of layers.0"], gradient[0].weights, rtol=1e-10)
    np.testing.assert_allclose(found["gradient of the biases of layers.1"], gradient[1].biases, rtol=1e-10)
    cost = loss_and_gradients(params, inputs, targets, Model(), weights)[0]
    assert float(by_signs["cost"]) == pytest.approx(float(cost), rel=1e-12)
    np.testing.assert_array_equal(by_signs["weights of the examples"], weights)
    assert "errors (deltas) of layers.0" not in by_signs
    assert set(np.ravel(by_signs["gradient of the weights of layers.0"])) == {-1, 1}


@pytest.mark.usefixtures("as_installed")
def test_a_rule_that_returns_something_else_is_refused():
    problem = (*make_problem(dtype=np.float32), Model())
    with pytest.raises(
        ValueError, match="the rule 'mine' returned has the structure .*: expected that of the parameters"
    ):
        compare_rules({"mine": lambda *problem: backprop(*problem)[1:]}, *problem)
    transposed = {"mine": lambda *problem: jax.tree.map(jnp.transpose, backprop(*problem))}
    with pytest.raises(ValueError, match=r"has shape \(5, 4\) at \[0\].weights: expected that of the parameters"):
        compare_rules(transposed, *problem)
    with pytest.raises(ValueError, match="automatic is the name of a rule and of a gradient"):
        compare_rules({"automatic": backprop}, *problem, gradients={"automatic": problem[0]})
    with pytest.raises(ValueError, match="the reference is 'nobody'"):
        compare_rules({"mine": backprop}, *problem, reference="nobody")
    params, inputs, targets, model = problem
    with pytest.raises(ValueError, match=r"targets have shape \(7, 2\)"):
        compare_rules({"mine": backprop}, params, inputs, targets[:, :2], model)
    with pytest.raises(ValueError, match="there is no example in them"):
        compare_rules({"mine": backprop}, params, inputs[:0], targets[:0], model)


def test_angles_layer_by_layer():
    first = Layer(np.float32([[3, 0]]), np.float32([4]))
    turned = Layer(np.float32([[4, 0]]), np.float32([-3]))
    nothing = jax.tree.map(np.zeros_like, first)
    found = jax.jit(angles)((first,) * 4, (first, turned, jax.tree.map(np.negative, turned), nothing))
    np.testing.assert_allclose(found, (0, 90, 90, np.nan), atol=1e-4)


def test_errors_beyond_float64_are_infinite_and_say_nothing():
    """No warning, which would be an error here, of a tolerance so small or an error so large."""
    largest = np.finfo(np.float64).max
    four, _ = compare([np.full(2, 4.0)], [np.zeros(2)])
    assert (four.agrees, four.wrong, four.ulps) == (False, 2, np.inf)
    opposite, _ = compare([np.array([largest])], [np.array([-largest])])
    assert (opposite.agrees, opposite.absolute, opposite.angle) == (False, np.inf, 180)
    near, _ = compare([np.array([np.nextafter(largest, 0)])], [np.array([largest])])
    assert (near.agrees, near.ulps) == (True, 1)


def test_a_notebook_shows_a_report_as_a_table_and_a_shell_as_text():
    right, wrong = {"<b>": np.ones(2)}, {"<b>": np.array([1, 2.0])}
    report = compare_gradients({"right": right, "a & b": wrong, "reference": right}, "reference")
    assert repr(report) == str(report)
    html = report._repr_html_()
    assert (html.count("<table>"), html.count("<tr"), html.count("DISAGREE")) == (2, 7, 2)
    assert "<caption>a &amp; b and reference DISAGREE</caption>" in html
    assert "[&#x27;&lt;b&gt;&#x27;]" in html
    assert not {"<b>", "a & b"} & set(re.findall(r"<b>|a & b", html))
    rows = re.findall(r"<tr(.*?)>(.*?)</tr>", html)
    assert ["bold" in style for style, _ in rows] == [False, False, False, False, True, False, True]
    assert {row.count("<t") for _, row in rows} == {1, 8}
