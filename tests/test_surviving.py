"""Training that is killed, told to end, damaged or out of disk space goes on to what it would have come to.

Every process here is a real one, and SIGKILL is what kills it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from mlp_jax import load_dataset
from mlp_jax.cli import main
from tests.training.test_processes import of_two

EPOCHS = 120
NETWORK = ["--sizes", "0", "16", "0", "--batch-size", "10", "--learning-rate", "0.3", "--optimizer", "adam"]
OFTEN = ["--checkpoint-every", "0"]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """600 images of MNIST: an epoch takes milliseconds, so that most of the time something is being written."""
    mnist, file = load_dataset(), tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(
        file,
        x_train=mnist.train_images[:600],
        y_train=mnist.train_labels[:600],
        x_test=mnist.test_images[:100],
        y_test=mnist.test_labels[:100],
    )
    return str(file)


@contextmanager
def started(*arguments, **environment):
    """A process of the command. None survives the test."""
    environment = {**os.environ, **environment}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-m", "mlp_jax.cli", *arguments], env=environment, **pipes)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(*arguments, status=0):
    """What a process of the command says on stdout and on stderr, once it has ended with that status."""
    with started(*arguments) as process:
        out, err = process.communicate(timeout=600)
    assert process.returncode == status, err
    return out, err


def lines_of(run):
    return (run / "metrics.jsonl").read_text().splitlines()


def wait_for_epochs(run, count, process):
    for _ in range(6000):
        with suppress(FileNotFoundError):
            if len(lines_of(run)) >= count:
                return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError(f"there were no {count} epochs")


def kill_and_resume(command, run, kills, rng):
    """Kill the command, and what goes on with its run, at random moments; then let it end."""
    arguments = [*command, "--out", str(run)]
    for kill in range(kills):
        with started(*arguments) as process:
            if kill % 3 < 2:  # while it trains and writes
                wait_for_epochs(run, 1 + (len(lines_of(run)) if run.exists() else 0), process)
                time.sleep(rng.uniform(0, 0.3))
            else:  # wherever it is after some time, starting perhaps
                time.sleep(rng.uniform(0.5, 3))
            process.kill()
            process.wait()
        if (run / "config.json").exists():
            arguments = [command[0], "--resume", str(run)]
        else:
            shutil.rmtree(run, ignore_errors=True)
    return ended(*arguments)


def assert_same_run(run, expected, files=("params.safetensors",)):
    for name in files:
        assert (run / name).read_bytes() == (expected / name).read_bytes()
    found, lines = ([json.loads(line) for line in lines_of(directory)] for directory in (run, expected))
    assert [line["epoch"] for line in found] == list(range(1, len(lines) + 1))
    assert [line | {"seconds": 0} for line in found] == [line | {"seconds": 0} for line in lines]


@pytest.mark.parametrize("kills", [1, pytest.param(50, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_ends_as_if_it_never_was(small, tmp_path, kills):
    command = ["train", "--data", small, *NETWORK, *OFTEN, "--epochs", str(EPOCHS if kills == 1 else 1000)]
    ended(*command, "--out", str(tmp_path / "whole"))
    kill_and_resume(command, tmp_path / "killed", kills, np.random.default_rng(kills))
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_a_sweep_that_is_killed_ends_as_if_it_never_was(small, tmp_path):
    settings = ["--seeds", "3", "--learning-rate", "0.01", "0.1", "--optimizer", "adam", "--sizes", "0", "8", "0"]
    command = ["sweep", "--data", small, *settings, *OFTEN, "--epochs", "200"]
    ended(*command, "--out", str(tmp_path / "whole"))
    kill_and_resume(command, tmp_path / "killed", 6, np.random.default_rng(1))
    assert_same_run(tmp_path / "killed", tmp_path / "whole", files=())
    for number in range(6):
        assert_same_run(*(tmp_path / name / "members" / str(number) for name in ("killed", "whole")))


@pytest.mark.slow
def test_several_processes_that_are_killed_end_as_if_they_never_were(small, tmp_path):
    command = ["train", "--data", small, *NETWORK, *OFTEN, "--epochs", "60"]

    def both(*arguments):
        return [("train", *each) for each in of_two(*arguments)]

    def end(processes, victim=None):
        if victim is not None:
            processes[victim].kill()
        for process in processes:
            process.communicate(timeout=100)
        return [process.returncode for process in processes]

    first, second = both(*command[1:], "--out", str(tmp_path / "whole"))
    with started(*first) as zero, started(*second) as one:
        assert end([zero, one]) == [0, 0]
    arguments = [*command[1:], "--out", str(tmp_path / "killed")]
    for victim in (0, 1):
        first, second = both(*arguments)
        with started(*first) as zero, started(*second) as one:
            there = len(lines_of(tmp_path / "killed")) if (tmp_path / "killed").exists() else 0
            wait_for_epochs(tmp_path / "killed", there + 5, zero)
            assert 0 not in end([zero, one], victim)
        arguments = ["--resume", str(tmp_path / "killed")]
    first, second = both(*arguments)
    with started(*first) as zero, started(*second) as one:
        assert end([zero, one]) == [0, 0]
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_run_that_is_told_to_end_checkpoints_and_says_how_to_go_on(small, tmp_path, number):
    command = ["train", "--data", small, *NETWORK, "--epochs", "100000", "--schedule", "constant"]
    with started(*command, "--out", str(tmp_path / "run")) as process:
        wait_for_epochs(tmp_path / "run", 3, process)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    trained = len(lines_of(tmp_path / "run"))
    assert str(trained) in {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    stopping, stopped = err.splitlines()
    assert "stopping after this epoch" in stopping
    assert stopped == f"mlp-jax: stopped after epoch {trained}; mlp-jax train --resume {tmp_path / 'run'} goes on"
    assert json.loads(out.splitlines()[-1])["run"] == str(tmp_path / "run")
    ended("train", "--resume", str(tmp_path / "run"), "--epochs", str(trained + 2))
    ended(*command, "--epochs", str(trained + 2), "--out", str(tmp_path / "whole"))
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """A run of 6 epochs with a constant learning rate, and one of 9."""
    runs = tmp_path_factory.mktemp("runs")
    for epochs in (6, 9):
        command = ["train", "--data", small, *NETWORK, *OFTEN, "--schedule", "constant", "--epochs", str(epochs)]
        assert main([*command, "--out", str(runs / str(epochs))]) == 0
    return runs


def call(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def threads_as_they_are(monkeypatch):
    monkeypatch.setenv("PJRT_NPROC", "2")


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained / "6", tmp_path / "run")
    return tmp_path / "run"


def test_the_last_few_checkpoints_and_the_best_are_kept(trained, run):
    accuracies = [json.loads(line)["test_accuracy"] for line in lines_of(run)]
    best = 1 + int(np.argmax(accuracies))
    assert {path.name for path in (run / "checkpoints").iterdir()} == {str(epoch) for epoch in (4, 5, 6, best)}
    facts = json.loads((run / "checkpoints" / "6" / "facts.json").read_text())
    assert facts["best"] == {"epoch": best, "test_accuracy": max(accuracies)}


def test_more_epochs_may_be_asked_for(trained, run, capsys):
    assert call("train", "--resume", run, "--epochs", 9) == 0
    assert "going on after epoch 6 of 9" in capsys.readouterr().out
    assert_same_run(run, trained / "9")
    assert json.loads((run / "config.json").read_text())["epochs"] == 9


def test_a_run_that_is_done_stays_as_it_is(trained, run, capsys):
    assert call("train", "--resume", run) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["test_accuracy"] == json.loads(lines_of(run)[-1])["test_accuracy"]
    assert_same_run(run, trained / "6")


def test_a_cosine_over_more_epochs_is_said_to_be_another(small, tmp_path, capsys):
    assert call("train", "--data", small, *NETWORK, "--epochs", 2, "--out", tmp_path / "run") == 0
    assert call("train", "--resume", tmp_path / "run", "--epochs", 3) == 0
    assert "falls to 0 over 3 epochs from here on, no longer over 2" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "foreign", "half-written"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_goes_on(trained, run, damage, capsys):
    newest = run / "checkpoints" / "6"
    largest = max(newest.rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    content = largest.read_bytes()
    if damage == "truncated":
        largest.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        middle = len(content) // 2
        largest.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif damage == "missing":
        largest.unlink()
    elif damage == "foreign":
        shutil.rmtree(newest)
        shutil.copytree(trained / "9" / "checkpoints" / "9", newest)
    else:
        newest.rename(newest.with_name("6.unfinished"))
    assert call("train", "--resume", run, "--epochs", 9) == 0
    output = capsys.readouterr()
    assert f"{newest}{'.unfinished' * (damage == 'half-written')} is skipped: " in output.err
    assert "going on after epoch 5 of 9" in output.out
    assert_same_run(run, trained / "9")


def test_training_never_starts_afresh_where_checkpoints_were(run, capsys):
    before = (run / "params.safetensors").read_bytes(), lines_of(run)
    for checkpoint in (run / "checkpoints").iterdir():
        (checkpoint / "SHA256SUMS").unlink()
    assert call("train", "--resume", run, "--epochs", 9) == 2
    assert "has nothing to go on from" in capsys.readouterr().err
    assert ((run / "params.safetensors").read_bytes(), lines_of(run)) == before


def test_settings_changed_by_hand_are_refused(run, capsys):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"seed": 7}))
    assert call("train", "--resume", run, "--epochs", 9) == 2
    assert "has other settings (seed was 0, is to be 7)" in capsys.readouterr().err


def test_other_data_of_the_same_shape_are_refused(small, tmp_path, capsys):
    data, run = tmp_path / "data.npz", tmp_path / "run"
    shutil.copy(small, data)
    assert call("train", "--data", data, *NETWORK, "--epochs", 1, "--out", run) == 0
    arrays = dict(np.load(data))
    np.savez(data, **arrays | {"y_train": arrays["y_train"][::-1]})
    assert call("train", "--resume", run, "--epochs", 2) == 2
    assert "has other settings (data_sha256 was " in capsys.readouterr().err


def test_metrics_without_a_number_and_a_config_without_epochs_are_no_traceback(run, capsys):
    lines = [json.loads(line) for line in lines_of(run)]
    (run / "metrics.jsonl").write_text("".join(json.dumps({"epoch": line["epoch"]}) + "\n" for line in lines))
    assert call("train", "--resume", run, "--epochs", 9) == 2
    assert "metrics.jsonl is damaged: a line lacks what training logs (KeyError('loss'))" in capsys.readouterr().err
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = json.loads((run / "config.json").read_text())
    del config["epochs"]
    (run / "config.json").write_text(json.dumps(config))
    assert call("train", "--resume", run, "--epochs", 9) == 0


def test_a_sweep_goes_on_and_what_its_members_have_stays(small, tmp_path, capsys):
    """The second member diverges in the first epoch: its last finite parameters are those it began with."""
    command = ["sweep", "--data", small, "--seeds", 1, "--learning-rate", 0.001, 1e20, "--schedule", "constant"]
    command += ["--hidden", "identity", "--output", "identity", "--sizes", "0", "8", "0"]
    assert call(*command, "--epochs", 2, "--out", tmp_path / "run") == 0
    diverged = (tmp_path / "run" / "members" / "1" / "params.safetensors").read_bytes()
    assert call("sweep", "--resume", tmp_path / "run", "--epochs", 3) == 0
    assert "going on after epoch 2 of 3" in capsys.readouterr().out
    assert call(*command, "--epochs", 3, "--out", tmp_path / "whole") == 0
    for number in "01":
        assert_same_run(*(tmp_path / name / "members" / number for name in ("run", "whole")))
    assert (tmp_path / "run" / "members" / "1" / "params.safetensors").read_bytes() == diverged
    (tmp_path / "run" / "members" / "0" / "config.json").write_text("")
    before = lines_of(tmp_path / "run" / "members" / "0")
    assert call("sweep", "--resume", tmp_path / "run", "--epochs", 4) == 2
    assert "config.json is damaged" in capsys.readouterr().err
    assert lines_of(tmp_path / "run" / "members" / "0") == before


REFUSED = {
    "has other settings (batch_size was 10, is to be 20; seed was 0, is to be 3): leave those out": [
        *("--batch-size", "20", "--seed", "3", "--epochs", "9"),
    ],
    "has 6 epochs behind it: ask for 6 or more, not 5": ["--epochs", "5"],
    "goes on in that directory: leave out --out": ["--out", "elsewhere"],
    "--checkpoint-every is -1.0: expected seconds, 0 or more": ["--checkpoint-every", "-1"],
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_a_run_cannot_go_on_with_is_refused(run, message, capsys):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "lock"}
    assert call("train", "--resume", run, *REFUSED[message]) == 2
    assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


def test_what_is_no_run_of_this_command_is_refused(run, tmp_path, capsys):
    for directory, command, message in (
        (tmp_path, "train", "is no run to go on with: there is no config.json in it"),
        (run, "sweep", "is not one of mlp-jax sweep: learning_rate is 0.3 there"),
    ):
        assert call(command, "--resume", directory) == 2
        assert message in capsys.readouterr().err


def test_a_second_training_is_refused_with_the_process_id_of_the_first(small, tmp_path, capsys):
    command = ["train", "--data", small, *NETWORK, "--epochs", "100000", "--out", str(tmp_path / "run")]
    with started(*command) as process:
        wait_for_epochs(tmp_path / "run", 1, process)
        assert call("train", "--resume", tmp_path / "run") == 2
        assert f"process {process.pid} is training in {tmp_path / 'run'}" in capsys.readouterr().err
        assert process.poll() is None


@pytest.mark.slow
def test_a_full_disk_stops_the_run_which_goes_on_when_there_is_room(small, tmp_path):
    """On a disk of 1 MB, which only its own mount namespace sees."""
    command = ["train", "--data", small, *NETWORK, *OFTEN, "--no-cache", "--epochs", "300"]
    ended(*command, "--out", str(tmp_path / "whole"))
    disk = tmp_path / "disk"
    disk.mkdir()
    train = f"{sys.executable} -m mlp_jax.cli"
    script = f"""
set -eu
mount -t tmpfs -o size=1500k none {disk}
{train} {" ".join(command)} --out {disk}/run &
until [ "$(wc -l < {disk}/run/metrics.jsonl)" -ge 20 ]; do sleep 0.1; done 2>/dev/null
dd if=/dev/zero of={disk}/filler bs=1k 2>/dev/null || true
if wait $!; then exit 99; else echo "status $?"; fi
ls {disk}/run/checkpoints
rm {disk}/filler
{train} train --resume {disk}/run
cp -r {disk}/run {tmp_path}/killed
"""
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    result = subprocess.run([*namespace, "bash", "-c", script], capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    assert "status 2" in result.stdout
    assert "No space left on device" in result.stderr
    assert_same_run(tmp_path / "killed", tmp_path / "whole")
