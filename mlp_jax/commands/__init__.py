"""What each `mlp-jax` command does and prints: a module a command, whose function returns the exit status."""
