"""Directories of IDX files: every form in which sets were published, and every damage refused."""

import gzip
import struct
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from sources import IDX, KEYS, arrays, idx, memory, same, write_idx

from mlp_jax import DatasetError, load_dataset
from mlp_jax.data import array_files

pytestmark = pytest.mark.filterwarnings("ignore::mlp_jax.data.DataWarning")  # of tiny sets: test_oddities.py
MADE = arrays()
DOTTED = tuple(name.replace("-idx", ".idx") for name in IDX)
LETTERS = tuple(f"letters-{name.replace('t10k', 'test')}" for name in IDX)
EMNIST = tuple(f"emnist-{name}" for name in LETTERS)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("names", [IDX, DOTTED, LETTERS])
def test_files_as_published(tmp_path, names, compress):
    write_idx(tmp_path, MADE, names, compress)
    (tmp_path / "README").write_text("not data")
    for source in (tmp_path, str(tmp_path)):
        dataset = load_dataset(source)
        assert same(dataset, MADE)
        assert (dataset.n_out, dataset.image_shape) == (3, (3, 5, 1))
        assert dataset.train.targets.dtype == np.int32


def test_one_of_several_sets_is_chosen_by_name(tmp_path):
    other = {**MADE, "y_train": MADE["y_train"][::-1]}
    write_idx(tmp_path, other, LETTERS, compress=True)
    write_idx(tmp_path, MADE, tuple(name.replace("letters", "digits") for name in LETTERS))
    with pytest.raises(DatasetError, match=r"2 data sets, digits, letters: choose .*/digits$"):
        load_dataset(tmp_path)
    assert same(load_dataset(tmp_path / "letters"), other)
    assert same(load_dataset(f"{tmp_path}/digits"), MADE)
    with pytest.raises(DatasetError, match=r"no data set '.*emnist-mnist' \(No such file or directory\): expected 'mn"):
        load_dataset(tmp_path / "emnist-mnist")
    plain = {**MADE, "y_train": MADE["y_train"][::-1]}
    write_idx(tmp_path, plain)
    assert same(load_dataset(tmp_path), plain)


@pytest.mark.parametrize("part", ["letters", "balanced", "digits"])
def test_emnist_is_upright_and_its_classes_are_characters(tmp_path, part):
    """Its files have rows and columns exchanged; letters are numbered from 1."""
    names = tuple(name.replace("letters", part) for name in EMNIST)
    first, characters = {
        "letters": (1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        "balanced": (0, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"),
        "digits": (0, "0123456789"),
    }[part]
    train, test = np.arange(len(characters)) + first, np.array([first, first + 1])
    made = arrays(len(characters), 2) | {"y_train": train.astype(np.uint8), "y_test": test.astype(np.uint8)}
    dataset = load_dataset(write_idx(tmp_path, made, names, compress=part == "letters"))
    assert (dataset.image_shape, dataset.class_names) == ((5, 3, 1), tuple(characters))
    np.testing.assert_array_equal(dataset.train.inputs.reshape(-1, 5, 3), made["x_train"].transpose(0, 2, 1))
    np.testing.assert_array_equal(dataset.test.inputs.reshape(-1, 5, 3), made["x_test"].transpose(0, 2, 1))
    np.testing.assert_array_equal(dataset.train.targets, np.arange(len(characters)))
    assert dataset.preprocessing.class_names == tuple(characters)


def test_a_large_emnist_that_would_stay_in_its_file_is_upright(tmp_path, monkeypatch):
    monkeypatch.setattr(array_files, "MAPPED", 0)
    made = {**MADE, "y_train": MADE["y_train"] + 1, "y_test": MADE["y_test"] + 1}
    dataset = load_dataset(write_idx(tmp_path, made, EMNIST), part=1, parts=2)
    np.testing.assert_array_equal(dataset.train.inputs.reshape(-1, 5, 3), made["x_train"][3:].transpose(0, 2, 1))


@pytest.mark.parametrize("name", ["mapping.txt", "letters-mapping.txt"])
def test_a_mapping_names_the_classes(tmp_path, name):
    write_idx(tmp_path, {**MADE, "y_train": MADE["y_train"] + 1, "y_test": MADE["y_test"] + 1}, LETTERS)
    (tmp_path / name).write_text("1 65 97\n2 66 98\n3 67 99\n")
    dataset = load_dataset(tmp_path)
    assert same(dataset, MADE)
    assert dataset.class_names == ("A", "B", "C")
    (tmp_path / name).write_text("1 65\n3 66\n")
    with pytest.raises(DatasetError, match=r"mapping.txt has the labels \[1, 3\]: expected all from the first to the"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("compress", [False, True])
def test_the_classes_of_qmnist_are_the_first_of_8_integers(tmp_path, compress):
    names = tuple(f"qmnist-{name.replace('t10k', 'test')}" for name in IDX)
    write_idx(tmp_path, MADE, names, compress)
    for part in ("train", "test"):
        labels = np.full((len(MADE[f"y_{part}"]), 8), -1, ">i4")
        labels[:, 0] = MADE[f"y_{part}"]
        content = struct.pack(">BBBB2I", 0, 0, 12, 2, *labels.shape) + labels.tobytes()
        (old,) = tmp_path.glob(f"qmnist-{part}-labels*")
        old.unlink()
        new = tmp_path / f"qmnist-{part}-labels-idx2-int{'.gz' * compress}"
        new.write_bytes(gzip.compress(content) if compress else content)
    assert same(load_dataset(tmp_path), MADE)


def test_files_in_folders_of_their_names(tmp_path):
    """As archives of Kaggle are unpacked."""
    for key, name in zip(KEYS, IDX, strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_bytes(idx(MADE[key]))
    assert same(load_dataset(tmp_path), MADE)


def test_of_a_file_both_compressed_and_not_the_latter(tmp_path):
    write_idx(tmp_path, MADE)
    (tmp_path / f"{IDX[0]}.gz").write_bytes(b"nothing")
    assert same(load_dataset(tmp_path), MADE)


def test_what_is_compressed_its_content_says(tmp_path):
    """Browsers unpack a file and leave .gz in its name, or take it away from one that they did not unpack."""
    write_idx(tmp_path, MADE)
    (tmp_path / IDX[0]).write_bytes(gzip.compress(idx(MADE["x_train"])))
    (tmp_path / IDX[1]).rename(tmp_path / f"{IDX[1]}.gz")
    assert same(load_dataset(tmp_path), MADE)


def test_a_file_compressed_in_pieces_is_one(tmp_path):
    write_idx(tmp_path, MADE, compress=True)
    content = idx(MADE["x_train"])
    (tmp_path / f"{IDX[0]}.gz").write_bytes(gzip.compress(content[:30]) + gzip.compress(content[30:]))
    assert same(load_dataset(tmp_path), MADE)


TRAIN = idx(MADE["x_train"])
CHECKSUM = bytearray(gzip.compress(TRAIN))
CHECKSUM[-8] ^= 1
REFUSED = [
    (
        IDX[0],
        b"\0\0\x0d\3" + TRAIN[4:],
        "train-images-idx3-ubyte begins with 00 00 0d 03, expected 00 00 08 03, the ma",
    ),
    (IDX[1], TRAIN, "train-labels-idx1-ubyte begins with 00 00 08 03, expected 00 00 08 01, .* in 1 dimension$"),
    (IDX[0], b"<!DOCTYPE html>", "begins with 3c 21 .*; it looks like a web page in its place: download it again"),
    (IDX[0], b"", "train-images-idx3-ubyte begins with nothing"),
    (IDX[0], TRAIN[:15], "train-images-idx3-ubyte ends within its header, after 15 bytes"),
    (IDX[0], TRAIN[:-1], "has 89 bytes after its header, which declares 90 .uint8, 6 x 3 x 5.: it was cut short"),
    (IDX[0], TRAIN + b"\0", "has 91 bytes after its header, which declares 90 .uint8, 6 x 3 x 5.: something was added"),
    (IDX[0], idx(np.zeros((0, 3, 5), np.uint8)), r"has shape \(0, 3, 5\): there is nothing in it"),
    (IDX[1], idx(MADE["y_train"][1:]), "train-labels-idx1-ubyte has 5 targets, .*train-images-idx3-ubyte 6 inputs"),
    (
        IDX[2],
        idx(np.zeros((4, 5, 3), np.uint8)),
        r"train-images.* has shape \(6, 3, 5\), .*t10k-.* \(4, 5, 3\): one network",
    ),
    (f"{IDX[0]}.gz", gzip.compress(TRAIN)[:-9], "train-images-idx3-ubyte.gz: cannot be read.* ended before"),
    (f"{IDX[0]}.gz", bytes(CHECKSUM), "train-images-idx3-ubyte.gz: cannot be read .CRC check failed"),
    (f"{IDX[0]}.gz", gzip.compress(TRAIN) + b"garbage", "train-images-idx3-ubyte.gz: cannot be read .Not a gzipped"),
    (f"{IDX[0]}.gz", gzip.compress(TRAIN[:-3]), "ends 87 bytes after its header, which declares 90 .*: it was cut"),
    (f"{IDX[0]}.gz", gzip.compress(TRAIN + b"\0"), "has more than 90 bytes after its header, .*: something"),
]


@pytest.mark.parametrize(("name", "content", "message"), REFUSED)
def test_a_damaged_file_is_refused_with_what_and_where(tmp_path, name, content, message):
    write_idx(tmp_path, MADE)
    (tmp_path / name.removesuffix(".gz")).unlink()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        load_dataset(tmp_path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DatasetError, match="has no train images, no train labels, no test images, no test labels: exp"):
        load_dataset(tmp_path)
    write_idx(tmp_path, MADE, EMNIST)
    (tmp_path / EMNIST[3]).unlink()
    (tmp_path / EMNIST[3]).mkdir()
    message = r"has no test labels: expected emnist-letters-t10k-labels-idx1-ubyte, each as it is or as \.gz"
    for source in (tmp_path, tmp_path / "emnist-letters"):
        with pytest.raises(DatasetError, match=message):
            load_dataset(source)


@pytest.mark.parametrize("method", ["open", "iterdir"])
def test_what_may_not_be_read_is_named(tmp_path, monkeypatch, method):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    write_idx(tmp_path, MADE)
    monkeypatch.setattr(Path, method, refuse)  # the tests may run as root, who may read everything
    with pytest.raises(DatasetError, match=f"{tmp_path}.*: cannot be read .Permission denied"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("compress", [False, True])
def test_a_header_takes_no_memory(tmp_path, compress):
    """A kilobyte that declares images of 2**31 x 2**31 pixels."""
    write_idx(tmp_path, MADE)
    for name, examples in ((IDX[0], 6), (IDX[2], 4)):
        content = struct.pack(">BBBB3I", 0, 0, 8, 3, examples, 2**31, 2**31) + bytes(1024)
        (tmp_path / name).unlink()
        (tmp_path / (f"{name}.gz" if compress else name)).write_bytes(gzip.compress(content) if compress else content)
    with memory() as most:
        with pytest.raises(
            DatasetError, match="train-images.* 1024 bytes after its header, which declares .*cut short"
        ):
            load_dataset(tmp_path)
        assert most() < 2**20


SIZE = 2**23
EXPANDING = [  # what a file that shrinks to a thousandth declares and has, in bytes, and the bound for memory
    (SIZE, SIZE, SIZE),
    (SIZE, SIZE // 8, SIZE // 4),
    (SIZE // 8, SIZE, SIZE // 8),
]


@pytest.mark.parametrize(("declared", "held", "bound"), EXPANDING)
def test_memory_follows_what_is_there(tmp_path, declared, held, bound):
    write_idx(tmp_path, arrays(shape=(64, 128), train=declared // 2**13))
    content = struct.pack(">BBBB3I", 0, 0, 8, 3, declared // 2**13, 64, 128) + bytes(held)
    (tmp_path / IDX[0]).unlink()
    (tmp_path / f"{IDX[0]}.gz").write_bytes(gzip.compress(content))
    del content
    with memory() as most:
        with nullcontext() if held == declared else pytest.raises(DatasetError, match="bytes"):
            assert load_dataset(tmp_path).train.inputs.size == declared
        assert most() < 2 * bound + 2**21  # NumPy holds an array twice while it grows, from 2.5 on


@pytest.mark.parametrize("part", [0, 1])
def test_large_files_stay_on_disk(tmp_path, monkeypatch, part):
    monkeypatch.setattr(array_files, "MAPPED", 89)
    dataset = load_dataset(write_idx(tmp_path, MADE), part=part, parts=2)
    assert isinstance(dataset.train.inputs, np.memmap)
    assert not isinstance(dataset.test.inputs, np.memmap)
    assert not dataset.train.inputs.flags.writeable
    whole = {**MADE, **{key: MADE[key][3 * part : 3 * part + 3] for key in KEYS[:2]}}
    assert same(dataset, whole)
