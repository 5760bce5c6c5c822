"""Whether a network learns when errors come back through fixed random weights: Nokland 2016, Table 1, on MNIST.

    python scripts/feedback_alignment.py --epochs 25

Each network is trained by back-propagation, by feedback alignment and by direct feedback alignment, from the same
initial parameters. The settings are those of the paper, https://arxiv.org/abs/1609.01596, and of its author's code,
https://github.com/anokland/dfa-torch: sigmoid outputs with cross-entropy, RMSprop with rate 0.0001, batches of 64.
25 epochs take two cores about 10 minutes. The author's code trains until it errs on 0.01 % of the training images or
for 300 epochs: expect larger errors here. The paper's stand beside ours as quoted, without the paper at hand.

Random feedback works because the network comes to meet it: in training, the angle between a rule's direction and the
true gradient falls well below 90 degrees. The table tells it for each layer, on the first 1,000 training images.

Not as in the paper: all three rules start from the package's initial parameters, whose biases have standard deviation
1. The author's code starts back-propagation from small random numbers, direct feedback alignment from zeros, feedback
alignment from zeros but for the first layer. Feedback is Gaussian here, uniform there. RMSprop averages over some 10
updates here, 100 there.
"""

import time
from functools import partial
from typing import Literal

import jax
import rich
import rich.box
import tyro
from jaxtyping import Array
from rich.table import Table

import mlp_jax
from mlp_jax import GradientRule, Model, Params, backprop, evaluate, fit, init_params, loss
from mlp_jax.gradients.compare import angles
from mlp_jax.gradients.rules import direct_feedback_alignment, feedback_alignment

Network = Literal["tanh", "logistic"]
LAYERS = {"tanh": (1, mlp_jax.tanh), "logistic": (2, mlp_jax.sigmoid)}  # how many are hidden, and their activation
PAPER = {"tanh": (1.59, 1.68, 1.68), "logistic": (1.67, 1.82, 1.75)}  # test errors in %, in the order of the rules
true_gradient = jax.jit(jax.grad(loss))


def main(
    networks: tuple[Network, ...] = ("tanh", "logistic"),
    epochs: int = 25,
    hidden: int = 800,
    batch_size: int = 64,
    learning_rate: float = 1e-4,
    seed: int = 0,
) -> None:
    """Train networks by three rules and print their test errors beside the paper's.

    Args:
        networks: tanh has one hidden layer, logistic two.
        epochs: how often each network sees the training images.
        hidden: neurons in a hidden layer; the paper has 800.
        batch_size: images in a mini-batch.
        learning_rate: of RMSprop.
        seed: of the initial parameters, the random feedback and the order of the images.
    """
    began = time.perf_counter()
    dataset = mlp_jax.load_dataset("mnist")
    inputs = jax.numpy.asarray(dataset.train.inputs[:1000]) / 255.0
    targets = jax.nn.one_hot(dataset.train.targets[:1000], 10)
    for_params, for_feedback = jax.random.split(jax.random.key(seed))

    title = f"test error after epoch {epochs}; angle to the true gradient, layer by layer"
    table = Table(box=rich.box.SIMPLE, title=title)
    for heading in ("", "test error", "in the paper", "degrees at start", "degrees at end"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=not heading)
    for network in networks:
        depth, activation = LAYERS[network]
        sizes, model = (784, *[hidden] * depth, 10), Model(activation, mlp_jax.sigmoid, mlp_jax.cross_entropy)
        rules = {
            "back-propagation": backprop,
            "feedback alignment": feedback_alignment(for_feedback, sizes),
            "direct feedback alignment": direct_feedback_alignment(for_feedback, sizes),
        }
        params = init_params(for_params, sizes)
        table.add_row(f"{depth}x{hidden} {network}")
        for (name, rule), quoted in zip(rules.items(), PAPER[network], strict=True):
            trained = fit(
                params,
                dataset,
                model,
                epochs=epochs,
                batch_size=batch_size,
                optimizer=mlp_jax.make_optimizer("rmsprop", learning_rate),
                gradient=rule,
                seed=seed,
                callback=partial(report, f"{network}, {name}"),
            ).params
            error = 100 * (1 - evaluate(trained, dataset.test, model).score)
            turned = (degrees(rule, at, inputs, targets, model) for at in (params, trained))
            table.add_row(f"  {name}", f"{error:.2f} %", f"{quoted:.2f} %" if hidden == 800 else "", *turned)
    rich.print(table)
    print(f"{time.perf_counter() - began:.0f} s in all")


def report(what: str, _: mlp_jax.TrainState, metrics: mlp_jax.EpochMetrics) -> None:
    """Print a line for an epoch."""
    error = 100 * (1 - metrics.score)
    print(f"{what}: epoch {metrics.epoch}, test error {error:.2f} %, {metrics.seconds:.1f} s", flush=True)


def degrees(rule: GradientRule, params: Params, inputs: Array, targets: Array, model: Model) -> str:
    """The angle between a rule's direction and the true gradient in each layer."""
    direction, gradient = (r(params, inputs, targets, model) for r in (jax.jit(rule), true_gradient))
    return " ".join(f"{angle:.0f}" for angle in jax.jit(angles)(direction, gradient))


if __name__ == "__main__":
    tyro.cli(main)
