"""Directories of IDX files, the form in which MNIST was published and others after it."""

import gzip
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np

from mlp_jax.data.dataset import DatasetError
from mlp_jax.data.stored import Arrays, Stored, reading

PUBLISHED = {
    "train images": "train-images-idx3-ubyte",
    "train labels": "train-labels-idx1-ubyte",
    "test images": "t10k-images-idx3-ubyte",
    "test labels": "t10k-labels-idx1-ubyte",
}
FILE = re.compile(r"(?:(.+)-)?(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(?:\.gz)?")


def idx_sets(directory: Path) -> dict[str, dict[str, Path]]:
    """The IDX files in `directory`, for each data set by what is in them.

    A data set's name is what stands before its files' published names, "" where nothing does. Of a file that is there
    both compressed and not, the latter. Raises DatasetError where the directory cannot be read.
    """
    sets: dict[str, dict[str, Path]] = {}
    with reading(str(directory)):
        for path in sorted(directory.iterdir()):  # a name comes before the same with .gz
            if (match := FILE.fullmatch(path.name)) and path.is_file():
                name, part, kind = match.groups(default="")
                sets.setdefault(name, {}).setdefault(f"{'train' if part == 'train' else 'test'} {kind}", path)
    return sets


@contextmanager
def opened_idx(directory: Path, name: str | None = None) -> Iterator[Arrays]:
    """The four arrays of the data set `name` in `directory`; without a name, of the one called "" or else the only one.

    Raises DatasetError where a file is missing or no IDX file of that kind, or where it takes a name to choose.
    """
    sets = idx_sets(directory)
    if name is None:
        if len(sets) > 1 and "" not in sets:
            raise DatasetError(
                f"{directory} holds {len(sets)} data sets, {', '.join(sets)}: "
                f"choose one of them, as in {directory / next(iter(sets))}"
            )
        name = "" if "" in sets else next(iter(sets), "")
    files = sets.get(name, {})
    if missing := [array for array in PUBLISHED if array not in files]:
        expected = (f"{name}-{PUBLISHED[array]}".removeprefix("-") for array in missing)
        raise DatasetError(
            f"{directory} has no {', no '.join(missing)}: expected {', '.join(expected)}, each as it is or as .gz"
        )
    with ExitStack() as stack:
        yield Arrays(*(_open(stack, files[array], 3 if array.endswith("images") else 1) for array in PUBLISHED))


def _open(stack: ExitStack, path: Path, dimensions: int) -> Stored:
    """The IDX file at `path`, whose header says: two zeros, a type, the dimensions' number, their lengths."""
    with reading(str(path)):
        opened = stack.enter_context(path.open("rb"))
        held = os.fstat(opened.fileno()).st_size
        compressed = path.suffix == ".gz"
        file = stack.enter_context(gzip.GzipFile(fileobj=opened)) if compressed else opened
        header = BytesIO(file.read(4 + 4 * dimensions))
    expected = bytes([0, 0, 8, dimensions])
    if (magic := header.read(4)) != expected:
        hint = "; it is compressed: let its name end in .gz" if magic[:2] == b"\x1f\x8b" else ""
        raise DatasetError(
            f"{path} begins with {magic.hex(' ') or 'nothing'}, expected {expected.hex(' ')}, the magic number of "
            f"an IDX file of unsigned bytes in {dimensions} dimension{'s' * (dimensions > 1)}{hint}"
        )
    lengths = header.read()
    if len(lengths) < 4 * dimensions:
        raise DatasetError(f"{path} ends within its header, after {4 + len(lengths)} bytes; get the file again")
    return Stored(
        name=str(path),
        shape=tuple(int(length) for length in np.frombuffer(lengths, ">u4")),
        dtype=np.dtype(np.uint8),
        fortran=False,
        file=file,
        packed=held,
        size=None if compressed else held - 4 - 4 * dimensions,
        raw=None if compressed else (path, 4 + 4 * dimensions),
    )
