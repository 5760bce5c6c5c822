"""The command train: what it prints, what it keeps, and what it makes of numbers."""

import io
import json
import os
import pty
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from processes import assert_same_run, call, ended, environment, metrics_of

from mlp_jax import Model, evaluate, identity, init_params, load_dataset, tanh
from mlp_jax.runs import Run, load_params

WIDE = ["--sizes", 0, 12, 0, "--epochs", 1, "--batch-size", 60]
NUMBERS = ["--sizes", 0, 8, 0, "--output", "identity", "--hidden", "tanh", "--batch-size", 20, "--schedule", "constant"]
NUMBERS += ["--learning-rate", 0.05]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two epochs on MNIST, and what was printed on the way."""
    directory = tmp_path_factory.mktemp("runs") / "trained"
    return directory, *ended("train", "--epochs", 2, "--out", directory)


def summary_of(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def accuracy(params, examples, hidden, output):
    """The network as the formulas have it, in NumPy."""
    activations = examples.inputs / np.float32(255)
    for number, layer in enumerate(params, 1):
        z = activations @ layer.weights.T + layer.biases
        activations = output(z) if number == len(params) else hidden(z)
    return np.mean(np.argmax(activations, -1) == examples.targets)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_train_shows_each_epoch_and_ends_with_a_line_for_programs(trained):
    directory, out, err = trained
    header, first, second, summary = out.splitlines()
    assert err == ""
    assert header == "cpu: 784-16-16-10, 13,002 parameters, 60,000 examples in batches of 100"
    for number, line in ((1, first), (2, second)):
        for part in (f"epoch {number} ", "cost 0.", "test accuracy ", "examples/s"):
            assert part in line
    summary = json.loads(summary)
    assert list(summary) == ["test_accuracy", "wrong", "of", "seconds", "run"]
    assert (summary["of"], summary["run"]) == (10_000, str(directory))
    assert summary["wrong"] == round(10_000 * (1 - summary["test_accuracy"]))
    assert summary["test_accuracy"] > 0.88


def test_train_keeps_config_metrics_and_parameters(trained):
    directory, out, _ = trained
    kept = {".lock", "checkpoints", "config.json", "lock", "metrics.jsonl", "params.safetensors", "snapshots.npz"}
    assert {path.name for path in directory.iterdir()} == kept
    config = Run.open(directory).config
    assert (config["data"], config["sizes"], config["seed"], config["epochs"]) == ("mnist", [784, 16, 16, 10], 0, 2)
    assert config["versions"]["jax"] == jax.__version__
    lines = metrics_of(directory)
    assert [list(line) for line in lines] == [
        ["epoch", "loss", "test_loss", "test_accuracy", "seconds", "train_accuracy"]
    ] * 2
    assert [line["epoch"] for line in lines] == [1, 2]
    assert json.loads(out.splitlines()[-1])["test_accuracy"] == lines[-1]["test_accuracy"]
    found = accuracy(load_params(directory / "params.safetensors"), load_dataset().test, sigmoid, sigmoid)
    assert found == pytest.approx(lines[-1]["test_accuracy"])


def test_output_reaches_what_cannot_show_it(digits_file, tmp_path, monkeypatch):
    """An ASCII pipe, in an environment that asks for colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    for command in (["train", "--data", digits_file, *WIDE, "--out", tmp_path / "run"], ["evaluate", tmp_path / "run"]):
        pipe = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, "ascii"))
        assert call(*command) == 0
        sys.stdout.flush()
        assert json.loads(pipe.getvalue().splitlines()[-1])["of"] == 100


def test_a_terminal_gets_a_bar_and_a_pipe_none(trained, digits_file, tmp_path):
    assert "\x1b" not in trained[1]
    master, slave = pty.openpty()
    train = ["train", "--data", digits_file, *WIDE, "--epochs", 2, "--out", tmp_path / "run"]
    command = [sys.executable, "-m", "mlp_jax", *map(str, train)]
    process = subprocess.Popen(command, stdout=slave, stderr=slave, env=environment(TERM="xterm", COLUMNS="100"))
    os.close(slave)
    screen = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # Linux says so at the end
            break
        if not piece:
            break
        screen += piece
    os.close(master)
    assert process.wait(timeout=60) == 0
    text = screen.decode()
    assert "0/2" in text
    assert "━" in text
    assert "epoch 2   cost" in text


def test_angles_that_are_none_are_logged_as_null(digits_file, tmp_path, capsys):
    """Where every hidden neuron is dead."""
    flags = "--hidden relu --learning-rate 100000 --angles"
    assert call("train", "--data", digits_file, *WIDE, *flags.split(), "--out", tmp_path / "run") == 0
    assert metrics_of(tmp_path / "run")[0]["angles"] == [None, None]
    assert "angles - -" in capsys.readouterr().out


@pytest.mark.parametrize(
    "gradient",
    [
        "direct_feedback_alignment",
        "suggested_activations",
        pytest.param("feedback_alignment", marks=pytest.mark.slow),
        pytest.param("sign_symmetric", marks=pytest.mark.slow),
    ],
)
def test_train_by_another_rule_and_log_its_angles(digits_file, tmp_path, capsys, gradient):
    flags = ("--gradient", gradient, "--angles", "--batch-size", 10, "--epochs", 5, "--out", tmp_path / "run")
    assert call("train", "--data", digits_file, *WIDE, *flags) == 0
    epoch = capsys.readouterr().out.splitlines()[5]
    metrics = metrics_of(tmp_path / "run")[-1]
    first, last = metrics["angles"]
    assert last < 0.1
    assert f"angles {first:.1f}° {last:.1f}°" in epoch
    assert (first < 0.1) == (gradient == "suggested_activations")  # with a step of 1/2 it is the gradient
    assert first < 85
    assert metrics["test_accuracy"] > 0.3
    assert Run.open(tmp_path / "run").config["gradient"] == gradient


def test_settings_change_what_is_trained(digits_file, tmp_path, capsys):
    """Everything but the defaults at once, by automatic differentiation."""
    flags = "--hidden tanh --output softmax --cost cross_entropy --optimizer adam --weight-decay 0.001 --seed 7"
    run = ("--schedule", "constant", "--gradient", "automatic", "--epochs", 4, "--out", tmp_path / "run")
    assert call("train", "--data", digits_file, *WIDE, *flags.split(), *run) == 0
    summary = summary_of(capsys)
    assert summary["test_accuracy"] > 0.2
    config = Run.open(tmp_path / "run").config
    assert (config["learning_rate"], config["gradient"], config["optimizer"]) == (0.001, "automatic", "adam")
    params = load_params(tmp_path / "run" / "params.safetensors")
    assert [layer.weights.shape for layer in params] == [(12, 64), (10, 12)]
    found = accuracy(params, load_dataset(digits_file).test, np.tanh, lambda z: z)  # softmax has the same highest
    assert found == pytest.approx(summary["test_accuracy"])


def test_divergence_is_said_and_the_last_good_parameters_are_kept(digits_file, tmp_path, capsys):
    flags = "--hidden identity --output identity --learning-rate 1e30"
    assert call("train", "--data", digits_file, *WIDE, *flags.split(), "--out", tmp_path / "run") == 1
    output = capsys.readouterr()
    assert "in epoch 1 numbers stopped being finite, first the " in output.err
    assert output.err.count("\n") == 1
    assert json.loads(output.out.splitlines()[-1])["test_accuracy"] is None
    kept, first = load_params(tmp_path / "run" / "params.safetensors"), init_params(jax.random.key(0), (64, 12, 10))
    jax.tree.map(np.testing.assert_array_equal, kept, first)


@pytest.fixture(scope="module")
def predicting(numbers_file, tmp_path_factory):
    """A run of four epochs that predicts numbers."""
    run = tmp_path_factory.mktemp("runs") / "numbers"
    assert call("train", "--data", numbers_file, *NUMBERS, "--epochs", 4, "--out", run) == 0
    return run


def weighted_scores(params, examples):
    """R^2 and root mean squared error, averaged over the outputs, by their definitions."""
    first, last = jax.device_get(params)
    hidden = np.tanh(examples.inputs @ first.weights.T + first.biases)
    errors = hidden @ last.weights.T + last.biases - examples.targets
    weights = examples.weights / examples.weights.sum()
    spread = examples.targets - weights @ examples.targets
    return np.mean(1 - (weights @ errors**2) / (weights @ spread**2)), np.mean(np.sqrt(weights @ errors**2))


def test_numbers_are_predicted_from_numbers_and_scored_by_r2(numbers_file, predicting, tmp_path, capsys):
    """By a network that sees inputs as they are, and with the weights of the file."""
    test = load_dataset(numbers_file).test
    lines = metrics_of(predicting)
    assert [list(line) for line in lines] == [
        ["epoch", "loss", "test_loss", "test_r2", "test_rmse", "seconds", "train_r2"]
    ] * 4
    r2, rmse = weighted_scores(load_params(predicting / "params.safetensors"), test)
    assert r2 > 0.8
    assert (lines[-1]["test_r2"], lines[-1]["test_rmse"]) == pytest.approx((r2, rmse), rel=1e-4)
    assert lines[-1]["test_r2"] > lines[0]["test_r2"]
    assert call("evaluate", predicting) == 0
    found = summary_of(capsys)
    assert (found["test_r2"], found["test_rmse"]) == pytest.approx((r2, rmse), rel=1e-4)
    assert call("train", "--data", numbers_file, *NUMBERS, "--epochs", 2, "--out", tmp_path / "resumed") == 0
    capsys.readouterr()
    assert call("train", "--resume", tmp_path / "resumed", "--epochs", 4) == 0
    out = capsys.readouterr().out.splitlines()
    assert f"test R^2 {lines[-1]['test_r2']:.4f}" in out[-2]
    summary = json.loads(out[-1])
    assert list(summary) == ["test_r2", "test_rmse", "of", "seconds", "run"]
    assert (summary["test_r2"], summary["of"]) == (lines[-1]["test_r2"], 100)
    assert_same_run(tmp_path / "resumed", predicting)


def test_weights_of_the_file_count(numbers_file, predicting, tmp_path):
    """Those of another file, all the same, give other parameters than those of `predicting`."""
    arrays = dict(np.load(numbers_file))
    np.savez(tmp_path / "even.npz", **arrays | {"w_train": np.full(600, 3.0, np.float32)})
    assert call("train", "--data", tmp_path / "even.npz", *NUMBERS, "--epochs", 4, "--out", tmp_path / "even") == 0
    even, weighted = (load_params(run / "params.safetensors") for run in (tmp_path / "even", predicting))
    assert np.abs(even[0].weights - weighted[0].weights).max() > 1e-3


def test_numbers_that_the_output_cannot_give_are_refused_in_one_line(numbers_file, tmp_path, capsys):
    assert call("train", "--data", numbers_file, "--output", "sigmoid", "--out", tmp_path / "run") == 2
    err = capsys.readouterr().err
    assert "but the output activation gives 0 to 1: use the output activation identity" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_patience_keeps_the_best_epoch_and_a_run_that_stopped_early_stays_as_it_is(numbers_file, tmp_path, capsys):
    command = ["train", "--data", numbers_file, *NUMBERS, "--learning-rate", 0.2, "--validation", 200]
    early = ["--patience", 2, "--checkpoint-every", 0, "--out", tmp_path / "early"]
    assert call(*command, "--epochs", 500, *early) == 0
    summary, lines = summary_of(capsys), metrics_of(tmp_path / "early")
    losses = [line["validation_loss"] for line in lines]
    best = 1 + int(np.argmin(losses))
    assert len(lines) == best + 2 < 500
    kept_line = lines[best - 1]
    assert (summary["epoch"], summary["validation_r2"], summary["of"]) == (best, kept_line["validation_r2"], 100)
    params = load_params(tmp_path / "early" / "params.safetensors")
    model = Model(hidden=tanh, output=identity)
    assert summary["test_r2"] == pytest.approx(evaluate(params, load_dataset(numbers_file).test, model).score)
    assert call(*command, "--epochs", best, "--out", tmp_path / "best") == 0
    kept = (tmp_path / "best" / "params.safetensors").read_bytes()
    assert (tmp_path / "early" / "params.safetensors").read_bytes() == kept
    shutil.copytree(tmp_path / "early", tmp_path / "before")
    assert call("train", "--resume", tmp_path / "early") == 0
    assert summary_of(capsys) == summary
    assert_same_run(tmp_path / "early", tmp_path / "before")
    (tmp_path / "early" / "checkpoints" / f"{best + 2}.safetensors").unlink()  # as if killed before it was there
    assert call("train", "--resume", tmp_path / "early") == 0
    assert "resuming after epoch" in capsys.readouterr().out
    assert_same_run(tmp_path / "early", tmp_path / "before")
