"""Files of NumPy arrays: every form that is taken, and every damage refused."""

import io
import math
import zipfile
from contextlib import nullcontext

import jax.numpy as jnp
import numpy as np
import pytest
from sources import arrays, floats, memory, npy, same, write_npz, zipped

from mlp_jax import DatasetError, load_dataset
from mlp_jax.data import array_files

pytestmark = pytest.mark.filterwarnings("ignore::mlp_jax.data.DataWarning")  # of tiny sets: test_oddities.py
MADE, FLOATS = arrays(), floats()
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def saved(path, made=MADE, **changed):
    np.savez_compressed(path / "set.npz", **(made | changed))
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
        assert (dataset.n_out, dataset.image_shape) == (3, image_shape)


@pytest.mark.parametrize(
    ("shape", "image_shape"), [((3, 5), (3, 5, 1)), ((15,), None), ((1,), None), ((2, 4, 3), (2, 4, 3))]
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_stay_as_they_are(tmp_path, shape, image_shape, dtype):
    """Inputs of any sign and size, wanted outputs and weights, in their own precision, and in either byte order."""
    made = floats(shape=shape, dtype=dtype)
    for stored in (made, {key: array.astype(array.dtype.newbyteorder(">")) for key, array in made.items()}):
        dataset = load_dataset(saved(tmp_path, stored))
        assert same(dataset, made)
        assert (dataset.has_classes, dataset.n_out, dataset.image_shape) == (False, 2, image_shape)


def test_one_wanted_output_may_be_a_row_of_numbers(tmp_path):
    rows = {key: FLOATS[key][:, 0] for key in ("y_train", "y_test")}
    dataset = load_dataset(saved(tmp_path, FLOATS | rows))
    assert same(dataset, FLOATS | rows)
    assert (dataset.train.targets.shape, dataset.test.targets.shape) == ((6, 1), (4, 1))


def test_floats_with_classes_and_images_with_wanted_outputs(tmp_path):
    for made in (
        MADE | {key: FLOATS[key] for key in ("x_train", "x_test", "w_test")},
        FLOATS | {"x_test": MADE["x_test"]},
    ):
        assert same(load_dataset(saved(tmp_path, made)), made)


@pytest.mark.parametrize("integers", ["u1", "i1", "<i8", ">i4", ">u2", "<u8"])
def test_labels_of_any_integer_type(tmp_path, integers):
    column = MADE["y_train"].astype(integers)[:, None]
    dataset = load_dataset(saved(tmp_path, y_train=column, y_test=MADE["y_test"].astype(integers)))
    assert same(dataset, MADE)
    assert dataset.train.targets.dtype == np.int32


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


def number(index, value, of="x_train"):
    array = FLOATS[of].copy()
    array[index] = value
    return array


REFUSED = {
    r"set.npz: x_train\[4, 0, 2\] is nan: expected finite numbers": {"x_train": number((4, 0, 2), np.nan)},
    r"x_train\[1, 2, 0\] is -inf: expected finite": {"x_train": np.asfortranarray(number((1, 2, 0), -np.inf))},
    r"y_train\[5, 1\] is inf: expected finite": {"y_train": number((5, 1), np.inf, "y_train")},
    r"w_train\[3\] is nan: expected finite": {"w_train": number(3, np.nan, "w_train")},
    r"train.weights\[3\] is -1.0: expected finite numbers of 0 or more": {"w_train": number(3, -1, "w_train")},
    r"w_train is float64 of shape \(5,\): expected floats \(6,\), a weight for each": {"w_train": np.ones(5)},
    r"w_test is int64 of shape \(4,\): expected floats": {"w_test": np.ones(4, int)},
    r"y_train\[2\] is -1: expected 0 to": {"y_train": np.array([0, 1, -1, 0, -1, 2])},
    r"y_test\[1\] is 18446744073709551615: expected 0 to": {"y_test": np.array([0, 2**64 - 1, 0, 0], np.uint64)},
    r"x_train is int64: expected uint8, which become 0 to 1, or floats; save it with .astype\(np.float32\)": {
        "x_train": MADE["x_train"].astype(np.int64)
    },
    r"x_train is bool: expected numbers": {"x_train": MADE["x_train"] > 0},
    r"train.targets have shape \(6, 2\), test.targets \(4,\): expected classes": {"y_train": FLOATS["y_train"]},
    r"train.targets have 3 columns, test.targets 2": {"y_train": np.ones((6, 3)), "y_test": FLOATS["y_test"]},
    r"y_train is float64 of shape \(6, 2, 2\): expected integers": {"y_train": np.zeros((6, 2, 2))},
    r"y_train is int64 of shape \(6, 3\): expected integers \(n,\), .*one-hot rows, save targets.argmax\(axis=1\)": {
        "y_train": np.eye(3, dtype=int)[MADE["y_train"]]
    },
    r"y_train has 5 targets, .*x_train 6 inputs": {"y_train": np.zeros(5, int)},
    r"x_train has shape \(6,\): expected \(n, n_in\), \(n, height, width\)": {"x_train": np.zeros(6, np.uint8)},
    r"x_train has shape \(6, 0, 5\): there is nothing": {"x_train": np.zeros((6, 0, 5), np.uint8)},
    r"y_train has shape \(\): there is nothing": {"y_train": np.array(3)},
    r"x_train has shape \(6, 3, 5\), .*x_test \(4, 5, 3\): one network": {"x_test": np.zeros((4, 5, 3), np.uint8)},
    r"x_train has shape \(6, 3, 8, 8\), with its channels before its rows": {
        "x_train": np.zeros((6, 3, 8, 8), np.uint8)
    },
    r"y_train holds Python objects, which take pickle to read": {"y_train": np.array([0, 1, 2, 0, 1, 2], object)},
    r"of .*y_train and .*y_test only one holds names": {"y_train": np.array(list("012012"))},
    r"y_train is \|S1: expected numbers": {"y_train": np.array(list("012012"), "S1")},
    r"class_names is int64 of shape \(3,\): expected texts, one a class": {"class_names": np.arange(3)},
    r"6 different labels occur, from 0 to 90210: a network would have 90211 outputs; number": {
        "y_train": np.array([0, 1, 2, 90208, 90209, 90210])
    },
    r"x_train is complex64: expected numbers": {"x_train": MADE["x_train"].astype(np.complex64)},
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


SIZE = 2**23


@pytest.mark.parametrize(("declared", "held"), [(SIZE, SIZE), (SIZE // 8, SIZE)])
def test_memory_follows_what_is_there(tmp_path, declared, held):
    made = arrays(shape=(64, 128), train=declared // 2**13)
    header = npy(made["x_train"])[:128]
    path = tmp_path / "set.npz"
    path.write_bytes(zipped({key: npy(array) for key, array in made.items()} | {"x_train": header + bytes(held)}))
    with memory() as most:
        with nullcontext() if held == declared else pytest.raises(DatasetError, match="something was added"):
            assert load_dataset(path).train.inputs.size == declared
        assert most() < 2 * declared + 2**21  # NumPy holds an array twice while it grows, from 2.5 on


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("made", [MADE, FLOATS], ids=["uint8", "float32"])
def test_large_arrays_that_are_not_compressed_stay_on_disk(tmp_path, monkeypatch, made, part):
    monkeypatch.setattr(array_files, "MAPPED", made["x_train"].nbytes - 1)
    half = {key: made[key][3 * part : 3 * part + 3] for key in made if key.endswith("train")}
    for method in (STORED, DEFLATED):
        dataset = load_dataset(write_npz(tmp_path / "set.npz", made, method), part=part, parts=2)
        inputs = dataset.train.inputs
        assert isinstance(inputs, np.memmap) == (method == STORED)
        assert not isinstance(dataset.test.inputs, np.memmap)
        assert inputs.flags.writeable == (method == DEFLATED)
        assert same(dataset, made | half)
        # Numbers may lie anywhere in the file: what is done with them must not need them aligned.
        rows = np.array([2, 0])
        as_bytes = np.take(inputs.view(np.uint8), rows, axis=0).view(inputs.dtype)
        np.testing.assert_array_equal(as_bytes, inputs[rows])
        np.testing.assert_array_equal(jnp.asarray(inputs), inputs)


def test_a_mapped_number_that_is_not_finite_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(array_files, "MAPPED", 0)
    made = FLOATS | {"x_train": number((4, 0, 2), np.nan)}
    with pytest.raises(DatasetError, match=r"train.inputs\[1, 2\] is nan"):
        load_dataset(write_npz(tmp_path / "set.npz", made, STORED), part=1, parts=2)


def test_a_large_array_that_its_file_does_not_hold_is_refused(tmp_path, monkeypatch):
    """A file may say of an array that it reaches beyond the file's end: such a mapping would end the process."""
    monkeypatch.setattr(array_files, "MAPPED", 89)
    far = PLAIN.replace((90 + 128).to_bytes(4, "little"), (90 + 128 + 2**16).to_bytes(4, "little"))
    (tmp_path / "set.npz").write_bytes(far)
    with pytest.raises(DatasetError, match="x_train: cannot be read, it is damaged .(it reaches beyond|Overlapped)"):
        load_dataset(tmp_path / "set.npz")
