"""The command line, in this process or in one that a test starts, and small data for it to train on."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import jax
import numpy as np

from mlp_jax.cli import main


def call(*arguments):
    """The exit status of the command line, run in this process."""
    return main([str(argument) for argument in arguments])


def environment(**more):
    """Lets a process compile the very programs that this one does: they share a cache and come to the same bits."""
    values = jax.config.values
    return {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": values["jax_compilation_cache_dir"],
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": str(int(values["jax_disable_most_optimizations"])),
        "JAX_NUM_CPU_DEVICES": "2",
        "PYTHONWARNINGS": "ignore:Error reading persistent compilation cache",  # a killed process left a part of it
        **more,
    }


@contextmanager
def started(*commands, **more):
    """A process of the command line for each list of arguments. None survives the test."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment(**more)}
    start = [sys.executable, "-m", "mlp_jax"]
    running = [subprocess.Popen([*start, *map(str, command)], **pipes) for command in commands]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.communicate()


def ended(*arguments, status=0):
    """What a process of the command line says on stdout and on stderr, once it has ended with that status."""
    with started(arguments) as [process]:
        out, err = process.communicate(timeout=600)
    assert process.returncode == status, err
    return out, err


def free_address():
    """Where a process may listen."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def of_two(*arguments):
    """The arguments of two processes that train together."""
    together = [*arguments, f"--coordinator={free_address()}", "--num-processes=2", "--timeout=60"]
    return [[*together, f"--process-id={index}"] for index in range(2)]


def metrics_of(run):
    """The lines of a run's metrics, one for each epoch; none if it has not begun."""
    with suppress(FileNotFoundError):
        *whole, _ = (run / "metrics.jsonl").read_text().split("\n")  # what follows the last line break is being written
        return [json.loads(line) for line in whole]
    return []


def wait_for_epochs(run, count, *running):
    """Wait until the run has so many epochs. Every process that trains must live until then."""
    for _ in range(60_000):
        if len(metrics_of(run)) >= count:
            return
        for process in running:
            assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError(f"there were no {count} epochs")


def assert_same_run(run, expected):
    """Two runs have the same epochs and parameters, bit for bit; the time they took does not count.

    Accuracy on training images is measured after some epochs and the last: one that was the last for a while keeps it.
    """
    params = "params.safetensors"
    assert (run / params).read_bytes() == (expected / params).read_bytes()
    found, lines = ([line | {"seconds": 0} for line in metrics_of(directory)] for directory in (run, expected))
    for line, other in zip(found, lines, strict=True):
        assert line.keys() ^ other.keys() <= {"train_accuracy"}
        assert {name: line[name] for name in line.keys() & other.keys()} == {
            name: other[name] for name in line.keys() & other.keys()
        }
    assert [line["epoch"] for line in found] == list(range(1, len(found) + 1))


def write_digits(path):
    """600 pictures of 8x8 pixels to train with and 100 to test with, of ten patterns under noise."""
    draw = np.random.default_rng(0)
    labels = np.arange(700) % 10
    pixels = 128 + 60 * draw.normal(size=(10, 8, 8))[labels] + 90 * draw.normal(size=(700, 8, 8))
    pixels, labels = np.clip(pixels, 0, 255).astype(np.uint8), labels.astype(np.uint8)
    np.savez(path, x_train=pixels[:600], y_train=labels[:600], x_test=pixels[600:], y_test=labels[600:])
    return path


def write_numbers(path):
    """600 examples to train with and 100 to test with, of two numbers to predict from five, and weights.

    Neither inputs nor targets lie between 0 and 1.
    """
    draw = np.random.default_rng(1)
    x, w = 2 * draw.normal(size=(700, 5)).astype(np.float32), draw.uniform(0.1, 2, 700).astype(np.float32)
    y = np.stack([5 + x[:, 0] - x[:, 1], np.sin(x[:, 2]) - x[:, 3] + 0.1 * draw.normal(size=700)], axis=1)
    parts = {"x": x, "y": y.astype(np.float32), "w": w}
    np.savez(
        path,
        **{f"{name}_train": array[:600] for name, array in parts.items()},
        **{f"{name}_test": array[600:] for name, array in parts.items()},
    )
    return path
