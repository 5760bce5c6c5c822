"""`mlp-jax evaluate`, against NumPy, and what every command says of a run that cannot be used."""

import json

import jax
import numpy as np
import pytest
import sklearn.metrics

from mlp_jax import init_params, load_dataset
from mlp_jax.cli import main
from mlp_jax.commands.evaluate import _print_confusion
from mlp_jax.runs import Run


def evaluate(directory):
    return main(["evaluate", str(directory)])


def test_classes_get_a_confusion_matrix(digits, capsys):
    assert evaluate(digits.directory) == 0
    *table, summary = capsys.readouterr().out.splitlines()
    test, a = load_dataset().test, load_dataset().test.inputs / 255
    for weights, biases in digits.load():
        a = 1 / (1 + np.exp(-(a @ np.asarray(weights, np.float64).T + biases)))
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (test.targets, a.argmax(axis=1)), 1)
    *rows, last = [line.replace("·", "0").split() for line in table if line.count("%") or line.count("precision")]
    np.testing.assert_array_equal(np.array([row[1:11] for row in rows], int), expected)
    assert [row[11] for row in rows] == [f"{counts[label] / counts.sum():.1%}" for label, counts in enumerate(expected)]
    answers = [(counts[label], counts.sum()) for label, counts in enumerate(expected.T)]
    assert last[1:-1] == [f"{100 * right / of:.1f}" if of else "-" for right, of in answers]
    assert max(map(len, table)) <= 80
    probabilities = a / a.sum(axis=1, keepdims=True)
    assert json.loads(summary) == {
        "test_accuracy": np.trace(expected) / 10_000,
        "wrong": 10_000 - np.trace(expected),
        "of": 10_000,
        "cost": pytest.approx(np.mean(np.sum((a - np.eye(10)[test.targets]) ** 2, axis=1)), abs=2e-6),
        "log_loss": pytest.approx(sklearn.metrics.log_loss(test.targets, probabilities), abs=2e-6),
        "calibration_error": pytest.approx(0, abs=0.5),
    }


@pytest.mark.parametrize("width", [40, 80])
def test_a_hundred_classes_are_readable(width, monkeypatch, capsys):
    """Whose names have brackets, as Rich's markup has, and are long."""
    monkeypatch.setenv("COLUMNS", str(width))
    draw = np.random.default_rng(0)
    confusion = draw.integers(0, 30, (100, 100)) + 1000 * np.eye(100, dtype=int)
    confusion[7, 9] = 31
    names = [f"[bold]class {number}" for number in range(100)]
    _print_confusion(confusion, names)
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.count("%") == 2]
    for name, row, of, answers in zip(names, rows, confusion.sum(axis=1), confusion.sum(axis=0), strict=True):
        number = names.index(name)
        expected = [str(of), f"{confusion[number, number] / of:.1%}", f"{confusion[number, number] / answers:.1%}"]
        assert row.split()[-3:] == expected
        assert row.strip().startswith(name[:8])
    assert "[bold]class 7 answered as [bold]class 9: 31 times" in lines
    assert max(map(len, lines)) <= max(width, len("[bold]class 77 answered as [bold]class 99: 31 times"))


def test_numbers_get_r2_and_rmse(numbers, capsys):
    assert evaluate(numbers.directory) == 0
    with np.load(numbers.config["data"]) as data:
        a, y = data["x_test"], data["y_test"]
    (w1, b1), (w2, b2) = (map(np.asarray, layer) for layer in numbers.load())
    error = np.tanh(a @ w1.T + b1) @ w2.T + b2 - y
    r2 = 1 - (error**2).mean(axis=0) / y.var(axis=0)
    assert json.loads(capsys.readouterr().out) == {
        "test_r2": pytest.approx(r2.mean(), rel=1e-5),
        "test_rmse": pytest.approx(np.sqrt((error**2).mean(axis=0)).mean(), rel=1e-5),
        "of": 10,
        "cost": pytest.approx((error**2).sum(axis=1).mean(), rel=1e-5),
        "test_mae": pytest.approx(np.abs(error).mean(), rel=1e-5),
        "figure": str(numbers.directory / "predictions.png"),
    }
    assert (numbers.directory / "predictions.png").stat().st_size > 5_000


def test_a_damaged_run_is_refused_in_one_line(digits, tmp_path, capsys):
    run = Run.create(tmp_path / "run", digits.config)
    assert evaluate(run.directory) == 2
    (run.directory / "params.safetensors").write_bytes(b"x")
    assert evaluate(run.directory) == 2
    (run.directory / "config.json").write_text('{"hidden": "magic"}')
    assert evaluate(run.directory) == 2
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
def test_a_config_changed_by_hand_is_refused_in_one_line(digits, tmp_path, capsys, change):
    config = digits.config | change
    run = Run.create(tmp_path / "run", {name: value for name, value in config.items() if value is not None})
    run.save(digits.load())
    assert evaluate(run.directory) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "config.json does not describe data and a model" in error


def test_parameters_for_other_data_are_refused(digits, tmp_path, capsys):
    run = Run.create(tmp_path / "run", digits.config)
    run.save(init_params(jax.random.key(0), (784, 3)))
    assert evaluate(run.directory) == 2
    assert "has a network 784-3, but its data have 784 inputs and 10 outputs" in capsys.readouterr().err
