"""A run's directory."""

import gc
import json
import os
import re
import resource
import subprocess
import sys

import jax
import jaxlib
import optax
import pytest

from mlp_jax import init_params
from mlp_jax.runs import Run, RunError

PARAMS = init_params(jax.random.key(0), (3, 2))


def test_what_is_kept_comes_back(tmp_path):
    run = Run.create(tmp_path / "deep" / "run", {"seed": 3, "sizes": (3, 2)})
    run.log({"epoch": 1, "loss": 0.5})
    run.log({"epoch": 2, "loss": 0.25})
    run.save(PARAMS)
    again = Run.open(tmp_path / "deep" / "run")
    assert (again.config["seed"], again.config["sizes"]) == (3, [3, 2])
    assert again.config["versions"]["jax"] == jax.__version__
    assert again.config["versions"]["jaxlib"] == jaxlib.__version__
    lines = (again.directory / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), again.load(), PARAMS))


def test_runs_without_a_name_get_one_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    directories = {Run.create(None, {}).directory for _ in range(3)}
    assert len(directories) == 3
    assert {directory.parent.name for directory in directories} == {"runs"}


def test_an_earlier_run_is_never_written_over(tmp_path):
    run = Run.create(tmp_path / "run", {"seed": 1})
    run.close()
    with pytest.raises(RunError, match="run is there already and not empty: give --out a new directory"):
        Run.create(run.directory, {"seed": 2})
    assert Run.open(run.directory).config["seed"] == 1
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file is there already"):
        Run.create(tmp_path / "file", {})
    (tmp_path / "empty").mkdir()
    assert Run.create(tmp_path / "empty", {}).directory == tmp_path / "empty"


def test_what_is_no_run_is_refused(tmp_path):
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError, match="is no run: there is no config.json in it"):
            Run.open(directory)
    run = Run.create(tmp_path / "run", {})
    with pytest.raises(RunError, match="no params.safetensors: no parameters were kept"):
        run.load()
    for content, message in (("{", "config.json is damaged: "), ("[]", "config.json holds no settings")):
        (run.directory / "config.json").write_text(content)
        with pytest.raises(RunError, match=message):
            Run.open(run.directory)


def test_settings_that_differ_are_named(tmp_path):
    run = Run.create(tmp_path, {"seed": 1, "sizes": (784, 10), "rate": 0.1, "old": True, "resume": None})
    again = Run.open(tmp_path)
    assert again.differences(run.config) == {}
    assert again.differences({"seed": 1, "sizes": (784, 10), "rate": 0.1, "old": True, "stream": None}) == {}
    given = {"seed": 2, "sizes": (784, 16, 10), "rate": 0.1, "new": "x"}
    expected = {"seed": (1, 2), "sizes": ([784, 10], [784, 16, 10]), "old": (True, None), "new": (None, "x")}
    assert again.differences(given) == expected
    assert again.differences(given, ignore=("seed", "old", "new")) == {"sizes": ([784, 10], [784, 16, 10])}


def test_versions_that_differ_are_told_apart(tmp_path):
    run = Run.create(tmp_path, {"seed": 1})
    assert run.other_versions() == Run.open(tmp_path).other_versions() == {}
    run.config["versions"]["jax"] = "0.9"
    del run.config["versions"]["optax"]
    assert run.other_versions() == {"jax": ("0.9", jax.__version__), "optax": (None, optax.__version__)}
    assert run.differences({"seed": 1}) == {}
    run.config["versions"] = "damaged"
    assert run.other_versions()["jax"] == (None, jax.__version__)


def test_settings_are_amended_in_place_of_those_before(tmp_path):
    run = Run.create(tmp_path, {"epochs": 3, "seed": 1})
    run.amend(epochs=5, sizes=(3, 2))
    assert Run.open(tmp_path).config == run.config
    assert {**run.config, "versions": None} == {"epochs": 5, "seed": 1, "sizes": [3, 2], "versions": None}


def lines_of(*epochs):
    return b"".join(json.dumps({"epoch": epoch, "loss": 0.5}).encode() + b"\n" for epoch in epochs)


TAILS = [
    b"",
    b'{"epoch": 4, "lo',
    b"\n",
    b"\0" * 100,
    b"\xff\xfe",
    lines_of(4),
    lines_of(4, 5) + b"{",
    lines_of(7),
    b"[]\n{\n",
]


@pytest.mark.parametrize("tail", TAILS)
def test_metrics_are_cut_back_to_an_epoch(tmp_path, tail):
    run = Run.create(tmp_path, {})
    (tmp_path / "metrics.jsonl").write_bytes(lines_of(1, 2, 3) + tail)
    assert run.rewind(3) == [{"epoch": epoch, "loss": 0.5} for epoch in (1, 2, 3)]
    assert (tmp_path / "metrics.jsonl").read_bytes() == lines_of(1, 2, 3)
    run.log({"epoch": 4, "loss": 0.5})
    assert (tmp_path / "metrics.jsonl").read_bytes() == lines_of(1, 2, 3, 4)
    assert run.rewind(1) == [{"epoch": 1, "loss": 0.5}]
    assert run.rewind(0) == []
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""
    assert not list(tmp_path.glob("*.unfinished"))


BAD_METRICS = {
    "has no line for epoch 3, but the checkpoint is of epoch 3": lines_of(1, 2),
    "has no line for epoch 2, but the checkpoint is of epoch 3": lines_of(1) + b'{"epoch": 2, "loss": 0.5}',
    "has no line for epoch 1, but the checkpoint is of epoch 3": b"",
    "line 2 is of epoch 3: expected epoch 2": lines_of(1, 3, 4),
    "line 3 is of epoch 2: expected epoch 3": lines_of(1, 2, 2, 3),
    "line 1 is of epoch None: expected epoch 1": b'{"loss": 1}\n' + lines_of(1, 2, 3),
    "line 2 is of no metrics: expected epoch 2": lines_of(1) + b"[2]\n" + lines_of(3),
    "line 2 is damaged: ": lines_of(1) + b'{"epoch": 2, "lo\n' + lines_of(3),
    "line 3 is damaged: 'utf-8' codec": lines_of(1, 2) + b"\xff\n",
    "line 1 is damaged: maximum recursion": b"[" * 100_000 + b"\n" + lines_of(2, 3),
}


@pytest.mark.parametrize("message", BAD_METRICS)
def test_metrics_that_miss_an_epoch_are_refused_and_left_alone(tmp_path, message):
    run = Run.create(tmp_path, {})
    (tmp_path / "metrics.jsonl").write_bytes(BAD_METRICS[message])
    with pytest.raises(RunError, match=rf"metrics.jsonl,? {message}"):
        run.rewind(3)
    assert (tmp_path / "metrics.jsonl").read_bytes() == BAD_METRICS[message]


def test_metrics_never_written_are_no_metrics(tmp_path):
    run = Run.create(tmp_path, {})
    (tmp_path / "metrics.jsonl").unlink()
    assert run.rewind(0) == []
    with pytest.raises(RunError, match="no line for epoch 1"):
        run.rewind(1)


def test_one_training_at_a_time(tmp_path):
    me = rf"process {os.getpid()} is training in {tmp_path}: wait for it, or stop it"
    run = Run.create(tmp_path, {"seed": 1})
    for again in (lambda: Run.resume(tmp_path), lambda: Run.create(tmp_path, {})):
        with pytest.raises(RunError, match=me):
            again()
    assert Run.open(tmp_path).config["seed"] == 1  # to look at it is always allowed
    run.close()
    run.close()
    with pytest.raises(RunError, match="not empty"):
        Run.create(tmp_path, {})
    second = Run.resume(tmp_path)
    assert second.config["seed"] == 1
    with pytest.raises(RunError, match=me):
        Run.resume(tmp_path)
    del second
    gc.collect()
    Run.resume(tmp_path).close()


def test_no_lock_is_left_where_no_run_is(tmp_path):
    with pytest.raises(RunError, match="is no run"):
        Run.resume(tmp_path)
    (tmp_path / "lock").write_text("mine")
    (tmp_path / "letter").touch()
    with pytest.raises(RunError, match="not empty"):
        Run.create(tmp_path, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["letter", "lock"]
    assert (tmp_path / "lock").read_text() == "mine"


def test_a_run_that_was_killed_before_its_settings_were_written_can_be_made_again(tmp_path):
    (tmp_path / "lock").write_text("123456\n")
    (tmp_path / "config.json.unfinished").write_text("{")
    assert Run.create(tmp_path, {"seed": 4}).config["seed"] == 4


def test_runs_within_a_run_hold_no_file_open(tmp_path):
    whole = Run.create(tmp_path, {})
    before = len(os.listdir("/dev/fd"))
    members = [Run.create(tmp_path / "members" / str(number), {}, lock=False) for number in range(20)]
    assert len(os.listdir("/dev/fd")) == before
    assert not list(tmp_path.glob("members/*/lock"))
    assert whole.directory / "members" == members[0].directory.parent


def test_without_what_windows_lacks(tmp_path, digits_file):
    """Everything is imported and a network is trained where there is no fcntl, os.sysconf and so on."""
    program = """
import importlib, os, pkgutil, sys, warnings
import jax, psutil  # which have other code for Windows
warnings.filterwarnings("ignore", "only soft file lock")  # of filelock, which has another lock for Windows
sys.modules["fcntl"] = sys.modules["resource"] = None
for name in ("sysconf", "sched_getaffinity", "pread", "pwrite", "fork", "O_DIRECTORY", "geteuid", "uname"):
    delattr(os, name)
import mlp_jax
for module in pkgutil.walk_packages(mlp_jax.__path__, "mlp_jax."):
    if module.name != "mlp_jax.__main__":
        importlib.import_module(module.name)
sys.exit(importlib.import_module("mlp_jax.cli").main(sys.argv[1:]))
"""
    small = ["--sizes", "0", "2", "0", "--epochs", "1", "--batch-size", "20", "--out", str(tmp_path / "run")]
    command = [sys.executable, "-c", program, "train", "--data", str(digits_file), *small]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Run.open(tmp_path / "run").load()


def test_the_process_that_trains_is_named_and_its_end_is_noticed(tmp_path):
    text = "import sys, time; from pathlib import Path; from mlp_jax.runs import Run"
    text += "; run = Run.create(Path(sys.argv[1]), {}); print('begun', flush=True); time.sleep(600)"
    command = [sys.executable, "-c", text, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "begun\n"
            for mine in (lambda: Run.resume(tmp_path), lambda: Run.create(tmp_path, {})):
                with pytest.raises(RunError, match=f"process {process.pid} is training in {re.escape(str(tmp_path))}:"):
                    mine()
        finally:
            process.kill()
    Run.resume(tmp_path).close()


def test_lines_of_metrics_are_written_whole_or_not_at_all(tmp_path):
    run, limits = Run.create(tmp_path, {}), resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        for epoch in range(1, 1000):
            run.log({"epoch": epoch, "loss": 0.5})

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=rf"{tmp_path}/metrics.jsonl could take only a part of a line|File too large"):
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    whole = (tmp_path / "metrics.jsonl").read_bytes().count(b"\n")
    assert whole > 20
    assert len(run.rewind(whole)) == whole


def test_a_run_of_version_0_1_is_refused(tmp_path):
    """Whichever gives it away: the version in config.json, or checkpoints that are directories."""
    message = r"was kept by mlp_jax 0\.1, whose checkpoints 0\.2 cannot read: begin a new run, or go on with 0\.1$"
    run = Run.create(tmp_path / "version", {"seed": 1})
    run.close()
    run.config["versions"]["mlp_jax"] = "0.1.9"
    run.amend()
    with pytest.raises(RunError, match=message):
        Run.resume(run.directory)
    assert Run.open(run.directory).config["seed"] == 1  # to look at it is still allowed
    run = Run.create(tmp_path / "directories", {})
    run.close()
    (run.directory / "checkpoints" / "12").mkdir(parents=True)
    with pytest.raises(RunError, match=message):
        Run.resume(run.directory)
