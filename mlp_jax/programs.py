"""Compiled programs, kept on disk for later processes."""

import os
import warnings
from contextlib import suppress
from pathlib import Path

import jax
import platformdirs

PROGRAMS_BYTES = 2**28
"""Size limit of the cache of programs: each new setting of a small network takes 30 to 130 kB."""


def keep_programs(wanted: bool) -> None:
    """Let JAX keep compiled programs in the user's cache directory for later runs, if wanted.

    A directory that JAX was given before, for example in JAX_COMPILATION_CACHE_DIR, stays in use. A program that cannot
    be read or written is compiled again. Call this once the number of threads is settled.
    """
    warns = jax.__version_info__ < (0, 10, 2)  # at length, on some processors, for every program in the cache
    if warns or not wanted:
        jax.config.update("jax_enable_compilation_cache", False)
    elif jax.config.values["jax_compilation_cache_dir"] is None:
        programs = platformdirs.user_cache_path("mlp_jax", appauthor=False) / "programs"
        delete_oldest(programs, PROGRAMS_BYTES)
        # A program is compiled for a number of threads, which is not part of JAX's cache key.
        threads = os.environ.get("PJRT_NPROC", os.cpu_count())
        jax.config.update("jax_compilation_cache_dir", str(programs / f"threads-{threads}"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # else only what takes more than 1 s
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")  # else a GPU must be able to write there
        warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")


def delete_oldest(programs: Path, most: int) -> None:
    """Delete the oldest programs until the rest takes no more than `most` bytes.

    JAX can do it too, but keeps nothing any more once it was interrupted between the two files of a program.
    """
    left = most
    with suppress(OSError):  # another process may be deleting them as well
        files = {file: file.stat() for file in programs.glob("*/*-cache")}
        for file, about in sorted(files.items(), key=lambda item: item[1].st_mtime, reverse=True):
            left -= about.st_size
            if left < 0:
                file.unlink()
