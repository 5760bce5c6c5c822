"""The commands on the real MNIST: what they print, what they keep, how they stop."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image

from mlp_jax import backprop, feedforward, init_params, load_dataset, settings
from mlp_jax.cli import main
from mlp_jax.runs import Run, load_params
from mlp_jax.training import epoch_order

MNIST = load_dataset()


@pytest.fixture(autouse=True)
def threads_as_they_are(monkeypatch):
    monkeypatch.setenv("PJRT_NPROC", "2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two epochs, and what was printed on the way."""
    directory = tmp_path_factory.mktemp("runs") / "trained"
    command = [sys.executable, "-m", "mlp_jax.cli", "train", "--epochs", "2", "--out", str(directory)]
    return directory, subprocess.run(command, capture_output=True, text=True, check=True)


def call(*arguments):
    return main([str(argument) for argument in arguments])


def test_train_shows_each_epoch_and_ends_with_a_line_for_programs(trained):
    directory, result = trained
    header, first, second, summary = result.stdout.splitlines()
    assert result.stderr == ""
    assert header == "cpu: 784-16-16-10, 13,002 parameters, 60,000 images in batches of 100"
    for number, line in ((1, first), (2, second)):
        for part in (f"epoch {number} ", "cost 0.", "test accuracy ", "examples/s"):
            assert part in line
    summary = json.loads(summary)
    assert list(summary) == ["test_accuracy", "wrong", "of", "seconds", "run"]
    assert (summary["of"], summary["run"]) == (10_000, str(directory))
    assert summary["wrong"] == round(10_000 * (1 - summary["test_accuracy"]))
    assert summary["test_accuracy"] > 0.88


def test_train_keeps_config_metrics_and_parameters(trained):
    directory, result = trained
    kept = {"checkpoints", "config.json", "lock", "metrics.jsonl", "params.safetensors", "snapshots.npz"}
    assert {path.name for path in directory.iterdir()} == kept
    config = Run.open(directory).config
    assert (config["data"], config["sizes"], config["seed"], config["epochs"]) == ("mnist", [784, 16, 16, 10], 0, 2)
    assert config["versions"]["jax"] == jax.__version__
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert [list(line) for line in lines] == [["epoch", "loss", "test_accuracy", "seconds"]] * 2
    assert [line["epoch"] for line in lines] == [1, 2]
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["test_accuracy"] == lines[-1]["test_accuracy"]
    outputs = feedforward(load_params(directory / "params.safetensors"), MNIST.test_images / np.float32(255))
    assert np.mean(np.argmax(outputs, -1) == MNIST.test_labels) == pytest.approx(lines[-1]["test_accuracy"])


def test_evaluate_shows_a_confusion_matrix(trained, capsys):
    directory, result = trained
    assert call("evaluate", directory) == 0
    *table, summary = capsys.readouterr().out.splitlines()
    accuracy = json.loads(result.stdout.splitlines()[-1])["test_accuracy"]
    summary = json.loads(summary)
    assert (summary["test_accuracy"], summary["wrong"]) == (accuracy, round(10_000 * (1 - accuracy)))
    assert 0.05 < summary["cost"] < 0.3
    rows = [line.replace("│", " ").replace("·", "0").split() for line in table if line.startswith("│")]
    counts = np.array([row[1:11] for row in rows], int)
    np.testing.assert_array_equal(counts.sum(axis=1), np.bincount(MNIST.test_labels))
    assert np.trace(counts) == 10_000 * accuracy


def test_predict_answers_and_says_what_it_did(trained, tmp_path, capsys):
    directory, _ = trained
    image = MNIST.test_images[0].reshape(28, 28)
    Image.fromarray(image).save(tmp_path / "plain.png")
    Image.fromarray(255 - image).resize((300, 300)).save(tmp_path / "scan.png")
    assert call("predict", directory, tmp_path / "plain.png", tmp_path / "scan.png") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * 12
    outputs = feedforward(load_params(directory / "params.safetensors"), image.ravel() / np.float32(255))
    assert lines[0] == str(tmp_path / "plain.png")
    for answer, line in enumerate(lines[1:11]):
        number, activation, *bar = line.split()
        assert (int(number), float(activation)) == (answer, pytest.approx(float(outputs[answer]), abs=5e-5))
        assert len("".join(bar)) == pytest.approx(40 * outputs[answer], abs=1)
    assert lines[11] == lines[23] == "answer: 7"
    assert "dark ink on light paper, inverted" in lines[12]
    assert "scaled and centred" in lines[12]


def test_predict_needs_readable_images_and_784_inputs(trained, tmp_path, capsys):
    directory, _ = trained
    (tmp_path / "a.png").write_bytes(b"nonsense")
    Image.fromarray(MNIST.test_images[0].reshape(28, 28)).save(tmp_path / "good.png")
    assert call("predict", directory, tmp_path / "good.png", tmp_path / "a.png") == 2
    assert call("predict", directory) == 2
    small = Run.create(tmp_path / "small", Run.open(directory).config)
    small.save(init_params(jax.random.key(0), (4, 2)))
    assert call("predict", small.directory, tmp_path / "good.png") == 2
    output = capsys.readouterr()
    assert output.out == ""
    messages = output.err.splitlines()
    assert "a.png: not a readable image" in messages[0]
    assert "give one or more image files" in messages[1]
    assert "has 4 inputs: pictures are made into 784 pixels" in messages[2]


def test_a_damaged_run_is_refused_in_one_line(trained, tmp_path, capsys):
    directory, _ = trained
    run = Run.create(tmp_path / "run", Run.open(directory).config)
    assert call("evaluate", run.directory) == 2
    (run.directory / "params.safetensors").write_bytes(b"x")
    assert call("evaluate", run.directory) == 2
    (run.directory / "config.json").write_text('{"hidden": "magic"}')
    assert call("evaluate", run.directory) == 2
    errors = capsys.readouterr().err.splitlines()
    for part, line in zip(("no parameters were", "damaged", "config.json"), errors, strict=True):
        assert part in line


@pytest.mark.parametrize(
    "change",
    [
        {"data": None},
        {"hidden": "jax"},
        {"output": "Activation"},
        {"cost": 3},
        {"output": "tanh", "cost": "cross_entropy"},
    ],
    ids=str,
)
def test_a_config_changed_by_hand_is_refused_in_one_line(trained, tmp_path, capsys, change):
    config = dict(Run.open(trained[0]).config) | change
    run = Run.create(tmp_path / "run", {name: value for name, value in config.items() if value is not None})
    run.save(load_params(trained[0] / "params.safetensors"))
    assert call("evaluate", run.directory) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_parameters_for_other_classes_are_refused(trained, tmp_path, capsys):
    run = Run.create(tmp_path / "run", Run.open(trained[0]).config)
    run.save(init_params(jax.random.key(0), (784, 3)))
    assert call("evaluate", run.directory) == 2
    assert "has 3 outputs, but the data have 10 classes" in capsys.readouterr().err


def test_compare_agrees_and_exits_with_1_where_a_rule_is_wrong(capsys, monkeypatch):
    assert call("compare", "--hidden", "relu", "--output", "softmax", "--cost", "cross_entropy") == 0
    out = capsys.readouterr().out
    for leaf in ("[0].weights", "[0].biases", "[2].weights", "[2].biases"):
        assert leaf in out
    assert "784-16-16-10, float32, 100 images of mnist" in out
    assert "manual and automatic agree" in out

    def wrong(params, inputs, targets, model):
        first, *others = backprop(params, inputs, targets, model)
        return (first._replace(biases=first.biases.at[3].multiply(1.01)), *others)

    monkeypatch.setattr(settings, "backprop", wrong)
    assert call("compare", "--sizes", 784, 8, 10) == 1
    out = capsys.readouterr().out
    assert "manual and automatic DISAGREE" in out
    assert "DISAGREE: 1 wrong in [3], the worst [0].biases[3]" in out
    assert "layer [0], at [0].biases[3]" in out


def test_compare_takes_a_run_a_type_and_other_rules_and_prints_json(trained, capsys):
    directory, _ = trained
    flags = "--dtype float64 --rules manual numerical sign_symmetric --batch-size 20 --json"
    assert call("compare", "--run", directory, *flags.split()) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["passed"], report["agree"], report["should_agree"]) == (True, False, ["numerical", "manual"])
    gradients = report["gradients"]
    assert {leaf["dtype"] for leaf in gradients["manual"]["leaves"]} == {"float64"}
    assert gradients["manual"]["overall"]["relative"] < 1e-13
    assert gradients["numerical"]["overall"]["agrees"]
    assert not gradients["sign_symmetric"]["overall"]["agrees"]
    assert gradients["sign_symmetric"]["leaves"][-1]["agrees"]
    # The run's own parameters: their last biases' gradient, from the numbers in the file.
    params = jax.tree.map(np.float64, load_params(directory / "params.safetensors"))
    batch = epoch_order(0, 0, 60_000)[:20]
    a = MNIST.train_images[batch] / 255
    for weights, biases in params:
        a = 1 / (1 + np.exp(-(a @ weights.T + biases)))
    delta = 2 * (a - np.eye(10)[MNIST.train_labels[batch]]) * a * (1 - a)
    last = gradients["manual"]["leaves"][-1]
    number = int(last["worst"].removeprefix("[2].biases[").removesuffix("]"))
    assert last["value"] == pytest.approx(delta.mean(axis=0)[number], rel=1e-6)


def test_compare_says_which_rules_need_not_agree(capsys):
    rules = ("feedback_alignment", "direct_feedback_alignment", "suggested_activations")
    assert call("compare", "--rules", *rules, "--step", "0.2", "--sizes", 784, 8, 10, "--batch-size", 5) == 0
    out = capsys.readouterr().out
    for name in rules:
        assert f"{name} is another rule than backpropagation: it need not agree" in out


def test_compare_refuses_a_run_and_another_network(trained, tmp_path, capsys):
    assert call("compare", "--run", trained[0], "--hidden", "relu") == 2
    assert call("compare", "--run", tmp_path / "nowhere") == 2
    assert call("compare", "--rules", "automatic") == 2
    assert call("compare", "--rules", "suggested_activations", "--step", "nan") == 2
    suggest = ("--gradient", "suggested_activations", "--step", "nan", "--out", tmp_path / "run")
    assert call("train", *suggest) == 2
    assert not (tmp_path / "run").exists()
    own, nowhere, alone, *steps = capsys.readouterr().err.splitlines()
    assert "has its own hidden: leave out --hidden, or --run" in own
    assert "nowhere" in nowhere
    assert "expected the reference and at least one other" in alone
    assert ["the step is nan: expected a finite number" in step for step in steps] == [True, True]


def test_angles_that_are_none_are_logged_as_null(tmp_path, capsys):
    flags = "--sizes 784 4 10 --hidden relu --learning-rate 1000 --epochs 1 --angles"
    assert call("train", *flags.split(), "--out", tmp_path / "run") == 0
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text())["angles"] == [None, None]
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
def test_train_by_another_rule_and_log_its_angles(tmp_path, capsys, gradient):
    flags = ("--sizes", 784, 12, 10, "--epochs", 1, "--batch-size", 500, "--angles", "--out", tmp_path / "run")
    assert call("train", "--gradient", gradient, *flags) == 0
    epoch = capsys.readouterr().out.splitlines()[1]
    metrics = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    first, last = metrics["angles"]
    assert last < 0.1
    assert f"angles {first:.1f}° {last:.1f}°" in epoch
    assert (first < 0.1) == (gradient == "suggested_activations")  # with a step of 1/2 it is the gradient
    assert first < 85
    assert metrics["test_accuracy"] > 0.3
    assert Run.open(tmp_path / "run").config["gradient"] == gradient


def test_settings_change_what_is_trained(tmp_path, capsys):
    """Everything but the defaults at once, one epoch, by automatic differentiation."""
    flags = "--sizes 784 12 10 --hidden tanh --output softmax --cost cross_entropy --optimizer adam --batch-size 999"
    run = ("--schedule", "constant", "--epochs", 1, "--seed", 7, "--gradient", "automatic", "--out", tmp_path / "run")
    assert call("train", *flags.split(), *run) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["test_accuracy"] > 0.5
    config = Run.open(tmp_path / "run").config
    assert (config["learning_rate"], config["gradient"], config["optimizer"]) == (0.001, "automatic", "adam")
    first, last = load_params(tmp_path / "run" / "params.safetensors")
    assert (first.weights.shape, last.weights.shape) == ((12, 784), (10, 12))


def test_divergence_is_said_and_the_last_good_parameters_are_kept(tmp_path, capsys):
    flags = "--hidden identity --output identity --learning-rate 1e30 --epochs 2"
    assert call("train", *flags.split(), "--out", tmp_path / "run") == 1
    output = capsys.readouterr()
    assert "in epoch 1 numbers stopped being finite, first the " in output.err
    assert output.err.count("\n") == 1
    assert json.loads(output.out.splitlines()[-1])["test_accuracy"] is None
    kept, first = load_params(tmp_path / "run" / "params.safetensors"), init_params(jax.random.key(0))
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), kept, first))


def test_control_c_keeps_what_is_trained(tmp_path):
    directory = tmp_path / "run"
    command = [sys.executable, "-m", "mlp_jax.cli", "train", "--epochs", "100000", "--out", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = directory / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.read_text().count("\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert err.splitlines() == [
        "mlp-jax: stopping after this epoch; Control-C again stops at once, without it",
        f"mlp-jax: stopped after epoch {len(lines)}; mlp-jax train --resume {directory} goes on",
    ]
    summary = json.loads(out.splitlines()[-1])
    assert summary["test_accuracy"] == lines[-1]["test_accuracy"]
    outputs = feedforward(load_params(directory / "params.safetensors"), MNIST.test_images / np.float32(255))
    assert np.mean(np.argmax(outputs, -1) == MNIST.test_labels) == pytest.approx(summary["test_accuracy"], abs=1e-7)


@pytest.mark.parametrize("delay", [0.3, 0.5, 0.65, 1.0, 1.9])
def test_control_c_before_training_ends_the_program(tmp_path, delay):
    """Whatever it is doing just then: importing JAX, reading data, compiling."""
    command = [sys.executable, "-m", "mlp_jax.cli", "train", "--epochs", "100000", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    python_was_starting = "KeyboardInterrupt" in err and "site-packages/jax/" not in err
    assert process.returncode in (-signal.SIGINT, 130) or python_was_starting


def test_output_reaches_what_cannot_show_it(trained):
    """An ASCII pipe, in an environment that asks for colours."""
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "FORCE_COLOR": "1"}
    coloured = str(trained[0].parent / "coloured")
    for arguments in (["evaluate", str(trained[0])], ["train", "--epochs", "1", "--out", coloured]):
        command = [sys.executable, "-m", "mlp_jax.cli", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        assert json.loads(result.stdout.splitlines()[-1])["of"] == 10_000


def test_a_terminal_gets_a_bar_and_a_pipe_none(trained, tmp_path):
    assert "\x1b" not in trained[1].stdout
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "mlp_jax.cli", "train", "--epochs", "2", "--out", str(tmp_path / "run")]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command, stdout=slave, stderr=slave, env=environment)
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
    assert process.wait(timeout=60) == 0
    text = screen.decode()
    assert "0/2" in text
    assert "━" in text
    assert "epoch 2   cost" in text
