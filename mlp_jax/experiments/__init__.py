"""The claims of the lessons, each one run: a module for each, with the same three functions.

`measure` returns a NamedTuple of numbers and is pure; `judge(measured)` says in a Finding what they mean for the claim;
`draw(measured)` makes the figure. The module's docstring states the claim in its first line, its source, and what would
refute it.
"""

import re
from importlib import resources
from typing import Literal

EXPERIMENTS: dict[str, Literal["networks", "data", "nothing"]] = {
    "accuracy": "data",
    "shuffled-labels": "data",
    "minima": "data",
    "descent": "data",
    "gradient-size": "data",
    "first-layer": "networks",
    "noise": "networks",
    "mistakes": "networks",
    "batch-angle": "networks",
    "maximizing-input": "networks",
    "one-example": "networks",
    "sensitivity": "networks",
    "suggested": "networks",
    "hand-set": "data",
    "valley": "nothing",
    "chain": "nothing",
}
"""What there is to run, and what `measure` takes: a Subject, which is trained "networks"; a Dataset, the "data"; or
"nothing". The longest to run come first."""


def claim_of(name: str) -> tuple[str, str]:
    """The claim of an experiment, and its source. Read from the file, for importing it would import JAX."""
    file = resources.files("mlp_jax.experiments").joinpath(f"{name.replace('-', '_')}.py")
    _, docstring, _ = file.read_text(encoding="utf-8").split('"""', 2)
    claim, *rest = docstring.splitlines()
    source = re.search(r"^Source: (.+)\.$", "\n".join(rest), re.MULTILINE)
    assert source is not None, f"{file} states no source"
    return claim.removesuffix("."), source[1]
