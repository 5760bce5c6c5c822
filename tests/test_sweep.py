"""The sweep command: what it prints, what it keeps, that each network is an ordinary run, and that it resumes."""

import json
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from processes import assert_same_run, call, metrics_of

from mlp_jax import Model, evaluate, identity, init_params, load_dataset
from mlp_jax.commands.sweep import FIGURE
from mlp_jax.runs import Run, load_params

LINEAR = ["--sizes", 0, 0, "--hidden", "identity", "--output", "identity", "--batch-size", 60]
LINEAR += ["--schedule", "constant", "--checkpoint-every", 0]


@pytest.fixture(scope="module")
def command(digits_file):
    """A sweep of six networks, three of which diverge in the first epoch."""
    return ["sweep", "--data", digits_file, *LINEAR, "--seeds", 3, "--learning-rate", 0.003, 1e30]


@pytest.fixture(scope="module")
def swept(command, tmp_path_factory):
    """Two epochs of it, and what was printed."""
    directory, out = tmp_path_factory.mktemp("sweep") / "runs", StringIO()
    with redirect_stdout(out):
        assert call(*command, "--epochs", 2, "--out", directory) == 0
    return directory, out.getvalue().splitlines()


def test_each_network_is_a_run_that_other_commands_take(swept, digits_file, capsys):
    members = sorted((swept[0] / "members").iterdir())
    assert [directory.name for directory in members] == list("012345")
    lines = metrics_of(swept[0])
    assert [(line["epoch"], line["finite"]) for line in lines] == [(1, 3), (2, 3)]
    test, model, accuracies = load_dataset(digits_file).test, Model(identity, identity), []
    for number in range(3):
        run = Run.open(members[number])
        assert (run.config["seed"], run.config["learning_rate"], run.config["scale"]) == (number, 0.003, 1.0)
        line = metrics_of(members[number])[-1]
        result = evaluate(run.load(), test, model)
        accuracies.append(line["test_accuracy"])
        assert result.score == pytest.approx(line["test_accuracy"])
        assert result.loss == pytest.approx(line["test_loss"])
    assert (lines[-1]["worst"], lines[-1]["best"]) == (min(accuracies), max(accuracies))
    assert call("evaluate", members[1]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["test_accuracy"] == pytest.approx(accuracies[1])
    assert [line["test_accuracy"] for line in metrics_of(members[3])] == [None, None]
    initial = init_params(jax.random.key(0), (64, 10))
    jax.tree.map(np.testing.assert_array_equal, Run.open(members[3]).load(), initial)
    with Image.open(swept[0] / FIGURE) as figure:
        assert figure.format == "PNG"
        assert np.asarray(figure).std() > 0


def test_what_it_prints(swept):
    directory, out = swept
    assert "2 x cpu: 6 networks 64-10" in out[0]
    assert out[1].startswith("epoch 1   best ")
    summary = json.loads(out[-1])
    assert (summary["networks"], summary["run"]) == (6, str(directory))
    ranking = [line.split() for line in out if line.startswith(("best ", "median ", "worst "))]
    assert [words[0] for words in ranking] == ["best", "median", "worst"]
    assert ranking[0][-1] == summary["best"]
    logged = metrics_of(directory)[-1]
    assert [words[1] for words in ranking] == [f"{logged[name]:.2%}" for name in ("best", "median", "worst")]


def test_networks_that_predict_numbers_are_ranked_by_r2(numbers_file, tmp_path, capsys):
    flags = "--sizes 0 0 --output identity --epochs 1 --batch-size 60 --seeds 3 --scale 0.5 --own-batches"
    flags = [*flags.split(), "--learning-rate", 0.03]
    assert call("sweep", "--data", numbers_file, *flags, "--out", tmp_path / "runs") == 0
    out = capsys.readouterr().out.splitlines()
    assert any("test R^2 after epoch 1 of 1" in line for line in out)
    logged = metrics_of(tmp_path / "runs")[0]
    ranking = {line.split()[0]: line.split()[1] for line in out if line.startswith(("best ", "median ", "worst "))}
    assert ranking == {name: f"{logged[name]:.4f}" for name in ("best", "median", "worst")}
    members = sorted((tmp_path / "runs" / "members").iterdir())
    scores = [metrics_of(directory)[0]["test_r2"] for directory in members]
    assert len(scores) == 3  # and not four, though two devices train two each
    assert (logged["median"], logged["best"]) == (np.median(scores), max(scores))
    assert json.loads(out[-1])["best"] == str(members[int(np.argmax(scores))])
    shapes = jax.tree.map(np.shape, load_params(members[2] / "params.safetensors"))
    assert shapes == (((2, 5), (2,)),)


def test_a_sweep_whose_networks_all_diverge_says_so(digits_file, tmp_path, capsys):
    command = ["sweep", "--data", digits_file, *LINEAR, "--seeds", 6, "--learning-rate", 1e30, "--epochs", 1]
    assert call(*command, "--out", tmp_path / "runs") == 1
    output = capsys.readouterr()
    assert "the last of 6 members stopped being finite, in member 0 first the " in output.err
    assert json.loads(output.out.splitlines()[-1])["best"] is None


def test_a_sweep_resumes_and_what_its_members_have_stays(swept, command, tmp_path, capsys):
    """The last three members diverge in the first epoch: their last finite parameters are those they began with."""
    run, whole = tmp_path / "run", tmp_path / "whole"
    shutil.copytree(swept[0], run)
    diverged = (run / "members" / "5" / "params.safetensors").read_bytes()
    assert call("sweep", "--resume", run, "--epochs", 3) == 0
    assert "resuming after epoch 2 of 3" in capsys.readouterr().out
    assert call(*command, "--epochs", 3, "--out", whole) == 0
    for number in "012345":
        assert_same_run(run / "members" / number, whole / "members" / number)
    assert (run / "members" / "5" / "params.safetensors").read_bytes() == diverged
    (run / "members" / "0" / "config.json").write_text("")
    before = metrics_of(run / "members" / "0")
    assert call("sweep", "--resume", run, "--epochs", 4) == 2
    assert "config.json is damaged" in capsys.readouterr().err
    assert metrics_of(run / "members" / "0") == before


def test_the_best_by_validation_examples_is_scored_on_test_examples(digits_file, tmp_path, capsys):
    flags = ["--seeds", 1, "--learning-rate", 0.003, 0.001, "--epochs", 1, "--validation", 100]
    assert call("sweep", "--data", digits_file, *LINEAR, *flags, "--out", tmp_path / "runs") == 0
    *lines, last = capsys.readouterr().out.splitlines()
    summary = json.loads(last)
    run = Run.open(Path(summary["best"]))
    score = evaluate(run.load(), load_dataset(digits_file).test, Model(identity, identity)).score
    assert summary["test_accuracy"] == pytest.approx(score)
    assert any("validation accuracy after epoch 1" in line for line in lines)
    assert f"        {score:.2%}  test accuracy of the best" in lines
