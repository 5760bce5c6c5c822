"""Folders of pictures of any kind and size."""

import re

import numpy as np
import pytest
from PIL import Image

from mlp_jax import load_dataset
from mlp_jax.data import DatasetError, DataWarning, load_pictures, read_picture

RANDOM = np.random.default_rng(0)


def picture(path, mode="RGB", size=(30, 20), colour=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    if colour is None:
        pixels = RANDOM.integers(0, 256, (*size[::-1], 3), np.uint8)
        image = Image.fromarray(pixels).convert(mode)
    else:
        image = Image.new(mode, size, colour)
    image.save(path)
    return image


@pytest.fixture
def photos(tmp_path):
    """Ten pictures of two classes, of other sizes and formats, in colour."""
    for number in range(5):
        picture(tmp_path / "photos" / "cat" / f"{number}.jpg", size=(30 + number, 20))
        picture(tmp_path / "photos" / "dog" / "more" / f"{number}.png", "RGBA", (9, 40 + number))
    return tmp_path / "photos"


def test_folders_are_classes(photos):
    (photos / ".hidden").mkdir()
    (photos / "cat" / ".DS_Store").write_text("")
    dataset = load_dataset(photos)
    assert (dataset.class_names, dataset.image_shape, dataset.n_in) == (("cat", "dog"), (28, 28, 3), 28 * 28 * 3)
    assert np.bincount(dataset.train.targets).tolist() == [4, 4]
    assert np.bincount(dataset.test.targets).tolist() == [1, 1]
    assert dataset.train.inputs.dtype == np.uint8
    assert dataset.preprocessing.image_shape == (28, 28, 3)
    assert load_dataset(photos, size=(4, 7), test_fraction=0.5).image_shape == (4, 7, 3)


def test_train_and_test_may_have_folders_of_their_own(tmp_path):
    for part, count in (("train", 3), ("val", 2)):
        for name in ("a", "b"):
            for number in range(count):
                picture(tmp_path / part / name / f"{number}.png", "L")
    dataset = load_pictures(tmp_path)
    assert (len(dataset.train), len(dataset.test), dataset.image_shape) == (6, 4, (28, 28, 1))
    picture(tmp_path / "val" / "c" / "0.png", "L")
    with pytest.raises(DatasetError, match="val has the folder c, which the training pictures have not"):
        load_pictures(tmp_path)


@pytest.mark.parametrize(
    ("mode", "colour", "shape", "expected"),
    [
        ("RGB", (10, 20, 30), (2, 2, 3), [10, 20, 30] * 4),
        ("RGB", (255, 0, 0), (1, 1, 1), [76]),  # the brightness of red, by ITU-R 601
        ("L", 7, (2, 1, 3), [7] * 6),
        ("LA", (0, 0), (1, 1, 1), [255]),  # transparent: white paper
        ("RGBA", (0, 0, 0, 0), (1, 1, 3), [255] * 3),
        ("P", 0, (1, 1, 3), [0] * 3),
        ("1", 1, (1, 1, 1), [255]),
        ("I;16", 65535, (1, 1, 1), [255]),
        ("I;16", 32896, (1, 1, 3), [128] * 3),
    ],
)
def test_every_mode_becomes_bytes(mode, colour, shape, expected, tmp_path):
    picture(tmp_path / "p.png", mode, colour=colour)
    assert read_picture(tmp_path / "p.png", shape).tolist() == expected


def test_a_picture_of_the_right_size_is_taken_as_it_is(tmp_path):
    image = picture(tmp_path / "p.png", size=(6, 4))
    np.testing.assert_array_equal(read_picture(tmp_path / "p.png", (4, 6, 3)), np.asarray(image).ravel())
    turned = image.rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me a quarter to the right to see me upright"
    turned.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "turned.png", (4, 6, 3)), np.asarray(image).ravel())


def test_unreadable_pictures_are_named_or_skipped(photos):
    (photos / "cat" / "broken.png").write_bytes(b"no PNG")
    (photos / "cat" / "notes.txt").write_text("not a picture")
    whole = (photos / "dog" / "more" / "0.png").read_bytes()
    (photos / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    refused = pytest.raises(DatasetError, match="2 of 12 pictures cannot be read: .*broken.png .*cut.png .*skip them")
    with pytest.warns(DataWarning, match="1 files in .* have no picture's name: left out"), refused:
        load_pictures(photos)
    (photos / "cat" / "notes.txt").unlink()
    with pytest.warns(DataWarning, match="2 of 12 pictures cannot be read and are skipped: .*broken.png"):
        dataset = load_pictures(photos, unreadable="skip")
    assert len(dataset.train) + len(dataset.test) == 10


@pytest.mark.parametrize(
    ("files", "size", "message"),
    [
        (["a/0.png", "a/1.png"], (28, 28), "has one folder of pictures, a: expected a folder for each class"),
        (["a/0.png", "b/0.txt"], (28, 28), "b has no pictures: expected some of the class b"),
        (["a/0.png", "b/0.png"], (28, 0), r"image size is \(28, 0\): expected height and width in pixels"),
        (["a/0.png", "b/0.png"], (28,), r"image size is \(28,\): expected height and width"),
    ],
)
def test_what_are_no_classes_of_pictures_is_refused(files, size, message, tmp_path):
    for file in files:
        if file.endswith("png"):
            picture(tmp_path / file)
        else:
            (tmp_path / file).parent.mkdir()
            (tmp_path / file).write_text("")
    with pytest.raises(DatasetError, match=message):
        load_pictures(tmp_path, size)


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "p.png").write_bytes(b"no PNG")
    for name in ("p.png", "nowhere.png"):
        with pytest.raises(DatasetError, match=rf"{re.escape(name)}: not a readable image"):
            read_picture(tmp_path / name, (2, 2, 1))
    Image.fromarray(np.ones((3, 3), np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(DatasetError, match=r"f.tiff: not a readable image \(its pixels are floats"):
        read_picture(tmp_path / "f.tiff", (2, 2, 1))
