"""Settings with a name, and what they reach."""

import json

import numpy as np
import pytest

from mlp_jax import Model, load_dataset
from mlp_jax.arguments import PRESETS, Sweep, Train, parse, preset
from mlp_jax.cli import main
from mlp_jax.commands.keeping import ADDED
from mlp_jax.runs import Run
from mlp_jax.settings import data_of, model_of

QUICK = ["--sizes", "0", "2", "0", "--epochs", "1", "--batch-size", "5000"]


def test_a_preset_is_where_settings_begin():
    assert parse(["train", "--preset", "nielsen"]) == Train(**PRESETS["nielsen"], preset="nielsen")
    given = parse(["train", "--preset", "sixteen", "--epochs", "3", "--no-cache"])
    assert (given.epochs, given.optimizer, given.cache) == (3, "adam", False)
    assert parse(["train", "--preset", "lesson"]) == parse(["train"]) == Train()
    swept = parse(["sweep", "--preset", "ninety-eight", "--seeds", "3"])
    assert (swept.learning_rate, swept.seeds, swept.sizes) == ((0.005,), 3, (0, 256, 0))
    with pytest.raises(ValueError, match="preset"):
        parse(["train", "--preset", "seventeen"])


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_model_for_both_commands(name):
    for kind in (Train, Sweep):
        settings = preset(kind, name)
        model = model_of(settings.hidden, settings.output, settings.cost)
        assert (model == Model()) == (name in ("lesson", "nielsen"))


def test_the_network_of_sixteen_is_that_of_the_lessons():
    assert (Train().sizes, Train().cost) == ((0, 16, 16, 0), "quadratic")
    assert not {"sizes", "cost"} & set(PRESETS["sixteen"])


def test_a_run_says_how_it_was_begun_and_goes_on_so(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", "--preset", "sixteen", *QUICK, "--validation", "50000", "--out", str(out)]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["of"] == 50_000  # the images held out
    config = Run.open(out).config
    assert (config["preset"], config["shift"], config["epochs"]) == ("sixteen", 1, 1)
    assert main(["train", "--resume", str(out), "--epochs", "2"]) == 0
    assert Run.open(out).config["epochs"] == 2


def test_a_run_begun_before_these_settings_goes_on(tmp_path):
    out = tmp_path / "run"
    assert main(["train", *QUICK, "--out", str(out)]) == 0
    config = json.loads((out / "config.json").read_text())
    before = {name: value for name, value in config.items() if name not in ADDED}
    assert len(config) - len(before) == 4
    (out / "config.json").write_text(json.dumps(before))
    assert main(["train", "--resume", str(out), "--shift", "1", "--epochs", "2"]) == 2
    assert main(["train", "--resume", str(out), "--epochs", "2"]) == 0


def test_held_out_images_are_no_test_images():
    held = data_of(Train(validation=10_000))
    mnist = load_dataset()
    assert (len(held.train_images), len(held.test_images)) == (50_000, 10_000)
    both = np.concatenate([held.train_images, held.test_images])
    assert sorted(image.tobytes() for image in both) == sorted(image.tobytes() for image in mnist.train_images)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["train", "--shift", "-1"], "moved by up to -1 pixels: expected 0 to 27"),
        (["train", "--shift", "28"], "moved by up to 28 pixels: expected 0 to 27"),
        (["train", "--validation", "60000"], "60000 training images are to be held out: expected 1 to 59999"),
        (["train", "--validation", "-5"], "-5 training images are to be held out"),
        (["train", "--shift", "1", "--stream", "1000"], "leave out --shift"),
        (["sweep", "--shift", "1", "--own-batches"], "leave out --own-batches or --shift"),
    ],
)
def test_settings_that_make_no_sense_leave_nothing_behind(wrong, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(wrong) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_images_of_no_known_height_cannot_be_moved(tmp_path, capsys):
    images, labels = np.zeros((4, 12), np.uint8), np.arange(4) % 2
    np.savez(tmp_path / "flat.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    assert main(["train", "--data", str(tmp_path / "flat.npz"), "--shift", "1", "--batch-size", "2"]) == 2
    assert "--shift needs images of a known height and width" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("name", "median", "lowest"), [("sixteen", 0.966, 0.960), ("ninety-eight", 0.987, 0.98)])
def test_a_preset_reaches_what_is_said_of_it(name, median, lowest, tmp_path, capsys):
    assert main(["sweep", "--preset", name, "--seeds", "8", "--out", str(tmp_path / "sweep")]) == 0
    members = sorted((tmp_path / "sweep" / "members").iterdir())
    lines = [json.loads((member / "metrics.jsonl").read_text().splitlines()[-1]) for member in members]
    accuracies = np.array([line["test_accuracy"] for line in lines])
    with capsys.disabled():
        print(
            f"\n{name}: " + " ".join(f"{accuracy:.2%}" for accuracy in accuracies),
            f"median {np.median(accuracies):.2%}",
        )
    assert len(accuracies) == 8
    assert np.median(accuracies) >= median
    assert accuracies.min() >= lowest
