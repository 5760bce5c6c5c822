"""Sets of TensorFlow Datasets, read without TensorFlow: a committed one of 200 digits, and others made here."""

import http.server
import importlib.util
import json
import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import threading
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tensorflow_datasets.core.hashing import Hasher
from tensorflow_datasets.proto import tf_example_pb2

from mlp_jax import DatasetError, Examples, load_dataset
from mlp_jax.data.tfds import read_tfds

pytestmark = pytest.mark.filterwarnings("ignore::mlp_jax.data.DataWarning")  # of tiny sets: test_oddities.py
FIXTURE = Path(__file__).with_name("tfds")
FASHION = Path("/usr/share/datasets/fashion-mnist")  # of the Debian package dataset-fashion-mnist
PUBLISHED = {"train": 1504176606, "t10k": 1504176627}  # when Fashion-MNIST's files were gzipped, in Unix time


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and no TensorFlow: CI has one, most users have none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "tensorflow" else find_spec(name, *rest)
    )
    return tmp_path / "cache" / "mlp_jax" / "datasets"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A directory in which TFDS would keep its prepared sets."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def digits(home):
    """The committed digits, where they may be damaged."""
    shutil.copytree(FIXTURE / "tfrecord", home)
    return home / "mnist" / "3.0.1"


def assert_equal(examples, expected):
    np.testing.assert_array_equal(examples.inputs, expected.inputs)
    np.testing.assert_array_equal(examples.targets, expected.targets)


def as_tfds_orders(split, count):
    """Which of `count` examples, keyed by their number, TFDS writes first, second and so on: sorted by a hash."""
    return sorted(range(count), key=lambda number: Hasher(split).hash_key(number))


@pytest.mark.parametrize("form", ["array_record", "tfrecord"])
def test_the_digits_that_tfds_prepared_are_those_of_mnist(form, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(FIXTURE / form))
    mnist = load_dataset("mnist")
    for _ in range(2):  # decoded, and from the cache
        data = load_dataset("tfds:mnist")
        for split, count in (("train", 160), ("test", 40)):
            order = as_tfds_orders(split, count)
            assert_equal(getattr(data, split), getattr(mnist, split).rows(order))
        assert (data.class_names, data.n_out, data.image_shape) == (tuple("0123456789"), 10, (28, 28, 1))


def test_parts_of_the_training_examples(monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(FIXTURE / "tfrecord"))
    whole = load_dataset("tfds:mnist")
    parts = [load_dataset("tfds:mnist", part=part, parts=4) for part in range(4)]
    np.testing.assert_array_equal(np.concatenate([part.train.inputs for part in parts]), whole.train.inputs)
    np.testing.assert_array_equal(np.concatenate([part.train.targets for part in parts]), whole.train.targets)
    assert_equal(parts[3].test, whole.test)
    with pytest.raises(DatasetError, match="160 training examples cannot be split into 7 equal parts"):
        load_dataset("tfds:mnist", parts=7)


def test_images_that_take_much_memory_stay_in_the_cache(monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(FIXTURE / "tfrecord"))
    read = load_dataset("tfds:mnist", part=1, parts=2)
    monkeypatch.setattr("mlp_jax.data.array_files.MAPPED", 50 * 784)
    mapped = load_dataset("tfds:mnist", part=1, parts=2)
    assert isinstance(mapped.train.inputs, np.memmap)
    assert not isinstance(mapped.test.inputs, np.memmap)
    assert_equal(mapped.train, read.train)


GREY, COLOUR = tfds.features.Image(shape=(None, None, 1)), tfds.features.Image()
LABEL = tfds.features.ClassLabel(names=["cat", "dog", "gnu"])


def encoded(pixels, form="png"):
    Image.fromarray(pixels).save(file := BytesIO(), form)
    return file.getvalue()


def make(directory, features, splits, supervised=(), shards=1):
    """A prepared set: `splits` are lists of examples, each the values by name, encoded."""
    directory.mkdir(parents=True)
    tfds.features.FeaturesDict(features).save_config(directory)
    name, written = directory.relative_to(os.environ["TFDS_DATA_DIR"]).parts[0], []
    for split, examples in splits.items():
        pieces = np.array_split(np.arange(len(examples)), shards)
        for number, piece in enumerate(pieces):
            file = f"{name}-{split}.array_record-{number:05}-of-{shards:05}"
            writer = ArrayRecordWriter(str(directory / file), "group_size:1")
            for index in piece:
                record = tf_example_pb2.Example()
                for key, value in examples[index].items():
                    feature = record.features.feature[key]
                    (feature.bytes_list if isinstance(value, bytes) else feature.int64_list).value.append(value)
                writer.write(record.SerializeToString())
            writer.close()
        written.append({"name": split, "numBytes": "1", "shardLengths": [str(len(piece)) for piece in pieces]})
    info = {"name": name, "version": directory.name, "fileFormat": "array_record", "splits": written}
    if supervised:
        info["supervisedKeys"] = {"tuple": {"items": [{"featureKey": key} for key in supervised]}}
    (directory / "dataset_info.json").write_text(json.dumps(info))


def examples(images, labels, **more):
    return [{"image": encoded(image), "label": int(label), **more} for image, label in zip(images, labels, strict=True)]


RANDOM = np.random.default_rng(0)
PICTURES = RANDOM.integers(0, 256, (7, 4, 5, 3), np.uint8)
LABELS = np.array([0, 1, 1, 0, 1, 0, 1])


def test_colour_any_size_any_classes_several_files_and_validation_for_a_test(home):
    features = {"id": tfds.features.Text(), "image": COLOUR, "label": LABEL, "mask": GREY}
    more = {"id": b"x", "mask": encoded(PICTURES[0, ..., 0])}
    splits = {"train": examples(PICTURES, LABELS, **more), "validation": examples(PICTURES[:2], [1, 0], **more)}
    make(home / "small" / "1.0.0", features, splits, supervised=("image", "label"), shards=3)
    data = load_dataset("tfds:small")
    assert_equal(data.train, Examples(PICTURES.reshape(7, -1), LABELS))
    assert_equal(data.test, Examples(PICTURES[:2].reshape(2, -1), np.array([1, 0])))
    assert (data.class_names, data.n_out, data.image_shape) == (("cat", "dog", "gnu"), 3, (4, 5, 3))


def test_many_classes_with_long_names_or_with_none(home):
    """The names of 10,000 classes are longer than a zip file's comment may be; classes without a name are numbered."""
    for name, label in (
        ("named", tfds.features.ClassLabel(names=[f"{number:09}" for number in range(10_000)])),
        ("numbered", tfds.features.ClassLabel(num_classes=12)),
    ):
        make(home / name / "1.0.0", {"image": COLOUR, "label": label}, SPLITS)
        for _ in range(2):  # decoded, and from the cache
            assert load_dataset(f"tfds:{name}").class_names == tuple(label.names)


def test_an_image_has_the_channels_that_its_set_declares(home):
    grey = PICTURES[..., 0]
    make(
        home / "small" / "1.0.0",
        {"image": COLOUR, "label": LABEL},
        dict.fromkeys(("train", "test"), examples(grey, LABELS)),
    )
    np.testing.assert_array_equal(load_dataset("tfds:small").train.inputs, grey.repeat(3, axis=-1).reshape(7, -1))


def test_jpeg(home):
    smooth = np.broadcast_to(np.linspace(0, 255, 16, dtype=np.uint8)[:, None], (16, 16))
    jpeg = [{"image": encoded(smooth, "jpeg"), "label": 2}]
    make(home / "small" / "1.0.0", {"image": GREY, "label": LABEL}, {"train": jpeg, "test": jpeg})
    assert np.abs(load_dataset("tfds:small").train.inputs.reshape(16, 16).astype(int) - smooth).max() < 5


def test_the_newest_version_of_the_default_configuration_or_of_the_one_that_is_named(home):
    for number, place in enumerate(("one/9.0.0", "one/10.0.0", "two/1.0.0")):
        tests = examples(PICTURES[:1], [number])
        make(
            home / "small" / place,
            {"image": COLOUR, "label": LABEL},
            {"train": examples(PICTURES, LABELS), "test": tests},
        )
    (home / "small" / "one" / "incomplete.ABC_11.0.0").mkdir()
    assert load_dataset("tfds:small:one").test.targets == [1]
    assert load_dataset("tfds:small:two").test.targets == [2]
    with pytest.raises(DatasetError, match="TFDS knows no data set 'small'"):
        load_dataset("tfds:small")
    (home / "small" / ".config").mkdir()
    (home / "small" / ".config" / "metadata.json").write_text('{"default_config_name": "two"}')
    assert load_dataset("tfds:small").test.targets == [2]


def test_the_letters_of_emnist_are_upright(home):
    """TFDS keeps its images transposed and counts 37 classes, of which 26 occur: from 1."""
    pictures = RANDOM.integers(0, 256, (26, 4, 5), np.uint8)
    splits = {"train": examples(pictures, range(1, 27)), "test": examples(pictures[:2], [1, 26])}
    features = {"image": tfds.features.Image(shape=(4, 5, 1)), "label": tfds.features.ClassLabel(num_classes=37)}
    make(home / "emnist" / "letters" / "3.1.0", features, splits)
    dataset = load_dataset("tfds:emnist/letters")
    assert (dataset.image_shape, dataset.class_names) == ((5, 4, 1), tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    np.testing.assert_array_equal(dataset.train.inputs.reshape(-1, 5, 4), pictures.transpose(0, 2, 1))
    assert dataset.test.targets.tolist() == [0, 25]


GOOD = examples(PICTURES, LABELS)
SPLITS = {"train": GOOD, "test": GOOD[:2]}
FEATURES = {"image": COLOUR, "label": LABEL}
WIDER = examples(RANDOM.integers(0, 256, (1, 4, 6, 3), np.uint8), [0])
UNFIT = {
    "tfds:small: train image 7 is 4 x 6, the first one of train 4 x 5: expected images of one size": (
        FEATURES,
        {"train": GOOD + WIDER, "test": GOOD},
    ),
    "tfds:small: test image 0 is 4 x 6, the first one of train 4 x 5": (FEATURES, {"train": GOOD, "test": WIDER}),
    "tfds:small has the splits train, extra: expected train, and test or validation": (
        FEATURES,
        {"train": GOOD, "extra": GOOD},
    ),
    r"tfds:small has the splits test: expected train": (FEATURES, {"train": [], "test": GOOD}),
    r"no image classification set: expected one Image and one ClassLabel, it has image \(Image\)": (
        {"image": COLOUR},
        SPLITS,
    ),
    r"it has image \(Image\), label \(Sequence\)": ({"image": COLOUR, "label": tfds.features.Sequence(LABEL)}, SPLITS),
    r"it has image \(Image\), label \(ClassLabel\), other \(Image\)$": (FEATURES | {"other": COLOUR}, SPLITS),
    r"images of uint16 and shape \(None, None, 1\): expected uint8": (
        FEATURES | {"image": tfds.features.Image(shape=(None, None, 1), dtype=np.uint16)},
        SPLITS,
    ),
    "does not say how many classes its 'label' has": (FEATURES | {"label": tfds.features.ClassLabel()}, SPLITS),
    "tfds:small: train example 1 has the label 3: expected 0 to 2": (
        FEATURES,
        SPLITS | {"train": GOOD[:1] + examples(PICTURES[:1], [3])},
    ),
    "tfds:small: test example 0 has the label -1: expected 0 to 2": (
        FEATURES,
        SPLITS | {"test": examples(PICTURES[:1], [-1])},
    ),
    r"tfds:small: train example 0: cannot be read \(cannot identify image": (
        FEATURES,
        SPLITS | {"train": [{"image": b"no picture", "label": 0}]},
    ),
    "tfds:small: train example 0: cannot be read, it is damaged": (FEATURES, SPLITS | {"train": [{"label": 0}]}),
    r"train example 0: cannot be read, it is damaged \(it has more than 8 bits a channel\)": (
        FEATURES | {"image": GREY},
        SPLITS | {"train": [{"image": encoded(np.full((4, 5), 999, np.uint16)), "label": 0}]},
    ),
}


@pytest.mark.parametrize("message", UNFIT)
def test_what_does_not_fit_is_refused_with_what_it_has_and_leaves_nothing_behind(message, home, cache):
    make(home / "small" / "1.0.0", *UNFIT[message])
    with pytest.raises(DatasetError, match=message):
        load_dataset("tfds:small")
    assert not list((cache / "small").iterdir())


@pytest.mark.parametrize(
    ("source", "message"),
    {
        "tfds:fashion_mnis": "'fashion_mnis', and .*/home holds none prepared; did you mean tfds:fashion_mnist",
        "tfds:zzzzqq": "no data set 'zzzzqq', and .*/home holds none prepared$",
        "tfds:emnist:lettres": "tfds:emnist:lettres: expected a configuration of emnist, byclass, .*letters",
        "tfds:mnist:x": "tfds:mnist:x: expected a configuration of mnist, which has none",
        "tfds:": "no data set 'tfds:': expected tfds:NAME or tfds:NAME:CONFIG",
        "tfds:../mnist": "expected tfds:NAME",
        "tfds:mnist:..": "expected tfds:NAME",
        "tfds:imdb_reviews": "no image classification set: expected one Image and one ClassLabel, it has .*Text",
        "tfds:emnist": r"not prepared in .*/home/emnist/byclass/\d.*: pip install -e '\.\[tensorflow\]' in a clone, or",
    }.items(),
)
def test_what_is_not_there_is_refused_with_what_to_do(source, message, home):
    with pytest.raises(DatasetError, match=message):
        load_dataset(source)
    assert not home.exists()


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("No module named 'tensorflow'", r"No module named 'tensorflow'; pip install -e '\.\[tensorflow\]' in a clone"),
        ("Fetch it\n  by hand", "TFDS cannot prepare it in .*/home: Fetch it by hand$"),
    ],
)
def test_what_the_code_of_a_set_raises_is_said_in_one_line(failure, message, home, monkeypatch):
    def builder(*_, **__):
        raise AssertionError(failure)

    monkeypatch.setattr(tfds, "builder", builder)
    with pytest.raises(DatasetError, match=message):
        load_dataset("tfds:mnist")


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        lambda path: path.write_bytes(b""),
        lambda path: flip(path, 0),
        lambda path: flip(path, 1000),  # a pixel
        lambda path: flip(path, path.read_bytes().index(b'"classes"') + 3),  # in the note
        lambda path: flip(path, -200),  # in the directory at the end
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_a_damaged_cache_is_made_anew(damage, monkeypatch, cache):
    monkeypatch.setenv("TFDS_DATA_DIR", str(FIXTURE / "tfrecord"))
    expected = load_dataset("tfds:mnist")
    kept = cache / "mnist" / "3.0.1.npz"
    damage(kept)
    if kept.is_dir():
        with pytest.raises(
            DatasetError, match="cannot be kept in .*mnist .*free some space there, or set XDG_CACHE_HOME"
        ):
            load_dataset("tfds:mnist")
        return
    for _ in range(2):
        data = load_dataset("tfds:mnist")
        assert_equal(data.train, expected.train)
        assert_equal(data.test, expected.test)
    assert [path.name for path in kept.parent.iterdir()] == ["3.0.1.npz"]


def test_another_set_of_the_same_name_and_version_is_not_taken_from_the_cache(home, monkeypatch):
    make(home / "mnist" / "3.0.1", FEATURES, SPLITS)
    assert len(load_dataset("tfds:mnist").train) == 7
    monkeypatch.setenv("TFDS_DATA_DIR", str(FIXTURE / "tfrecord"))
    assert len(load_dataset("tfds:mnist").train) == 160
    monkeypatch.setenv("TFDS_DATA_DIR", str(home))
    assert len(load_dataset("tfds:mnist").train) == 7


def test_what_was_prepared_anew_is_decoded_anew(home):
    make(home / "small" / "1.0.0", FEATURES, SPLITS)
    load_dataset("tfds:small")
    shutil.rmtree(home)
    make(
        home / "small" / "1.0.0", FEATURES, SPLITS | {"train": examples(PICTURES, 1 - LABELS)}
    )  # files of the same size
    np.testing.assert_array_equal(load_dataset("tfds:small").train.targets, 1 - LABELS)


def test_a_cache_that_cannot_be_written_is_an_error_that_says_so(monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    monkeypatch.setenv("TFDS_DATA_DIR", str(FIXTURE / "tfrecord"))
    with pytest.raises(
        DatasetError, match=r"cannot be kept in .*cache/mlp_jax.* \(.*\): free some space there, or set XDG"
    ):
        load_dataset("tfds:mnist")


READ = (
    "import sys; from mlp_jax.data import load_dataset; data = load_dataset('tfds:mnist');"
    "print(data.train.inputs.sum(), *{'tensorflow', 'tensorflow_datasets'} & sys.modules.keys())"
)


def reading(form, **options):
    """A process that reads the digits, and prints the sum of their pixels and which of the large packages it needed."""
    environment = os.environ | {"TFDS_DATA_DIR": str(FIXTURE / form), "TERM": "xterm"}
    return subprocess.Popen([sys.executable, "-c", READ], env=environment, stdout=subprocess.PIPE, text=True, **options)


def test_several_processes_at_once_and_only_decoding_imports_a_large_package(cache):
    total = load_dataset("mnist").train.inputs[:160].sum()
    processes = [reading("tfrecord") for _ in range(2)]
    said = {process.communicate()[0] for process in processes}  # on a busy machine one may come after the other's end
    assert {f"{total} tensorflow_datasets\n"} <= said <= {f"{total} tensorflow_datasets\n", f"{total}\n"}
    assert reading("tfrecord").communicate()[0] == f"{total}\n"
    assert [path.name for path in (cache / "mnist").iterdir()] == ["3.0.1.npz"]


def test_damaged_records_are_refused_with_their_file(digits):
    train, test = sorted(digits.glob("*.tfrecord-*"), reverse=True)
    cut(test)
    with pytest.raises(DatasetError, match=rf"{test} is damaged or cut short: it ends within record \d+ of 40"):
        load_dataset("tfds:mnist")
    whole = train.read_bytes()
    train.write_bytes(whole + b"more")
    with pytest.raises(DatasetError, match=rf"{train} is damaged: 4 bytes follow the last of its 160 records"):
        load_dataset("tfds:mnist")
    train.write_bytes(whole[:7] + b"\xff" + whole[8:])  # the first record's length is more than memory
    with pytest.raises(DatasetError, match=rf"{train} is damaged or cut short: it ends within record 0 of 160"):
        load_dataset("tfds:mnist")
    train.unlink()
    with pytest.raises(DatasetError, match=f"tfds:mnist: train in {digits}: cannot be read .*No such file"):
        load_dataset("tfds:mnist")


def test_a_damaged_array_record_is_refused(home):
    make(home / "small" / "1.0.0", FEATURES, SPLITS)
    cut(next(home.rglob("*train*")))
    with pytest.raises(DatasetError, match="tfds:small: (train in .*/small/1.0.0|train example 0): cannot be read"):
        load_dataset("tfds:small")


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_a_damaged_description_is_refused(name, digits):
    cut(digits / name)
    with pytest.raises(DatasetError, match=f"tfds:mnist in {digits}: cannot be read"):
        load_dataset("tfds:mnist")


def test_flipped_bits_raise_nothing_but_dataset_errors(digits):
    (train,) = digits.glob("*train*")
    whole, refused = train.read_bytes(), 0
    for place in RANDOM.integers(0, 5000, 15):
        flip(train, place)
        try:
            load_dataset("tfds:mnist")
        except DatasetError:
            refused += 1
        train.write_bytes(whole)
    assert refused > 0


def test_progress_is_shown_on_a_terminal_and_nowhere_else(monkeypatch, capfd):
    monkeypatch.setenv("TFDS_DATA_DIR", str(FIXTURE / "tfrecord"))
    read_tfds("mnist")
    assert capfd.readouterr() == ("", "")
    screen, stderr = os.openpty()
    assert reading("array_record", stderr=stderr).communicate()[0].endswith(" tensorflow_datasets\n")
    os.close(stderr)
    shown = os.read(screen, 100_000).decode()
    os.close(screen)
    assert "tfds:mnist, train" in shown
    assert "100%" in shown


class Publisher(http.server.BaseHTTPRequestHandler):
    """A proxy that answers with Fashion-MNIST's files as published: Debian's, and what was in their headers."""

    def do_GET(self):
        name = self.path.rpartition("/")[2]
        packed = (FASHION / name).read_bytes()
        header = struct.pack("<4sI", b"\x1f\x8b\x08\x08", PUBLISHED[name.partition("-")[0]])
        content = header + packed[8:10] + name.removesuffix(".gz").encode() + b"\0" + packed[10:]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def test_a_full_disk_is_an_error_that_says_so_and_leaves_nothing_behind(cache, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(FIXTURE / "tfrecord"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(DatasetError) as refused:
            load_dataset("tfds:mnist")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    message = r"tfds:mnist: the decoded images cannot be kept in .*/mnist \(File too large\): free some space"
    assert re.match(message, str(refused.value))
    assert not list((cache / "mnist").iterdir())


@pytest.mark.slow
def test_the_fashion_mnist_that_tfds_prepares_is_that_of_debians_idx_files(home):
    """TFDS's own builder prepares it by TensorFlow, its checksums and all, from a server on this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Publisher) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        proxy = f"http://127.0.0.1:{server.server_port}"
        read = "from mlp_jax import load_dataset; load_dataset('tfds:fashion_mnist')"
        environment = os.environ | {"http_proxy": proxy, "no_proxy": ""}
        assert subprocess.check_output([sys.executable, "-c", read], env=environment) == b""
        server.shutdown()
    prepared, published = load_dataset("tfds:fashion_mnist"), load_dataset(FASHION)
    for split, count in (("train", 60_000), ("test", 10_000)):
        order = as_tfds_orders(split, count)
        assert_equal(getattr(prepared, split), getattr(published, split).rows(order))
    assert (prepared.n_out, prepared.image_shape) == (published.n_out, published.image_shape)
