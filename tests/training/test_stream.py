"""Chunks from the host: the steps of an epoch in memory, with no more in memory than was allowed."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import (
    BATCH,
    FLOATS,
    KINDS,
    MODEL,
    N_IN,
    NUMBERS,
    PARAMS,
    PICTURES,
    PIXELS,
    SETTINGS,
    SGD,
    TABLE,
    TRAIN,
    WEIGHTS,
    each_kind,
    make_data,
    mesh_of,
    own_copy,
)

from mlp_jax import Plan, TrainState, backprop, fit, init_params, load_dataset, train_epoch
from mlp_jax.training import stream
from mlp_jax.training.sharding import place_order


def train(data, params=PARAMS, **settings):
    """The state after two epochs, and the mean cost of each."""
    costs = []
    state = fit(params, data, callback=lambda _, metrics: costs.append(metrics.loss), **SETTINGS | settings)
    return state, costs


def assert_same(one, other):
    """The same bits of the state, and the same cost but for the rounding of a sum that is taken chunk by chunk."""
    jax.tree.map(np.testing.assert_array_equal, one[0], other[0])
    np.testing.assert_allclose(one[1], other[1], rtol=1e-6)


pytestmark = pytest.mark.usefixtures("an_epoch_a_call")


@each_kind
def test_streamed_epochs_are_those_in_memory(kind):
    """Chunks of two mini-batches, and a last one of 14 examples."""
    assert_same(train(KINDS[kind], stream=4 * BATCH), train(KINDS[kind]))


@pytest.mark.parametrize("examples", [2 * BATCH, 2 * BATCH + 1, 2 * TRAIN, 1000])
def test_chunks_of_any_length(examples):
    """Of one mini-batch; of all but the last; of all in two ways."""
    assert_same(train(TABLE, stream=examples), train(TABLE))


@pytest.mark.parametrize("examples", [2 * BATCH, 1000])
@pytest.mark.parametrize("kind", ["pixels-classes", "pixels-numbers-weights"])
def test_devices_that_share_each_mini_batch_stream_their_own_parts(examples, kind):
    assert_same(train(KINDS[kind], stream=examples, mesh=mesh_of("batch")), train(KINDS[kind], mesh=mesh_of("batch")))


@pytest.mark.slow
def test_streamed_epochs_are_those_in_memory_when_compiled_in_full():
    mnist = load_dataset()
    states = [fit(init_params(jax.random.key(0)), mnist, epochs=2, stream=count) for count in (None, 200, 14_300)]
    for state in states[1:]:
        jax.tree.map(np.testing.assert_array_equal, state, states[0])


def test_training_goes_on_from_a_state():
    after_one, _ = train(TABLE, epochs=1, stream=32)
    state, costs = train(TABLE, after_one, stream=32)
    expected, expected_costs = train(TABLE)
    assert_same((state, costs), (expected, expected_costs[1:]))


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("inputs", [PIXELS, FLOATS, FLOATS.astype(np.float64)], ids=lambda inputs: inputs.dtype.name)
def test_inputs_may_be_mapped_from_a_file(inputs, mode, tmp_path, monkeypatch):
    """After a byte of something else, so that no number is aligned, and read in pieces of a few examples."""
    monkeypatch.setattr(stream, "PIECE", 5 * inputs[0].nbytes)
    path = tmp_path / "inputs"
    path.write_bytes(bytes(17) + inputs.tobytes())
    mapped = np.memmap(path, inputs.dtype, mode, offset=17, shape=(inputs.size,)).reshape(inputs.shape)
    expected = inputs.copy()
    if mode != "r":
        mapped[3], expected[3] = 7, 7  # pages of a private copy, given up, would come back without this
    assert_same(train(make_data(mapped, NUMBERS, WEIGHTS), stream=32), train(make_data(expected, NUMBERS, WEIGHTS)))
    np.testing.assert_array_equal(mapped, expected)


def test_only_what_cannot_have_changed_is_given_up(tmp_path):
    path = tmp_path / "inputs"
    path.write_bytes(PIXELS.tobytes())
    given_up = {mode: stream.file_of(np.memmap(path, np.uint8, mode, shape=PIXELS.shape)) for mode in ("r", "r+", "c")}
    assert {mode for mode, file in given_up.items() if file is not None} == {"r"}
    assert stream.file_of(np.memmap(path, np.uint8, "r", shape=PIXELS.shape)[10:]) is not None
    assert stream.file_of(PIXELS) is None


def test_rows_of_inputs_that_lie_column_by_column():
    inputs = np.asfortranarray(FLOATS)
    rows = np.array([0, 3, 4, 50])
    found = stream.gather(inputs, rows, stream.empty((4, N_IN), inputs.dtype))
    np.testing.assert_array_equal(found, FLOATS[rows])


@pytest.mark.parametrize("examples", [-1, 0, 1, 2 * BATCH - 1])
def test_fewer_than_two_mini_batches_are_refused(examples):
    with pytest.raises(ValueError, match=f"^{examples} examples .* at a time: expected 16 or more, two mini-batches"):
        train(PICTURES, stream=examples)


def test_the_host_is_never_more_than_a_chunk_ahead(monkeypatch):
    """Steps that take long: when the inputs of a chunk are gathered, those before the last are done with and gone."""
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
    state, examples = TrainState.start(own_copy(PARAMS), SGD), PICTURES.train
    order, plan = place_order(0, 0, TRAIN, None), Plan(MODEL, SGD, BATCH, slow)
    stream.stream_epoch(state, examples.inputs, examples.targets, order, plan, stream=2 * BATCH)
    assert len(ready) == 6
    assert all(all(each) for each in ready)
    assert max(alive) == before + 1


def test_two_programs_are_compiled_however_many_chunks_there_are():
    before = train_epoch._cache_size()
    train(TABLE, stream=2 * BATCH, gradient=lambda *problem: backprop(*problem))  # which no other test has compiled
    assert train_epoch._cache_size() == before + 2


PROGRAM = """
import sys
from pathlib import Path

import jax
import numpy as np

from mlp_jax import Dataset, Examples, fit, init_params


def peak():
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


file, count = sys.argv[1], int(sys.argv[2])
examples = Examples(np.memmap(file, np.uint8, "r", shape=(count, 784)), np.zeros(count, np.uint8))
params, settings = init_params(jax.random.key(0), (784, 10)), {"epochs": 1, "batch_size": 1000, "stream": 10_000}
peaks, test = [], examples.rows(slice(10))
for some in (12_000, count):
    fit(params, Dataset(examples.rows(slice(some)), test, n_out=10), **settings)
    peaks.append(peak())
print(peaks[1] - peaks[0])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read as Linux tells it")
def test_resident_memory_does_not_grow_with_the_set(tmp_path):
    """157 MB on disk, of which no more than a piece is in memory at a time, beside the order and two chunks."""
    count, file = 200_000, tmp_path / "inputs"
    with file.open("wb") as inputs:
        inputs.truncate(count * 784)
    command = [sys.executable, "-c", PROGRAM, str(file), str(count)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"\d+\n", printed)
    assert int(printed) < stream.PIECE + 2**25
