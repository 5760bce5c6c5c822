"""The benchmarks, a module each, and what they share."""
