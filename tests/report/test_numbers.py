"""The page's own arithmetic, in the browser, against the package's in float64."""

import base64
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from untrained import SIZES

from mlp_jax import Layer, init_params, load_dataset
from mlp_jax.backward import backprop
from mlp_jax.build import model_of
from mlp_jax.gradients.nudges import nudges
from mlp_jax.network import feedforward, forward_pass, loss

pytestmark = pytest.mark.browser
EVERY = ("sigmoid", "relu", "leaky_relu", "tanh", "silu", "identity", "softmax")
CASES = [
    *((SIZES, hidden, "sigmoid", "quadratic") for hidden in EVERY),
    *((SIZES, "sigmoid", output, "quadratic") for output in EVERY),
    *((SIZES, *names, "cross_entropy") for names in itertools.product(("relu", "softmax"), ("sigmoid", "softmax"))),
    ((784, 10), "tanh", "softmax", "cross_entropy"),
    ((784, 5, 12, 7, 10), "silu", "tanh", "quadratic"),
]
COMPUTED = """([facts, parameters, images, labels]) => {
  const network = makeNetwork(facts, Float32Array.from(parameters));
  const found = { outputs: [], cost: [], gradient: [], wanted: [] };
  images.forEach((image, at) => {
    const pass = forwardPass(network, Float64Array.from(image, (level) => level / 255));
    const targets = oneHot(labels[at], 10);
    const wants = nudgesOf(network, pass, targets);
    found.outputs.push(...outputsOf(pass));
    found.cost.push(costAt(network, pass, targets));
    for (const { weights, biases } of wants) {
      for (const value of weights) found.gradient.push(-value);
      for (const value of biases) found.gradient.push(-value);
    }
    for (const { outputs, earlier } of wants) found.wanted.push(...outputs, ...earlier);
  });
  const asText = (values) => {
    const bytes = new Uint8Array(Float32Array.from(values).buffer);
    let text = "";
    for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
    return btoa(text);
  };
  return Object.fromEntries(Object.entries(found).map(([name, values]) => [name, asText(values)]));
}"""


def in_rows(tree):
    """All leaves of a tree of batches, a row for each example."""
    leaves = jax.tree.leaves(tree)
    return np.concatenate([np.asarray(leaf).reshape(len(leaf), -1) for leaf in leaves], axis=1)


@pytest.mark.parametrize(("sizes", "hidden", "output", "cost"), CASES)
def test_the_page_computes_what_the_package_computes(opened, make_run, float64, sizes, hidden, output, cost):
    dataset, model = load_dataset("mnist"), model_of(hidden, output, cost)
    images, labels = dataset.test.inputs[:50], dataset.test.targets[:50]
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), init_params(jax.random.key(len(hidden)), sizes))
    row = np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(params)])
    page = opened(make_run())
    facts = {"sizes": sizes, "hidden": hidden, "output": output, "cost": cost}
    computed = page.evaluate(COMPUTED, [facts, row.tolist(), images.tolist(), labels.tolist()])

    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
    x, y = jnp.asarray(images / 255.0), jax.nn.one_hot(labels, 10, dtype=jnp.float64)
    wanted = jax.jit(jax.vmap(lambda x, y: nudges(params, x, y, model)))(x, y)
    expected = {
        "outputs": feedforward(params, x, model),
        "cost": jax.vmap(lambda x, y: loss(params, x, y, model))(x, y),
        "gradient": in_rows(jax.jit(jax.vmap(lambda x, y: backprop(params, x, y, model)))(x, y)),
        "wanted": in_rows([(layer.outputs, layer.earlier) for layer in wanted]),
    }
    for name, values in expected.items():
        there = np.frombuffer(base64.b64decode(computed[name]), np.float32).reshape(np.shape(values))
        np.testing.assert_allclose(there, values, rtol=1e-5, atol=1e-7 * np.abs(values).max(), err_msg=name)


@pytest.mark.parametrize("hidden", ["sigmoid", "tanh", "softmax"])
def test_what_an_example_wants_of_a_network_with_neurons_switched_off(opened, make_run, hidden):
    """Beside the cost when each bias is nudged: the package knows no such switch."""
    page = opened(make_run(model=(hidden, "sigmoid", "quadratic")))
    nudged, wanted = page.evaluate("""() => {
      now.network.layers[0].off[2] = now.network.layers[1].off[3] = 1;
      const cost = () => costAt(now.network, forwardPass(now.network, now.inputs), now.targets());
      const wants = nudgesOf(now.network, forwardPass(now.network, now.inputs), now.targets());
      const slopes = now.network.layers.map(({ biases }) => Array.from(biases, (bias, j) => {
        const costs = [1e-4, -1e-4].map((step) => ((biases[j] = bias + step), cost()));
        biases[j] = bias;
        return (costs[1] - costs[0]) / 2e-4;
      }));
      return [slopes, wants.map(({ biases }) => [...biases])];
    }""")
    for slopes, biases in zip(nudged, wanted, strict=True):
        np.testing.assert_allclose(biases, slopes, atol=1e-7)


@pytest.mark.parametrize("names", [("sigmoid", "quadratic"), ("softmax", "quadratic"), ("softmax", "cross_entropy")])
def test_what_each_output_wants_adds_up_to_what_the_example_wants(opened, make_run, float64, names):
    """Its own wanted changes: the derivatives of the cost by way of its weighted sum alone, by JAX."""
    model, label = model_of("sigmoid", *names), 3
    page = opened(make_run(model=("sigmoid", *names)))
    page.check(f"#wanted input[value='{label}']", force=True)
    found = page.evaluate("wantedByOutputs(now.network, forwardPass(now.network, now.inputs), now.targets())")
    rows, inputs = page.evaluate("[now.network.layers.map((l) => [[...l.weights], [...l.biases]]), [...now.inputs]]")
    params = tuple(
        Layer(jnp.reshape(jnp.array(weights), (len(biases), -1)), jnp.array(biases)) for weights, biases in rows
    )
    y = jax.nn.one_hot(label, 10, dtype=jnp.float64)
    _, activations = forward_pass(params, jnp.array(inputs), model)
    before, last = activations[-2], params[-1]

    def cost_by_way_of(j, layer, before):
        here = layer.weights @ before + layer.biases
        kept = jax.lax.stop_gradient(here)
        only = (Layer(jnp.eye(10), jnp.zeros(10)),)  # from weighted sums to the cost
        return loss(only, jnp.where(jnp.arange(10) == j, here, kept), y, model)

    for j, wanted in enumerate(found):
        layer, earlier = jax.grad(cost_by_way_of, (1, 2))(j, last, before)
        np.testing.assert_allclose(wanted["bias"], -layer.biases[j], rtol=1e-5, atol=1e-12)
        np.testing.assert_allclose(wanted["weights"], -layer.weights[j], rtol=1e-5, atol=1e-12)
        np.testing.assert_allclose(wanted["earlier"], -earlier, rtol=1e-5, atol=1e-12)
        falls = [layer.biases[j] ** 2, jnp.sum(layer.weights**2), jnp.sum(earlier**2)]
        np.testing.assert_allclose(wanted["falls"], falls, rtol=1e-5, atol=1e-12)
    summed = np.sum([wanted["earlier"] for wanted in found], axis=0)
    np.testing.assert_allclose(summed, nudges(params, jnp.array(inputs), y, model)[-1].earlier, rtol=1e-5, atol=1e-12)


def test_what_other_answers_would_cost(opened, make_run):
    page = opened(make_run())
    answers = {(1, 0, 9): 0, (0.1, 0.1, 9): 0.9, (0.5, 0.5, 9): 2.5, (0, 1, 1): 2}
    for model in (("sigmoid", "quadratic"), ("sigmoid", "cross_entropy"), ("softmax", "cross_entropy")):
        names = dict(zip(("output", "cost"), model, strict=True))
        for (right, others, count), quadratic in answers.items():
            said = page.evaluate(
                "([names, ...answer]) => costOfAnswer(names, ...answer)", [names, right, others, count]
            )
            with np.errstate(divide="ignore"):
                alike = count * np.log1p(-others) if model[0] == "sigmoid" else 0
                expected = quadratic if model[1] == "quadratic" else -np.log(right) - alike
            assert said == pytest.approx(expected)
    page.evaluate("drawCosts()")
    shown = page.locator("#costs .number").all_text_contents()[1:]
    assert shown == ["0.000", "0.900", "2.500", "2.000"]


@pytest.mark.parametrize("seed", range(3))
def test_the_chain_rule_of_the_two_small_networks(opened, make_run, float64, seed):
    page, rng = opened(make_run()), np.random.default_rng(seed)
    names = ["w", "p", "b", "y", "w0", "w1", "v0", "v1"]
    at = dict(zip(names, rng.normal(size=len(names)).tolist(), strict=True))

    def of_one(w, b, p):
        return (jax.nn.sigmoid(w * p + b) - at["y"]) ** 2

    def of_two(p0, p1):  # the same activation, as each of the middle neurons hears it
        z = at["v0"] * jax.nn.sigmoid(at["w0"] * p0) + at["v1"] * jax.nn.sigmoid(at["w1"] * p1)
        return (jax.nn.sigmoid(z) - at["y"]) ** 2

    one, two, nudged = page.evaluate(
        """(at) => [
          Object.values(ratiosOfOne(at)).map(productOf),
          ratiosOfTwo(at).map(productOf),
          [measured(chainOfOne, at, "w"), measured(chainOfTwo, at, "p")],
        ]""",
        at,
    )
    np.testing.assert_allclose(one, jax.grad(of_one, (0, 1, 2))(at["w"], at["b"], at["p"]), rtol=1e-10)
    np.testing.assert_allclose(two, jax.grad(of_two, (0, 1))(at["p"], at["p"]), rtol=1e-10)
    by_w = (of_one(at["w"] + 0.01, at["b"], at["p"]) - of_one(at["w"], at["b"], at["p"])) / 0.01
    by_p = (of_two(at["p"] + 0.01, at["p"] + 0.01) - of_two(at["p"], at["p"])) / 0.01
    np.testing.assert_allclose(nudged, [by_w, by_p], rtol=1e-9)
