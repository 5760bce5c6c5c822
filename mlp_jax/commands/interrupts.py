"""Control-C, or being told to end, while a network trains."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

NAMES = {signal.SIGINT: "Control-C", signal.SIGTERM: "SIGTERM"}


@contextmanager
def interrupts_remembered() -> Iterator[Callable[[], int]]:
    """Meanwhile neither Control-C nor SIGTERM ends the process: what is yielded says which came, by its number, or 0.

    The second of a kind ends it at once.
    """
    came = 0

    def remember(number: int, _: object) -> None:
        nonlocal came
        came = number
        signal.signal(number, signal.SIG_DFL)
        name = NAMES[signal.Signals(number)]
        # print would fail where this interrupts a print
        os.write(2, f"mlp-jax: stopping after this epoch; {name} again stops at once, without it\n".encode())

    before = {number: signal.signal(number, remember) for number in NAMES}
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
