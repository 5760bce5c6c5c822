"""The claims of the lessons, each one run: a module for each, with the same three functions.

`measure` returns a NamedTuple of numbers and is pure. `judge(measured)` says in a Finding which parts of the claim
hold. `draw(measured)` makes the figure. The module's docstring states the claim in its first line, its source, and a
criterion for each part. A part that misses its criterion is refuted. README.md says which were changed after numbers.

Criteria are equally strict everywhere. Of several networks the median counts. "Most" is more than half, "nearly all" is
nine of ten, "about as large" is to a tenth, "equal" is to a thousandth, and "much more" is twice as much or more.
Accuracies are "about" a number from half a percentage point below it.
"""

import re
from importlib import resources
from typing import Literal, NamedTuple

EXPERIMENTS: dict[str, Literal["networks", "data", "nothing"]] = {
    "accuracy": "data",
    "first-layer": "networks",
    "how-much-data": "data",
    "shuffled-labels": "data",
    "minima": "data",
    "descent": "data",
    "same-place": "data",
    "gradient-size": "data",
    "learning": "data",
    "binary": "data",
    "by-hand": "data",
    "hand-set": "data",
    "layer-three": "networks",
    "noise": "networks",
    "mistakes": "networks",
    "moved": "networks",
    "maximizing-input": "networks",
    "fastest": "networks",
    "batch-angle": "networks",
    "one-example": "networks",
    "each-output": "networks",
    "averaged": "networks",
    "sensitivity": "networks",
    "suggested": "networks",
    "valley": "nothing",
    "chain": "nothing",
}
"""What there is to run, and what `measure` takes: a Subject, which is trained "networks"; a Dataset, the "data"; or
"nothing". The longest to run come first."""


class Claim(NamedTuple):
    """What an experiment tries."""

    text: str
    source: str  # "lesson 2, minute 14" for instance
    criteria: dict[str, str]  # of each part of the claim


def claim_of(name: str) -> Claim:
    """The claim of an experiment. Read from the file, because importing it would import JAX."""
    file = resources.files("mlp_jax.experiments").joinpath(f"{name.replace('-', '_')}.py")
    _, docstring, _ = file.read_text(encoding="utf-8").split('"""', 2)
    text, *_ = docstring.splitlines()
    source = re.search(r"^Source: (.+)\.$", docstring, re.MULTILINE)
    holds = re.search(r"^Holds if:\n((?:- .+\n(?:  .+\n)*)+)", docstring, re.MULTILINE)
    if source is None or holds is None:
        raise ValueError(f"{file} states no source, or no criteria")
    parts = (" ".join(part.split()).rstrip(".") for part in f"\n{holds[1]}".split("\n- ")[1:])
    return Claim(text.removesuffix("."), source[1], dict(part.split(": ", 1) for part in parts))
