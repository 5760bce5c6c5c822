from .activations import Activation, identity, leaky_relu, relu, sigmoid, silu, softmax, tanh

__all__ = [
    "Activation",
    "identity",
    "leaky_relu",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "tanh",
]
