"""NumPy's .npz files."""

import os
import struct
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import cast

import numpy as np
from numpy.lib import format as npy

from mlp_jax.data.array_files import Arrays, Stored, image_shape, read_examples, reading
from mlp_jax.data.dataset import DatasetError, DataWarning, Examples

KEYS = ("x_train", "y_train", "x_test", "y_test")
WEIGHTS = ("w_train", "w_test")
WHOLE = ("x", "y")
MEDMNIST = ("train_images", "train_labels", "test_images", "test_labels")
NAMES = "class_names"
LONGEST = 10_000  # bytes of a header; that of an array of numbers has 118


@contextmanager
def opened_npz(path: Path, content: bytes | None = None) -> Iterator[Arrays]:
    """The arrays KEYS, or MEDMNIST, and WEIGHTS and NAMES if there are any, of a file. content: of it, if in memory."""
    with _archive(path, content) as (stack, archive, members):
        if {*MEDMNIST} <= members.keys() and not {*KEYS} & members.keys():
            members = members | {key: members[theirs] for key, theirs in zip(KEYS, MEDMNIST, strict=True)}
            if "val_images" in members:
                said = "val_images are left out; --validation holds some of train_images out to choose settings by"
                warnings.warn(f"{path}: {said}", DataWarning, stacklevel=4)
        if missing := [key for key in KEYS if key not in members]:
            raise DatasetError(
                f"{path} has no {', no '.join(missing)}: expected the arrays {', '.join(KEYS)}, or x and y; found "
                f"{', '.join(list(members)[:10]) or 'none'}"
            )
        opened = {
            key: _open(stack, archive, members[key], path, content is None) for key in KEYS + WEIGHTS if key in members
        }
        names = _names(_open(stack, archive, members[NAMES], path, True)) if NAMES in members else None
        train_inputs, train_targets, test_inputs, test_targets = (opened[key] for key in KEYS)
        weights = opened.get(WEIGHTS[0]), opened.get(WEIGHTS[1])
        yield Arrays(train_inputs, train_targets, test_inputs, test_targets, *weights, class_names=names)


def _names(stored: Stored) -> tuple[str, ...]:
    if stored.dtype.kind != "U" or len(stored.shape) != 1:
        raise DatasetError(f"{stored.name} is {stored.dtype} of shape {stored.shape}: expected texts, one a class")
    rows = range(stored.shape[0])
    return tuple(map(str, stored.read(rows, stored.dtype, lambda names: np.ones(len(names), bool), "a name")))


def read_whole_npz(path: Path) -> tuple[Examples, tuple[int, int, int] | None] | None:
    """The examples in the arrays x, y and, if it is there, w, and their shape if they are images.

    None for a file with other arrays, which may be training and test examples.
    """
    with _archive(path) as (stack, archive, members):
        if not {*WHOLE} <= members.keys() or {*KEYS} & members.keys():
            return None
        inputs, targets = (_open(stack, archive, members[key], path, True) for key in WHOLE)
        weights = _open(stack, archive, members["w"], path, True) if "w" in members else None
        shape = image_shape(inputs)
        return read_examples(inputs, targets, weights, range(inputs.shape[0]))[0], shape


@contextmanager
def _archive(
    path: Path, content: bytes | None = None
) -> Iterator[tuple[ExitStack, zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
    """The archive in a file, and its members by the names of their arrays."""
    with ExitStack() as stack:
        with reading(str(path)):
            file = stack.enter_context(path.open("rb") if content is None else BytesIO(content))
            archive = stack.enter_context(zipfile.ZipFile(file))
        yield stack, archive, {member.filename.removesuffix(".npy"): member for member in archive.infolist()}


def _open(stack: ExitStack, archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, on_disk: bool) -> Stored:
    name = f"{path}: {member.filename.removesuffix('.npy')}"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others may take any memory
        raise DatasetError(f"{name} is compressed by method {member.compress_type}: save it with NumPy's savez")
    with reading(name):
        file = cast(BufferedIOBase, stack.enter_context(archive.open(member)))
        start = file.read(npy.MAGIC_LEN)
        version, _ = npy.read_magic(BytesIO(start))
        length = file.read(2 if version == 1 else 4)
        size = int.from_bytes(length, "little")
        if size > LONGEST:
            raise DatasetError(f"{name} has a header of {size} bytes: expected that of an array of numbers")
        header = BytesIO(length + file.read(size))
        read_header = npy.read_array_header_1_0 if version == 1 else npy.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a header that can still be read
            shape, fortran, dtype = read_header(header)
        before = len(start) + len(length) + size
        stored = on_disk and member.compress_type == zipfile.ZIP_STORED
        raw = (path, _place(archive, member) + before) if stored else None
    if dtype.hasobject:
        raise DatasetError(f"{name} holds Python objects, which take pickle to read: save an array of numbers")
    if dtype.kind not in "uifU" or (dtype.kind == "U" and dtype.itemsize == 0):
        raise DatasetError(f"{name} is {dtype}: expected numbers; convert it and save it again")
    shape = tuple(int(length) for length in shape)
    return Stored(name, shape, dtype, fortran, file, member.compress_size, member.file_size - before, raw)


def _place(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Where the bytes of a member that is not compressed begin in the file."""
    file = archive.fp
    assert file is not None
    file.seek(member.header_offset)
    place = member.header_offset + 30 + sum(struct.unpack("<26x2H", file.read(30)))  # the lengths of name and extra
    if member.compress_size != member.file_size or place + member.file_size > file.seek(0, os.SEEK_END):
        raise ValueError("it reaches beyond the file's end")
    return place
