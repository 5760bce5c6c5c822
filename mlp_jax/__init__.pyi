from .activations import Activation, identity, leaky_relu, relu, sigmoid, silu, softmax, tanh
from .backprop import backprop
from .costs import Cost, cross_entropy, quadratic
from .data import Dataset, DatasetError, load_dataset
from .network import Layer, Model, Params, feedforward, forward_pass, init_params, loss, predict

__all__ = [
    "Activation",
    "Cost",
    "Dataset",
    "DatasetError",
    "Layer",
    "Model",
    "Params",
    "backprop",
    "cross_entropy",
    "feedforward",
    "forward_pass",
    "identity",
    "init_params",
    "leaky_relu",
    "load_dataset",
    "loss",
    "predict",
    "quadratic",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "tanh",
]
