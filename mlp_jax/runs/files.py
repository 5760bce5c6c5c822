"""Replacing a file in one step: at any moment it is the old one or the new one, even if the process is killed."""

import os
import shlex
from contextlib import suppress
from pathlib import Path

UNFINISHED = ".unfinished"
"""The end of a file's name while the file is being written."""


def quoted(path: Path) -> str:
    """A path as a shell and this package's commands take it, whatever is in its name.

    >>> from mlp_jax.runs.files import quoted
    >>> print(quoted(Path("runs/first")), quoted(Path("my run")), quoted(Path("-1")))
    runs/first 'my run' ./-1
    """
    return shlex.quote(f"./{path}" if str(path).startswith("-") else str(path))


def replace_file(path: Path, content: bytes | bytearray, *, lasting: bool = False) -> None:
    """Write a file, or replace the one that is there. Raises OSError, which names `path`, if it cannot be written.

    lasting: whether to wait until the file would survive a power failure.
    """
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        os.replace(unfinished, path)
        if lasting:
            sync(path.parent)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        raise OSError(f"{path} cannot be written ({error.strerror or error})") from error


def sync(path: Path) -> None:
    """Return when a file's content, or the names in a directory, would survive a power failure.

    Windows can do neither with what is open for reading only, and is not asked.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
