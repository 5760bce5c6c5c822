"""Files of NumPy arrays: every form that is taken, and every damage refused."""

import io
import math
import zipfile
from contextlib import nullcontext

import numpy as np
import pytest
from sources import arrays, memory, npy, same, write_npz, zipped

from mlp_jax import DatasetError, load_dataset
from mlp_jax.data import stored

MADE = arrays()
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def saved(path, **changed):
    np.savez_compressed(path / "set.npz", **(MADE | changed))
    return path / "set.npz"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    ("shape", "image_shape"), [((3, 5), (3, 5, 1)), ((15,), None), ((3, 5, 1), (3, 5, 1)), ((2, 4, 3), (2, 4, 3))]
)
def test_images_of_any_shape(tmp_path, save, shape, image_shape):
    made = arrays(shape=shape)
    save(tmp_path / "set.npz", other=np.array(["not", "read"], object), **made)
    for source in (tmp_path / "set.npz", f"{tmp_path}/set.npz"):
        dataset = load_dataset(source)
        assert same(dataset, made)
        assert (dataset.classes, dataset.image_shape) == (3, image_shape)


@pytest.mark.parametrize("floats", [f"{order}f{size}" for order in "<>" for size in (2, 4, 8)])
def test_floats_from_0_to_1(tmp_path, floats):
    """Every level of a pixel divided by 255, in every precision, comes back; what lies between is rounded."""
    levels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    made = MADE | {"x_train": arrays(shape=(8, 8))["x_train"], "x_test": levels}
    path = saved(tmp_path, **{key: made[key] if key[0] == "y" else (made[key] / 255).astype(floats) for key in made})
    assert same(load_dataset(path), made)
    between = np.array([0.49, 0.51, 254.49, 254.51]).reshape(4, 1, 1) / 255
    path = saved(tmp_path, x_test=between, x_train=np.ones((6, 1, 1)))
    np.testing.assert_array_equal(load_dataset(path).test_images.ravel(), [0, 1, 254, 255])


@pytest.mark.parametrize("integers", ["u1", "i1", "<i8", ">i4", ">u2", "<u8"])
def test_labels_of_any_integer_type(tmp_path, integers):
    column = MADE["y_train"].astype(integers)[:, None]
    dataset = load_dataset(saved(tmp_path, y_train=column, y_test=MADE["y_test"].astype(integers)))
    assert same(dataset, MADE)
    assert dataset.train_labels.dtype == np.int32


@pytest.mark.parametrize("method", [STORED, DEFLATED])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_version_of_the_format_in_both_orders(tmp_path, method, version, order):
    members = {key: npy(np.asarray(MADE[key], order=order), version) for key in MADE}
    (tmp_path / "set.npz").write_bytes(zipped(members, method))
    assert same(load_dataset(tmp_path / "set.npz"), MADE)
    for part in range(2):
        rows = slice(3 * part, 3 * part + 3)
        halves = MADE | {"x_train": MADE["x_train"][rows], "y_train": MADE["y_train"][rows]}
        assert same(load_dataset(tmp_path / "set.npz", part=part, parts=2), halves)


def floats(index, value):
    array = np.zeros((6, 3, 5), np.float32)
    array[index] = value
    return array


REFUSED = {
    r"set.npz: x_train\[4, 0, 2\] is nan: expected floats from 0 to 1": {"x_train": floats((4, 0, 2), np.nan)},
    r"x_train\[1, 2, 0\] is -0.5: expected floats": {"x_train": np.asfortranarray(floats((1, 2, 0), -0.5))},
    r"x_train\[0, 0, 1\] is 255.0: expected floats from 0 to 1, or uint8 from 0 to 255": {
        "x_train": floats((0, 0, 1), 255)
    },
    r"x_train\[5, 2, 4\] is inf": {"x_train": floats((5, 2, 4), np.inf)},
    r"y_train\[2\] is -1: expected 0 to": {"y_train": np.array([0, 1, -1, 0, -1, 2])},
    r"y_test\[1\] is 18446744073709551615: expected 0 to": {"y_test": np.array([0, 2**64 - 1, 0, 0], np.uint64)},
    r"x_train is int64: expected uint8, 0 for no ink": {"x_train": MADE["x_train"].astype(np.int64)},
    r"x_train is bool: expected numbers": {"x_train": MADE["x_train"] > 0},
    r"y_train is float64 of shape \(6,\): expected integers": {"y_train": np.zeros(6)},
    r"y_train has shape \(6, 3\): expected \(n,\), .*one-hot rows, save labels.argmax\(axis=1\)": {
        "y_train": np.eye(3, dtype=int)[MADE["y_train"]]
    },
    r"y_train has 5 labels, .*x_train 6 images": {"y_train": np.zeros(5, int)},
    r"x_train has shape \(6,\): expected \(n, height, width\)": {"x_train": np.zeros(6, np.uint8)},
    r"x_train has shape \(6, 0, 5\): there is nothing": {"x_train": np.zeros((6, 0, 5), np.uint8)},
    r"y_train has shape \(\): there is nothing": {"y_train": np.array(3)},
    r"x_train has shape \(6, 3, 5\), .*x_test \(4, 5, 3\): one network": {"x_test": np.zeros((4, 5, 3), np.uint8)},
    r"x_train has shape \(6, 3, 8, 8\), with its channels before its rows": {
        "x_train": np.zeros((6, 3, 8, 8), np.uint8)
    },
    r"y_train holds Python objects, which take pickle to read": {"y_train": np.array([0, 1, 2, 0, 1, 2], object)},
    r"y_train is <U1: expected numbers": {"y_train": np.array(list("012012"))},
}


@pytest.mark.parametrize("message", REFUSED)
def test_arrays_that_are_no_data_set_are_refused_with_what_and_where(tmp_path, message):
    with pytest.raises(DatasetError, match=message):
        load_dataset(saved(tmp_path, **REFUSED[message]))


def members(**changed):
    return {key: npy(array) for key, array in MADE.items()} | changed


def test_missing_arrays_are_named(tmp_path):
    np.savez(tmp_path / "set.npz", x_train=MADE["x_train"], labels=MADE["y_train"])
    with pytest.raises(DatasetError, match=r"set.npz has no y_train, no x_test, no y_test: .*found x_train, labels"):
        load_dataset(tmp_path / "set.npz")


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


WHOLE, PLAIN = zipped(members()), zipped(members(), STORED)
IMAGES = npy(MADE["x_train"])
DAMAGED = {
    "set.npz: cannot be read, it is damaged .File is not a zip file": WHOLE[:-30],
    "x_train: cannot be read, it is damaged .*Bad CRC-32 for file": flipped(
        PLAIN, PLAIN.index(IMAGES) + len(IMAGES) - 1
    ),
    "x_train: cannot be read, it is damaged": flipped(WHOLE, 60),
    "x_train has 89 bytes after its header, which declares 90 .uint8, 6 x 3 x 5.: it was cut": zipped(
        members(x_train=IMAGES[:-1])
    ),
    "x_train has 91 bytes after its header, which declares 90 .*: something was added": zipped(
        members(x_train=IMAGES + b"\0")
    ),
    "x_train: cannot be read, it is damaged .*magic": zipped(members(x_train=b"")),
    "x_train has a header of 4294967295 bytes": zipped(
        members(x_train=b"\x93NUMPY\2\0\xff\xff\xff\xff" + bytes(2**20))
    ),
    "x_train is compressed by method 14": zipped(members(), zipfile.ZIP_LZMA),
}


@pytest.mark.parametrize("message", DAMAGED)
def test_a_damaged_file_is_refused_with_what_and_where(tmp_path, message):
    (tmp_path / "set.npz").write_bytes(DAMAGED[message])
    with memory() as most:
        with pytest.raises(DatasetError, match=message):
            load_dataset(tmp_path / "set.npz")
        assert most() < 2**20


def test_deep_nesting_in_a_header_is_refused(tmp_path):
    header = b"(" * 9_000
    content = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header
    (tmp_path / "set.npz").write_bytes(zipped(members(x_train=content)))
    with pytest.raises(DatasetError, match="x_train: cannot be read, it is damaged"):
        load_dataset(tmp_path / "set.npz")


def test_a_header_takes_no_memory(tmp_path):
    """Headers that declare 2**23 pixels an image, in an archive that says that it holds them, and holds a kilobyte."""
    content, said = {}, {}
    for key, examples in (("x_train", 6), ("x_test", 4)):
        shape = (examples, 2**15, 2**8)
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        content[key] = header.getvalue() + bytes(1024 + examples)  # of a length of its own, to be found by
        said[len(content[key])] = len(header.getvalue()) + math.prod(shape)
    archive = zipped(members(**content))
    for small, large in said.items():
        assert archive.count(small.to_bytes(4, "little")) == 2
        archive = archive.replace(small.to_bytes(4, "little"), large.to_bytes(4, "little"))
    (tmp_path / "set.npz").write_bytes(archive)
    with memory() as most:
        with pytest.raises(DatasetError, match="x_train ends 1030 bytes after its header, which"):
            load_dataset(tmp_path / "set.npz")
        assert most() < 2**20


SIZE = 2**25


@pytest.mark.parametrize(("declared", "held"), [(SIZE, SIZE), (SIZE // 8, SIZE)])
def test_memory_follows_what_is_there(tmp_path, declared, held):
    made = arrays(shape=(64, 128), train=declared // 2**13)
    header = npy(made["x_train"])[:128]
    path = tmp_path / "set.npz"
    path.write_bytes(zipped({key: npy(array) for key, array in made.items()} | {"x_train": header + bytes(held)}))
    with memory() as most:
        with nullcontext() if held == declared else pytest.raises(DatasetError, match="something was added"):
            assert load_dataset(path).train_images.size == declared
        assert most() < 2 * declared + 2**21  # NumPy holds an array twice while it grows, from 2.5 on


@pytest.mark.parametrize("part", [0, 1])
def test_large_arrays_that_are_not_compressed_stay_on_disk(tmp_path, monkeypatch, part):
    monkeypatch.setattr(stored, "MAPPED", 89)
    rows = slice(3 * part, 3 * part + 3)
    for method in (STORED, DEFLATED):
        dataset = load_dataset(write_npz(tmp_path / "set.npz", MADE, method), part=part, parts=2)
        assert isinstance(dataset.train_images, np.memmap) == (method == STORED)
        assert not isinstance(dataset.test_images, np.memmap)
        assert dataset.train_images.flags.writeable == (method == DEFLATED)
        assert same(dataset, MADE | {"x_train": MADE["x_train"][rows], "y_train": MADE["y_train"][rows]})


def test_a_large_array_that_its_file_does_not_hold_is_refused(tmp_path, monkeypatch):
    """A file may say of an array that it reaches beyond the file's end: such a mapping would end the process."""
    monkeypatch.setattr(stored, "MAPPED", 89)
    far = PLAIN.replace((90 + 128).to_bytes(4, "little"), (90 + 128 + 2**16).to_bytes(4, "little"))
    (tmp_path / "set.npz").write_bytes(far)
    with pytest.raises(DatasetError, match="x_train: cannot be read, it is damaged .(it reaches beyond|Overlapped)"):
        load_dataset(tmp_path / "set.npz")
