"""The page's own arithmetic, in the browser, against the package's in float64."""

import base64
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from untrained import SIZES

from mlp_jax import init_params, load_dataset
from mlp_jax.backward import backprop
from mlp_jax.build import model_of
from mlp_jax.gradients.nudges import nudges
from mlp_jax.network import feedforward, loss

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
