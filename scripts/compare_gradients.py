"""One gradient found three ways: by hand, by automatic differentiation, and by nudging.

    python scripts/compare_gradients.py

To check a backward pass of your own, put it beside these: any function with the signature of `backprop`. In float64,
what differs between the first two is the rounding of the 16th digit; the third knows nothing of derivatives: it nudges
the parameters of each layer along random directions and measures how the cost answers.
"""

import jax
import jax.numpy as jnp
import tyro

import mlp_jax
from mlp_jax import Model, backprop, compare_rules, init_params, load_dataset, loss, numerical_gradient


def main(hidden: str = "sigmoid", output: str = "sigmoid", cost: str = "quadratic", examples: int = 100) -> None:
    """Compare the three gradients of 784-16-16-10 on the first examples of MNIST."""
    jax.config.update("jax_enable_x64", True)
    dataset = load_dataset("mnist")
    inputs = jnp.asarray(dataset.train.inputs[:examples]) / 255.0
    targets = jax.nn.one_hot(dataset.train.targets[:examples], 10)
    model = Model(*(getattr(mlp_jax, name) for name in (hidden, output, cost)))
    params = init_params(jax.random.key(0), (784, 16, 16, 10), dtype=jnp.float64)

    measured = numerical_gradient(loss, params, inputs, targets, model)
    rules = {"by hand": backprop, "automatic": jax.grad(loss)}
    report = compare_rules(rules, params, inputs, targets, model, gradients={"by nudging": measured})
    print(report)
    raise SystemExit(not report.agree)


if __name__ == "__main__":
    tyro.cli(main)
