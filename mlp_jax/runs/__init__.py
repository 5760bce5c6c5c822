"""A training run on the disk."""

from mlp_jax.runs.checkpoints import Checkpoints
from mlp_jax.runs.params import load_params, load_preprocessing, save_params
from mlp_jax.runs.run import Run, RunError

__all__ = ["Checkpoints", "Run", "RunError", "load_params", "load_preprocessing", "save_params"]
