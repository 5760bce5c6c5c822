"""What every test stands on."""

import os
import signal
import time
from contextlib import suppress

import jax
import jaxtyping
import pytest

WEEK = 7 * 24 * 60 * 60


def pytest_configure(config):
    # Compiling is most of the quick suite's time. Slow tests, and every process that a test starts, compile in full.
    jax.config.update("jax_disable_most_optimizations", config.getoption("markexpr").startswith("not slow"))
    # What was compiled is kept in .pytest_cache for a week: what has not changed since is not compiled again.
    programs = config.cache.mkdir("programs")
    if not hasattr(config, "workerinput"):
        with suppress(FileNotFoundError):  # another run may be deleting them as well
            for program in programs.rglob("*-cache"):
                if program.stat().st_mtime < time.time() - WEEK:
                    program.unlink()
    jax.config.update("jax_compilation_cache_dir", str(programs))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    os.environ["XDG_CACHE_HOME"] = str(programs)  # and not the user's own, for the processes that a test starts


if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # tests that a shell runs in the background start like this
    signal.signal(signal.SIGINT, signal.default_int_handler)  # and so would every process that they interrupt

jax.config.update("jax_num_cpu_devices", 2)  # for shard_map; must be said before the first computation


@pytest.fixture
def float64():
    """Computations in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def as_installed():
    """No runtime check of annotations, which the tests add: bad input meets the package's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
