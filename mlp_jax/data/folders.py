"""Folders of pictures: a folder for each class."""

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from mlp_jax.data.dataset import Dataset, DatasetError, DataWarning, Examples
from mlp_jax.data.images import on_white, unreadable
from mlp_jax.data.preprocessing import Preprocessing, listed
from mlp_jax.data.split import split_rows

Unreadable = Literal["stop", "skip"]
SIZE = (28, 28)
"""Height and width that pictures get, in pixels."""
GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes without colour."""
TEST_FOLDERS = ("test", "val", "valid", "validation")


def load_pictures(
    directory: str | Path,
    size: Sequence[int] = SIZE,
    *,
    test_fraction: float = 0.2,
    unreadable: Unreadable = "stop",
) -> Dataset:
    """The pictures in a directory that has a folder for each class, named as the class.

    directory: if it has the folders train and test (or val), each of them has the folders of the classes. If not, a
        fraction `test_fraction` of each class, above 0 and below 1, is drawn at random to test with.
    size: height and width in pixels that every picture is scaled to, whatever its shape.
    unreadable: whether to "stop" at files with the name of a picture that are none, naming them, or to "skip" them
        with a DataWarning.

    Pictures are turned as their camera says; transparent ones lie on white. If all are grey, there is one channel, else
    there are three: red, green, blue. Inputs are uint8, in rows of height x width x channels numbers.

    Raises DatasetError for a directory without folders of pictures, a single class, and pictures that cannot be read.

    >>> import tempfile
    >>> from mlp_jax.data import load_pictures
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     for name, colour in ("black", 0), ("white", 255):
    ...         Path(directory, name).mkdir()
    ...         for number in range(4):
    ...             Image.new("L", (50, 40), colour).save(Path(directory, name, f"{number}.png"))
    ...     dataset = load_pictures(directory, (8, 8), test_fraction=0.25)
    >>> dataset.image_shape, dataset.class_names, len(dataset.train), len(dataset.test)
    ((8, 8, 1), ('black', 'white'), 6, 2)
    """
    directory = Path(directory)
    height, width = _checked_size(size)
    folders = {path.name: path for path in _folders(directory)}
    test_folder = next((folders[name] for name in TEST_FOLDERS if name in folders), None)
    if "train" in folders and test_folder is not None:
        names = [path.name for path in _folders(folders["train"])]
        parts = [_files(folders["train"], names), _files(test_folder, names)]
    else:
        names = sorted(folders)
        parts = [_files(directory, names)]
    if len(names) < 2:
        there = f"one folder of pictures, {names[0]}" if names else "no folder of pictures"
        raise DatasetError(f"{directory} has {there}: expected a folder for each class, two or more")
    paths = [path for part in parts for path, _ in part]
    grey, problems = _look_at(paths)
    if problems:
        files = listed([f"{path} ({why})" for path, why in problems.items()])
        if unreadable == "stop":
            raise DatasetError(f"{len(problems)} of {len(paths)} pictures cannot be read: {files}; mend or skip them")
        warnings.warn(
            f"{len(problems)} of {len(paths)} pictures cannot be read and are skipped: {files}",
            DataWarning,
            stacklevel=2,
        )
    shape = (height, width, 1 if grey else 3)
    examples = [_examples([each for each in part if each[0] not in problems], shape) for part in parts]
    if len(examples) == 1:
        rows, tests = split_rows(len(examples[0]), test_fraction, examples[0].targets)
        examples = [examples[0].rows(rows), examples[0].rows(tests)]
    preprocessing = Preprocessing(class_names=tuple(names), image_shape=shape)
    return Dataset(*examples, image_shape=shape, class_names=tuple(names), preprocessing=preprocessing)


def read_picture(path: str | Path, shape: tuple[int, int, int]) -> UInt8[np.ndarray, " pixels"]:
    """A picture scaled to a height, a width and 1 or 3 channels, as a row of its pixels.

    Raises DatasetError for a file that is missing or no picture.

    >>> import tempfile
    >>> from mlp_jax.data import read_picture
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     Image.new("RGB", (50, 40), "red").save(f"{directory}/red.png")
    ...     read_picture(f"{directory}/red.png", (1, 2, 3)).tolist()
    [255, 0, 0, 255, 0, 0]
    """
    with _without_pillows_warnings():
        return _pixels(path, shape)


@contextmanager
def _without_pillows_warnings() -> Iterator[None]:
    """Within it, Pillow does not warn of pictures that it can still open. Outside threads, which share the filters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _pixels(path: str | Path, shape: tuple[int, int, int]) -> UInt8[np.ndarray, " pixels"]:
    height, width, channels = shape
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode == "F":
                raise ValueError("its pixels are floats on an unknown scale: save it with 8 or 16 bits")
            if upright.mode.startswith("I"):  # 16 bits
                upright = Image.fromarray(np.clip(np.asarray(upright) // 257, 0, 255).astype(np.uint8))
            plain = on_white(upright).convert("L" if channels == 1 else "RGB")
            scaled = plain.resize((width, height), Image.Resampling.LANCZOS)
    except Exception as error:  # a damaged file can make Pillow's decoders raise almost anything
        raise unreadable(path, error) from error
    return np.asarray(scaled, np.uint8).ravel()


def has_folders(directory: Path) -> bool:
    """Whether there are folders in a directory, which may be those of classes."""
    return any(_folders(directory))


def _checked_size(size: Sequence[int]) -> tuple[int, int]:
    if len(size) != 2 or min(size) < 1:
        raise DatasetError(f"the image size is {tuple(size)}: expected height and width in pixels, 1 or more each")
    return int(size[0]), int(size[1])


def _folders(directory: Path) -> list[Path]:
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        raise DatasetError(f"{directory} cannot be read ({error.strerror or error})") from error
    return [path for path in entries if path.is_dir() and not path.name.startswith(".")]


def _files(directory: Path, names: Sequence[str]) -> list[tuple[Path, int]]:
    """The pictures in the folders of the classes, and those below, with their classes."""
    suffixes, found, others = Image.registered_extensions(), [], 0
    for number, name in enumerate(names):
        files = [Path(where, file) for where, _, files in os.walk(directory / name) for file in files]
        files = sorted(file for file in files if not file.name.startswith("."))
        pictures = [file for file in files if file.suffix.lower() in suffixes]
        if not pictures:
            raise DatasetError(f"{directory / name} has no pictures: expected some of the class {name}")
        others += len(files) - len(pictures)
        found += [(picture, number) for picture in pictures]
    if extra := sorted({path.name for path in _folders(directory)} - set(names)):
        raise DatasetError(f"{directory} has the folder {listed(extra)}, which the training pictures have not")
    if others:
        warnings.warn(f"{others} files in {directory} have no picture's name: left out", DataWarning, stacklevel=3)
    return found


def _look_at(paths: Sequence[Path]) -> tuple[bool, dict[Path, str]]:
    """Whether all pictures are grey, and what is wrong with those that cannot be decoded."""

    def look(path: Path) -> bool | str:
        try:
            with Image.open(path) as image:
                image.load()
                if image.mode == "F":
                    return "its pixels are floats"
                return image.mode in GREY
        except Exception as error:
            return str(error).replace(f" {str(path)!r}", "") or type(error).__name__

    with _without_pillows_warnings(), ThreadPoolExecutor() as threads:
        found = dict(zip(paths, threads.map(look, paths), strict=True))
    problems = {path: said for path, said in found.items() if isinstance(said, str)}
    return all(found[path] for path in paths if path not in problems), problems


def _examples(files: Sequence[tuple[Path, int]], shape: tuple[int, int, int]) -> Examples:
    if not files:
        raise DatasetError("no picture can be read")
    with _without_pillows_warnings(), ThreadPoolExecutor() as threads:
        rows = list(threads.map(lambda file: _pixels(file[0], shape), files))
    return Examples(np.stack(rows), np.array([number for _, number in files], np.int32))
