"""Training that is killed, told to end, damaged or out of disk space resumes, to the bits of one that never was.

Every process here is a real one, and SIGKILL is what kills it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from processes import assert_same_run, call, ended, environment, metrics_of, of_two, started, wait_for_epochs
from safetensors import safe_open

NETWORK = ["--sizes", 0, 16, 0, "--batch-size", 10, "--learning-rate", 0.003, "--optimizer", "adam"]
OFTEN = ["--checkpoint-every", 0]
CONSTANT = ["--schedule", "constant"]
FOREVER = 100_000


@pytest.fixture(scope="module")
def train(digits_file):
    """The command that trains; an epoch takes milliseconds, so most of the time something is being written."""
    return ["train", "--data", digits_file, *NETWORK]


def kill_and_resume(command, run, kills, draw):
    """Kill the command, and those that resume its run, at random moments; then let one end."""
    arguments = [*command, "--out", run]
    for kill in range(kills):
        with started(arguments) as [process]:
            if kill % 3 < 2:  # while it trains and writes
                wait_for_epochs(run, 1 + len(metrics_of(run)), process)
                time.sleep(draw.uniform(0, 0.3))
            else:  # whatever it does after some time, starting perhaps
                time.sleep(draw.uniform(0.5, 3))
            process.kill()
            process.wait()
        if (run / "config.json").exists():
            arguments = [command[0], "--resume", run]
        else:
            shutil.rmtree(run, ignore_errors=True)
    assert call(*arguments) == 0


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_ends_as_if_it_never_was(train, tmp_path, kills):
    command = [*train, *OFTEN, "--epochs", 40 if kills == 1 else 1000]
    kill_and_resume(command, tmp_path / "killed", kills, np.random.default_rng(kills))
    assert call(*command, "--out", tmp_path / "whole") == 0
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_a_sweep_that_is_killed_ends_as_if_it_never_was(digits_file, tmp_path):
    settings = ["--seeds", 3, "--learning-rate", 0.01, 0.1, "--optimizer", "adam", "--sizes", 0, 8, 0]
    command = ["sweep", "--data", digits_file, *settings, *OFTEN, "--epochs", 100]
    kill_and_resume(command, tmp_path / "killed", 4, np.random.default_rng(1))
    assert call(*command, "--out", tmp_path / "whole") == 0
    for number in range(6):
        assert_same_run(*(tmp_path / name / "members" / str(number) for name in ("killed", "whole")))
    killed, whole = ([line | {"seconds": 0} for line in metrics_of(tmp_path / name)] for name in ("killed", "whole"))
    assert killed == whole


@pytest.mark.slow
def test_a_committee_that_is_killed_ends_as_if_it_never_was(numbers_file, tmp_path):
    settings = ["--members", 4, "--output", "identity", "--validation", 0.2, "--patience", 900, "--vary"]
    command = ["train", "--data", numbers_file, *NETWORK, *settings, *OFTEN, *CONSTANT, "--epochs", 1000]
    kill_and_resume(command, tmp_path / "killed", 3, np.random.default_rng(2))
    assert call(*command, "--out", tmp_path / "whole") == 0
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_several_processes_that_are_killed_end_as_if_they_never_were(train, tmp_path):
    command = [*train, *OFTEN, "--epochs", 20]

    def both(*arguments, victim=None):
        with started(*of_two("train", *arguments), JAX_NUM_CPU_DEVICES="1") as running:
            if victim is not None:
                run = tmp_path / "killed"
                wait_for_epochs(run, 5 + len(metrics_of(run)), *running)
                running[victim].kill()
            for process in running:
                process.communicate(timeout=100)
            return [process.returncode for process in running]

    assert both(*command[1:], "--out", tmp_path / "whole") == [0, 0]
    assert 0 not in both(*command[1:], "--out", tmp_path / "killed", victim=0)
    assert 0 not in both("--resume", tmp_path / "killed", victim=1)
    assert both("--resume", tmp_path / "killed") == [0, 0]
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Control-C")])
def test_a_run_that_is_told_to_end_checkpoints_and_says_how_to_continue(train, tmp_path, number, name, capsys):
    command, run = [*train, *CONSTANT], tmp_path / "run"
    with started([*command, "--epochs", FOREVER, "--out", run]) as [process]:
        wait_for_epochs(run, 3, process)
        assert call("train", "--resume", run) == 2
        assert f"process {process.pid} is training in {run}" in capsys.readouterr().err
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    lines = metrics_of(run)
    trained = len(lines)
    assert (run / "checkpoints" / f"{trained}.safetensors").is_file()
    assert err.splitlines() == [
        f"mlp-jax: stopping after this epoch; {name} again stops at once, without it",
        f"mlp-jax: stopped after epoch {trained}; mlp-jax train --resume {run} continues",
    ]
    summary = json.loads(out.splitlines()[-1])
    assert (summary["run"], summary["test_accuracy"]) == (str(run), lines[-1]["test_accuracy"])
    assert call("train", "--resume", run, "--epochs", trained + 2) == 0
    assert call(*command, "--epochs", trained + 2, "--out", tmp_path / "whole") == 0
    assert_same_run(run, tmp_path / "whole")


# When it first opens a file with such a name, the process sends itself what Control-C sends.
INTERRUPTED = """
import os, signal, sys
def hook(event, arguments):
    if event == "open" and {name!r} in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(hook)
from mlp_jax.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("name", ["/jax/__", "digits.npz", "-cache"], ids=["imports", "data", "compiling"])
def test_control_c_before_training_ends_the_program_at_once(train, tmp_path, name):
    command = [sys.executable, "-B", "-c", INTERRUPTED.format(name=name), *map(str, train), "--out", tmp_path / "run"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert result.returncode == -signal.SIGINT, result.stderr


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory):
    """A run of 6 epochs with a constant learning rate, and one of 9."""
    runs = tmp_path_factory.mktemp("runs")
    for epochs in (6, 9):
        assert call(*train, *OFTEN, *CONSTANT, "--epochs", epochs, "--out", runs / str(epochs)) == 0
    return runs


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run of 6 epochs, in a directory whose name is a pattern of others."""
    shutil.copytree(trained / "6", tmp_path / "a[1]")
    return tmp_path / "a[1]"


def change_config(run, **settings):
    config = json.loads((run / "config.json").read_text()) | settings
    (run / "config.json").write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def test_the_last_few_checkpoints_and_the_best_are_kept(run):
    accuracies = [line["test_accuracy"] for line in metrics_of(run)]
    best = 1 + int(np.argmax(accuracies))
    assert {path.name for path in (run / "checkpoints").iterdir()} == {f"{n}.safetensors" for n in (4, 5, 6, best)}
    with safe_open(run / "checkpoints" / "6.safetensors", framework="np") as file:
        facts = json.loads(file.metadata()["checkpoint"])["facts"]
    assert facts["score"] == accuracies[-1]


def test_more_epochs_may_be_asked_for(trained, run, capsys):
    assert call("train", "--resume", run, "--epochs", 9) == 0
    assert "resuming after epoch 6 of 9" in capsys.readouterr().out
    assert_same_run(run, trained / "9")
    assert json.loads((run / "config.json").read_text())["epochs"] == 9


def test_a_run_that_is_done_stays_as_it_is(trained, run, capsys):
    assert call("train", "--resume", run) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["test_accuracy"] == metrics_of(run)[-1]["test_accuracy"]
    assert_same_run(run, trained / "6")


def test_lost_parameters_come_back_from_the_checkpoint(trained, run, capsys):
    """As allenai/tango's issue 237 has it: what fails between the last epoch and the end must not lose the training."""
    (run / "params.safetensors").unlink()
    assert call("train", "--resume", run) == 0
    assert_same_run(run, trained / "6")


def test_a_cosine_over_more_epochs_is_said_to_be_another(train, tmp_path, capsys):
    assert call(*train, "--epochs", 2, "--out", tmp_path / "run") == 0
    assert call("train", "--resume", tmp_path / "run", "--epochs", 3) == 0
    assert "falls to 0 over 3 epochs from here on, no longer over 2" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["flipped", "foreign", "half-written"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(trained, run, damage, capsys):
    newest = run / "checkpoints" / "6.safetensors"
    content = bytearray(newest.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
    elif damage == "foreign":
        shutil.copy(trained / "9" / "checkpoints" / "9.safetensors", newest)
    else:
        newest.rename(newest.with_name("6.safetensors.unfinished"))
    assert call("train", "--resume", run, "--epochs", 9) == 0
    output = capsys.readouterr()
    assert f"{newest}{'.unfinished' * (damage == 'half-written')} is skipped: " in output.err
    assert "resuming after epoch 5 of 9" in output.out
    assert_same_run(run, trained / "9")


def damage_all_checkpoints(run):
    for checkpoint in (run / "checkpoints").iterdir():
        os.truncate(checkpoint, 100)


def lose_the_losses(run):
    lines = [json.dumps({"epoch": line["epoch"]}) + "\n" for line in metrics_of(run)]
    (run / "metrics.jsonl").write_text("".join(lines))


def delete_checkpoints(run):
    shutil.rmtree(run / "checkpoints")


def delete_checkpoints_of_a_long_run(run):
    delete_checkpoints(run)
    change_config(run, epochs=1000)
    (run / "metrics.jsonl").write_text("".join(json.dumps(line | {"seconds": 9}) + "\n" for line in metrics_of(run)))


# What happens to a run, the flags it is resumed with, and what is then said.
REFUSED = [
    (delete_checkpoints, [], "has 6 epochs behind it and no checkpoint to resume from, and starting over would over"),
    (delete_checkpoints_of_a_long_run, ["--epochs", 1000], "evaluate, predict and report still take its parameters"),
    (lambda run: (run / "metrics.jsonl").unlink(), [], "begin a new run: mlp-jax train --data "),
    (damage_all_checkpoints, [], "has no checkpoint to resume from"),
    (lose_the_losses, [], "metrics.jsonl is damaged: the line of epoch 1 has no loss, test_loss, seconds"),
    (lambda run: change_config(run, seed=7), [], "has other settings (seed was 0, is to be 7)"),
    (
        lambda run: change_config(run, seed=7, versions={"mlp_jax": "0.1.9"}),
        [],
        "was kept by mlp_jax 0.1, whose checkpoints 0.2 cannot read",
    ),
    (
        None,
        ["--batch-size", 20, "--seed", 3],
        "has other settings (batch_size was 10, is to be 20; seed was 0, is to be 3): leave those out",
    ),
    (None, ["--epochs", 5], "has 6 epochs behind it: ask for 6 or more, not 5"),
    (None, ["--out", "elsewhere"], "continues in that directory: leave out --out"),
    (None, ["--checkpoint-every", -1], "--checkpoint-every is -1.0: expected seconds, 0 or more"),
]


@pytest.mark.parametrize(("change", "flags", "message"), REFUSED)
def test_what_a_run_cannot_be_resumed_with_is_refused_and_nothing_changes(run, change, flags, message, capsys):
    if change:
        change(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "lock"}
    assert call("train", "--resume", run, "--epochs", 9, *flags) == 2
    assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


def test_other_data_of_the_same_shape_are_refused(train, digits_file, tmp_path, capsys):
    data, run = tmp_path / "data.npz", tmp_path / "run"
    shutil.copy(digits_file, data)
    assert call("train", "--data", data, *NETWORK, "--epochs", 1, "--out", run) == 0
    arrays = dict(np.load(data))
    np.savez(data, **arrays | {"y_train": arrays["y_train"][::-1]})
    assert call("train", "--resume", run, "--epochs", 2) == 2
    assert "has other settings (data_sha256 was " in capsys.readouterr().err


def test_a_config_without_epochs_is_enough(run):
    change_config(run, epochs=None)
    assert call("train", "--resume", run, "--epochs", 9) == 0


def test_what_is_no_run_of_this_command_is_refused(run, tmp_path, capsys):
    for directory, command, message in (
        (tmp_path, "train", "is not a run that can be resumed: there is no config.json in it"),
        (run, "sweep", "is not one of mlp-jax sweep: learning_rate is 0.003 there"),
    ):
        assert call(command, "--resume", directory) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_full_disk_stops_the_run_which_resumes_when_there_is_room(train, tmp_path):
    """On a disk of 1.5 MB, which only its own mount namespace sees."""
    command = [*map(str, train), *map(str, OFTEN), "--epochs", "300"]
    ended(*command, "--out", tmp_path / "whole")
    disk = tmp_path / "disk"
    disk.mkdir()
    program = f"{sys.executable} -m mlp_jax"
    script = f"""
set -eu
mount -t tmpfs -o size=1500k none {disk}
{program} {" ".join(command)} --out {disk}/run &
until [ "$(wc -l < {disk}/run/metrics.jsonl)" -ge 20 ]; do sleep 0.1; done 2>/dev/null
dd if=/dev/zero of={disk}/filler bs=1k 2>/dev/null || true
if wait $!; then exit 99; else echo "status $?"; fi
ls {disk}/run/checkpoints
rm {disk}/filler
{program} train --resume {disk}/run
cp -r {disk}/run {tmp_path}/killed
"""
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    result = subprocess.run(
        [*namespace, "bash", "-c", script], capture_output=True, text=True, timeout=200, env=environment()
    )
    assert result.returncode == 0, result.stderr
    assert "status 2" in result.stdout
    assert "No space left on device" in result.stderr
    assert_same_run(tmp_path / "killed", tmp_path / "whole")
