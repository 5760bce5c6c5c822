"""Checkpoints: what they give back, and what they do not take for one."""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlp_jax import TrainState, init_params
from mlp_jax.runs import Checkpoints, RunError

TRANSFORMATIONS = (optax.clip(1.0), optax.add_noise(0.1, 0.5, jax.random.key(7)), optax.scale_by_adam())


def a_state(seed=0, sizes=(5, 4, 3), dtype=jnp.float32, transformations=TRANSFORMATIONS):
    """A state with all that there is in one: named tuples, empty ones, a typed random key, numbers of several kinds."""
    return TrainState.start(init_params(jax.random.key(seed), sizes, dtype=dtype), optax.chain(*transformations))


def bits(tree):
    """Each leaf's kind and bytes, by name."""
    plain = jax.tree.map(
        lambda leaf: jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf, tree
    )
    return {
        jax.tree_util.keystr(path): (type(leaf), leaf.dtype, leaf.shape, np.asarray(leaf).tobytes())
        for path, leaf in jax.tree.leaves_with_path(plain)
    }


def kept(directory, epochs, accuracies=None, **options):
    """Checkpoints of these epochs, each of a state of its own."""
    checkpoints = Checkpoints(directory, every=0.0, **options)
    for number, epoch in enumerate(epochs):
        checkpoints.save(a_state(epoch), epoch=epoch, test_accuracy=accuracies[number] if accuracies else 0.5)
    checkpoints.finish()
    return checkpoints


def names(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A directory with the checkpoints of epochs 1 and 2, to be copied."""
    directory = tmp_path_factory.mktemp("two") / "checkpoints"
    kept(directory, (1, 2))
    return directory


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_bits_come_back(tmp_path, dtype):
    state = a_state(3, dtype=dtype)
    first = Checkpoints(tmp_path / "deep" / "checkpoints")
    first.save(state, epoch=12, test_accuracy=0.75, facts={"seed": 3, "best": {"epoch": 11}})
    first.finish()
    found, facts = Checkpoints(tmp_path / "deep" / "checkpoints", report=pytest.fail).latest(a_state(4, dtype=dtype))
    assert jax.tree.structure(found) == jax.tree.structure(state)
    assert bits(found) == bits(state)
    assert jax.random.key_impl(found.optimizer_state[1].rng_key) == jax.random.key_impl(
        state.optimizer_state[1].rng_key
    )
    assert facts == {"epoch": 12, "test_accuracy": 0.75, "seed": 3, "best": {"epoch": 11}}
    sums = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=first._path(12), capture_output=True, check=True)
    assert sums.stdout.count(b": OK\n") == len([path for path in first._path(12).rglob("*") if path.is_file()]) - 1


def test_any_pytree_can_be_kept(tmp_path):
    tree = {"a/b": np.arange(3), "a": [{"b": np.array(2.5)}, None, ()], "keys": jax.random.split(jax.random.key(1), 2)}
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(tree, epoch=0, test_accuracy=0.0)
    found, _ = checkpoints.latest(tree)
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    assert bits(found) == bits(tree)


def test_a_state_may_change_once_it_is_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    donated, written_over = jnp.arange(1000.0), np.arange(1000.0)
    expected = bits([donated, written_over])
    checkpoints.save([donated, written_over], epoch=1, test_accuracy=0.5)
    written_over[:] = 0
    jax.jit(lambda array: 2 * array, donate_argnums=0)(donated).block_until_ready()
    found, _ = checkpoints.latest([jnp.zeros(1000), np.zeros(1000)])
    assert bits(found) == expected


def test_the_last_few_and_the_best_are_kept(tmp_path):
    accuracies = [0.1, 0.9, 0.3, float("nan"), 0.9, 0.2, 0.5]
    checkpoints = kept(tmp_path / "first", range(1, 8), accuracies, keep=2)
    assert names(tmp_path / "first") == ["2", "6", "7"]  # of two that are as good, the first
    checkpoints.latest(a_state())
    checkpoints.save(a_state(), epoch=8, test_accuracy=0.95)
    checkpoints.finish()
    assert names(tmp_path / "first") == ["7", "8"]
    again = Checkpoints(tmp_path / "first", keep=1)  # a process that goes on knows the best of the one before
    again.latest(a_state())
    again.save(a_state(), epoch=9, test_accuracy=0.1)
    again.finish()
    assert names(tmp_path / "first") == ["8", "9"]
    kept(tmp_path / "nan", (1, 2), [float("nan")] * 2, keep=1)
    assert names(tmp_path / "nan") == ["1", "2"]


def test_an_epoch_has_one_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for seed in (1, 2):
        checkpoints.save(a_state(seed), epoch=1, test_accuracy=0.5)
    found, _ = checkpoints.latest(a_state())
    assert bits(found) == bits(a_state(1))


def test_a_checkpoint_is_due_when_its_time_has_come(tmp_path):
    always, seldom = Checkpoints(tmp_path / "always", every=0.0), Checkpoints(tmp_path / "seldom", every=1e6)
    for checkpoints in (always, seldom):
        assert checkpoints.due()
        checkpoints.save(a_state(), epoch=1, test_accuracy=0.5)
        checkpoints.finish()
    assert always.due()
    assert not seldom.due()


def test_training_does_not_wait_for_a_slow_disk(tmp_path, monkeypatch):
    finished = threading.Event()
    monkeypatch.setattr(Checkpoints, "_write", lambda *_: finished.wait(60))
    always, seldom = Checkpoints(tmp_path / "always", every=0.0), Checkpoints(tmp_path / "seldom", every=1e-9)
    for checkpoints in (always, seldom):
        checkpoints.save(a_state(), epoch=1, test_accuracy=0.5)
    assert always.due()
    assert not seldom.due()
    finished.set()
    always.finish()
    seldom.finish()
    assert seldom.due()


@pytest.mark.parametrize("options", [{"every": -1.0}, {"every": float("nan")}, {"every": float("inf")}, {"keep": 0}])
def test_settings_out_of_range_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match="(s between two checkpoints: expected 0|are to be kept: expected 1) or more"):
        Checkpoints(tmp_path, **options)


def test_facts_that_json_cannot_hold_are_refused_at_once(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpoints.save(a_state(), epoch=1, test_accuracy=0.5, facts={"seed": jnp.zeros(())})
    checkpoints.save(a_state(), epoch=1, test_accuracy=0.5, facts={"seed": 0})
    assert checkpoints.latest(a_state())[1]["seed"] == 0


def test_before_the_first_there_is_none(tmp_path):
    assert Checkpoints(tmp_path / "missing").latest(a_state()) is None
    (tmp_path / "empty").mkdir()
    assert Checkpoints(tmp_path / "empty").latest(a_state()) is None
    (tmp_path / "killed" / "1.unfinished" / "state").mkdir(parents=True)
    said = []
    assert Checkpoints(tmp_path / "killed", report=said.append).latest(a_state()) is None
    assert said == [
        f"{tmp_path}/killed/1.unfinished is skipped: it was being written, or deleted, when the process ended"
    ]


def flip_at(place):
    def flip(path):
        content = bytearray(path.read_bytes())
        content[int(place * (len(content) - 1))] ^= 0x10
        path.write_bytes(content)

    return flip


DAMAGES = {
    "the first byte flipped": flip_at(0),
    "a byte in the middle flipped": flip_at(0.5),
    "the last byte flipped": flip_at(1),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "deleted": lambda path: path.unlink(),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_and_the_checkpoint_before_is_taken(tmp_path, two, damage):
    files = [path.relative_to(two) for path in (two / "2").rglob("*") if path.is_file()]
    assert len(files) > 8
    expected = bits(a_state(1))
    for number, file in enumerate(files):
        directory = shutil.copytree(two, tmp_path / str(number))
        DAMAGES[damage](directory / file)
        said = []
        checkpoints = Checkpoints(directory, report=said.append)
        found, facts = checkpoints.latest(a_state())
        assert (bits(found), facts["epoch"]) == (expected, 1)
        [line] = said
        assert line.startswith(f"{directory}/2 is skipped: it")
        if file.name != "SHA256SUMS":
            assert f"its file {file.relative_to('2')} is " in line


def test_a_checkpoint_without_a_part_of_it_is_skipped(tmp_path, two):
    parts = [path for path in (two / "2").rglob("*") if path.is_dir()]
    for number, part in enumerate(parts):
        directory = shutil.copytree(two, tmp_path / str(number))
        shutil.rmtree(directory / part.relative_to(two))
        said = []
        assert Checkpoints(directory, report=said.append).latest(a_state())[1]["epoch"] == 1
        assert re.fullmatch(f"{directory}/2 is skipped: its file state/.* is missing", said[0])


def test_what_is_no_checkpoint_is_named_and_skipped(tmp_path, two):
    directory = shutil.copytree(two, tmp_path / "checkpoints")
    (directory / "notes").mkdir()
    (directory / "007").mkdir()
    (directory / "²").touch()
    (directory / "3").mkdir()
    (directory / "4").write_text("a file")
    (directory / "5").symlink_to("5")
    os.mkfifo(directory / "6")
    (directory / "7").mkdir()
    os.mkfifo(directory / "7" / "SHA256SUMS")
    shutil.copytree(directory / "2", directory / "8")
    shutil.copytree(directory / "2", directory / "9")
    (directory / "9" / "added").touch()
    (directory / "10").symlink_to("2")
    shutil.copytree(directory / "2", directory / "11.unfinished")
    said = []
    found, facts = Checkpoints(directory, report=said.append).latest(a_state())
    assert (bits(found), facts["epoch"]) == (bits(a_state(2)), 2)
    reasons = dict(line.removeprefix(f"{directory}/").split(" is skipped: ") for line in said)
    assert reasons == {
        **dict.fromkeys(("notes", "007", "²"), "it is no checkpoint"),
        **dict.fromkeys(("3", "4", "5", "6", "7"), "it has no SHA256SUMS"),
        "8": "it is the checkpoint of epoch 2",
        "9": "its file added is damaged: the SHA-256 is not that in SHA256SUMS",
        "10": "it is the checkpoint of epoch 2",
        "11.unfinished": "it was being written, or deleted, when the process ended",
    }


OTHERS = {
    "params[0].weights is float32[4, 5] in it, but float32[6, 5] in this training": a_state(sizes=(5, 6, 3)),
    "params[0].weights is float32[4, 5] in it, but bfloat16[4, 5] in": a_state(dtype=jnp.bfloat16),
    "params[1].weights is float32[3, 4] in it, but float32[4, 4] in": a_state(sizes=(5, 4, 4, 3)),
    "optimizer_state[1].count is int32[] in it, but missing in": a_state(transformations=[optax.sgd(0.1)]),
    "optimizer_state[3].trace[0].weights is missing in it, but float32[4, 5] in": a_state(
        transformations=[*TRANSFORMATIONS, optax.trace(0.9)]
    ),
}


@pytest.mark.parametrize("reason", OTHERS)
def test_the_state_of_another_training_is_never_taken(two, reason):
    with pytest.raises(
        RunError, match=rf"nothing to go on from \(2: state.{re.escape(reason)}.*; 1: .*begin a new run"
    ):
        Checkpoints(two).latest(OTHERS[reason])


@pytest.mark.parametrize("there", [["5"], ["notes"], ["3.damaged"], ["1", "2", "x"]])
def test_training_never_starts_afresh_where_something_lies(tmp_path, there):
    for name in there:
        (tmp_path / name).mkdir()
    with pytest.raises(RunError, match=rf"{tmp_path} has nothing to go on from \(.*{there[0]}: it .*: put a whole"):
        Checkpoints(tmp_path).latest(a_state())
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file cannot be read .*Not a directory"):
        Checkpoints(tmp_path / "file").latest(a_state())


def test_a_damaged_checkpoint_makes_room_for_the_one_of_its_epoch(tmp_path, two):
    directory = shutil.copytree(two, tmp_path / "checkpoints")
    for seed in (20, 30):  # it may happen twice
        DAMAGES["truncated"](directory / "2" / "facts.json")
        said = []
        checkpoints = Checkpoints(directory, report=said.append)
        assert checkpoints.latest(a_state())[1]["epoch"] == 1
        assert (directory / "2").exists()  # until training goes on
        checkpoints.save(a_state(seed), epoch=2, test_accuracy=0.5)
        found, facts = checkpoints.latest(a_state())
        assert (bits(found), facts["epoch"]) == (bits(a_state(seed)), 2)
        assert said[1:] == [f"{directory}/2 is moved aside, to 2.damaged"]
        assert names(directory) == ["1", "2", "2.damaged"]


def test_damaged_checkpoints_do_not_count_among_the_last(tmp_path):
    kept(tmp_path, range(1, 6), keep=5)
    for epoch in (3, 5):
        (tmp_path / str(epoch) / "facts.json").unlink()
    said = []
    checkpoints = Checkpoints(tmp_path, keep=2, report=said.append)
    assert checkpoints.latest(a_state())[1]["epoch"] == 4
    assert [line.split(" is skipped: ")[0] for line in said] == [f"{tmp_path}/5", f"{tmp_path}/3"]
    checkpoints.save(a_state(), epoch=6, test_accuracy=0.9)
    checkpoints.finish()
    assert names(tmp_path) == ["3.damaged", "4", "5.damaged", "6"]


def test_what_a_killed_process_left_behind_is_cleared_away(tmp_path, two):
    directory = shutil.copytree(two, tmp_path / "checkpoints")
    for name in ("3.unfinished", "1000.unfinished"):
        shutil.copytree(two / "2" / "state", directory / name)
    checkpoints = Checkpoints(directory)
    checkpoints.latest(a_state())
    checkpoints.save(a_state(), epoch=3, test_accuracy=0.5)
    checkpoints.finish()
    assert names(directory) == ["1", "2", "3"]


def test_what_cannot_be_written_is_an_oserror_of_the_next_call(tmp_path):
    (tmp_path / "file").touch()
    checkpoints = Checkpoints(tmp_path / "file")
    for call in (lambda: checkpoints.save(a_state(), epoch=2, test_accuracy=0.5), checkpoints.finish):
        checkpoints.save(a_state(), epoch=1, test_accuracy=0.5)
        with pytest.raises(OSError, match=r"the checkpoint .*/file/1 cannot be written \(.*File exists"):
            call()
    checkpoints.finish()  # it was said


PROGRAM = """
import os, resource, signal, sys, threading, warnings
from pathlib import Path
warnings.simplefilter("error")
import jax, numpy as np
from mlp_jax.runs import Checkpoints

def state(epoch, size=100_000):
    return {"noise": np.random.default_rng(epoch).random(size), "epoch": np.array(epoch)}

checkpoints = Checkpoints(Path(sys.argv[1]), every=0.0)
"""


def program(text, *arguments, before=()):
    """The exit status and the outputs of a program that has checkpoints in the directory of its first argument."""
    command = [*before, sys.executable, "-c", PROGRAM + text, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def noise(epoch):
    return np.random.default_rng(epoch).random(100_000)


LIKE = {"noise": noise(0), "epoch": np.array(0)}


def test_a_process_ends_silently_and_leaves_what_it_saved(tmp_path):
    text = """
for epoch in range(1, 4):
    checkpoints.save(state(epoch), epoch=epoch, test_accuracy=0.5)
assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
checkpoints.finish()
checkpoints.save(state(4), epoch=4, test_accuracy=0.5)
sys.exit(7)  # while one is being written
"""
    assert program(text, tmp_path) == (7, "", "")
    found, facts = Checkpoints(tmp_path).latest(LIKE)
    assert facts["epoch"] in (3, 4)
    np.testing.assert_array_equal(found["noise"], noise(facts["epoch"]))


def test_sigterm_ends_a_process_that_writes(tmp_path):
    text = """
for epoch in range(1, 3):
    checkpoints.save(state(epoch), epoch=epoch, test_accuracy=0.5)
os.kill(os.getpid(), signal.SIGTERM)
"""
    assert program(text, tmp_path) == (-signal.SIGTERM, "", "")
    found, facts = Checkpoints(tmp_path).latest(LIKE)
    np.testing.assert_array_equal(found["noise"], noise(facts["epoch"]))


FILL = """
for epoch in range(1, 100):
    try:
        checkpoints.save(state(epoch, 100_000 if epoch < 3 else 400_000), epoch=epoch, test_accuracy=0.5)
        checkpoints.finish()
    except OSError as error:
        print(epoch, error)
        sys.exit(3)
    {after_each}
"""


def test_a_file_that_may_not_grow_ends_in_an_oserror_and_earlier_checkpoints_stay(tmp_path):
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))"
    status, said, errors = program(FILL.format(after_each=limit), tmp_path)
    assert (status, errors) == (3, "")
    assert re.fullmatch(rf"3 the checkpoint {tmp_path}/3 cannot be written \(.*File too large.*\)\n", said)
    assert names(tmp_path) == ["1", "2"]
    found, facts = Checkpoints(tmp_path, report=pytest.fail).latest(LIKE)
    assert facts["epoch"] == 2
    np.testing.assert_array_equal(found["noise"], noise(2))


@pytest.mark.slow
def test_a_full_disk_ends_in_an_oserror_and_earlier_checkpoints_stay(tmp_path):
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    text = """
import shutil, subprocess
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", sys.argv[1]], check=True)
try:
    for epoch in range(1, 100):
        checkpoints.save(state(epoch, 100_000 if epoch < 3 else 400_000), epoch=epoch, test_accuracy=0.5)
        checkpoints.finish()
except OSError as error:
    print(epoch, error)
    shutil.copytree(sys.argv[1], sys.argv[2])
    sys.exit(3)
"""
    status, said, errors = program(text, disk, copy, before=["unshare", "--user", "--map-root-user", "--mount"])
    assert (status, errors) == (3, "")
    assert re.fullmatch(rf"3 the checkpoint {disk}/3 cannot be written \(.*No space left on device.*\)\n", said)
    assert names(copy) == ["1", "2"]
    found, facts = Checkpoints(copy, report=pytest.fail).latest(LIKE)
    assert facts["epoch"] == 2
    np.testing.assert_array_equal(found["noise"], noise(2))


ENDLESS = """
found = checkpoints.latest(state(0))
epoch = found[1]["epoch"] if found else 0
print(epoch, flush=True)
while True:
    epoch += 1
    checkpoints.save(state(epoch), epoch=epoch, test_accuracy=1 / epoch)
    checkpoints.finish()
    print(epoch, flush=True)
"""


@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_whatever_moment_a_process_is_killed_at_its_last_checkpoint_is_whole(tmp_path, kills):
    moments = random.Random(kills)
    last = 0
    for _ in range(kills):
        command = [sys.executable, "-c", PROGRAM + ENDLESS, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert int(process.stdout.readline()) == last
            time.sleep(moments.uniform(0, 0.5))
            process.kill()
            said = [last, *map(int, process.stdout.read().split())]
        skipped = []
        found = Checkpoints(tmp_path, report=skipped.append).latest(LIKE)
        assert not [line for line in skipped if not re.match(r".*\.unfinished is skipped", line)]
        last = found[1]["epoch"] if found else 0
        assert last in (said[-1], said[-1] + 1)  # killed between the rename and saying so
        if found:
            np.testing.assert_array_equal(found[0]["noise"], noise(last))


@pytest.mark.slow
def test_one_process_of_several_saves_and_loads_alone(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    text = """
index = int(sys.argv[3])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(sys.argv[2], 2, index)
assert jax.process_count() == 2
from jax.experimental import multihost_utils
from jax.sharding import PartitionSpec
mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
everywhere = jax.device_put(np.arange(5.0, dtype=np.float32), jax.NamedSharding(mesh, PartitionSpec()))
if index == 0:
    for epoch in (1, 2):
        checkpoints.save(everywhere, epoch=epoch, test_accuracy=0.5)
    found, facts = checkpoints.latest(everywhere)
    assert facts["epoch"] == 2
    np.testing.assert_array_equal(found, np.arange(5.0))
    print("kept")
multihost_utils.sync_global_devices("end")
"""
    commands = [[sys.executable, "-c", PROGRAM + text, str(tmp_path), address, str(index)] for index in range(2)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    try:
        said = [process.communicate(timeout=120)[0].splitlines() for process in running]
        assert [process.returncode for process in running] == [0, 0]
        assert [[line for line in lines if "Gloo" not in line] for lines in said] == [["kept"], []]
    finally:
        for process in running:
            process.kill()
            process.communicate()
    assert names(tmp_path) == ["1", "2"]
