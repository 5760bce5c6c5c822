"""Directories of IDX files, the format in which MNIST and data sets like it were published."""

import gzip
import os
import re
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.data.array_files import Arrays, Stored, reading
from mlp_jax.data.dataset import DatasetError

PUBLISHED = {
    "train images": "train-images-idx3-ubyte",
    "train labels": "train-labels-idx1-ubyte",
    "test images": "t10k-images-idx3-ubyte",
    "test labels": "t10k-labels-idx1-ubyte",
}
FILE = re.compile(r"(?:(.+)-)?(train|t10k|test)-(images|labels)[-.]idx(?:[13]-ubyte|2-int)(?:\.gz)?")
MAGIC = {"images": bytes([0, 0, 8, 3]), "labels": bytes([0, 0, 8, 1])}
GZIP = b"\x1f\x8b"
QMNIST = bytes([0, 0, 12, 2])
"""Of its labels: int32 in two dimensions. The first of 8 columns is the class (Yadav and Bottou 2019)."""
CAPITALS, MERGED = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abdefghnqrt"
EMNIST = {
    "byclass": f"0123456789{CAPITALS}{CAPITALS.lower()}",
    "bymerge": f"0123456789{CAPITALS}{MERGED}",
    "balanced": f"0123456789{CAPITALS}{MERGED}",
    "letters": CAPITALS,
    "digits": "0123456789",
    "mnist": "0123456789",
}
"""The characters of the classes of each part of EMNIST (Cohen et al. 2017). Of letters the first class is 1."""


def idx_sets(directory: Path) -> dict[str, dict[str, Path]]:
    """The IDX files in `directory`: for each data set, its files by their content.

    A data set's name is what precedes the published names of its files, often "". If a file is there both raw and
    compressed, the raw one is taken. A file may lie in a folder of its name, as archives of Kaggle have them.
    """
    sets: dict[str, dict[str, Path]] = {}
    with reading(str(directory)):
        for path in sorted(directory.iterdir()):  # the name without .gz comes first
            match = FILE.fullmatch(path.name)
            if match and path.is_dir() and (path / path.name).is_file():
                path = path / path.name
            if match and path.is_file():
                name, part, kind = match.groups(default="")
                sets.setdefault(name, {}).setdefault(f"{'train' if part == 'train' else 'test'} {kind}", path)
    return sets


@contextmanager
def opened_idx(directory: Path, name: str | None = None) -> Iterator[Arrays]:
    """The arrays of the data set `name` in `directory`; without a name, of the one called "" or else the only one."""
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
        images, labels, test_images, test_labels = (_open(stack, files[array], array.split()[1]) for array in PUBLISHED)
        arrays = Arrays(images, labels, test_images, test_labels)
        if name.startswith("emnist"):
            arrays = named_as_emnist(arrays, name.removeprefix("emnist-"))
        yield arrays._replace(**_mapping(directory, name))


def named_as_emnist(arrays: Arrays, part: str) -> Arrays:
    """Arrays of a part of EMNIST: images are transposed, and labels are the numbers of characters."""
    if part not in EMNIST:
        return arrays._replace(transposed=True)
    return arrays._replace(transposed=True, first_class=int(part == "letters"), class_names=tuple(EMNIST[part]))


def _mapping(directory: Path, name: str) -> dict[str, Any]:
    """The first label and the names of the classes in NAME-mapping.txt: lines of a label and codes of characters."""
    places = [directory / file for file in (f"{name}-mapping.txt", "mapping.txt") if (directory / file).is_file()]
    if not places:
        return {}
    with reading(str(places[0])):
        lines = [line.split() for line in places[0].read_text().splitlines() if line.strip()]
        names = {int(label): chr(int(codes[0])) for label, *codes in lines}
    first = min(names, default=0)
    if sorted(names) != list(range(first, first + len(names))) or not names:
        raise DatasetError(f"{places[0]} has the labels {sorted(names)}: expected all from the first to the last")
    return {"class_names": tuple(names[label] for label in sorted(names)), "first_class": first}


def _open(stack: ExitStack, path: Path, kind: str) -> Stored:
    """The IDX file at `path`. Its header: two zeros, a type, the number of dimensions, their lengths.

    Whether it is compressed its content says: browsers unpack files and leave .gz in their names, or take it away.
    """
    expected = MAGIC[kind]
    with reading(str(path)):
        opened = stack.enter_context(path.open("rb"))
        held = os.fstat(opened.fileno()).st_size
        compressed = opened.read(2) == GZIP
        opened.seek(0)
        file = stack.enter_context(gzip.GzipFile(fileobj=opened)) if compressed else opened
        magic = file.read(4)
        integers = kind == "labels" and magic == QMNIST
        dimensions = 2 if integers else expected[3]
        lengths = file.read(4 * dimensions)
    if magic != expected and not integers:
        page = (
            "; it looks like a web page in its place: download it again" if magic.lstrip()[:1] in (b"<", b"{") else ""
        )
        raise DatasetError(
            f"{path} begins with {magic.hex(' ') or 'nothing'}, expected {expected.hex(' ')}, the magic number of "
            f"an IDX file of unsigned bytes in {dimensions} dimension{'s' * (dimensions > 1)}{page}"
        )
    start = 4 + 4 * dimensions
    if 4 + len(lengths) < start:
        raise DatasetError(f"{path} ends within its header, after {4 + len(lengths)} bytes; get the file again")
    shape = struct.unpack(f">{dimensions}I", lengths)
    dtype, column = (np.dtype(">i4"), 0) if integers else (np.dtype(np.uint8), None)
    stored = Stored(str(path), shape, dtype, fortran=False, file=file, packed=held, column=column)
    return stored if compressed else replace(stored, size=held - start, raw=(path, start))
