"""The multilayer perceptron in JAX, with a backward pass written by hand.

Network      init_params, Layer, Params, Model, feedforward, forward_pass, predict, loss
Gradient     backprop; GradientRule is any function with its arguments
Functions    sigmoid, relu, leaky_relu, tanh, silu, softmax, identity (Activation); quadratic, cross_entropy (Cost)
Data         load_dataset, load_table, Dataset, Examples, DatasetError
Training     fit, fit_population, init_population, make_optimizer, EpochMetrics, DivergenceError; evaluate, Evaluation;
             in steps: Plan, TrainState, epochs, train_epoch, update
Checking     compare_gradients, compare_rules, GradientReport, numerical_gradient, NumericalGradient,
             assert_gradients_match
Files        save_params, load_params, load_model, from_torch, to_torch

Modules that go further: `mlp_jax.gradients` has `per_example`, `curvature`, `nudges` and other learning `rules`;
`mlp_jax.scaling` brings columns of numbers to one size; `mlp_jax.plots` draws a learning curve, a confusion matrix,
weights and mistakes; `mlp_jax.training`, `mlp_jax.data` and `mlp_jax.runs` have the parts of training;
`mlp_jax.experiments` tests the claims of the lessons.

    >>> import jax, mlp_jax
    >>> data = mlp_jax.load_dataset("mnist")
    >>> state = mlp_jax.fit(mlp_jax.init_params(jax.random.key(0)), data, epochs=3)
    >>> round(mlp_jax.evaluate(state.params, data.test, mlp_jax.Model()).score, 2)
    0.92

The public names stand in `__init__.pyi`. Each is imported when it is first used, because importing JAX takes a second
that `mlp-jax --help` need not wait for.
"""

from importlib import metadata
from typing import Any

import lazy_loader

_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    return metadata.version(__name__) if name == "__version__" else _public(name)
