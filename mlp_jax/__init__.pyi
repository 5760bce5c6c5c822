from .activations import Activation, identity, leaky_relu, relu, sigmoid, silu, softmax, tanh
from .backward import GradientRule, backprop
from .costs import Cost, cross_entropy, quadratic
from .data import Dataset, DatasetError, Examples, load_dataset, load_table
from .exchange import from_torch, to_torch
from .gradients.compare import assert_gradients_match, compare_gradients
from .gradients.compare_rules import compare_rules
from .gradients.numerical import NumericalGradient, numerical_gradient
from .gradients.report import GradientReport
from .network import Layer, Model, Params, feedforward, forward_pass, init_params, loss, predict
from .runs.params import load_model, load_params, save_params
from .training import (
    DivergenceError,
    EpochMetrics,
    Evaluation,
    Plan,
    TrainState,
    epochs,
    evaluate,
    fit,
    fit_population,
    init_population,
    make_optimizer,
    train_epoch,
    update,
)

__version__: str

__all__ = [
    "Activation",
    "Cost",
    "Dataset",
    "DatasetError",
    "DivergenceError",
    "EpochMetrics",
    "Evaluation",
    "Examples",
    "GradientReport",
    "GradientRule",
    "Layer",
    "Model",
    "NumericalGradient",
    "Params",
    "Plan",
    "TrainState",
    "assert_gradients_match",
    "backprop",
    "compare_gradients",
    "compare_rules",
    "cross_entropy",
    "epochs",
    "evaluate",
    "feedforward",
    "fit",
    "fit_population",
    "forward_pass",
    "from_torch",
    "identity",
    "init_params",
    "init_population",
    "leaky_relu",
    "load_dataset",
    "load_model",
    "load_params",
    "load_table",
    "loss",
    "make_optimizer",
    "numerical_gradient",
    "predict",
    "quadratic",
    "relu",
    "save_params",
    "sigmoid",
    "silu",
    "softmax",
    "tanh",
    "to_torch",
    "train_epoch",
    "update",
]
