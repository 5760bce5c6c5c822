"""`python -m mlp_jax` is `mlp-jax`."""

import sys

from mlp_jax.cli import main

sys.exit(main())
