"""The command that runs the claims: what it prints and writes, on what, and what it refuses."""

import importlib
import json
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from mlp_jax import Layer, init_params, save_params
from mlp_jax.cli import main
from mlp_jax.experiments import EXPERIMENTS, claim_of
from mlp_jax.experiments.subject import SubjectError
from mlp_jax.runs import Run


@pytest.fixture(autouse=True)
def settings_stay(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    monkeypatch.chdir(tmp_path)


def make_run(directory, data, sizes):
    """A run whose network began with seed 3, and whose parameters are now those of seed 4."""
    settings = {"data": data, "hidden": "sigmoid", "output": "sigmoid", "cost": "quadratic", "seed": 3}
    run = Run.create(directory, settings)
    run.save(init_params(jax.random.key(4), sizes))
    return run.directory


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The run of a small network."""
    return make_run(tmp_path_factory.mktemp("runs") / "run", "mnist", (784, 4, 10))


def test_experiments_are_listed_with_a_line_each(capsys):
    assert main(["experiment"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(EXPERIMENTS)
    for line, name in zip(lines, EXPERIMENTS, strict=True):
        assert line.endswith(f" {claim_of(name).text} ({claim_of(name).source})")


def test_the_list_does_not_wait_for_jax():
    code = "import sys; from mlp_jax.cli import main; main(['experiment']); print('jax' in sys.modules)"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert listed.splitlines()[-1] == "False"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_states_claim_source_and_criteria(name):
    module = importlib.import_module(f"mlp_jax.experiments.{name.replace('-', '_')}")
    claim = claim_of(name)
    assert module.__doc__.startswith(f"{claim.text}.\n\n")
    assert re.fullmatch(r"(the article|lesson \d, minutes? \d+( to \d+)?)(; .+|, .+)?", claim.source)
    assert claim.criteria
    assert all(part and criterion for part, criterion in claim.criteria.items())
    assert all(callable(getattr(module, step)) for step in ("measure", "judge", "draw"))


def test_an_experiment_prints_its_finding_and_writes_figure_and_numbers(tmp_path, capsys):
    assert main(["experiment", "chain"]) == 0
    finding, *table, summary = capsys.readouterr().out.splitlines()
    summary = json.loads(summary)
    kept = json.loads((tmp_path / "experiments" / "chain.json").read_text())
    claim = claim_of("chain")
    assert (kept["experiment"], kept["claim"], kept["source"]) == ("chain", claim.text, claim.source)
    assert kept["criteria"] == claim.criteria
    assert list(kept["parts"]) == list(claim.criteria)
    assert (kept["verdict"], kept["parts"]) == (summary["verdict"], summary["parts"])
    assert finding == f"{kept['verdict']}: {kept['finding']}"
    assert [re.split("  +", line.strip()) for line in table] == [list(row) for row in kept["table"].items()]
    assert set(kept["numbers"]) == set(importlib.import_module("mlp_jax.experiments.chain").Measurement._fields)
    with Image.open(tmp_path / summary["figure"]) as figure:
        assert figure.width == 1080
        assert figure.getpixel((0, 0))[:3] == (255, 255, 255)  # a ground of its own, on any page
    assert {path.name for path in (tmp_path / "experiments").iterdir()} == {"chain.json", "chain.png"}


def test_an_experiment_on_a_run_lies_in_its_directory(run, capsys):
    assert main(["experiment", "noise", "--run", str(run)]) == 0
    assert "networks; numbers are those of the median one  1" in re.sub("  +", "  ", capsys.readouterr().out)
    kept = json.loads((run / "noise.json").read_text())
    assert np.shape(kept["numbers"]["called"]) == (1, 10)
    assert (run / "noise.png").is_file()


def test_a_run_is_looked_at_before_training_and_after(run, monkeypatch, tmp_path):
    seen = []

    def measure(subject):
        seen.append(subject)
        raise SubjectError("seen")

    monkeypatch.setattr("mlp_jax.experiments.noise.measure", measure)
    assert main(["experiment", "noise", "--run", str(run), "--out", str(tmp_path), "--image", "7"]) == 2
    (subject,) = seen
    initial = init_params(jax.random.key(3), (784, 4, 10))
    assert (subject.sizes, subject.members, subject.image) == ((784, 4, 10), 1, 7)
    for layer, before, after in zip(initial, subject.initial, subject.networks, strict=True):
        np.testing.assert_array_equal(before.weights[0], layer.weights)
        assert not np.array_equal(after.weights[0], layer.weights)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nois"], "there is no experiment 'nois': perhaps you meant noise"),
        (["zzz"], "there is no experiment 'zzz': mlp-jax experiment lists them"),
        (["noise", "--run", "missing"], "missing is no run"),
        (["chain", "--out", "file/inside"], "file"),
        (["one-example", "--image", "10000"], "the image is 10000: expected 0 to 9999"),
        (["one-example", "--image", "-1"], "--image is -1: expected 0 or more"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(arguments, message, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert main(["experiment", *arguments]) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.count("\n") == 1
    assert output.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_experiment_that_cannot_use_the_inputs_says_what_it_needs(tmp_path, capsys):
    images, labels = np.arange(48, dtype=np.uint8).reshape(4, 12), np.arange(4) % 2
    np.savez(tmp_path / "flat.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    make_run(tmp_path / "run", "flat.npz", (12, 4, 2))
    assert main(["experiment", "first-layer", "--run", "run"]) == 2
    assert "needs inputs that are images of one channel: the data have 12 inputs" in capsys.readouterr().err


def test_an_experiment_that_needs_classes_says_so(numbers, capsys):
    assert main(["experiment", "hand-set", "--run", str(numbers.directory)]) == 2
    assert "needs classes: the data have wanted outputs, 2 numbers" in capsys.readouterr().err


def test_all_goes_on_after_an_experiment_that_cannot_be_made(run, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("mlp_jax.commands.claims.EXPERIMENTS", {name: EXPERIMENTS[name] for name in ("noise", "chain")})

    def measure(subject):
        raise SubjectError("this experiment needs more")

    monkeypatch.setattr("mlp_jax.experiments.noise.measure", measure)
    (tmp_path / "noise.json").write_text("of an earlier time")
    assert main(["experiment", "all", "--run", str(run), "--out", str(tmp_path)]) == 0
    first, second, summary = capsys.readouterr().out.splitlines()
    assert first == " 1 of 2  noise: left out, this experiment needs more"
    assert second.startswith(" 2 of 2  chain (")
    assert json.loads(summary)["left_out"] == ["noise"]
    assert {path.name for path in tmp_path.iterdir()} == {"chain.json", "chain.png"}


def test_a_run_whose_network_is_not_that_of_its_data_is_refused(run, tmp_path, capsys):
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "config.json").write_bytes((run / "config.json").read_bytes())
    save_params(copy / "params.safetensors", (Layer(np.zeros((10, 5), np.float32), np.zeros(10, np.float32)),))
    assert main(["experiment", "noise", "--run", "copy"]) == 2
    assert "has a network 5-10, but its data have 784 inputs and 10 outputs" in capsys.readouterr().err


@pytest.mark.slow
def test_all_experiments_are_made(tmp_path, capsys):
    assert main(["experiment", "all"]) == 0
    *lines, summary = capsys.readouterr().out.splitlines()
    assert [line.split("(")[0].split()[-1] for line in lines] == list(EXPERIMENTS)
    assert json.loads(summary) == {"experiments": "experiments", "left_out": []}
    for name in EXPERIMENTS:
        with Image.open(tmp_path / "experiments" / f"{name}.png") as figure:
            assert figure.width == 1080
        kept = json.loads((tmp_path / "experiments" / f"{name}.json").read_text())
        assert kept["finding"]
        assert list(kept["parts"]) == list(claim_of(name).criteria)
    accuracy = json.loads((tmp_path / "experiments" / "accuracy.json").read_text())["numbers"]
    found = dict(zip(accuracy["presets"], accuracy["accuracies"], strict=True))
    with capsys.disabled():
        print(f"\ntest accuracies: {found}")
    for name, median, lowest in (("lesson", 0.947, 0.94), ("sixteen", 0.966, 0.96), ("ninety-eight", 0.985, 0.98)):
        assert np.median(found[name]) >= median
        assert min(found[name]) >= lowest
