"""The command that tests the claims of the lessons."""

from difflib import get_close_matches

from mlp_jax.config import Experiment
from mlp_jax.experiments import EXPERIMENTS, claim_of

ALL = "all"


def experiment(settings: Experiment) -> int:
    """Run a claim of the lessons, or all, and keep the figure and the numbers of each; without a name, list them.

    Raises ValueError for an unknown name, and offers the nearest ones.
    """
    if settings.name is None:
        for name in EXPERIMENTS:
            claim = claim_of(name)
            print(f"{name:16}  {claim.text} ({claim.source})")
        return 0
    if settings.name not in (*EXPERIMENTS, ALL):
        near = get_close_matches(settings.name, [*EXPERIMENTS, ALL], n=3, cutoff=0.4)
        offer = f"perhaps you meant {' or '.join(near)}" if near else "mlp-jax experiment lists them"
        raise ValueError(f"there is no experiment {settings.name!r}: {offer}")
    from mlp_jax.commands.claims import run, run_all  # which imports JAX: the list and a mistyped name do not wait

    return run_all(settings) if settings.name == ALL else run(settings, settings.name)
