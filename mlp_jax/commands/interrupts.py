"""Control-C while a network trains."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_remembered() -> Iterator[Callable[[], bool]]:
    """Meanwhile Control-C does not interrupt: what is yielded says whether it was pressed. A second one kills."""
    pressed = False

    def remember(*_: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        print("mlp-jax: stopping after this epoch; Control-C again stops at once, without it", file=sys.stderr)

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
