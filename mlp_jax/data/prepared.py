"""A data set as TensorFlow Datasets (TFDS) prepared it: which of it is learned from, and that decoded."""

import os
import zipfile
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from PIL import Image

from mlp_jax.data.dataset import DatasetError

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # Pillow's names for so many channels of 8 bits
AT_ONCE = 100  # records asked for together: opening one alone takes longer than decoding it


class Fields(NamedTuple):
    """What an example is made of: the names of its image and its label, how many classes and channels there are."""

    image: str
    label: str
    classes: int
    channels: int


def fields(source: str, info: Any) -> Fields:
    """Those of the set `source` that TFDS describes by `info`, a `tfds.core.DatasetInfo`.

    Raises DatasetError where it is no image classification: not an image of uint8 and a label of so many classes.
    """
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
        raise DatasetError(f"{source} does not say how many classes its {label!r} has, and a network must know")
    return Fields(image, label, classes, shape[2])


def decode(source: str, directory: Path, archive: zipfile.ZipFile) -> int:
    """Writes x_train (n, height, width, channels), y_train, x_test and y_test of the set in `directory` to `archive`.

    The set's `validation` stands in for a `test` that it does not have. Returns how many classes there are. Memory is
    taken for the labels and a hundred examples.

    Raises DatasetError for a set that is no image classification, has not these splits, has images of different sizes,
    or is damaged.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(directory)
    except Exception as error:  # it makes objects of whatever classes the files there name
        raise DatasetError(f"{source}: TFDS cannot read {directory} ({error})") from error
    wanted = fields(source, builder.info)
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
        records = _shown(_records(source, builder, split), count, f"{source}, {split}")
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


def _shown(records: Iterator[bytes], count: int, what: str) -> Iterable[bytes]:
    """The records themselves, while a bar on stderr, where that is a terminal, says how many of them have passed."""
    from rich.console import Console
    from rich.progress import track

    stderr = Console(stderr=True)
    return track(records, what, count, console=stderr, transient=True, disable=not stderr.is_terminal)


def _records(source: str, builder: Any, split: str) -> Iterator[bytes]:
    """The serialised examples of a split, in the order in which they lie in its files."""
    import tensorflow_datasets as tfds

    info = builder.info.splits[split]
    try:
        if builder.info.file_format == tfds.core.FileFormat.TFRECORD:  # which TFDS itself would read by TensorFlow
            for path, count in zip(info.filepaths, info.shard_lengths, strict=True):
                yield from _tfrecords(Path(path), count)
        else:
            stored = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
            for start in range(0, info.num_examples, AT_ONCE):
                yield from stored.__getitems__(range(start, min(start + AT_ONCE, info.num_examples)))
    except DatasetError:
        raise
    except Exception as error:  # each format has a library of its own
        raise DatasetError(f"{source}: cannot read {split} in {builder.data_dir} ({error})") from error


def _tfrecords(path: Path, count: int) -> Iterator[bytes]:
    """The records of a TFRecord file: of each its length in 8 bytes, 4 of a checksum, itself, 4 of a checksum."""
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


def _example(where: str, record: bytes, wanted: Fields) -> tuple[Image.Image, int]:
    """The image, its channels those wanted, and the label."""
    from tensorflow_datasets.proto import tf_example_pb2

    try:
        example = tf_example_pb2.Example.FromString(record).features.feature  # pyright: ignore[reportAttributeAccessIssue]
        (encoded,) = example[wanted.image].bytes_list.value
        (label,) = example[wanted.label].int64_list.value
        image = Image.open(BytesIO(encoded))
        if image.mode.startswith(("I", "F")):
            raise ValueError("it has more than 8 bits a channel")
        image = image.convert(MODES[wanted.channels])
    except Exception as error:  # a damaged record can make both decoders raise almost anything
        raise DatasetError(f"{where} is damaged ({str(error) or type(error).__name__})") from error
    if not 0 <= label < wanted.classes:
        raise DatasetError(f"{where} has the label {label}: expected 0 to {wanted.classes - 1}")
    return image, label
