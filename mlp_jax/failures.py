"""What is said of errors that nobody foresaw."""

import os


def message_of(error: BaseException) -> str:
    """One line about an error that nobody foresaw."""
    platforms, text = os.environ.get("JAX_PLATFORMS"), str(error).strip().partition("\n")[0]
    if platforms and ((isinstance(error, AssertionError) and not text) or "Unable to initialize backend" in text):
        reason = f" ({text.partition(': ')[2].rstrip('.')})" if text else ""
        return (
            f"JAX cannot use JAX_PLATFORMS={platforms} on this machine{reason}: unset it, set it to cpu, or install "
            "what JAX needs for it, pip install 'jax[cuda13]' say"
        )
    return f"{type(error).__name__}: {text} (PYTHONDEVMODE=1 shows where)"
