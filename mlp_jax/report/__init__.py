"""The page a run is looked at with: `report` fills it, `serve` shows it in the browser."""

from mlp_jax.report.page import report
from mlp_jax.report.serve import serve

__all__ = ["report", "serve"]
