"""Several processes: they train as one would, agree beforehand, and end together. All are on this machine."""

import json
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import free_address, metrics_of, of_two, started, wait_for_epochs
from safetensors.numpy import load_file

from mlp_jax import Model, Plan, TrainState, identity, init_params, load_dataset, make_optimizer, tanh, train_epoch
from mlp_jax.distributed import ProcessError, Processes, processes_of
from mlp_jax.training import epoch_order

SIZES = (5, 16, 2)
BATCH = 80  # 20 on each of 4 devices, whose 150 examples make 7 such batches and one of 10
TASK = ["--epochs=1", f"--batch-size={BATCH}", "--sizes", *SIZES, "--hidden=tanh", "--output=identity"]
TASK += ["--learning-rate=0.1"]


@pytest.fixture(scope="module")
def long(digits_file):
    """The flags of a training that does not end by itself."""
    return [f"--data={digits_file}", "--epochs=100000", "--batch-size=60", "--sizes", 0, 16, 0]


def train(*commands, devices=1, **environment):
    """A process of `mlp-jax train` for each list of arguments."""
    return started(*(["train", *command] for command in commands), JAX_NUM_CPU_DEVICES=str(devices), **environment)


def ends(running):
    """Exit statuses, what went to stdout, and what to stderr; Gloo's own lines go nowhere."""
    outputs = [process.communicate(timeout=200) for process in running]
    errors = ["\n".join(err.splitlines()) for _, err in outputs]
    return [process.returncode for process in running], [out for out, _ in outputs], errors


def assert_whole(run):
    assert all("test_accuracy" in line for line in metrics_of(run))
    assert len(load_file(run / "params.safetensors")) == 4
    assert "processes" in json.loads((run / "config.json").read_text())


def test_two_processes_of_two_devices_train_as_one_device_does(numbers_file, tmp_path):
    """On numbers with weights: the weights of a batch are summed over all devices."""
    with train(*of_two(f"--data={numbers_file}", *TASK, f"--out={tmp_path / 'run'}"), devices=2) as running:
        statuses, (said, other_said), errors = ends(running)
    assert (statuses, errors, other_said) == ([0, 0], ["", ""], "")
    assert json.loads(said.splitlines()[-1])["test_r2"] > 0.5
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["processes"], config["devices"]) == (2, 4)
    [line] = metrics_of(tmp_path / "run")
    assert line["epoch"] == 1

    # The same order of examples: each mini-batch has an equal part of each quarter of the examples.
    quarters = [150 * shard + epoch_order(0, 0, 150, shard) for shard in range(4)]
    order = np.concatenate([quarter[start : start + 20] for start in range(0, 150, 20) for quarter in quarters])
    examples, initial = jax.device_put(load_dataset(numbers_file).train), init_params(jax.random.key(0), SIZES)
    plan = Plan(Model(tanh, identity), make_optimizer("sgd", 0.1, "cosine", 8), BATCH)
    start = TrainState.start(jax.tree.map(jnp.copy, initial), plan.optimizer)
    state, _ = train_epoch(start, examples.inputs, examples.targets, order, plan, examples.weights)
    found = load_file(tmp_path / "run" / "params.safetensors")
    for number, layer in enumerate(state.params):
        for name, expected in layer._asdict().items():
            array, before = found[f"layers.{number}.{name}"], getattr(initial[number], name)
            largest = np.abs(expected).max()
            assert np.abs(array - before).max() > 0.01 * largest
            # 8 steps, each averaged over four devices in another order.
            np.testing.assert_allclose(array, expected, rtol=0, atol=16 * np.finfo(np.float32).eps * largest)


@pytest.mark.slow
def test_two_processes_of_two_devices_train_as_one_process_of_four(numbers_file, tmp_path):
    task = [f"--data={numbers_file}", *TASK]
    with (
        train(*of_two(*task, f"--out={tmp_path / 'two'}"), devices=2) as two,
        train([*task, "--devices=4", f"--out={tmp_path / 'one'}"], devices=4) as one,
    ):
        assert ends(two)[0] + ends(one)[0] == [0, 0, 0]
    found, expected = (load_file(tmp_path / run / "params.safetensors") for run in ("two", "one"))
    for name, array in expected.items():
        atol = 16 * np.finfo(np.float32).eps * np.abs(array).max()
        np.testing.assert_allclose(found[name], array, rtol=0, atol=atol)


@pytest.mark.parametrize("victim", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_killed_process_ends_the_others_which_say_who_it_was(long, tmp_path, victim):
    with train(*of_two(*long, f"--out={tmp_path}"), devices=2) as running:
        wait_for_epochs(tmp_path, 1, *running)
        running[victim].kill()
        statuses, outputs, errors = ends(running)
    other = 1 - victim
    assert statuses[victim] == -signal.SIGKILL
    if statuses[other] == 1:
        assert f"mlp-jax: process {other}: process {victim} is gone" in errors[other]
    else:  # JAX's runtime saw first that its coordinator was gone, and says so in its own words
        assert (victim, statuses[other]) == (0, -signal.SIGABRT)
        assert "leader task was preempted/died" in errors[other]
    assert outputs[1] == ""
    assert_whole(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_control_c_at_one_process_stops_all_after_the_epoch(long, tmp_path, victim):
    with train(*of_two(*long, f"--out={tmp_path}")) as running:
        wait_for_epochs(tmp_path, 1, *running)
        running[victim].send_signal(signal.SIGINT)
        statuses, (said, other_said), errors = ends(running)
    assert (statuses, other_said) == ([130, 130], "")
    assert json.loads(said.splitlines()[-1])["run"] == str(tmp_path)
    trained = len(metrics_of(tmp_path))
    told_by_the_first = [f"mlp-jax: stopped after epoch {trained}; mlp-jax train --resume {tmp_path} continues"]
    for index, error in enumerate(errors):
        first = ["mlp-jax: stopping after this epoch; Control-C again stops at once, without it"] * (index == victim)
        assert error.splitlines() == first + told_by_the_first * (index == 0)
    assert_whole(tmp_path)


@pytest.mark.slow
def test_a_frozen_process_ends_the_others_when_the_timeout_is_over(long, tmp_path):
    with train(*([*each, "--timeout=6"] for each in of_two(*long, f"--out={tmp_path}"))) as running:
        wait_for_epochs(tmp_path, 1, *running)
        running[1].send_signal(signal.SIGSTOP)
        _, error = running[0].communicate(timeout=200)  # all: a number has a line to itself there
    assert running[0].returncode != 0
    assert "unhealthy (stopped sending heartbeats):\n1\n" in error  # JAX's runtime says it
    assert_whole(tmp_path)


def test_processes_that_disagree_end_before_any_training(digits_file, tmp_path):
    one, other = of_two(f"--data={digits_file}", f"--out={tmp_path}")
    with train([*one, "--sizes", "64", "30", "10"], [*other, "--seed=7"]) as running:
        statuses, outputs, errors = ends(running)
    assert (statuses, outputs) == ([2, 2], ["", ""])
    for index, error in enumerate(errors):
        assert error == (
            f"mlp-jax: process {index}: process 1 has sizes 64-16-16-10, seed 7; "
            "process 0 has sizes 64-30-10, seed 0: let all have the same"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_platform_that_no_process_has_is_said_in_one_line(numbers_file, tmp_path):
    """Which the processes notice once they have met; either may be the first."""
    with train(*of_two(f"--data={numbers_file}", *TASK, f"--out={tmp_path / 'run'}"), JAX_PLATFORMS="cuda") as running:
        statuses, _, errors = ends(running)
    assert 0 not in statuses
    assert "JAX cannot use JAX_PLATFORMS=cuda on this machine" in "".join(errors)
    assert "Traceback" not in "".join(errors)


FAILURES = {
    "process 0 stopped: .* is there already and not empty: give --out": ["--out=."],
    "Optax has no optimiser 'none'": ["--optimizer=none"],  # both find that out, and either may be the first
    "the batch size is 101, which does not divide over the 2 devices": ["--batch-size=101"],
}


@pytest.mark.slow
@pytest.mark.parametrize("message", FAILURES)
def test_what_one_process_cannot_do_ends_all(digits_file, tmp_path, message):
    with train(*of_two(f"--data={digits_file}", f"--out={tmp_path}", *FAILURES[message])) as running:
        statuses, outputs, errors = ends(running)
    assert (statuses, outputs) == ([2, 2], ["", ""])
    for index, error in enumerate(errors):
        assert error.startswith(f"mlp-jax: process {index}: ")
        assert len(error.splitlines()) == 1
    assert re.search(message, errors[1])


@pytest.mark.slow
def test_a_launcher_that_jax_knows_is_asked(digits_file, tmp_path):
    port = int(free_address().split(":")[1])
    slurm = {
        "SLURM_JOB_ID": "5",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "JAX_COORDINATOR_PORT": str(port),
    }
    command = ["--distributed", f"--data={digits_file}", "--epochs=1", f"--out={tmp_path}"]
    with (
        train(command, **slurm, SLURM_PROCID="0", SLURM_LOCALID="0") as first,
        train(command, **slurm, SLURM_PROCID="1", SLURM_LOCALID="1") as second,
    ):
        assert ends(first)[0] + ends(second)[0] == [0, 0]
    assert json.loads((tmp_path / "config.json").read_text())["processes"] == 2


@contextmanager
def threads(*processes):
    """What becomes of processes that meet, and then agree on facts: a message, or None, for each."""

    def run(process, facts):
        try:
            process.meet()
            process.check_same(**facts)
        except ProcessError as error:
            return error.args[0]

    with ThreadPoolExecutor(len(processes)) as pool:
        try:
            yield [future.result() for future in [pool.submit(run, *each) for each in processes]]
        finally:
            for process, _ in processes:
                process.close()


def test_processes_meet_in_any_order_and_agree():
    address = free_address()
    with threads(*((Processes(address, 3, index, timeout=30), {"sizes": "784-10"}) for index in (2, 0, 1))) as found:
        assert found == [None] * 3


def test_what_is_no_process_of_the_run_is_turned_away():
    address = free_address()
    host, port = address.split(":")
    first = Processes(address, 2, 0, timeout=30)
    with ThreadPoolExecutor(1) as pool:
        meeting = pool.submit(first.meet)
        for _ in range(100):
            try:
                with socket.create_connection((host, int(port))) as other:
                    other.sendall(b"GET / HTTP/1.1\r\n\r\n")
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        else:
            raise AssertionError("process 0 never listened")
        second = Processes(address, 2, 1, timeout=30)
        second.meet()
        assert meeting.result() is None
    first.close()
    second.close()


def test_a_disagreement_is_told_to_all():
    address = free_address()
    facts = [{"seed": 0, "data": "mnist"}, {"seed": 0, "data": "mnist"}, {"seed": 1, "data": "mnist"}]
    with threads(*((Processes(address, 3, index, timeout=30), facts[index]) for index in range(3))) as found:
        assert found == ["process 2 has seed 1; process 0 has seed 0: let all have the same"] * 3


def test_different_numbers_of_processes_are_a_disagreement():
    address = free_address()
    with threads((Processes(address, 2, 0, timeout=30), {}), (Processes(address, 3, 1, timeout=30), {})) as found:
        assert (
            found
            == ["process 1 was started as one of 3 processes, process 0 as one of 2: give all the same --num-processes"]
            * 2
        )


def test_a_process_that_comes_twice_is_refused():
    address = free_address()
    with threads(*((Processes(address, 3, index, timeout=30), {}) for index in (0, 1, 1))) as found:
        assert found == ["two processes came as process 1: give each its own --process-id"] * 3


def test_a_process_that_does_not_come_is_named_to_those_who_did():
    address = free_address()
    with threads(*((Processes(address, 4, index, timeout=1), {}) for index in (0, 2))) as found:
        assert found == [f"waited 1 s at {address} for 3 other processes, but 1, 3 did not come"] * 2


def test_a_coordinator_that_does_not_answer_is_an_error_that_says_how_long():
    address = free_address()
    with pytest.raises(ProcessError, match=rf"nobody answered at {address} for 1 s \(Connection refused\): start"):
        Processes(address, 2, 1, timeout=1).meet()


def test_a_port_in_use_is_refused():
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        port = server.getsockname()[1]
        with pytest.raises(ProcessError, match=f"cannot listen on port {port} .*in use.*: give all processes another"):
            Processes(f"127.0.0.1:{port}", 2, 0).meet()


BAD_FLAGS = {
    "--process-id is missing: give all of --coordinator, --num-processes, --process-id": (False, "a:1", 2, None),
    "--coordinator, --num-processes is missing": (False, None, None, 0),
    "--distributed finds no SLURM.*would say what to use as --process-id": (True, "a:1", 2, None),
    "the coordinator is 'a': expected HOST:PORT": (False, "a", 2, 0),
    "the coordinator is 'a:99999': expected HOST:PORT": (False, "a:99999", 2, 0),
    "the number of processes is 0: expected 1 or more": (False, "a:1", 0, 0),
    "the process id is 2: expected 0 to 1, for there are 2 processes": (False, "a:1", 2, 2),
    "the process id is -1: expected 0 to 1": (False, "a:1", 2, -1),
}


@pytest.mark.parametrize("message", BAD_FLAGS)
def test_flags_that_do_not_go_together_are_refused(message):
    with pytest.raises(ValueError, match=message):
        processes_of(*BAD_FLAGS[message], timeout=60)
    with pytest.raises(ValueError, match="the timeout is 0 s: expected 1 or more"):
        processes_of(False, "a:1", 2, 0, timeout=0)


SLURM = {"JOB_ID": "4100", "STEP_NODELIST": "node[07-09]", "NTASKS": "3", "PROCID": "2", "LOCALID": "0"}
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "3",
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
}


@pytest.mark.parametrize(
    ("environment", "host"),
    [({f"SLURM_{name}": value for name, value in SLURM.items()}, "node07"), (OPEN_MPI, "10.96.0.1")],
)
def test_slurm_and_open_mpi_are_recognised(monkeypatch, environment, host):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JAX_COORDINATOR_PORT", "1234")
    found = processes_of(True, None, None, None, timeout=60)
    assert (found.address, found.count, found.index, found.device_ids) == (f"{host}:1234", 3, 2, [0])
    assert processes_of(True, "other:99", None, 1, timeout=60).address == "other:99"


def test_one_process_takes_the_devices_it_is_asked_to():
    alone = processes_of(False, None, None, None, timeout=60)
    assert (alone.count, alone.index, alone.max_over_processes(15), alone.broadcast(1)) == (1, 0, 15, 1)
    assert alone.mesh(1) is None
    assert alone.mesh(2).shape == {"batch": 2}
    with pytest.raises(
        ValueError, match=r"3 devices are asked for, but this machine has 2 \(cpu\): set JAX_NUM_CPU_DEV"
    ):
        alone.mesh(3)
    with pytest.raises(ValueError, match="the number of devices is 0: expected 1 or more"):
        alone.mesh(0)
