"""The command line: what it takes, and one line on stderr for what it cannot use."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import asdict, fields, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

import mlp_jax
from mlp_jax import Model, build, load_dataset
from mlp_jax.build import model_for
from mlp_jax.cli import COMMANDS, main, parse
from mlp_jax.commands import compare
from mlp_jax.config import PRESETS, Compare, Evaluate, Experiment, Predict, Sweep, Train, command_of, preset
from mlp_jax.runs import Run

read_once = cache(load_dataset)
BAD = {
    "": "required: COMMAND; see mlp-jax --help",
    "trian": "COMMAND: invalid choice: 'trian' .choose from '?train'?, .*; perhaps you meant train; see",
    "train --epoch 3": "unrecognized arguments: --epoch 3; perhaps you meant --epochs; see mlp-jax train --help",
    "train --batch_size 3": "unrecognized arguments: --batch_size 3; perhaps you meant --batch-size;",
    "train fashion": "unrecognized arguments: fashion; see mlp-jax train --help",
    "train --epochs 3 4": "unrecognized arguments: 4; see mlp-jax train --help",
    "train --epochs": "--epochs: expected one argument",
    "train --epochs three": "--epochs: invalid int value: 'three'; see mlp-jax train --help",
    "train --epochs=2.5": "--epochs: invalid int value: '2.5'",
    "train --angles yes": "unrecognized arguments: yes",
    "train --hidden sigmod": "--hidden: invalid choice: 'sigmod' .choose from .*; perhaps you meant sigmoid;",
    "train --gradient numerical": "choose from '?manual'?, '?automatic'?",
    "train --sizes 784 sixteen 10": "--sizes: invalid int value: 'sixteen'",
    "train --data fashion": "there is no data set 'fashion' .*: expected 'mnist'",
    "train --sizes 784 16": "sizes are .784, 16., but the data have 784 inputs and 10 classes: .* end at 10",
    "train --sizes 28 16 10": "sizes are .28, 16, 10., but the data have 784 inputs .* start at 784",
    "train --sizes 784": "--sizes are .784,.: expected two layers or more",
    "train --sizes": "--sizes are ..: expected two layers or more",
    "train --sizes 784 0 10": "--sizes are .784, 0, 10.: .* of 1 neuron or more",
    "train --sizes 784 -1 10": "--sizes is -1: expected 0 or more",
    "train --batch-size 0": "--batch-size is 0: expected 1 or more",
    "train --batch-size 60001": "batch size is 60001: expected 1 to 60000",
    "train --epochs 0": "--epochs is 0: expected 1 or more",
    "train --seed -1": "seed is -1: expected 0 to 4294967295",
    "train --seed 99999999999999999999": "seed is 99999999999999999999: expected 0 to",
    "compare --seed 4294967296": "seed is 4294967296: expected 0 to 4294967295",
    "train --sizes 784 100000000 10": "make 79,500,000,010 parameters: expected fewer than",
    "train --optimizer scale": "Optax has no optimiser 'scale'",
    "train --learning-rate 0": "--learning-rate is 0.0: expected a finite number above 0",
    "train --learning-rate nan": "--learning-rate is nan: expected",
    "train --weight-decay -1": "--weight-decay is -1.0: expected",
    "train --output tanh --cost cross_entropy": "cost needs outputs from 0 to 1",
    "train --gradient suggested_activations --step nan": "--step is nan: expected a finite number",
    "train --patience 3": "patience is 3",
    "train --out full": "full is there already and not empty: give --out a new directory",
    "train --out full/file/below": "Not a directory: 'full/file/below'",
    "train --resume full": "full is not a run that can be resumed: there is no config.json in it",
    "sweep --seeds 0": "--seeds is 0: expected 1 or more",
    "sweep --seeds 1000000": "5,000,000 networks are asked for, .*: expected at most 10,000",
    "sweep --seeds 2000 --sizes 0 30000 0": "10,000 networks of .* take about .* GB .* ask for fewer --seeds",
    "sweep --learning-rate": "no network to train",
    "sweep --learning-rate 1 -1": "--learning-rate is -1.0: expected a finite number above 0",
    "sweep --scale 1 nan": "--scale is nan: expected a finite number",
    "sweep --seeds 2 --seed 4294967295": "seed is 4294967296: expected 0 to 4294967295",
    "sweep --out full": "full is there already and not empty",
    "compare --batch-size 0": "--batch-size is 0",
    "compare --sizes 784 11": "sizes are .784, 11.",
    "compare --run full --hidden sigmoid --cost quadratic": "own hidden, cost: leave out --hidden --cost, or --run",
    "train --hidden": "--hidden: expected one argument",
    "train --timeout 0": "--timeout is 0: expected 1 or more",
    "train --validation -3": "--validation is -3.0: expected 0 or more",
    "train --vary": "--vary is for a committee",
    "train --num-processes 2 --process-id 2": "--process-id is 2: expected 0 to 1",
    "serve full --port 65536": "--port is 65536: expected 0 to 65535",
    "experiment noise --image -1": "--image is -1: expected 0 or more",
    "evaluate": "required: DIR; see mlp-jax evaluate --help",
    "evaluate missing": "missing is no run: there is no config.json in it",
    "evaluate full": "full is no run",
    "evaluate full twice": "unrecognized arguments: twice",
    "predict full": "required: FILE...; see mlp-jax predict --help",
    "predict missing full/file": "missing is no run",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_one_line_and_exit_status_2_and_nothing_is_written(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "load_dataset", read_once)
    monkeypatch.setattr(compare, "load_dataset", read_once)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    assert main(arguments.split()) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("mlp-jax: ")
    assert output.err.count("\n") == 1
    assert re.search(BAD[arguments], output.err)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["full", "full/file"]
    assert (tmp_path / "full" / "file").read_text() == "mine"


def test_bad_settings_are_refused_before_jax_and_data_are_loaded():
    bad = [
        "train --epochs 0",
        "train --batch-size -1 --data missing",
        "train --learning-rate inf",
        "train --patience 3",
        "train --vary",
        "train --shift -1",
        "sweep --seeds 1000000",
        "sweep --own-batches --shift 1",
        "compare --seed -1",
        "serve nowhere --port -1",
    ]
    code = "import sys; from mlp_jax.cli import main; print([main(each.split()) for each in sys.argv[1:]], "
    code += "'jax' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code, *bad], capture_output=True, text=True)
    assert result.stdout == f"{[2] * len(bad)} False\n"
    assert result.stderr.count("mlp-jax: ") == result.stderr.count("\n") == len(bad)


def test_a_full_disk_for_the_output_is_one_line():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "mlp_jax", "experiment"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 2
    assert re.fullmatch(r"mlp-jax: .*No space left on device\n", result.stderr)


def test_no_directory_where_none_can_be_made_says_what_to_give(monkeypatch):
    def refuse(self, **_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OSError, match=r"runs/.* cannot be made \(Permission denied\): give --out a directory"):
        Run.create(None, {})


def test_the_version(capsys):
    with pytest.raises(SystemExit, match="^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"mlp-jax {metadata.version('mlp_jax')}\n"
    assert mlp_jax.__version__ == metadata.version("mlp_jax")
    with pytest.raises(AttributeError):
        _ = mlp_jax.__versions__


def test_an_error_that_nobody_foresaw_is_one_line_too(monkeypatch, capsys):
    def fail(settings):
        raise MemoryError("no room\nfor this")

    monkeypatch.setattr(compare, "compare", fail)
    assert main(["compare"]) == 2
    assert capsys.readouterr().err == "mlp-jax: MemoryError: no room (PYTHONDEVMODE=1 shows where)\n"
    monkeypatch.setattr(sys, "flags", SimpleNamespace(dev_mode=True))
    with pytest.raises(MemoryError):
        main(["compare"])


def test_the_defaults_are_the_lessons():
    settings = parse(["train"])
    assert settings == Train()
    assert (settings.data, settings.sizes, settings.hidden, settings.output) == (
        "mnist",
        (0, 16, 16, 0),
        "sigmoid",
        None,
    )
    assert (settings.cost, settings.epochs, settings.batch_size, settings.gradient) == (None, 30, 100, "manual")
    assert model_for(settings, load_dataset()) == Model()


def test_flags_reach_their_commands():
    flags = "--sizes 784 30 10 --hidden relu --batch-size=10 --out here --learning-rate 1e-3 --no-cache"
    assert parse(["train", *flags.split()]) == Train(
        sizes=(784, 30, 10), hidden="relu", batch_size=10, out=Path("here"), learning_rate=1e-3, cache=False
    )
    assert parse(["sweep", "--scale", "1", "-0.5", "--sizes", "0", "0", "--own-batches"]) == Sweep(
        scale=(1.0, -0.5), sizes=(0, 0), own_batches=True
    )
    assert parse(["evaluate", "here"]) == Evaluate(directory=Path("here"))
    pictures = Predict(directory=Path("here"), files=(Path("a.png"), Path("b.png")), cache=False)
    assert parse(["predict", "here", "--no-cache", "a.png", "b.png"]) == pictures
    assert parse(["compare", "--seed", "3", "--rules", "manual", "numerical"]) == Compare(
        seed=3, rules=("manual", "numerical")
    )
    assert parse(["experiment"]) == Experiment()
    assert parse(["experiment", "--image", "3", "one-example"]) == Experiment(name="one-example", image=3)


def test_the_command_of_a_run_makes_its_settings_again():
    changed = replace(preset(Train, "nielsen"), standard_normal=False, sizes=(784, 10), data="my data.npz", angles=True)
    for settings in (Train(), changed, Train(patience=3, validation=10, weight_decay=1e-30, learning_rate=0.1)):
        config = json.loads(json.dumps(asdict(settings))) | {"device": "cpu"}
        name, *arguments = shlex.split(command_of(config))
        assert (name, parse(arguments)) == ("mlp-jax", settings)
    assert command_of(json.loads(json.dumps(asdict(Train())))) == "mlp-jax train"
    assert command_of({"learning_rate": 0.1, "preset": "lesson"}) == command_of({"checkpoint_every": 2.0}) == ""


def test_a_resumed_run_has_the_settings_it_was_started_with(tmp_path):
    for kind in (Train, Sweep):
        kept = replace(preset(kind, "ninety-eight"), seed=3, shift=0)
        (tmp_path / "config.json").write_text(json.dumps(asdict(kept) | {"device": "cpu"}))
        command = [kind.__name__.lower(), "--resume", str(tmp_path)]
        assert parse(command) == replace(kept, resume=tmp_path)
        assert parse([*command, "--epochs", "99", "--no-cache"]) == replace(
            kept, resume=tmp_path, epochs=99, cache=False
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "config.json is damaged .*line 1"),
        ("[]", "config.json is damaged"),
        ('{"epochs": "3"}', "config.json is not one of mlp-jax train: epochs is '3' there"),
        ('{"epochs": true}', "epochs is True there"),
        ('{"epochs": 3.0}', "epochs is 3.0 there"),
        ('{"sizes": [784, null]}', r"sizes is \[784, None\] there"),
        ('{"sizes": 784}', "sizes is 784 there"),
        ('{"hidden": ["relu"]}', r"hidden is \['relu'\] there"),
        ('{"hidden": "magic"}', "hidden is 'magic' there"),
        ('{"angles": 1}', "angles is 1 there"),
        ('{"learning_rate": [1.0]}', r"learning_rate is \[1.0\] there"),
    ],
)
def test_a_kept_config_of_other_types_is_refused(content, message, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        parse(["train", "--resume", str(tmp_path)])


def test_help_shows_every_setting_its_default_and_its_choices(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    for command, kind in COMMANDS.items():
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert not stop.value.code
        output = capsys.readouterr()
        assert output.err == ""
        assert output.out.startswith(f"usage: mlp-jax {command} [options]")
        named = {"directory": "DIR", "files": "FILE...", "name": "[NAME]"}
        for field in fields(kind):
            shown = named.get(field.name, f"--{field.name.replace('_', '-')}")
            assert re.search(rf"^  {re.escape(shown)}[ ,]", output.out, re.MULTILINE)
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--batch-size INT Examples in a mini-batch. (default: 100)" in text
    assert "(default: 0 16 16 0)" in text
    assert f"--preset {{{','.join(PRESETS)}}}" in text
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = capsys.readouterr().out
    assert listed.startswith("usage: mlp-jax ")
    assert all(re.search(rf"^    {command}\s", listed, re.MULTILINE) for command in COMMANDS)


def test_one_plain_line_in_a_narrow_terminal_without_unicode():
    environment = os.environ | {"COLUMNS": "40", "FORCE_COLOR": "1", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "mlp_jax", "train", "--hidden", "sigmöd"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "--hidden: invalid choice: 'sigm\\xf6d'" in result.stderr
    assert "\x1b" not in result.stderr
