"""The same quantities by BackPACK, on PyTorch, brought to this package's scaling.

The cost here is (a - y)^2 summed over the outputs and averaged over the examples. BackPACK differentiates
`MSELoss(reduction="sum")`, the same summed over the examples as well, so no number of outputs comes in, and one example
counts the same in both. What BackPACK makes of that:

- gradients of examples, their squared norms and their variance, which it divides by the examples itself, are ours;
- a sum over the examples, of squared gradients or of curvature, is ours after division by the number of examples;
- of the two Kronecker factors, the one of the outputs is a sum over the examples and the one of the inputs a mean.

(`MSELoss()` would divide by examples times outputs as well: gradients and curvature once, squares of gradients twice.)
Source: BackPACK 1.7.1, `_sqrt_hessian` in core/derivatives/mseloss.py, `_variance_from` in
extensions/firstorder/variance/variance_base.py, and extensions/secondorder/hbp/linear.py.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from mlp_jax import Params

Values = list[Any]  # what BackPACK leaves at each parameter, weights and biases in turn


def same(values: Values, examples: int) -> Values:
    """What is ours already."""
    return values


def mean(values: Values, examples: int) -> Values:
    """Sums over the examples as means."""
    return [value / examples for value in values]


def total(values: Values, examples: int) -> Values:
    """One number for each example from one for each example and parameter."""
    return [sum(values)]


def factors(values: Values, examples: int) -> Values:
    """Of each layer's weights, for the biases have the first of the same two: the factor of the inputs first."""
    return [leaf for outputs, inputs in values[0::2] for leaf in (inputs, outputs / examples)]


EXTENSIONS = {
    "per_example.gradients": ("BatchGrad", "grad_batch", same),
    "per_example.squared_norms": ("BatchL2Grad", "batch_l2", total),
    "per_example.second_moment": ("SumGradSquared", "sum_grad_squared", mean),
    "per_example.variance": ("Variance", "variance", same),
    "curvature.gauss_newton_diagonal": ("DiagGGNExact", "diag_ggn_exact", mean),
    "curvature.kronecker_factors": ("KFLR", "kflr", factors),
    "curvature.hessian_diagonal": ("DiagHessian", "diag_h", mean),
}
"""BackPACK's extension, the attribute that it leaves its result in, and how that becomes ours."""


class Counterpart(NamedTuple):
    """How PyTorch and BackPACK compute one quantity: forward, backward and what goes with it.

    name: what it is called there.
    call: computes it and returns the values.
    to_ours: makes of them, and the number of examples, the leaves of our result.
    """

    name: str
    call: Callable[[], Values]
    to_ours: Callable[[Values, int], Values]


def make(params: Params, inputs: Any, targets: Any, vector: Params, threads: int) -> dict[str, Counterpart]:
    """By the name of our row. Raises ImportError if PyTorch or BackPACK is not installed."""
    import torch
    from backpack import backpack, extend, extensions
    from backpack.hessianfree.ggnvp import ggn_vector_product

    # BackPACK hooks into each module, the first too, whose inputs need no gradient: PyTorch remarks on it.
    warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
    torch.set_num_threads(threads)
    inputs, targets = (torch.from_numpy(np.array(array)) for array in (inputs, targets))
    vectors = [torch.from_numpy(np.array(leaf)) for leaf in jax.tree.leaves(vector)]
    plain, cost = _network(params), torch.nn.MSELoss(reduction="sum")
    extended, extended_cost = extend(_network(params)), extend(torch.nn.MSELoss(reduction="sum"))

    def gradient() -> Values:
        plain.zero_grad()
        cost(plain(inputs), targets).backward()
        return [parameter.grad for parameter in plain.parameters()]

    def product() -> Values:  # GGNMP leaves out what leads from one parameter to another; this is the whole matrix
        outputs = plain(inputs)
        return list(ggn_vector_product(cost(outputs, targets), outputs, plain, vectors))

    def by_extension(extension: type, field: str) -> Callable[[], Values]:
        def call() -> Values:
            extended.zero_grad()
            with backpack(extension()):
                extended_cost(extended(inputs), targets).backward()
            values = [getattr(parameter, field) for parameter in extended.parameters()]
            for parameter in extended.parameters():  # or a gigabyte stays there until the next call
                delattr(parameter, field)
            return values

        return call

    found = {
        "jax.grad(loss)": Counterpart("backward()", gradient, mean),
        "curvature.gauss_newton_product": Counterpart("ggn_vector_product", product, mean),
    }
    for row, (name, field, to_ours) in EXTENSIONS.items():
        found[row] = Counterpart(name, by_extension(getattr(extensions, name), field), to_ours)
    return found


def _network(params: Params) -> Any:
    """The same network in PyTorch."""
    import torch
    from torch import nn

    layers = [nn.Linear(layer.weights.shape[1], layer.weights.shape[0]) for layer in params]
    with torch.no_grad():
        for module, layer in zip(layers, params, strict=True):
            module.weight.copy_(torch.from_numpy(np.array(layer.weights)))
            module.bias.copy_(torch.from_numpy(np.array(layer.biases)))
    return nn.Sequential(*(module for layer in layers for module in (layer, nn.Sigmoid())))


def largest_difference(ours: Any, theirs: Values) -> float:
    """As a fraction of the largest number of its leaf. Row by row, for a leaf of one number in 4 may be a gigabyte."""
    fractions = []
    for leaf, other in zip(map(np.asarray, jax.tree.leaves(ours)), theirs, strict=True):
        other = other.detach().numpy()
        if leaf.shape != other.shape:
            raise ValueError(f"our leaf has shape {leaf.shape}, BackPACK's {other.shape}")
        furthest = np.max([np.max(np.abs(row - other_row)) for row, other_row in zip(leaf, other, strict=True)])
        fractions.append(furthest / np.max([np.max(np.abs(row)) for row in leaf]))
    return float(np.max(fractions))
