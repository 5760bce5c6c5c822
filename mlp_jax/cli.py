"""The `mlp-jax` command: arguments, then what they ask for, then the exit status."""

import atexit
import gc
import io
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from mlp_jax.arguments import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status: 2, after one line on stderr, for input that cannot be used."""
    atexit.register(gc.freeze)  # a last search for garbage in all of JAX would keep the prompt away for 0.3 s
    # An exception out of nowhere tears JAX's start in pieces; until training has begun there is nothing to keep.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # bars and boxes, where the terminal cannot show them
    try:
        command = parse(arguments)
        name = type(command).__name__.lower()
        module = import_module(f"mlp_jax.commands.{name}")  # here, and not above, because it imports JAX
        return getattr(module, name)(command)
    except (ValueError, OSError) as error:
        print("mlp-jax:", *str(error).split(), file=sys.stderr)
        return 2
    finally:
        signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    sys.exit(main())
