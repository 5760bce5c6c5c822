"""Train the network of the lessons on MNIST, written out with the package's public functions.

    python scripts/train.py --epochs 30

The whole of training is here, from images to accuracy, to copy and to change; `mlp_jax.fit` and `mlp-jax train` do
the same and keep the run.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from mlp_jax import Model, backprop, init_params, load_dataset, loss, predict


def main(epochs: int = 30, batch_size: int = 100, learning_rate: float = 3.0, seed: int = 0) -> None:
    """Train 784-16-16-10 by mini-batch gradient descent, printing cost and accuracy after each epoch."""
    dataset = load_dataset("mnist")
    images, labels = jnp.asarray(dataset.train.inputs), jnp.asarray(dataset.train.targets)
    test_inputs = jnp.asarray(dataset.test.inputs) / 255.0
    steps = len(images) // batch_size  # a last smaller batch is left out here; train_epoch takes it

    model = Model()  # sigmoids and the quadratic cost
    optimizer = optax.sgd(optax.cosine_decay_schedule(learning_rate, epochs * steps))
    params = init_params(jax.random.key(seed), (784, 16, 16, 10))
    state = params, optimizer.init(params)

    def step(state, batch):
        params, memory = state
        inputs = images[batch] / 255.0
        targets = jax.nn.one_hot(labels[batch], 10)
        cost = loss(params, inputs, targets, model)
        gradient = backprop(params, inputs, targets, model)  # or jax.grad(loss)(params, inputs, targets, model)
        change, memory = optimizer.update(gradient, memory, params)
        return (optax.apply_updates(params, change), memory), cost

    @jax.jit
    def train_epoch(state, batches):
        state, costs = jax.lax.scan(step, state, batches)
        return state, jnp.mean(costs)

    for epoch in range(epochs):
        start = time.perf_counter()
        order = np.random.default_rng((seed, epoch)).permutation(len(images))
        state, cost = train_epoch(state, order[: steps * batch_size].reshape(steps, batch_size))
        accuracy = float(jnp.mean(predict(state[0], test_inputs, model) == dataset.test.targets))
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1}: cost {cost:.4f}, test accuracy {accuracy:.4f}, {seconds:.2f} s")


if __name__ == "__main__":
    tyro.cli(main)
