"""The `mlp-jax` command: arguments, then what they ask for, then the exit status."""

import sys
from collections.abc import Sequence

from mlp_jax.arguments import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status: 2, after one line on stderr, for input that cannot be used."""
    try:
        command = parse(arguments)
        from mlp_jax import commands  # here, and not above, because it imports JAX

        return getattr(commands, type(command).__name__.lower())(command)
    except (ValueError, OSError) as error:
        print("mlp-jax:", *str(error).split(), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mlp-jax: stopped by Control-C", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
