"""A network's answers to pictures."""

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mlp_jax.commands.shared import as_committee, dataset_of, inputs_of
from mlp_jax.data import Dataset, DatasetError, Frame, Preprocessing, read_digit, read_picture
from mlp_jax.data.images import HEIC_NAMES
from mlp_jax.data.unlike import are_unlike
from mlp_jax.network import Model, Params, sizes_of
from mlp_jax.runs import Run, RunError
from mlp_jax.runs.params import one_of
from mlp_jax.training import outputs_of_members

MNIST_SHAPE = (28, 28, 1)


class Picture(NamedTuple):
    """A picture as the network sees it.

    path: of its file. pixels: (n_in,) uint8. shape: height, width and channels. note: what was done to it.
    doubt: why the answer may mean nothing, or empty.
    """

    path: Path
    pixels: np.ndarray
    shape: tuple[int, int, int]
    note: str = ""
    doubt: str = ""


def read_pictures(
    files: Sequence[Path], run: Run, kept: Preprocessing | None, params: Params
) -> tuple[list[Picture], int]:
    """The pictures in files and in folders, as the run's network sees them, and how many cannot be read.

    What is wrong with those is said on stderr.

    Raises RunError for a network that takes no pictures, DatasetError for a folder without any.
    """
    paths = [path for file in files for path in _pictures_in(file)]
    if kept is not None and kept.image_shape is not None:
        found = list(_readable(paths, _scaler(kept.image_shape, None)))
        return found, len(paths) - len(found)
    if inputs_of(run) != "uint8" or run.config.get("targets") == "numbers":
        raise RunError(
            f"{run.directory} learned {inputs_of(run)} inputs and {run.config.get('targets', 'classes')}: expected "
            "pixels from 0 to 255 and classes, to answer to a picture"
        )
    dataset, n_in = _training_data(run, params), sizes_of(one_of(params))[0]
    shape = dataset.image_shape if dataset is not None else None
    if shape is None and n_in != math.prod(MNIST_SHAPE):
        raise RunError(
            f"{run.directory} has a network of {n_in} inputs, and height and width of its images are unknown"
        )
    shape = shape or MNIST_SHAPE
    frame = Frame() if dataset is None else Frame.of(dataset.train.inputs[:200]) if shape == MNIST_SHAPE else None
    found = list(_readable(paths, _scaler(shape, dataset) if frame is None else partial(_digit, frame)))
    failed = len(paths) - len(found)
    if dataset is None or not found:
        return found, failed
    unlike = are_unlike(np.stack([picture.pixels for picture in found]), replace(dataset, image_shape=shape))
    doubt = "it is further from all training images than 98 % of the test images are"
    compared = zip(found, unlike, strict=True)
    return [one._replace(doubt=doubt) if far and not one.doubt else one for one, far in compared], failed


def outputs_for(pictures: Sequence[Picture], model: Model, params: Params) -> np.ndarray:
    """(n, n_out) activations of the network, or of a committee on average."""
    inputs = np.stack([picture.pixels for picture in pictures])
    return outputs_of_members(as_committee(params), inputs, model).mean(axis=0)


def save_seen(pictures: Sequence[Picture], directory: Path) -> None:
    """Write what the network saw of each picture as a PNG file, numbered in their order."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures, 1):
        height, width, channels = picture.shape
        pixels = picture.pixels.reshape((height, width) if channels == 1 else picture.shape)
        Image.fromarray(pixels).save(directory / f"{number:0{len(str(len(pictures)))}}-{picture.path.stem}.png")


def _pictures_in(file: Path) -> list[Path]:
    """The pictures in a folder and the folders below it; of a file, itself."""
    if not file.is_dir():
        return [file]
    suffixes = {*Image.registered_extensions(), *HEIC_NAMES}
    found = sorted(Path(where, name) for where, _, names in os.walk(file) for name in names if not name.startswith("."))
    if pictures := [path for path in found if path.suffix.lower() in suffixes]:
        return pictures
    raise DatasetError(f"{file} has no pictures: expected image files in it, such as .png or .jpg")


def _readable(paths: Sequence[Path], read: Callable[[Path], Picture]) -> Iterator[Picture]:
    for path in paths:
        try:
            yield read(path)
        except DatasetError as error:
            print("mlp-jax:", *str(error).split(), file=sys.stderr)


def _digit(frame: Frame, path: Path) -> Picture:
    digit = read_digit(path, frame)
    note = ", dark ink on light paper, inverted" * digit.inverted + ", scaled and centred" * digit.resized
    return Picture(path, digit.pixels, MNIST_SHAPE, note, digit.doubt and f"it may not be one digit: {digit.doubt}")


def _scaler(shape: tuple[int, int, int], dataset: Dataset | None) -> Callable[[Path], Picture]:
    """Reads a picture. A grey one with a light border is inverted if the images of the dataset have dark ones."""
    dark = dataset is not None and shape[2] == 1 and _border(dataset.train.inputs[:200], shape) < 64

    def read(path: Path) -> Picture:
        pixels = read_picture(path, shape)
        if dark and _border(pixels, shape) > 191:
            return Picture(path, 255 - pixels, shape, ", light border, inverted")
        return Picture(path, pixels, shape)

    return read


def _border(images: np.ndarray, shape: tuple[int, int, int]) -> float:
    """The median brightness of the border of images, 0 to 255."""
    inside = np.zeros(shape, bool)
    inside[1:-1, 1:-1] = True
    return float(np.median(images[..., ~inside.ravel()]))


def _training_data(run: Run, params: Params) -> Dataset | None:
    """The run's data; None, said on stderr, if they are gone."""
    try:
        return dataset_of(run, params)
    except (DatasetError, OSError) as error:
        print(f"mlp-jax: pictures are not compared with the training images: {error}", file=sys.stderr)
        return None
