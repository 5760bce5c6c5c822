"""One gradient found three ways: by hand, by automatic differentiation, and by nudging.

    python scripts/compare_gradients.py

Everything is in float64, so what differs between the first two is the rounding of the 16th digit. The third nudges
the parameters along random directions and measures how the cost answers: it knows nothing of derivatives.
"""

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax.flatten_util import ravel_pytree

import mlp_jax
from mlp_jax import Model, backprop, init_params, load_dataset, loss


def main(hidden: str = "sigmoid", output: str = "sigmoid", cost: str = "quadratic", examples: int = 100) -> None:
    """Compare the three gradients of 784-16-16-10 on the first examples of MNIST."""
    jax.config.update("jax_enable_x64", True)
    dataset = load_dataset("mnist")
    inputs = jnp.asarray(dataset.train_images[:examples]) / 255.0
    targets = jax.nn.one_hot(dataset.train_labels[:examples], 10)
    model = Model(*(getattr(mlp_jax, name) for name in (hidden, output, cost)))
    params = init_params(jax.random.key(0), (784, 16, 16, 10), dtype=jnp.float64)

    by_hand = jax.jit(backprop)(params, inputs, targets, model)
    automatic = jax.jit(jax.grad(loss))(params, inputs, targets, model)
    for layer, (manual, auto) in enumerate(zip(by_hand, automatic, strict=True), start=1):
        for name, g, r in zip(manual._fields, manual, auto, strict=True):
            difference = jnp.linalg.norm(g - r) / jnp.linalg.norm(r)
            print(f"layer {layer} {name:7}  norm {jnp.linalg.norm(g):.6e}  manual against automatic {difference:.1e}")

    flat, unravel = ravel_pytree(params)
    gradient, _ = ravel_pytree(by_hand)
    cost_at = jax.jit(lambda flat: loss(unravel(flat), inputs, targets, model))
    nudge = 1e-5  # error of the central difference: nudge^2 from the cubic term, 1e-16 / nudge from rounding
    draw = np.random.default_rng(0)
    for number in range(5):
        direction = draw.normal(size=flat.shape) / flat.size**0.5
        measured = (cost_at(flat + nudge * direction) - cost_at(flat - nudge * direction)) / (2 * nudge)
        predicted = gradient @ direction
        print(f"direction {number + 1}: predicted slope {predicted:+.10f}, measured {measured:+.10f}")


if __name__ == "__main__":
    tyro.cli(main)
