"""Checkpoints: what they give back, and what they refuse to take for one."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors
import safetensors.numpy

from mlp_jax import Layer
from mlp_jax.runs import Checkpoints, RunError

TRANSFORMATIONS = (optax.clip(1.0), optax.add_noise(0.1, 0.5, jax.random.key(7)), optax.scale_by_adam())


class State(NamedTuple):
    """As training keeps it."""

    params: tuple[Layer, ...]
    optimizer_state: Any
    epoch: Any


def a_state(seed=0, sizes=(5, 4, 3), dtype=jnp.float32, transformations=TRANSFORMATIONS):
    """A state with named tuples, empty ones, a typed random key, and numbers of several kinds."""
    draw = np.random.default_rng(seed)
    params = tuple(
        Layer(jnp.asarray(draw.random((n_out, n_in)), dtype), jnp.asarray(draw.random(n_out), dtype))
        for n_in, n_out in pairwise(sizes)
    )
    return State(params, optax.chain(*transformations).init(params), jnp.asarray(seed))


def bits(tree):
    """Each leaf's kind and bytes, by name."""
    plain = jax.tree.map(
        lambda leaf: jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf, tree
    )
    return {
        jax.tree_util.keystr(path): (type(leaf), leaf.dtype, leaf.shape, np.asarray(leaf).tobytes())
        for path, leaf in jax.tree.leaves_with_path(plain)
    }


SMALL = {"numbers": np.arange(5, dtype=np.float32), "epoch": np.array(0)}


def small(epoch):
    """A state of another kind, which costs nothing."""
    return {"numbers": np.random.default_rng(epoch).random(5, np.float32), "epoch": np.array(epoch)}


def kept(directory, epochs, scores=None, **options):
    """Checkpoints of these epochs, each of a state of its own."""
    checkpoints = Checkpoints(directory, every=0.0, **options)
    for number, epoch in enumerate(epochs):
        checkpoints.save(small(epoch), epoch=epoch, score=scores[number] if scores else 0.5)
    checkpoints.finish()
    return checkpoints


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def files(*epochs):
    return [f"{epoch}.safetensors" for epoch in epochs]


@pytest.fixture
def two(tmp_path):
    """A directory with the checkpoints of epochs 1 and 2."""
    kept(tmp_path / "two", (1, 2))
    return tmp_path / "two"


def test_a_state_of_training_comes_back(tmp_path):
    directory, state = tmp_path / "a[1]*?" / "checkpoints", a_state(3, dtype=jnp.bfloat16)
    first = Checkpoints(directory)
    first.save(state, epoch=12, score=0.75, facts={"seed": 3, "best": {"epoch": 11}})
    first.finish()
    found, facts = Checkpoints(directory, report=pytest.fail).latest(a_state(4, dtype=jnp.bfloat16))
    assert jax.tree.structure(found) == jax.tree.structure(state)
    assert bits(found) == bits(state)
    keys = [each.optimizer_state[1].rng_key for each in (found, state)]
    assert jax.random.key_impl(keys[0]) == jax.random.key_impl(keys[1])
    assert facts == {"epoch": 12, "score": 0.75, "seed": 3, "best": {"epoch": 11}}
    arrays = safetensors.numpy.load_file(directory / "12.safetensors")  # other tools read it as well
    np.testing.assert_array_equal(arrays["state.params[1].weights"], state.params[1].weights)
    with safetensors.safe_open(directory / "12.safetensors", framework="np") as file:
        assert json.loads(file.metadata()["checkpoint"])["facts"] == facts


DTYPES = ("bool", "bfloat16", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz", "int4")
DTYPES += tuple(f"float{bits}" for bits in (16, 32, 64))
DTYPES += tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))


def of_random_bits(dtype, shape, draw):
    """Any bits at all, infinities and NaNs with a payload among them."""
    if dtype in ("bool", "int4"):  # a byte of theirs holds other bits than those that count
        return draw.integers(0, 2, shape).astype(dtype)
    return np.frombuffer(draw.bytes(int(np.prod(shape)) * jnp.dtype(dtype).itemsize), dtype).reshape(shape)


@pytest.mark.usefixtures("float64")
def test_every_dtype_and_shape_comes_back_bit_for_bit(tmp_path):
    draw = np.random.default_rng(0)
    shapes = (), (0,), (3, 0, 2), (40, 50)
    arrays = {f"{dtype}{shape}": of_random_bits(dtype, shape, draw) for dtype in DTYPES for shape in shapes}
    tree = {
        "numpy": arrays,
        "jax": [jax.device_put(array) for array in arrays.values()],
        "zero": np.array([0.0, -0.0]),
        "a/b": [np.asfortranarray(np.arange(6).reshape(2, 3)), np.arange(10)[::-2], None, ()],
        "keys": [jax.random.split(jax.random.key(1, impl=impl), 2) for impl in ("threefry2x32", "rbg")],
    }
    checkpoints = Checkpoints(tmp_path, report=pytest.fail)
    checkpoints.save(tree, epoch=0, score=0.0)
    found, _ = checkpoints.latest(tree)
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    assert bits(found) == bits(tree)


def test_a_state_may_change_once_it_is_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    donated, written_over = jnp.arange(1000.0), np.arange(1000.0)
    expected = bits([donated, written_over])
    checkpoints.save([donated, written_over], epoch=1, score=0.5)
    written_over[:] = 0
    jax.jit(lambda array: 2 * array, donate_argnums=0)(donated).block_until_ready()
    found, _ = checkpoints.latest([jnp.zeros(1000), np.zeros(1000)])
    assert bits(found) == expected


def test_the_last_few_and_the_best_are_kept(tmp_path):
    scores = [0.1, 0.9, 0.3, float("nan"), 0.9, 0.2, 0.5]
    checkpoints = kept(tmp_path / "first", range(1, 8), scores, keep=2)
    assert names(tmp_path / "first") == files(2, 6, 7)  # of two that are as good, the first
    checkpoints.latest(SMALL)
    checkpoints.save(SMALL, epoch=8, score=0.95)
    checkpoints.finish()
    assert names(tmp_path / "first") == files(7, 8)
    again = Checkpoints(tmp_path / "first", keep=1)  # a process that resumes knows the best of the one before
    again.latest(SMALL)
    again.save(SMALL, epoch=9, score=0.1)
    again.finish()
    assert names(tmp_path / "first") == files(8, 9)
    kept(tmp_path / "nan", (1, 2), [float("nan")] * 2, keep=1)
    assert names(tmp_path / "nan") == files(1, 2)
    kept(tmp_path / "negative", (1, 2, 3), [float("nan"), -7.0, -9.0], keep=1)  # R^2 has no lower end
    assert names(tmp_path / "negative") == files(2, 3)


def test_an_epoch_has_one_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for seed in (1, 2):
        checkpoints.save(small(seed), epoch=1, score=0.5)
    found, _ = checkpoints.latest(SMALL)
    assert bits(found) == bits(small(1))


def test_a_checkpoint_is_due_when_its_time_has_come_and_none_is_being_written(tmp_path, monkeypatch):
    finished = threading.Event()
    monkeypatch.setattr(Checkpoints, "_write", lambda *_: finished.wait(60))
    always, soon, late = (Checkpoints(tmp_path, every=seconds) for seconds in (0.0, 1e-9, 1e6))
    for checkpoints in (always, soon, late):
        assert checkpoints.due()
        checkpoints.save(SMALL, epoch=1, score=0.5)  # does not wait for a slow disk
    assert [each.due() for each in (always, soon, late)] == [True, False, False]
    finished.set()
    for checkpoints in (always, soon, late):
        checkpoints.finish()
    assert [each.due() for each in (always, soon, late)] == [True, True, False]


def test_what_is_written_reaches_the_disk_before_anything_is_deleted(tmp_path, monkeypatch):
    """What a power failure may reorder: the metrics, the file, its name, and the deletion of the oldest."""
    steps = []

    def told(name, function):
        def call(first, *others):
            path = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else os.fspath(first)
            steps.append((name, os.path.basename(path)))
            return function(first, *others)

        monkeypatch.setattr(os, name, call)

    (tmp_path / "metrics.jsonl").touch()
    checkpoints = kept(tmp_path / "checkpoints", (1, 2), [0.1, 0.9], keep=1, metrics=tmp_path / "metrics.jsonl")
    for name, function in (("fsync", os.fsync), ("replace", os.replace), ("unlink", os.unlink)):
        told(name, function)
    checkpoints.save(SMALL, epoch=3, score=0.95)
    checkpoints.finish()
    assert steps == [
        ("fsync", "metrics.jsonl"),
        ("fsync", "3.safetensors.unfinished"),
        ("replace", "3.safetensors.unfinished"),
        ("fsync", "checkpoints"),
        ("unlink", "2.safetensors"),
    ]


@pytest.mark.parametrize("options", [{"every": -1.0}, {"every": float("nan")}, {"every": float("inf")}, {"keep": 0}])
def test_settings_out_of_range_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} is .*: expected .*, [01] or more"):
        Checkpoints(tmp_path, **options)


def test_facts_that_json_cannot_hold_are_refused_at_once(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpoints.save(SMALL, epoch=1, score=0.5, facts={"seed": jnp.zeros(())})
    checkpoints.save(SMALL, epoch=1, score=0.5, facts={"seed": 0})
    assert checkpoints.latest(SMALL)[1]["seed"] == 0


def test_before_the_first_there_is_none(tmp_path):
    assert Checkpoints(tmp_path / "missing").latest(SMALL) is None
    assert Checkpoints(tmp_path).latest(SMALL) is None
    left = [tmp_path / f"{epoch}.safetensors.unfinished" for epoch in (1, 1000)]  # by a process that was killed
    for path in left:
        path.write_bytes(b"half")
    said = []
    checkpoints = Checkpoints(tmp_path, report=said.append)
    assert checkpoints.latest(SMALL) is None
    assert said == [f"{path} is skipped: it was being written when the process ended" for path in left]
    checkpoints.save(SMALL, epoch=3, score=0.5)
    checkpoints.finish()
    assert names(tmp_path) == files(3)


def test_damage_of_any_byte_is_found_and_the_checkpoint_before_is_taken(two):
    newest, expected = two / "2.safetensors", bits(small(1))
    whole = newest.read_bytes()
    damaged = [whole[:end] for end in range(0, len(whole), 5)] + [whole + b"\n", whole + whole]
    for place, byte in enumerate(whole):
        damaged.append(whole[:place] + bytes([byte ^ 1 << place % 8]) + whole[place + 1 :])
    for content in damaged:
        newest.write_bytes(content)
        said = []
        found, facts = Checkpoints(two, report=said.append).latest(SMALL)
        assert (bits(found), facts["epoch"]) == (expected, 1)
        assert len(said) == 1
        assert said[0].startswith(f"{newest} is skipped: ")
    newest.write_bytes(whole)
    assert Checkpoints(two, report=pytest.fail).latest(SMALL)[1]["epoch"] == 2


def test_what_is_no_checkpoint_is_named_and_skipped(two):
    for name in ("notes", "007.safetensors", "²", "3"):
        (two / name).touch()
    (two / "4.safetensors").mkdir()
    (two / "5.safetensors").symlink_to("5.safetensors")
    os.mkfifo(two / "6.safetensors")
    shutil.copy(two / "2.safetensors", two / "8.safetensors")
    safetensors.numpy.save_file({"a": np.ones(3)}, two / "9.safetensors")
    (two / "10.safetensors").symlink_to("2.safetensors")
    shutil.copy(two / "2.safetensors", two / "11.safetensors.unfinished")
    said = []
    found, facts = Checkpoints(two, report=said.append).latest(SMALL)
    assert (bits(found), facts["epoch"]) == (bits(small(2)), 2)
    reasons = dict(line.removeprefix(f"{two}/").split(" is skipped: ") for line in said)
    assert reasons == {
        **dict.fromkeys(("notes", "007.safetensors", "²", "3"), "it is no checkpoint"),
        **dict.fromkeys(files(4, 5, 6), "it is no file"),
        **dict.fromkeys(files(8, 10), "it is the checkpoint of epoch 2"),
        "9.safetensors": "it is no checkpoint",
        "11.safetensors.unfinished": "it was being written when the process ended",
    }


OTHERS = {
    "params[0].weights is float32[4, 5] in it, but float32[6, 5] in this training": {"sizes": (5, 6, 3)},
    "params[0].weights is float32[4, 5] in it, but bfloat16[4, 5] in": {"dtype": jnp.bfloat16},
    "params[1].weights is float32[3, 4] in it, but float32[4, 4] in": {"sizes": (5, 4, 4, 3)},
    "optimizer_state[1].count is int32[] in it, but missing in": {"transformations": [optax.sgd(0.1)]},
    "optimizer_state[3].trace[0].weights is missing in it, but float32[4, 5] in": {
        "transformations": [*TRANSFORMATIONS, optax.trace(0.9)]
    },
}


def test_the_state_of_another_training_is_never_taken(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for epoch in (1, 2):
        checkpoints.save(a_state(epoch), epoch=epoch, score=0.5)
    for reason, other in OTHERS.items():
        message = rf"to resume from \(2.safetensors: state.{re.escape(reason)}.*; 1.safetensors: .*begin a new run"
        with pytest.raises(RunError, match=message):
            checkpoints.latest(a_state(**other))


@pytest.mark.parametrize("there", [["5.safetensors"], ["notes"], ["3.safetensors.damaged"], ["1", "2", "x"]])
def test_training_never_starts_afresh_where_something_lies(tmp_path, there):
    for name in there:
        (tmp_path / name).mkdir()
    message = rf"{tmp_path} has no checkpoint to resume from \(.*{there[0]}: it .*: put an"
    with pytest.raises(RunError, match=message):
        Checkpoints(tmp_path).latest(SMALL)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory.*file"):
        Checkpoints(tmp_path / "file").latest(SMALL)


def test_a_damaged_checkpoint_makes_room_for_the_one_of_its_epoch(two):
    for seed in (20, 30):  # it may happen twice
        os.truncate(two / "2.safetensors", 100)
        said = []
        checkpoints = Checkpoints(two, report=said.append)
        assert checkpoints.latest(SMALL)[1]["epoch"] == 1
        assert names(two)[1] == "2.safetensors"  # until training goes on
        checkpoints.save(small(seed), epoch=2, score=0.5)
        found, facts = checkpoints.latest(SMALL)
        assert (bits(found), facts["epoch"]) == (bits(small(seed)), 2)
        assert said[1:] == [f"{two}/2.safetensors is moved aside, to 2.safetensors.damaged"]
        assert names(two) == ["1.safetensors", "2.safetensors", "2.safetensors.damaged"]


def test_damaged_checkpoints_do_not_count_among_the_last(tmp_path):
    kept(tmp_path, range(1, 6), keep=5)
    for epoch in (3, 5):
        os.truncate(tmp_path / f"{epoch}.safetensors", 200)
    said = []
    checkpoints = Checkpoints(tmp_path, keep=2, report=said.append)
    assert checkpoints.latest(SMALL)[1]["epoch"] == 4
    assert [line.split(" is skipped: ")[0] for line in said] == [f"{tmp_path}/{name}" for name in files(5, 3)]
    checkpoints.save(SMALL, epoch=6, score=0.9)
    checkpoints.finish()
    assert names(tmp_path) == ["3.safetensors.damaged", "4.safetensors", "5.safetensors.damaged", "6.safetensors"]


def test_what_cannot_be_written_is_an_oserror_of_the_next_call(tmp_path):
    (tmp_path / "file").touch()
    checkpoints = Checkpoints(tmp_path / "file")
    for call in (lambda: checkpoints.save(SMALL, epoch=2, score=0.5), checkpoints.finish):
        checkpoints.save(SMALL, epoch=1, score=0.5)
        with pytest.raises(OSError, match="epoch 1 has no checkpoint: .*File exists.*/file"):
            call()
    checkpoints.finish()  # it was said


def test_a_file_that_may_not_grow_is_an_oserror_and_earlier_checkpoints_stay(two):
    checkpoints, limits = Checkpoints(two), resource.getrlimit(resource.RLIMIT_FSIZE)
    checkpoints.latest(SMALL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, limits[1]))
    try:
        checkpoints.save({"numbers": np.zeros(10**6)}, epoch=3, score=0.9)
        with pytest.raises(OSError, match=f"epoch 3 has no .*: {two}/3.safetensors cannot be written .*File too large"):
            checkpoints.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(two) == files(1, 2)
    assert Checkpoints(two, report=pytest.fail).latest(SMALL)[1]["epoch"] == 2


PROGRAM = """
import json, os, resource, signal, sys, warnings
from pathlib import Path
warnings.simplefilter("error")
import numpy as np
from mlp_jax.runs import Checkpoints

directory = Path(sys.argv[1])

def state(epoch):
    return {"noise": np.random.default_rng(epoch).random(100_000), "epoch": np.array(epoch)}
"""


def program(text, *arguments):
    """The exit status and the outputs of a program that has checkpoints in the directory of its first argument."""
    command = [sys.executable, "-c", PROGRAM + text, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_a_process_ends_silently_and_leaves_what_it_saved(tmp_path):
    text = """
checkpoints = Checkpoints(directory, every=0.0)
for epoch in range(1, 4):
    checkpoints.save(state(epoch), epoch=epoch, score=0.5)
assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
checkpoints.finish()
checkpoints.save(state(4), epoch=4, score=0.5)
sys.exit(7)  # while one is being written
"""
    assert program(text, tmp_path) == (7, "", "")
    like = {"noise": np.zeros(100_000), "epoch": np.array(0)}
    found, facts = Checkpoints(tmp_path, report=pytest.fail).latest(like)
    assert facts["epoch"] in (3, 4)
    np.testing.assert_array_equal(found["noise"], np.random.default_rng(facts["epoch"]).random(100_000))


KILLED = """
def train(limit, handle):
    "Train until killed: before the given change of the disk, or once a file has so many bytes."
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    checkpoints = Checkpoints(directory, every=0.0)
    found = checkpoints.latest(state(0))
    epoch = found[1]["epoch"] if found else 0
    if "bytes" in limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit["bytes"], limit["bytes"]))
    left = [limit.get("changes", -1)]

    def count(event, arguments):
        if event in ("open", "os.mkdir", "os.rename", "os.remove"):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    while True:
        epoch += 1
        checkpoints.save(state(epoch), epoch=epoch, score=1 / epoch)
        if "terminated" in limit:
            os.kill(os.getpid(), signal.SIGTERM)
        checkpoints.finish()
        os.write(handle, f"{epoch} ".encode())

def killed(limit):
    "The last epoch that the process said it kept, and what ended it."
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            train(limit, writing)
        finally:
            os._exit(1)
    os.close(writing)
    with open(reading) as pipe:
        said = pipe.read().split()
    return (int(said[-1]) if said else None), -os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

last, kinds = 0, set()
for limit in json.loads(sys.argv[2]):
    said, ended = killed(limit)
    assert ended in (signal.SIGKILL, signal.SIGXFSZ, signal.SIGTERM), (limit, ended)
    said = last if said is None else said
    skipped = []
    found = Checkpoints(directory, report=skipped.append).latest(state(0))
    assert all(".unfinished is skipped" in line for line in skipped), (limit, skipped)
    last = found[1]["epoch"] if found else 0
    assert last in (said, said + 1), (limit, last, said)  # killed between the rename and saying so
    if found:
        np.testing.assert_array_equal(found[0]["noise"], state(last)["noise"])
        assert len(list(directory.iterdir())) <= 6, (limit, list(directory.iterdir()))
    kinds.add((ended, last - said, len(skipped)))
print(json.dumps([last, sorted(kinds)]))
"""


def test_whatever_moment_a_process_is_killed_at_its_last_checkpoint_is_whole(tmp_path):
    """Before every change that it makes on the disk, in the middle of writing a file, and when told to end."""
    limits = [{"changes": number} for number in range(1, 17)]
    limits += [{"bytes": number} for number in (1, 9, 300, 4096, 500_000, 800_000)]
    status, said, errors = program(KILLED, tmp_path / "checkpoints", json.dumps([*limits, {"terminated": True}]))
    assert (status, errors) == (0, "")
    last, kinds = json.loads(said)
    assert last > 15
    # The signal, how many checkpoints there are that it had not said, and how many unfinished ones.
    for kind in ([9, 0, 0], [9, 0, 1], [9, 1, 0], [signal.SIGXFSZ, 0, 1]):
        assert kind in kinds
    assert signal.SIGTERM in {ended for ended, *_ in kinds}
