"""A part of a data set: what it holds, what it costs, and which parts are refused."""

import tracemalloc

import numpy as np
import pytest

from mlp_jax import DatasetError, load_dataset


def test_parts_side_by_side_are_the_whole():
    whole, parts = load_dataset(), [load_dataset(part=part, parts=3) for part in range(3)]
    for name in ("train_images", "train_labels"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
    for part in parts:
        assert len(part.train_labels) == 20_000
        np.testing.assert_array_equal(part.test_images, whole.test_images)
        np.testing.assert_array_equal(part.test_labels, whole.test_labels)


def test_a_part_takes_the_memory_of_a_part():
    def peak(**part):
        tracemalloc.start()
        load_dataset(**part)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(part=1, parts=10) < peak() - 0.85 * 60_000 * 784


@pytest.mark.parametrize("parts", [0, -1, 7, 60_001])
def test_parts_that_cannot_be_equal_are_refused(parts):
    with pytest.raises(DatasetError, match=f"60000 training images cannot be split into {parts} equal parts: let"):
        load_dataset(parts=parts)


@pytest.mark.parametrize("part", [-1, 2])
def test_a_part_that_is_not_among_them_is_refused(part):
    with pytest.raises(DatasetError, match=f"no part {part} of 2: expected 0 to 1"):
        load_dataset(part=part, parts=2)
