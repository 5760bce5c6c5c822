"""What every test stands on."""

import jax
import jaxtyping
import pytest


def pytest_configure(config):
    # Compiling is most of the quick suite's time. Slow tests, and every process that a test starts, compile in full.
    jax.config.update("jax_disable_most_optimizations", config.getoption("markexpr") == "not slow")


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
