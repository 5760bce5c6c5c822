"""What was learned, in other tools, and what they learned, here."""

from mlp_jax.exchange.stablehlo import prediction_program
from mlp_jax.exchange.torch import from_torch, to_torch

__all__ = ["from_torch", "prediction_program", "to_torch"]
