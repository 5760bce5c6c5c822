"""Pictures of digits in every form, made into what MNIST's are."""

import numpy as np
import pytest
from PIL import Image

from mlp_jax import DatasetError, load_dataset
from mlp_jax.data import Frame, read_digit

DIGITS = load_dataset().test.inputs[:100].reshape(-1, 28, 28)


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def enlarged(digit, factor=9, pad=((30, 70), (140, 20))):
    """The digit as somebody would hand it in: large, off the centre."""
    size = (28 * factor, 28 * factor)
    return np.pad(np.asarray(Image.fromarray(digit).resize(size, Image.Resampling.BICUBIC)), pad)


def test_an_image_of_28_by_28_stays_as_it_is(tmp_path):
    for image in DIGITS:
        digit = read_digit(save(tmp_path / "a.png", image))
        np.testing.assert_array_equal(digit.pixels, image.ravel())
        assert (digit.inverted, digit.resized) == (False, False)


def test_a_digit_of_28_by_28_in_a_corner_is_framed(tmp_path):
    moved = np.roll(DIGITS[0], (-4, 6), (0, 1))
    digit = read_digit(save(tmp_path / "a.png", moved))
    assert digit.resized
    assert np.corrcoef(digit.pixels, DIGITS[0].ravel())[0, 1] > 0.9


def test_dark_ink_on_light_paper_is_inverted(tmp_path):
    digit = read_digit(save(tmp_path / "a.png", 255 - DIGITS[0]))
    np.testing.assert_array_equal(digit.pixels, DIGITS[0].ravel())
    assert (digit.inverted, digit.resized) == (True, False)


def test_a_large_picture_becomes_what_mnist_had(tmp_path):
    """Enlarging a digit of MNIST, moving it and reading it again gives it back, except for resampling."""
    likeness = []
    for number, original in enumerate(DIGITS[:20]):
        picture, dark = enlarged(original), number % 2 == 1
        digit = read_digit(save(tmp_path / f"{number}.png", 255 - picture if dark else picture))
        assert (digit.inverted, digit.resized) == (dark, True)
        image = digit.pixels.reshape(28, 28)
        rows, columns = np.nonzero(image)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20)  # a resampled edge may fade to 0
        assert image.max() == 255
        centre = [(axis * image[rows, columns]).sum() / image.sum() for axis in (rows, columns)]
        assert np.all(np.abs(np.array(centre) - 14) <= 0.51)
        # A centre of mass halfway between two pixels may round to the other: such a digit is a pixel away.
        moved = [np.roll(original, (row, column), (0, 1)) for row in (-1, 0, 1) for column in (-1, 0, 1)]
        likeness.append(max(np.corrcoef(digit.pixels, other.ravel())[0, 1] for other in moved))
    assert np.median(likeness) > 0.97
    assert min(likeness) > 0.85


def test_letters_are_framed_as_those_of_emnist(tmp_path):
    """In a box of 24 x 24, which is centred itself, and not the mass in it."""
    letters = np.zeros((100, 28, 28), np.uint8)
    for letter, digit in zip(letters, DIGITS, strict=True):
        rows, columns = np.nonzero(digit)
        cut = Image.fromarray(digit[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
        scale = 24 / max(cut.size)
        scaled = np.asarray(cut.resize([max(1, round(scale * length)) for length in cut.size]))
        top, left = 14 - scaled.shape[0] // 2, 14 - scaled.shape[1] // 2
        letter[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    frame = Frame.of(letters.reshape(100, 784))
    assert frame == Frame(box=24, by_mass=False)
    as_it_is, large = (read_digit(save(tmp_path / "a.png", each), frame) for each in (letters[0], enlarged(letters[0])))
    np.testing.assert_array_equal(as_it_is.pixels, letters[0].ravel())
    assert np.corrcoef(large.pixels, letters[0].ravel())[0, 1] > 0.95
    assert Frame.of(np.full((3, 784), 90, np.uint8)) is None


@pytest.mark.parametrize("name", ["a.jpg", "a.bmp", "a.gif", "a.webp", "a.tif"])
def test_other_formats(tmp_path, name):
    png = read_digit(save(tmp_path / "a.png", enlarged(DIGITS[0])))
    other = read_digit(save(tmp_path / name, enlarged(DIGITS[0])))
    assert np.corrcoef(png.pixels, other.pixels)[0, 1] > 0.99


def test_colour_and_16_bits(tmp_path):
    ink = enlarged(DIGITS[0])
    expected = read_digit(save(tmp_path / "grey.png", ink)).pixels.astype(int)
    blue_on_white = np.dstack([255 - ink, 255 - ink, np.full_like(ink, 255)])
    for name, array in (("rgb", blue_on_white), ("deep", ink.astype(np.uint16) * 200)):
        digit = read_digit(save(tmp_path / f"{name}.png", array))
        assert digit.inverted == (name != "deep")
        assert np.corrcoef(digit.pixels, expected)[0, 1] > 0.99


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (200, 30, 30)])
def test_the_ink_of_one_colour_on_transparency(tmp_path, colour):
    """White ink on nothing, as a drawing program saves it, would be white on white paper."""
    ink = enlarged(DIGITS[0])
    expected = read_digit(save(tmp_path / "grey.png", ink))
    digit = read_digit(save(tmp_path / "a.png", np.dstack([np.full_like(ink, level) for level in colour] + [ink])))
    assert digit == (pytest.approx(expected.pixels), False, True, "")


def test_colours_on_transparency_lie_on_white_paper(tmp_path):
    ink = enlarged(DIGITS[0])
    card = np.dstack([255 - ink] * 3 + [np.full_like(ink, 255)])
    card[:20, :20, 3] = 0  # a corner that is missing
    digit = read_digit(save(tmp_path / "a.png", card))
    assert digit.inverted
    assert np.corrcoef(digit.pixels, read_digit(save(tmp_path / "grey.png", ink)).pixels)[0, 1] > 0.99


def test_a_photo_on_grainy_grey_paper(tmp_path):
    grain = np.random.default_rng(0).normal(scale=4, size=(352, 412))
    photo = np.clip(190 - 0.5 * enlarged(DIGITS[0]) + grain, 0, 255).astype(np.uint8)
    digit = read_digit(save(tmp_path / "photo.jpg", photo))
    assert digit.inverted
    assert np.corrcoef(digit.pixels, DIGITS[0].ravel())[0, 1] > 0.9


def test_a_small_picture_is_enlarged_and_a_long_one_fits(tmp_path):
    small = np.zeros((9, 7), np.uint8)
    small[1:8, 3] = 255
    long = np.zeros((40, 400), np.uint8)
    long[20, 5:395] = 255
    for array in (small, long):
        image = read_digit(save(tmp_path / "a.png", array)).pixels.reshape(28, 28)
        rows, columns = np.nonzero(image)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20


def test_a_digit_with_its_mass_at_one_end_stays_in_the_frame(tmp_path):
    lollipop = np.zeros((200, 60), np.uint8)
    lollipop[10:40, 15:45] = 255
    lollipop[40:190, 29:31] = 120
    assert read_digit(save(tmp_path / "a.png", lollipop)).pixels.sum() > 0


@pytest.mark.parametrize("side", [28, 50])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_picture_is_refused(tmp_path, side, level):
    path = save(tmp_path / "blank.png", np.full((side, side), level, np.uint8))
    with pytest.raises(DatasetError, match=r"blank.png: there is no ink"):
        read_digit(path)


def test_specks_at_the_border_and_pixels_that_are_no_numbers_are_refused(tmp_path):
    specks = np.zeros((1000, 1000), np.uint8)
    specks[:3, 1] = specks[995:, 999] = 255
    with pytest.raises(DatasetError, match="specks.png: there is no ink"):
        read_digit(save(tmp_path / "specks.png", specks))
    with pytest.raises(DatasetError, match=r"nan.tif: not a readable image \(there are pixels that are not finite"):
        read_digit(save(tmp_path / "nan.tif", np.full((30, 30), np.nan, np.float32)))


def test_whatever_a_decoder_raises_is_said_in_one_way(tmp_path, monkeypatch):
    """Damaged files have made Pillow's decoders raise each of these."""
    path = save(tmp_path / "a.png", DIGITS[0])
    for error in (NotImplementedError, TypeError, AttributeError, MemoryError):

        def fail(_, error=error):
            raise error("inside")

        monkeypatch.setattr("mlp_jax.data.images._brightness", fail)
        with pytest.raises(DatasetError, match=r"a.png: not a readable image \(inside\)"):
            read_digit(path)


def test_what_is_no_image_is_refused(tmp_path):
    whole = save(tmp_path / "a.png", enlarged(DIGITS[0])).read_bytes()
    for name, content in (("text.png", b"hello"), ("empty.png", b""), ("cut.png", whole[: len(whole) // 2])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DatasetError, match=f"{name}: not a readable image"):
            read_digit(tmp_path / name)
    for brand in (b"heic", b"mif1"):
        (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(20))
        with pytest.raises(DatasetError, match=r"photo.heic: not .* HEIC, the format of iPhones: save it as JPEG"):
            read_digit(tmp_path / "photo.heic")
    for path in (tmp_path, tmp_path / "missing.png"):
        with pytest.raises(DatasetError, match=f"{path}: not a readable image"):
            read_digit(path)
