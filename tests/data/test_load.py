"""Data sets from anywhere: parts of them, what they cost, which sources are refused, and files damaged at random."""

import gzip
import os
import zipfile
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sources import DAMAGES, IDX, KEYS, arrays, damaged, floats, idx, memory, npy, same, write_idx, write_npz, zipped

from mlp_jax import DatasetError, load_dataset
from mlp_jax.data import array_files

pytestmark = pytest.mark.filterwarnings("ignore::mlp_jax.data.DataWarning")  # of tiny sets: test_oddities.py
MADE = arrays()
METHODS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}
FORMS = ("raw", "gz", *METHODS, *(f"{method} floats" for method in METHODS))


def made_as(form):
    return floats() if form.endswith("floats") else MADE


@pytest.mark.parametrize("form", FORMS)
def test_parts_of_every_form(tmp_path, form):
    """A part knows all classes, of which it may have no example."""
    made = made_as(form)
    if made is MADE:
        made = made | {"y_train": np.array([2, 2, 3, 1, 0, 1], np.uint8)}
    source = written(tmp_path / "set.npz", form, made)
    for part in range(3):
        rows = slice(2 * part, 2 * part + 2)
        dataset = load_dataset(source, part=part, parts=3)
        assert same(dataset, made | {key: made[key][rows] for key in made if key.endswith("train")})
        assert dataset.n_out == (2 if form.endswith("floats") else 4)


def test_a_part_takes_the_memory_of_a_part():
    def peak(**part):
        with memory() as most:
            return load_dataset(**part).train, most()

    (part, part_peak), (whole, whole_peak) = peak(part=1, parts=10), peak()
    assert part_peak < whole_peak - 0.85 * 60_000 * 784
    assert np.array_equal(part.inputs, whole.inputs[6000:12_000])
    assert np.array_equal(part.targets, whole.targets[6000:12_000])


@pytest.mark.parametrize("parts", [0, -1, 7, 60_001])
def test_parts_that_cannot_be_equal_are_refused(parts):
    with pytest.raises(DatasetError, match=f"60000 training examples cannot be split into {parts} equal parts: let"):
        load_dataset(parts=parts)


@pytest.mark.parametrize("part", [-1, 2])
def test_a_part_that_is_not_among_them_is_refused(part):
    with pytest.raises(DatasetError, match=f"no part {part} of 2: expected 0 to 1"):
        load_dataset(part=part, parts=2)


SOURCES = "expected 'mnist', a table .*, an .npz file, a directory of IDX files or .*, or tfds:NAME"


@pytest.mark.parametrize("source", ["fashion", "", "/nowhere", "/nowhere/set.npz", "a\0b", "x" * 300])
def test_a_source_that_is_not_there_is_refused(source):
    with pytest.raises(DatasetError, match=f"no data set {source!r} .*: {SOURCES}".replace("\\", "\\\\")):
        load_dataset(source)


def test_a_source_of_another_kind_is_refused(tmp_path):
    write_idx(tmp_path, MADE)
    os.mkfifo(tmp_path / "set.npz")
    for name in (IDX[0], "set.npz"):
        with pytest.raises(DatasetError, match=f"{name} is no data set: {SOURCES}"):
            load_dataset(tmp_path / name)


def test_a_path_called_mnist_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_idx(tmp_path / "mnist", MADE)
    assert same(load_dataset("./mnist"), MADE)
    assert same(load_dataset(Path("mnist")), MADE)
    assert len(load_dataset("mnist").train) == 60_000


def written(path, form, made):
    """`made` as files of that form at `path`."""
    if form in ("raw", "gz"):
        return write_idx(path, made, compress=form == "gz")
    return write_npz(path, made, METHODS[form.split()[0]])


def damaged_file(source, form, inside, which, changes):
    """The path and content of a file of `source` after `changes`: to what is in it before compression if `inside`."""
    made, is_idx = made_as(form), form in ("raw", "gz")
    path = source / (IDX[which % 4] + ".gz" * (form == "gz")) if is_idx else source
    if not inside:
        return path, damaged(path.read_bytes(), changes)
    if is_idx:
        content = damaged(idx(made[KEYS[which % 4]]), changes)
        return path, gzip.compress(content) if form == "gz" else content
    members = {key: npy(array) for key, array in made.items()}
    key = list(made)[which % len(made)]
    return path, zipped(members | {key: damaged(members[key], changes)}, METHODS[form.split()[0]])


def loaded(source, path, content):
    """The data set of `source` while `content` is in the file at `path`, None where it is refused.

    What comes is used, so that a mapping of what is not there would be noticed.
    """
    original = path.read_bytes()
    path.unlink()  # and not overwritten: it may still be mapped
    path.write_bytes(content)
    try:
        dataset = load_dataset(source)
        for array in jax.tree.leaves((dataset.train, dataset.test)):
            assert np.isfinite(array).all()
    except DatasetError:
        return None
    finally:
        path.unlink()
        path.write_bytes(original)
    return dataset


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return {form: written(tmp_path_factory.mktemp("form") / "set.npz", form, made_as(form)) for form in FORMS}


CHANGES = st.lists(
    st.tuples(st.sampled_from(range(len(DAMAGES))), st.floats(0, 1), st.integers(0, 2**32 - 1)), min_size=1, max_size=3
)
MOST = 2**22  # bytes; the damaged files have a thousandth of it


def check_damaged(source, form, inside, which, changes, mapped):
    """A data set, None if it is refused, whatever the damage; not another one if there are checksums.

    A zip file's list of its members has none, so damage there can hide the weights, which a data set need not have.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(array_files, "MAPPED", 0 if mapped else 2**28)
        dataset = loaded(source, *damaged_file(source, form, inside, which, changes))
    if dataset is not None and not mapped and not inside and form != "raw":
        hidden = [f"w_{part}" for part in ("train", "test") if getattr(dataset, part).weights is None]
        assert same(dataset, {key: array for key, array in made_as(form).items() if key not in hidden})
    return dataset


@settings(max_examples=150, deadline=None)
@given(
    form=st.sampled_from(FORMS), inside=st.booleans(), which=st.integers(0, 11), changes=CHANGES, mapped=st.booleans()
)
def test_a_damaged_file_is_data_or_refused(sources, form, inside, which, changes, mapped):
    def peak():
        with memory() as most:
            check_damaged(sources[form], form, inside, which, changes, mapped)
            return most()

    assert peak() < MOST or peak() < MOST  # the first may count what other threads and the collector took meanwhile


@pytest.mark.slow
@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize("form", FORMS)
def test_many_damaged_files_are_data_or_refused(sources, form):
    random, found = np.random.default_rng(FORMS.index(form)), Counter()
    for number in range(20_000):
        inside, which, mapped = number % 2 == 0, number // 2 % 12, number // 24 % 3 == 0
        draws = random.integers(len(DAMAGES), size=2), random.random(2), random.integers(2**32, size=2)
        changes = list(zip(*(draw.tolist() for draw in draws), strict=True))[: random.integers(1, 3)]
        with memory() if number % 25 == 0 else nullcontext(lambda: 0) as most:  # measuring takes four times as long
            dataset = check_damaged(sources[form], form, inside, which, changes, mapped)
            assert most() < MOST
        found[inside, dataset is None] += 1
    assert len(found) == 4, found  # inside and out, some are data and some are not
