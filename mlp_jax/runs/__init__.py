"""What is kept of a training run."""

from mlp_jax.runs.params import load_params, save_params
from mlp_jax.runs.run import Run, RunError

__all__ = ["Run", "RunError", "load_params", "save_params"]
