"""Which settings of the command line cannot be, seen before data and JAX are loaded."""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mlp_jax.config import Sweep, Train

NETWORKS = 10_000
"""How many networks a sweep may have: each is a directory."""


@dataclass(frozen=True)
class _Range:
    """Finite numbers from `low` to `high`, both included unless `above`, which excludes `low`."""

    low: int | float
    high: int | float = math.inf
    above: bool = False
    what: str = ""

    def __contains__(self, number: Any) -> bool:
        inside = self.low < number if self.above else self.low <= number
        return inside and number <= self.high and math.isfinite(number)

    def __str__(self) -> str:
        if self.low == -math.inf:
            return "a finite number"
        if self.high < math.inf:
            return f"{self.what}{self.low} to {self.high}"
        return f"{self.what}{self.low} or more" if not self.above else "a finite number above 0"


ONE, ZERO, ANY = _Range(1), _Range(0), _Range(-math.inf)
RANGES = {
    "epochs": ONE,
    "batch_size": ONE,
    "seed": _Range(0, 2**32 - 1),
    "learning_rate": _Range(0, above=True),
    "weight_decay": ZERO,
    "shift": ZERO,
    "validation": ZERO,
    "checkpoint_every": _Range(0, what="seconds, "),
    "step": ANY,
    "members": ONE,
    "patience": ONE,
    "stream": ONE,
    "devices": ONE,
    "num_processes": ONE,
    "process_id": ZERO,
    "timeout": ONE,
    "seeds": ONE,
    "scale": ANY,
    "image_size": ONE,
    "sizes": ZERO,
    "port": _Range(0, 65_535),
    "image": ZERO,
}
"""What the numbers of each setting, of whatever command, must be; None may be left out everywhere."""


def check_settings(settings: Any) -> None:
    """Raises ValueError, which names the option, for settings that cannot be, whatever the data are.

    >>> from mlp_jax.checks import check_settings
    >>> from mlp_jax.config import Train
    >>> check_settings(Train())
    >>> check_settings(Train(epochs=0))
    Traceback (most recent call last):
      ...
    ValueError: --epochs is 0: expected 1 or more
    """
    for field in fields(settings):
        value, allowed = getattr(settings, field.name), RANGES.get(field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, Path) and "\0" in str(number):
                raise ValueError(f"--{_flag(field.name)} is {str(number)!r}: no name of a file has a zero byte")
            if allowed is not None and number is not None and number not in allowed:
                raise ValueError(f"--{_flag(field.name)} is {number}: expected {allowed}")
    sizes = getattr(settings, "sizes", None)
    if sizes is not None and (len(sizes) < 2 or 0 in sizes[1:-1]):
        raise ValueError(
            f"--sizes are {sizes}: expected two layers or more, of 1 neuron or more; only the first and the last may "
            "be 0, for as many as the data need"
        )
    if isinstance(settings, Train):
        _check_train(settings)
    if isinstance(settings, Sweep):
        _check_sweep(settings)


def _check_train(settings: Train) -> None:
    if settings.patience is not None and not settings.validation:
        raise ValueError(
            f"--patience is {settings.patience}, but no examples are held out: give --validation too, 0.15 say, "
            "because the epoch to stop at is not to be chosen on test examples"
        )
    if settings.vary and settings.members == 1:
        raise ValueError("--vary is for a committee: give the number of its --members too, 32 say")
    if settings.vary and not settings.validation:
        raise ValueError("--vary chooses members by examples that are held out: give --validation too, 0.15 say")
    if settings.process_id is not None and settings.num_processes is not None:
        count = settings.num_processes
        if settings.process_id >= count:
            raise ValueError(f"--process-id is {settings.process_id}: expected 0 to {count - 1}, of {count} processes")


def _check_sweep(settings: Sweep) -> None:
    if settings.own_batches and settings.shift:
        raise ValueError("moved images are the same for all networks: leave out --own-batches or --shift")
    count = len(settings.learning_rate) * len(settings.scale) * settings.seeds
    if count == 0:
        raise ValueError("there is no network to train: give at least one seed, one learning rate and one scale")
    if count > NETWORKS:
        raise ValueError(
            f"{count:,} networks are asked for, of {len(settings.learning_rate)} learning rates, {len(settings.scale)} "
            f"scales and {settings.seeds:,} seeds: expected at most {NETWORKS:,}, because each is a directory"
        )
    last = settings.seed + settings.seeds - 1
    if last not in RANGES["seed"]:
        raise ValueError(f"the last seed is {last}: expected {RANGES['seed']}")


def _flag(name: str) -> str:
    return name.replace("_", "-")
