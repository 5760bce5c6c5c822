"""Control-C, or being told to end, while a network trains."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

NAMES = {signal.SIGINT: "Control-C", signal.SIGTERM: "SIGTERM"}


@contextmanager
def interrupts_remembered() -> Iterator[Callable[[], int]]:
    """Within it, the first Control-C or SIGTERM does not end the process; a second one of the same kind does.

    Yields a function that returns the number of the signal that came last, or 0.
    """
    came = 0

    def remember(number: int, _: object) -> None:
        nonlocal came
        came = number
        signal.signal(number, signal.SIG_DFL)
        name = NAMES[signal.Signals(number)]
        # print would fail if this interrupts a print
        os.write(2, f"mlp-jax: stopping after this epoch; {name} again stops at once, without it\n".encode())

    before = {number: signal.signal(number, remember) for number in NAMES}
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
