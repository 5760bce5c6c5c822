"""Image classification sets of TensorFlow Datasets (TFDS), read without TensorFlow."""

import difflib
import hashlib
import importlib.util
import json
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import platformdirs
from numpy.lib import format as npy
from PIL import Image

from mlp_jax.data.array_files import read_dataset, reading
from mlp_jax.data.dataset import Dataset, DatasetError
from mlp_jax.data.idx import named_as_emnist
from mlp_jax.data.npz import opened_npz

LAYOUT = 2  # of the files in the cache: a change of the layout must count it up, so that they are made anew
NOTE = "note.json"  # in a file of the cache: what it was made of, and the names of the classes
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # Pillow's names for this many channels of 8 bits
AT_ONCE = 100  # records asked for together: opening one alone takes longer than decoding it


class Fields(NamedTuple):
    """The names of an example's image and label, the names of the classes, and the number of channels."""

    image: str
    label: str
    classes: tuple[str, ...]
    channels: int


def read_tfds(name: str, config: str | None = None, part: int = 0, parts: int = 1) -> Dataset:
    """The set `name` of TensorFlow Datasets, in its default configuration or in `config`.

    The newest version in TFDS_DATA_DIR, or ~/tensorflow_datasets, is read, without TensorFlow. If there is none, TFDS
    prepares the set, which needs TensorFlow.
    Images are decoded once, with a progress bar if stderr is a terminal, and kept in platformdirs' cache directory of
    mlp_jax, as `datasets/NAME/[CONFIG/]VERSION.npz`; again if that is damaged or the prepared files are others.

    Images become rows of height x width x channels; JPEG is decoded by Pillow, whose rounding can differ from
    TensorFlow's. The examples are in the order in which TFDS wrote them, which is shuffled. Test images are those of
    the split `test`, or else `validation`. `part` and `parts` are those of `load_dataset`. Those of EMNIST are turned
    upright.

    Raises DatasetError for an unknown name or configuration, a set that is not image classification (an image of uint8
    and a label of a known number of classes, in a split `train` and one to test with), images of different sizes,
    damaged files, a set that cannot be prepared, or a cache that cannot be written.
    """
    source = ":".join(("tfds", name, config) if config else ("tfds", name))
    if not re.fullmatch(r"\w+", name) or not re.fullmatch(r"\w[\w.-]*", config or name):
        raise DatasetError(f"there is no data set {source!r}: expected tfds:NAME or tfds:NAME:CONFIG")
    home = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    directory = _newest(home / name, config) or _prepare(source, name, config, home)
    cache = platformdirs.user_cache_path("mlp_jax", appauthor=False) / "datasets" / directory.relative_to(home)
    cache = cache.with_name(f"{cache.name}.npz")
    origin, emnist = _origin(directory), directory.parent.name if name == "emnist" else None
    try:
        return _load(cache, origin, emnist, part, parts)
    except DatasetError:
        try:
            _load(cache, origin, emnist)  # raises unless only the part is wrong
        except DatasetError:
            _write_cache(cache, origin, source, directory)
        return _load(cache, origin, emnist, part, parts)


def _newest(home: Path, config: str | None) -> Path | None:
    """The directory of the newest version that is prepared, None if there is none. This does not import TFDS."""
    if config is None:
        try:
            config = json.loads((home / ".config" / "metadata.json").read_text())["default_config_name"]
        except (OSError, ValueError, KeyError):
            config = ""  # a set without configurations
    versions = {
        tuple(map(int, path.parent.name.split("."))): path.parent
        for path in (home / (config or "")).glob("*/dataset_info.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name)
    }
    return versions[max(versions)] if versions else None


def _prepare(source: str, name: str, config: str | None, home: Path) -> Path:
    """Lets TFDS prepare the set, and returns its directory. An unfit set is refused before any download."""
    import tensorflow_datasets as tfds

    remedy = "pip install -e '.[tensorflow]' in a clone, or set TFDS_DATA_DIR to the directory that holds it prepared"
    try:
        with redirect_stdout(sys.stderr):  # TFDS prints
            configs = tfds.builder_cls(name).builder_configs
            if config is not None and config not in configs:
                has = ", ".join(configs) or "which has none"
                raise DatasetError(f"{source}: expected a configuration of {name}, {has}")
            builder = tfds.builder(name, config=config, data_dir=home)
            directory = Path(builder.data_dir)
            if directory.exists():
                return directory
            _fields(source, builder.info)
            if importlib.util.find_spec("tensorflow") is None:
                raise DatasetError(
                    f"{source} is not prepared in {directory}, and TFDS needs TensorFlow to prepare it: {remedy}"
                )
            if "tensorflow" not in sys.modules:  # otherwise it takes all of a GPU's memory
                importlib.import_module("tensorflow").config.set_visible_devices([], "GPU")
            builder.download_and_prepare()
    except DatasetError:
        raise
    except tfds.core.DatasetNotFoundError as error:
        similar = difflib.get_close_matches(name, tfds.list_builders(with_community_datasets=False), 3, 0.7)
        hint = f"; did you mean {' or '.join(f'tfds:{other}' for other in similar)}?" if similar else ""
        raise DatasetError(f"TFDS knows no data set {name!r}, and {home} holds none prepared{hint}") from error
    except Exception as error:  # each set has its own code, downloads and checksums, which can raise anything
        reason = " ".join(str(error).split())
        hint = f"; {remedy}" if "No module named 'tensorflow'" in reason else ""
        raise DatasetError(f"{source}: TFDS cannot prepare it in {home}: {reason}{hint}") from error
    return directory


def _origin(directory: Path) -> str:
    """Identifies the prepared files in `directory`, without reading them."""
    with reading(str(directory)):
        files = sorted((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in directory.iterdir())
    return hashlib.sha256(json.dumps([LAYOUT, files]).encode()).hexdigest()


def _load(cache: Path, origin: str, emnist: str | None, part: int = 0, parts: int = 1) -> Dataset:
    """The set in the file `cache`. Raises DatasetError if that is missing, damaged, or not of this `origin`.

    emnist: which part of EMNIST it is, whose images TFDS leaves transposed; None for other sets.
    """
    with reading(str(cache)), zipfile.ZipFile(cache) as archive:
        note = json.loads(archive.read(NOTE))
        if note["origin"] != origin:
            raise ValueError("it was made of other files")
        classes = tuple(note["classes"])
    with opened_npz(cache) as arrays:
        arrays = arrays._replace(class_names=classes)
        if emnist is not None:
            arrays = named_as_emnist(arrays, emnist)
        return read_dataset(arrays, part, parts)


def _write_cache(cache: Path, origin: str, source: str, directory: Path) -> None:
    """Decodes the set in `directory` into the file `cache`.

    Other processes may do the same at the same time: each replaces the file by a whole one.
    """
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{cache.name}.", dir=cache.parent) as scratch:
            unfinished = Path(scratch) / cache.name
            with zipfile.ZipFile(unfinished, "w") as archive:
                classes = _decode(source, directory, archive)
                archive.writestr(NOTE, json.dumps({"classes": classes, "origin": origin}))
            unfinished.replace(cache)
    except OSError as error:
        raise DatasetError(
            f"{source}: the decoded images cannot be kept in {cache.parent} ({error.strerror or error}): "
            "free some space there, or set XDG_CACHE_HOME to a directory with enough space"
        ) from error


def _fields(source: str, info: Any) -> Fields:
    """The fields of the set that `info`, a `tfds.core.DatasetInfo`, describes. Refuses what `read_tfds` refuses."""
    from tensorflow_datasets import features as kinds

    features: dict[str, Any] = dict(info.features) if isinstance(info.features, kinds.FeaturesDict) else {}
    images = [name for name, feature in features.items() if type(feature) is kinds.Image]
    labels = [name for name, feature in features.items() if type(feature) is kinds.ClassLabel]
    match info.supervised_keys:
        case (str(image), str(label)) if image in images and label in labels:
            pass
        case _ if len(images) == len(labels) == 1:
            image, label = images[0], labels[0]
        case _:
            found = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in sorted(features.items()))
            raise DatasetError(
                f"{source} is no image classification set: expected one Image and one ClassLabel, "
                f"it has {found or type(info.features).__name__}"
            )
    shape, dtype, classes = features[image].shape, features[image].np_dtype, features[label].num_classes
    if dtype != np.uint8 or len(shape) != 3 or shape[2] not in MODES:
        raise DatasetError(
            f"{source} has images of {np.dtype(dtype)} and shape {shape}: expected uint8 and (height, width, channels) "
            "with 1 to 4 channels"
        )
    if not classes:
        raise DatasetError(
            f"{source} does not say how many classes its {label!r} has: a network needs one output for each"
        )
    return Fields(image, label, tuple(features[label].names), shape[2])


def _decode(source: str, directory: Path, archive: zipfile.ZipFile) -> tuple[str, ...]:
    """Writes x_train (n, height, width, channels), y_train, x_test and y_test of the set in `directory` to `archive`.

    Returns the names of the classes. Takes memory for the labels and a hundred examples.
    """
    import tensorflow_datasets as tfds
    from rich.console import Console
    from rich.progress import track

    stderr = Console(stderr=True)
    shown = {"console": stderr, "transient": True, "disable": not stderr.is_terminal}
    with reading(f"{source} in {directory}"):  # this imports whatever classes the files name
        builder = tfds.builder_from_directory(directory)
    wanted = _fields(source, builder.info)
    there = [split for split, info in builder.info.splits.items() if info.num_examples]
    test = "test" if "test" in there else "validation"
    if "train" not in there or test not in there:
        raise DatasetError(
            f"{source} has the splits {', '.join(there) or '(none)'}: expected train, and test or validation"
        )
    size = None  # width and height of the first image, and so of all
    for key, split in (("train", "train"), ("test", test)):
        count = builder.info.splits[split].num_examples
        labels = np.empty(count, np.int32)
        records = track(_records(source, builder, split), f"{source}, {split}", count, **shown)
        with archive.open(f"x_{key}.npy", "w", force_zip64=True) as file:
            for number, record in enumerate(records):
                image, labels[number] = _example(f"{source}: {split} example {number}", record, wanted)
                size = size or image.size
                if image.size != size:
                    raise DatasetError(
                        f"{source}: {split} image {number} is {image.height} x {image.width}, the first one of train "
                        f"{size[1]} x {size[0]}: expected images of one size"
                    )
                if number == 0:
                    shape = (count, image.height, image.width, wanted.channels)
                    npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
                file.write(image.tobytes())
        with archive.open(f"y_{key}.npy", "w") as file:
            npy.write_array(file, labels)
    return wanted.classes


def _records(source: str, builder: Any, split: str) -> Iterator[bytes]:
    """The serialised examples of a split, in the order in which they lie in its files."""
    import tensorflow_datasets as tfds

    info = builder.info.splits[split]
    with reading(f"{source}: {split} in {builder.data_dir}"):
        if builder.info.file_format == tfds.core.FileFormat.TFRECORD:  # for which TFDS needs TensorFlow
            for path, count in zip(info.filepaths, info.shard_lengths, strict=True):
                yield from _tfrecords(Path(path), count)
        else:
            stored = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
            for start in range(0, info.num_examples, AT_ONCE):
                yield from stored.__getitems__(range(start, min(start + AT_ONCE, info.num_examples)))


def _tfrecords(path: Path, count: int) -> Iterator[bytes]:
    """The records of a TFRecord file. Each has its length in 8 bytes, a checksum in 4, its content, a checksum in 4."""
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size
        for number in range(count):
            head = file.read(12)
            length = int.from_bytes(head[:8], "little")
            left -= 12 + length + 4
            if len(head) < 12 or left < 0:
                raise DatasetError(f"{path} is damaged or cut short: it ends within record {number} of {count}")
            yield file.read(length)
            file.read(4)
    if left:
        raise DatasetError(f"{path} is damaged: {left} bytes follow the last of its {count} records")


def _example(name: str, record: bytes, wanted: Fields) -> tuple[Image.Image, int]:
    """The image, with the channels that the set declares, and the label."""
    from tensorflow_datasets.proto import tf_example_pb2

    with reading(name):
        example = tf_example_pb2.Example.FromString(record).features.feature  # pyright: ignore[reportAttributeAccessIssue]
        (encoded,) = example[wanted.image].bytes_list.value
        (label,) = example[wanted.label].int64_list.value
        image = Image.open(BytesIO(encoded))
        if image.mode.startswith(("I", "F")):
            raise ValueError("it has more than 8 bits a channel")
        image = image.convert(MODES[wanted.channels])
    if not 0 <= label < len(wanted.classes):
        raise DatasetError(f"{name} has the label {label}: expected 0 to {len(wanted.classes) - 1}")
    return image, label
