"""Chunks from the host: the steps of an epoch in memory, with no more in memory than was allowed."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlp_jax import Dataset, Model, TrainState, backprop, fit, init_params, load_dataset, train_epoch
from mlp_jax.training import stream
from mlp_jax.training.devices import place_order

DRAW = np.random.default_rng(0)
TRAIN, PIXELS, BATCH = 94, 6, 8
IMAGES, LABELS = DRAW.integers(0, 256, (TRAIN, PIXELS), np.uint8), DRAW.integers(0, 3, TRAIN)
TEST = DRAW.integers(0, 256, (10, PIXELS), np.uint8), DRAW.integers(0, 3, 10)
PARAMS = init_params(jax.random.key(0), (PIXELS, 4, 3))
OPTIMIZER = optax.adam(0.01)


def train(images=IMAGES, labels=LABELS, params=PARAMS, **settings):
    """The state after two epochs, and the mean cost of each."""
    costs = []
    dataset = Dataset(images, labels, *TEST, classes=3)
    settings = {"epochs": 2, "batch_size": BATCH, "optimizer": OPTIMIZER} | settings
    state = fit(params, dataset, callback=lambda state, metrics: costs.append(metrics.loss), **settings)
    return state, costs


def assert_same(one, other):
    """The same bits of the state, and the same cost but for the rounding of a sum that is taken chunk by chunk."""
    jax.tree.map(np.testing.assert_array_equal, one[0], other[0])
    np.testing.assert_allclose(one[1], other[1], rtol=1e-6)


@pytest.mark.parametrize("images", [2 * BATCH, 50, 92, 2 * TRAIN, 1000])
def test_streamed_epochs_are_those_in_memory(images):
    """Chunks of one mini-batch; of three; of five, and a last one of 14 images; of all in two ways."""
    assert_same(train(stream=images), train())


@pytest.mark.slow
def test_streamed_epochs_are_those_in_memory_when_compiled_in_full():
    mnist = load_dataset()
    states = [fit(init_params(jax.random.key(0)), mnist, epochs=2, stream=images) for images in (None, 200, 14_300)]
    for state in states[1:]:
        jax.tree.map(np.testing.assert_array_equal, state, states[0])


@pytest.mark.parametrize("images", [2 * BATCH, 50, 1000])
def test_devices_that_share_each_mini_batch_stream_their_own_parts(images):
    mesh = jax.make_mesh((2,), ("batch",))
    assert_same(train(stream=images, mesh=mesh), train(mesh=mesh))


def test_training_goes_on_from_a_state():
    after_one, _ = train(epochs=1, stream=50)
    state, costs = train(params=after_one, stream=50)
    expected, expected_costs = train()
    assert_same((state, costs), (expected, expected_costs[1:]))


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_images_may_be_mapped_from_a_file(mode, tmp_path, monkeypatch):
    """After 16 bytes of something else, as in the files of MNIST, and read piece by piece, each of a few images."""
    monkeypatch.setattr(stream, "PIECE", 5 * PIXELS)
    path = tmp_path / "images"
    path.write_bytes(bytes(16) + IMAGES.tobytes())
    mapped = np.memmap(path, np.uint8, mode, offset=16, shape=(TRAIN * PIXELS,)).reshape(TRAIN, PIXELS)
    expected = IMAGES.copy()
    if mode != "r":
        mapped[3], expected[3] = 7, 7  # pages of a private copy, given up, would come back without this
    assert_same(train(mapped, stream=50), train(expected))
    np.testing.assert_array_equal(mapped, expected)


def test_only_what_cannot_have_changed_is_given_up(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(IMAGES.tobytes())
    given_up = {mode: stream.file_of(np.memmap(path, np.uint8, mode, shape=IMAGES.shape)) for mode in ("r", "r+", "c")}
    assert {mode for mode, file in given_up.items() if file is not None} == {"r"}
    assert stream.file_of(np.memmap(path, np.uint8, "r", shape=IMAGES.shape)[10:]) is not None
    assert stream.file_of(IMAGES) is None


@pytest.mark.parametrize("images", [-1, 0, 1, 2 * BATCH - 1])
def test_fewer_than_two_mini_batches_are_refused(images):
    with pytest.raises(ValueError, match=f"^{images} images .* at a time: expected 16 or more, two mini-batches"):
        train(stream=images)


def test_the_host_is_never_more_than_a_chunk_ahead(monkeypatch):
    """Steps that take long: when the images of a chunk are gathered, those before the last are done with and gone."""
    ready, alive, costs = [], [], []

    def slow(params, inputs, targets, model):
        much = jax.lax.fori_loop(0, 300_000, lambda _, number: jnp.cos(number), inputs[0, 0])
        return jax.tree.map(lambda leaf: leaf + 1e-9 * much, backprop(params, inputs, targets, model))

    def watched_gather(*arguments):
        ready.append([cost.is_ready() for cost in costs[:-1]])
        alive.append(sum(array.dtype == np.uint8 and array.ndim == 2 for array in jax.live_arrays()))
        return gather(*arguments)

    def watched_epoch(*arguments):
        state, cost = train_epoch(*arguments)
        costs.append(cost)
        return state, cost

    gather = stream.gather
    monkeypatch.setattr(stream, "gather", watched_gather)
    monkeypatch.setattr(stream, "train_epoch", watched_epoch)
    before = sum(array.dtype == np.uint8 and array.ndim == 2 for array in jax.live_arrays())
    state = TrainState.start(jax.device_put(PARAMS, may_alias=False), OPTIMIZER)
    order = place_order(0, 0, TRAIN, None)
    stream.stream_epoch(state, IMAGES, LABELS, order, Model(), OPTIMIZER, BATCH, slow, stream=2 * BATCH)
    assert len(ready) == 12
    assert all(all(each) for each in ready)
    assert max(alive) == before + 1


def test_two_programs_are_compiled_however_many_chunks_there_are():
    optimizer = optax.sgd(0.1)  # which no other test has compiled for
    before = train_epoch._cache_size()
    train(stream=2 * BATCH, optimizer=optimizer)
    assert train_epoch._cache_size() == before + 2


PROGRAM = """
import sys
from pathlib import Path

import jax
import numpy as np

from mlp_jax import Dataset, fit, init_params


def peak():
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


file, count = sys.argv[1], int(sys.argv[2])
images, labels = np.memmap(file, np.uint8, "r", shape=(count, 784)), np.zeros(count, np.uint8)
params, settings = init_params(jax.random.key(0), (784, 10)), {"epochs": 1, "batch_size": 1000, "stream": 10_000}
peaks = []
for some in (12_000, count):
    fit(params, Dataset(images[:some], labels[:some], images[:10], labels[:10]), **settings)
    peaks.append(peak())
print(peaks[1] - peaks[0])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read as Linux tells it")
def test_resident_memory_does_not_grow_with_the_set(tmp_path):
    """235 MB on disk, of which no more than a piece is in memory at a time, beside the order and two chunks."""
    count, file = 300_000, tmp_path / "images"
    with file.open("wb") as images:
        images.truncate(count * 784)
    command = [sys.executable, "-c", PROGRAM, str(file), str(count)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"\d+\n", printed)
    assert int(printed) < stream.PIECE + 2**25
