"""The sweep command on MNIST: what it prints, what it keeps, and that each network is an ordinary run."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from mlp_jax import evaluate, init_params, load_dataset
from mlp_jax.cli import main
from mlp_jax.commands.sweep import FIGURE
from mlp_jax.runs import Run, load_params

MNIST = load_dataset()


def call(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of six networks, three of which diverge."""
    directory = tmp_path_factory.mktemp("sweep") / "runs"
    flags = "--sizes 784 10 --hidden identity --output identity --epochs 2 --batch-size 1000 --seeds 3 --no-cache"
    assert call("sweep", *flags.split(), "--learning-rate", 0.01, 1e30, "--out", directory) == 0
    return directory


def test_each_network_is_a_run_that_other_commands_take(swept, capsys):
    members = sorted((swept / "members").iterdir())
    assert [directory.name for directory in members] == list("012345")
    lines = [json.loads(line) for line in (swept / "metrics.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["finite"]) for line in lines] == [(1, 3), (2, 3)]
    accuracies = []
    for number in range(3):
        run = Run.open(members[number])
        assert (run.config["seed"], run.config["learning_rate"], run.config["scale"]) == (number, 0.01, 1.0)
        accuracy = json.loads((members[number] / "metrics.jsonl").read_text().splitlines()[-1])["test_accuracy"]
        result = evaluate(run.load(), MNIST.test_images, MNIST.test_labels)
        accuracies.append(accuracy)
        assert result.accuracy == pytest.approx(accuracy, abs=1e-3)
    assert (lines[-1]["worst"], lines[-1]["best"]) == (min(accuracies), max(accuracies))
    assert call("evaluate", members[1]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["test_accuracy"] == pytest.approx(
        accuracies[1], abs=1e-3
    )
    diverged = [json.loads(line) for line in (members[3] / "metrics.jsonl").read_text().splitlines()]
    assert [line["test_accuracy"] for line in diverged] == [None, None]
    initial = init_params(jax.random.key(0), (784, 10))
    jax.tree.map(np.testing.assert_array_equal, Run.open(members[3]).load(), initial)
    with Image.open(swept / FIGURE) as figure:
        assert figure.format == "PNG"
        assert np.asarray(figure).std() > 0


def test_what_it_prints(tmp_path, capsys):
    flags = "--sizes 784 10 --epochs 1 --batch-size 5000 --seeds 3 --learning-rate 1 --scale 0.5 --own-batches"
    assert call("sweep", *flags.split(), "--no-cache", "--out", tmp_path / "runs") == 0
    out = capsys.readouterr().out.splitlines()
    assert "2 x cpu: 3 networks 784-10" in out[0]
    assert out[1].startswith("epoch 1   best ")
    summary = json.loads(out[-1])
    assert (summary["networks"], summary["run"]) == (3, str(tmp_path / "runs"))
    ranking = [line.split() for line in out if line.startswith(("best ", "median ", "worst "))]
    assert [words[0] for words in ranking] == ["best", "median", "worst"]
    assert ranking[0][-1] == summary["best"]
    logged = json.loads((tmp_path / "runs" / "metrics.jsonl").read_text())
    assert [words[1] for words in ranking] == [f"{logged[name]:.2%}" for name in ("best", "median", "worst")]
    accuracies = [
        json.loads((directory / "metrics.jsonl").read_text())["test_accuracy"]
        for directory in sorted((tmp_path / "runs" / "members").iterdir())
    ]
    assert len(accuracies) == 3  # and not four, though two devices train two each
    assert (logged["median"], logged["best"]) == (np.median(accuracies), max(accuracies))
    shapes = jax.tree.map(np.shape, load_params(tmp_path / "runs" / "members" / "2" / "params.safetensors"))
    assert shapes == (((10, 784), (10,)),)


def test_a_sweep_whose_networks_all_diverge_says_so(tmp_path, capsys):
    flags = "--sizes 784 10 --hidden identity --output identity --epochs 1 --batch-size 1000 --seeds 2 --no-cache"
    assert call("sweep", *flags.split(), "--learning-rate", 1e30, "--out", tmp_path / "runs") == 1
    output = capsys.readouterr()
    assert "the last of 2 members stopped being finite, in member 0 first the " in output.err
    assert json.loads(output.out.splitlines()[-1])["best"] is None
