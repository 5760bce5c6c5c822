"""`mlp-jax compare`: whether gradients agree, by exit status, table and JSON."""

import json

import jax
import numpy as np
import pytest

from mlp_jax import backprop, build, load_dataset
from mlp_jax.cli import main
from mlp_jax.training import epoch_order

MODEL = ("--hidden", "relu", "--output", "softmax", "--cost", "cross_entropy")  # compiled once


def compare(*arguments):
    return main(["compare", *map(str, arguments)])


def test_it_agrees_and_exits_with_1_if_a_gradient_is_wrong(capsys, monkeypatch):
    assert compare(*MODEL) == 0
    out = capsys.readouterr().out
    for leaf in ("[0].weights", "[0].biases", "[2].weights", "[2].biases"):
        assert leaf in out
    assert "784-16-16-10, float32, 100 examples of mnist" in out
    assert "manual and automatic agree" in out

    def wrong(params, inputs, targets, model):
        first, *others = backprop(params, inputs, targets, model)
        return (first._replace(biases=first.biases.at[3].multiply(1.01)), *others)

    monkeypatch.setattr(build, "backprop", wrong)
    assert compare(*MODEL) == 1
    out = capsys.readouterr().out
    assert "manual and automatic DISAGREE" in out
    assert "DISAGREE: 1 wrong in [3], the worst [0].biases[3]" in out
    assert "params[0], at [0].biases[3]" in out


def test_it_takes_a_run_a_type_and_other_rules_and_prints_json(digits, capsys):
    flags = "--dtype float64 --rules manual numerical sign_symmetric --batch-size 20 --json"
    assert compare("--run", digits.directory, *flags.split()) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["passed"], report["agree"], report["should_agree"]) == (True, False, ["numerical", "manual"])
    gradients = report["gradients"]
    assert {leaf["dtype"] for leaf in gradients["manual"]["leaves"]} == {"float64"}
    assert gradients["manual"]["overall"]["relative"] < 1e-13
    assert gradients["numerical"]["overall"]["agrees"]
    assert not gradients["sign_symmetric"]["overall"]["agrees"]
    assert gradients["sign_symmetric"]["leaves"][-1]["agrees"]
    # The gradient of the run's last biases, by NumPy from the numbers in its file.
    batch = load_dataset().train.rows(epoch_order(0, 0, 60_000)[:20])
    a = batch.inputs / 255
    for weights, biases in jax.tree.map(np.float64, digits.load()):
        a = 1 / (1 + np.exp(-(a @ weights.T + biases)))
    delta = 2 * (a - np.eye(10)[batch.targets]) * a * (1 - a)
    last = gradients["manual"]["leaves"][-1]
    number = int(last["worst"].removeprefix("[2].biases[").removesuffix("]"))
    assert last["value"] == pytest.approx(delta.mean(axis=0)[number], rel=1e-6)


def test_numbers_are_compared_too(numbers, capsys):
    flags = ("--dtype", "float64", "--rules", "manual", "numerical", "--batch-size", 7)
    assert compare("--run", numbers.directory, *flags) == 0
    assert f"3-4-2, float64, 7 examples of {numbers.config['data']}" in capsys.readouterr().out


def test_it_says_which_rules_need_not_agree(capsys):
    rules = ("feedback_alignment", "direct_feedback_alignment", "suggested_activations")
    assert compare("--rules", *rules, "--step", "0.2", *MODEL) == 0
    out = capsys.readouterr().out
    for name in rules:
        assert f"{name} is another rule than backpropagation: it need not agree" in out


def test_it_refuses_what_it_cannot_compare(tmp_path, capsys):
    assert compare("--run", tmp_path / "nowhere") == 2
    assert compare("--rules", "automatic") == 2
    assert compare("--rules", "suggested_activations", "--step", "nan") == 2
    nowhere, alone, step = capsys.readouterr().err.splitlines()
    assert "nowhere" in nowhere
    assert "expected the reference and at least one other" in alone
    assert "--step is nan: expected a finite number" in step
