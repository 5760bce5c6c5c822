"""Files that are at any moment the old one or the new one, whatever ends the process."""

import os
from pathlib import Path

UNFINISHED = ".unfinished"
"""What the name of a file ends with while it is being written."""


def replace_file(path: Path, content: bytes, *, lasting: bool = False) -> None:
    """Put a file in place of the one before, if any, in one step.

    lasting: whether to wait until it is on the disk, and would survive a power failure. Raises OSError, which names
    `path`, where it cannot be written.
    """
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror or error})") from error
