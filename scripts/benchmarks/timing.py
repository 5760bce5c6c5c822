"""How contestants are timed: in turns, and which numbers sum up their times."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

EVERY = 3  # rounds; slow contestants take part in one of as many


def take_turns(
    calls: Mapping[str, Callable[[], Any]],
    rounds: int,
    seldom: Collection[str] = (),
    short: bool = False,
    after: Callable[[str, Any], None] = lambda name, result: None,
) -> dict[str, list[float]]:
    """The seconds of each call, one of each a round, so that a machine whose speed drifts drifts for all of them.

    seldom: the names of the slow ones, which take part in every third round.
    short: whether calls take milliseconds, so that the one before tells: it leaves caches full of its own numbers and
        threads that wait for more work. Each, but the slow ones, is then made twice, and the second is timed.
    after: what to do, while no clock runs, with the name and the result of a call.

    Every call has been made once before, because nothing is compiled here.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name, call in calls.items():
            if name in seldom and number % EVERY:
                continue
            if short and name not in seldom:
                call()
            start = perf_counter()
            result = call()
            seconds[name].append(perf_counter() - start)
            after(name, result)
            del result  # its memory goes back after the clock has stopped, and before the next call
    return seconds


def seconds_of(call: Callable[[], Any]) -> float:
    """How long one call takes: the first, which compiles."""
    start = perf_counter()
    call()
    return perf_counter() - start


def in_milliseconds(seconds: Sequence[float]) -> dict[str, Any]:
    """Median, range and number of a contestant's times."""
    median, fastest, slowest = (1e3 * float(f(seconds)) for f in (np.median, min, max))
    return {"median_ms": median, "fastest_ms": fastest, "slowest_ms": slowest, "calls": len(seconds)}


def median_and_range(row: Mapping[str, Any]) -> tuple[str, str]:
    """What `in_milliseconds` found, in two cells of a table."""
    digits = 1 if row["median_ms"] < 100 else 0
    median, fastest, slowest = (f"{row[name]:,.{digits}f}" for name in ("median_ms", "fastest_ms", "slowest_ms"))
    return median, f"{fastest} to {slowest}"


def threads() -> int:
    """As many as JAX takes by default: what PJRT_NPROC says, or else one for each core."""
    return int(os.environ.get("PJRT_NPROC", cores()))


def cores() -> int:
    """The processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
