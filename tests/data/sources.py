"""A small data set in every form that it may come in, and ways to damage a file."""

import gzip
import io
import struct
import tracemalloc
import zipfile
from contextlib import contextmanager

import numpy as np

KEYS = ("x_train", "y_train", "x_test", "y_test")
IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
EXTREMES = (0, 1, 2, 5, 7, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)


def arrays(train=6, test=4, shape=(3, 5), classes=3):
    random = np.random.default_rng(0)
    made = {}
    for part, examples in (("train", train), ("test", test)):
        made[f"x_{part}"] = random.integers(256, size=(examples, *shape), dtype=np.uint8)
        made[f"y_{part}"] = (np.arange(examples) % classes).astype(np.uint8)
    return made


def floats(train=6, test=4, shape=(3, 5), n_out=2, dtype=np.float32):
    """Inputs of any sign and size, wanted outputs, and weights."""
    random = np.random.default_rng(1)
    made = {}
    for part, examples in (("train", train), ("test", test)):
        made[f"x_{part}"] = random.normal(0, 100, size=(examples, *shape)).astype(dtype)
        made[f"y_{part}"] = random.normal(size=(examples, n_out))
        made[f"w_{part}"] = random.random(examples).astype(dtype)
    return made


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def npy(array, version=None):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), version)
    return file.getvalue()


def zipped(members, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def write_idx(directory, made, names=IDX, compress=False):
    directory.mkdir(exist_ok=True)
    for key, name in zip(KEYS, names, strict=True):
        path = directory / (f"{name}.gz" if compress else name)
        path.write_bytes(gzip.compress(idx(made[key])) if compress else idx(made[key]))
    return directory


def write_npz(path, made, method=zipfile.ZIP_DEFLATED):
    path.write_bytes(zipped({key: npy(array) for key, array in made.items()}, method))
    return path


def same(dataset, made):
    """Whether `dataset` holds the arrays of `made`, bit for bit and in their types; classes in any type."""
    names = {"x": "inputs", "y": "targets", "w": "weights"}
    found = {f"{n}_{part}": getattr(getattr(dataset, part), names[n]) for part in ("train", "test") for n in names}
    return {key for key in found if found[key] is not None} == made.keys() and all(
        np.array_equal(found[key].ravel(), array.ravel())
        and (found[key].dtype == array.dtype or array.dtype.kind != "f")
        for key, array in made.items()
    )


@contextmanager
def memory():
    """A function that says how many bytes were held at most since the context began, beyond what was held then."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def _flip(content, at, number):
    content[at : at + 1] = bytes(byte ^ (number % 255 + 1) for byte in content[at : at + 1])


def _cut(content, at, number):
    del content[at:]


def _drop(content, at, number):
    del content[at : at + number % 9]


def _insert(content, at, number):
    content[at:at] = number.to_bytes(4, "little")[: number % 4 + 1]


def _number(content, at, number):
    """An extreme number where a header may have one."""
    width, order = (1, 2, 4, 8)[number % 4], ("little", "big")[number // 4 % 2]
    value = EXTREMES[number // 8 % len(EXTREMES)] % 256**width
    content[at : at + width] = value.to_bytes(width, order)


def _digits(content, at, number):
    """A number in the text of a header made another one, as long as the old one or not."""
    start = next((place for place in range(at, len(content)) if chr(content[place]) in "0123456789"), len(content))
    stop = next((place for place in range(start, len(content)) if chr(content[place]) not in "0123456789"), start)
    text = str(EXTREMES[number % len(EXTREMES)]).encode()
    content[start:stop] = text[: stop - start] if number // 16 % 2 else text


DAMAGES = (_flip, _cut, _drop, _insert, _number, _digits)


def damaged(content, changes):
    """`content` after `changes`, each a number of DAMAGES, a place from 0 to 1 and a number from 0 to 2**32 - 1."""
    content = bytearray(content)
    for damage, place, number in changes:
        DAMAGES[damage](content, int(place * len(content)), number)
    return bytes(content)
