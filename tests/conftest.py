"""What every test stands on."""

import os
import signal
import time
from contextlib import suppress

import jax
import jaxlib
import jaxtyping
import pytest

WEEK = 7 * 24 * 60 * 60
FASTER_TO_COMPILE = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


def pytest_configure(config):
    # Compiling is most of the quick suite's time: five times less with XLA's older emitters and without threads of its
    # own, also in the processes that a test starts. Slow tests compile as users do.
    quick = config.getoption("markexpr").startswith("not slow")
    jax.config.update("jax_disable_most_optimizations", quick)
    if quick and jaxlib.__version__.startswith("0.10."):  # XLA aborts for a flag that it does not know
        os.environ["XLA_FLAGS"] = " ".join([FASTER_TO_COMPILE, os.environ.get("XLA_FLAGS", "")])
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
    os.environ["PJRT_NPROC"] = "2"  # which training would set, for all tests after it


if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # tests that a shell runs in the background start like this
    signal.signal(signal.SIGINT, signal.default_int_handler)  # and so would every process that they interrupt

jax.config.update("jax_num_cpu_devices", 2)  # for shard_map; must be said before the first computation


@pytest.fixture
def float64():
    """Computations in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def an_epoch_a_call(monkeypatch):
    """Small data train as large ones do, whose epochs are a call each."""
    monkeypatch.setattr("mlp_jax.training.little.WORK", 0)


@pytest.fixture
def as_installed():
    """No runtime check of annotations, which the tests add: bad input meets the package's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def hundreds_of_programs():
    """Compiled as in quick tests, and forgotten: of its some 65,000 mappings of memory each program takes several."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
    jax.clear_caches()


@pytest.fixture(scope="session")
def digits_file(tmp_path_factory):
    """A file of 600 small pictures: an epoch takes milliseconds."""
    from processes import write_digits  # not above, because the checks of annotations come before the package

    return write_digits(tmp_path_factory.mktemp("data") / "digits.npz")


@pytest.fixture(scope="session")
def numbers_file(tmp_path_factory):
    """A file of 600 examples with numbers to predict, and with weights."""
    from processes import write_numbers

    return write_numbers(tmp_path_factory.mktemp("data") / "numbers.npz")
