"""The `mlp-jax` command: arguments, then what they ask for, then the exit status."""

import io
import signal
import sys
from collections.abc import Sequence

from mlp_jax.arguments import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status: 2, after one line on stderr, for input that cannot be used."""
    # An exception out of nowhere tears JAX's start in pieces; until training has begun there is nothing to keep.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # bars and boxes, where the terminal cannot show them
    try:
        command = parse(arguments)
        from mlp_jax import commands  # here, and not above, because it imports JAX

        return getattr(commands, type(command).__name__.lower())(command)
    except (ValueError, OSError) as error:
        print("mlp-jax:", *str(error).split(), file=sys.stderr)
        return 2
    finally:
        signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    sys.exit(main())
