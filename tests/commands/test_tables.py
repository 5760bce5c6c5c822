"""Tables and folders of pictures on the command line: from a file to a run, and from a run to answers."""

import csv
import json

import jax
import numpy as np
import pytest
import sklearn.metrics
from PIL import Image

from mlp_jax import feedforward, load_model
from mlp_jax.build import held_out
from mlp_jax.cli import main, parse
from mlp_jax.config import PRESETS
from mlp_jax.data import load_table
from mlp_jax.runs import Run, load_params, load_preprocessing

ROWS = 120
SHORT = ["--sizes", "0", "8", "0", "--epochs", "40", "--learning-rate", "0.02", "--batch-size", "20"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """houses.csv, a regression, and flowers.csv, three classes; holes, text and dates among the columns."""
    folder, random = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    size, city = random.uniform(20, 200, ROWS).round(1), random.choice(["Oslo", "Rome"], ROWS)
    price = 3000 * size + 50_000 * (city == "Rome") + random.normal(0, 5000, ROWS)
    kinds = np.array(["iris", "rose", "tulip"])[(size > 80).astype(int) + (size > 140)]
    for name, target, values in (("houses", "price", price.round()), ("flowers", "kind", kinds)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["row", "size", "city", target])
            for row in range(ROWS):
                rows.writerow([row, "" if row % 9 == 4 else size[row], city[row], values[row]])
    return folder


@pytest.fixture(scope="module")
def runs(folder):
    for name, target in (("houses", "price"), ("flowers", "kind")):
        data = ["--data", str(folder / f"{name}.csv"), "--target", target]
        assert main(["train", *data, *SHORT, "--out", str(folder / name)]) == 0
    return folder


def lines_of(capsys):
    output = capsys.readouterr()
    return output.out.splitlines(), output.err


def test_rows_in_order_of_time_are_validated_with_the_last_before_the_test():
    table = {"x": np.arange(100.0) ** 2, "y": np.sin(np.arange(100.0))}
    dataset = load_table(table, "y", split="time", scaling="none")
    held = held_out(parse(["train", "--target", "y", "--split", "time", "--validation", "10"]), dataset)
    np.testing.assert_array_equal(held.test.inputs[:, 0], table["x"][70:80])
    np.testing.assert_array_equal(held.train.inputs[:, 0], table["x"][:70])


def test_a_target_makes_the_settings_those_of_a_table():
    settings = parse(["train", "--data", "t.csv", "--target", "y", "--epochs", "5"])
    assert (settings.preset, settings.epochs) == ("table", 5)
    assert {name: getattr(settings, name) for name in PRESETS["table"] if name != "epochs"}.items() <= PRESETS[
        "table"
    ].items()
    assert parse(["train", "--target", "y", "--preset", "lesson"]).hidden == "sigmoid"
    assert parse(["sweep", "--target", "y"]).learning_rate == (PRESETS["table"]["learning_rate"],)


def test_it_ends_with_scores_beside_the_simplest_answer(folder, tmp_path, capsys):
    data = ["--data", str(folder / "houses.csv"), "--target", "price"]
    assert main(["train", *data, *SHORT, "--out", str(tmp_path / "run")]) == 0
    out, err = lines_of(capsys)
    assert err == "mlp-jax: column row numbers the rows: left out\n"
    assert out[0].startswith("cpu: 4-8-1, ")
    assert "validation R^2" in out[1]
    summary = json.loads(out[-1])
    assert f"test R^2 {summary['test_r2']:.3f}, RMSE {summary['test_rmse']:.4g}; always the mean: RMSE " in out[-2]
    assert summary["test_r2"] > 0.5 > summary["baseline_r2"]
    assert summary["test_rmse"] < 0.7 * summary["baseline_rmse"]
    assert set(summary) == {
        *("validation_r2", "validation_rmse", "test_r2", "test_rmse", "baseline_r2", "baseline_rmse"),
        *("epoch", "of", "seconds", "run"),
    }
    config = Run.open(tmp_path / "run").config
    assert (config["output"], config["cost"], config["target"]) == ("identity", "quadratic", "price")


def test_scores_are_in_the_unit_of_the_target(runs, capsys):
    assert main(["evaluate", str(runs / "houses")]) == 0
    summary = json.loads(lines_of(capsys)[0][-1])
    answers, true = predictions(runs, "houses", capsys), column(runs / "houses.csv", "price")
    kept = load_preprocessing(runs / "houses" / "params.safetensors")
    tests = load_table(str(runs / "houses.csv"), "price", preprocessing=kept).test.targets
    rows = [int(np.argmin(np.abs(true - number))) for number in kept.numbers(tests)]
    assert summary["test_rmse"] == pytest.approx(np.sqrt(np.mean((answers[rows] - true[rows]) ** 2)), rel=1e-4)
    assert summary["test_mae"] == pytest.approx(np.mean(np.abs(answers[rows] - true[rows])), rel=1e-4)
    assert summary["test_r2"] == pytest.approx(sklearn.metrics.r2_score(true[rows], answers[rows]), rel=1e-4)
    assert (runs / "houses" / "predictions.png").is_file()


def column(path, name):
    with path.open() as file:
        return np.array([float(row[name]) for row in csv.DictReader(file)])


def predictions(runs, name, capsys, table=None):
    out = runs / "answers.csv"
    assert main(["predict", str(runs / name), str(table or runs / f"{name}.csv"), "--out", str(out)]) == 0
    assert json.loads(lines_of(capsys)[0][-1]) == {"path": str(out), "rows": ROWS}
    return column(out, "price")


def test_classes_have_names_and_probabilities(runs, capsys):
    out = runs / "kinds.csv"
    assert main(["predict", str(runs / "flowers"), str(runs / "flowers.csv"), "--out", str(out)]) == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    with (runs / "flowers.csv").open() as file:
        true = [row["kind"] for row in csv.DictReader(file)]
    names = ["probability iris", "probability rose", "probability tulip"]
    assert list(rows[0]) == ["kind", *names]
    probabilities = np.array([[float(row[name]) for name in names] for row in rows])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=3e-6)
    assert [row["kind"] for row in rows] == [names[at].split()[1] for at in probabilities.argmax(axis=1)]
    assert np.mean([row["kind"] == kind for row, kind in zip(rows, true, strict=True)]) > 0.8
    capsys.readouterr()
    assert main(["evaluate", str(runs / "flowers")]) == 0
    text = "\n".join(lines_of(capsys)[0])
    assert all(
        word in text for word in ("iris", "rose", "tulip", "precision", "recall", "log_loss", "calibration_error")
    )


def test_without_a_file_the_first_answers_are_shown(runs, capsys):
    assert main(["predict", str(runs / "flowers"), str(runs / "flowers.csv")]) == 0
    out, _ = lines_of(capsys)
    assert out[-1] == f"10 of {ROWS} rows; --out FILE writes all"
    assert sum("│" in line for line in out) == 10


def test_rows_are_read_as_training_read_them(runs, tmp_path, capsys):
    """In another order of columns, with a new one, with a city that training had not."""
    with (runs / "houses.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["price"], row["row"]
    with (tmp_path / "new.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["roof", "city", "size"])
        writer.writeheader()
        writer.writerows([{"roof": "red", **row} for row in rows])
    expected = predictions(runs, "houses", capsys)
    np.testing.assert_array_equal(predictions(runs, "houses", capsys, tmp_path / "new.csv"), expected)
    (tmp_path / "other.csv").write_text("city,size\nBern,80\nOslo,90\n")
    assert main(["predict", str(runs / "houses"), str(tmp_path / "other.csv")]) == 0
    assert "Bern in column city count as missing: training knew Oslo, Rome" in lines_of(capsys)[1]


def test_the_exported_program_takes_and_gives_units(runs, capsys):
    assert main(["export", str(runs / "houses")]) == 0
    said = json.loads(lines_of(capsys)[0][-1])
    assert said["names"] == {"inputs": ["size", "size is missing", "city = Oslo", "city = Rome"], "outputs": ["price"]}
    program = jax.export.deserialize(bytearray((runs / "houses" / "predict.stablehlo").read_bytes()))
    (runs / "one.csv").write_text("size,city\n100,Rome\n")
    found = program.call(np.array([[100, 0, 0, 1]], np.float32))
    assert main(["predict", str(runs / "houses"), str(runs / "one.csv"), "--out", str(runs / "one.txt")]) == 0
    assert float(found[0, 0]) == pytest.approx(float((runs / "one.txt").read_text().split()[1]), rel=1e-5)


def test_a_changed_file_is_still_read_as_training_read_it(runs, tmp_path, capsys):
    """The kept medians and scaling count, and not those that the new rows would teach."""
    data = tmp_path / "houses.csv"
    data.write_bytes((runs / "houses.csv").read_bytes())
    assert main(["train", "--data", str(data), "--target", "price", *SHORT, "--out", str(tmp_path / "run")]) == 0
    run = Run.open(tmp_path / "run")
    lines = data.read_text().splitlines()
    data.write_text("\n".join([lines[0], *(f"{row},{1e4 + row},Rome,5" for row in range(500)), *lines[1:]]) + "\n")
    params, model, kept = run.load(), load_model(run.directory / "params.safetensors"), run.preprocessing()
    dataset = load_table(str(data), "price", preprocessing=kept)
    errors = kept.numbers(feedforward(params, dataset.test.inputs, model)) - kept.numbers(dataset.test.targets)
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert json.loads(lines_of(capsys)[0][-1])["test_rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-4)


def test_a_run_resumes_and_compares(runs, tmp_path, capsys):
    command = ["train", "--data", str(runs / "flowers.csv"), "--target", "kind", *SHORT]
    assert main([*command, "--out", str(tmp_path / "run"), "--epochs", "3"]) == 0
    assert main(["train", "--resume", str(tmp_path / "run"), "--epochs", "40"]) == 0
    whole, resumed = (load_params(run / "params.safetensors") for run in (runs / "flowers", tmp_path / "run"))
    assert np.shape(whole[0].weights) == np.shape(resumed[0].weights)
    assert main(["compare", "--run", str(runs / "flowers"), "--batch-size", "20"]) == 0
    assert "manual" in capsys.readouterr().out


def test_many_networks_learn_a_table(runs, tmp_path, capsys):
    command = [
        "sweep",
        "--data",
        str(runs / "houses.csv"),
        "--target",
        "price",
        "--sizes",
        "0",
        "8",
        "0",
        "--epochs",
        "3",
    ]
    assert main([*command, "--batch-size", "20", "--seeds", "2", "--out", str(tmp_path / "sweep")]) == 0
    best = json.loads(lines_of(capsys)[0][-1])["best"]
    assert main(["evaluate", best]) == 0
    assert "test_rmse" in lines_of(capsys)[0][-1]


def test_pictures_in_folders_are_learned_and_read(tmp_path, capsys):
    random = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 200)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = np.clip(random.normal(level, 30, (25, 30, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.jpg")
    command = ["train", "--data", str(tmp_path / "photos"), "--image-size", "6", "8", "--batch-size", "8"]
    assert main([*command, "--epochs", "30", "--out", str(tmp_path / "run")]) == 0
    out, _ = lines_of(capsys)
    assert out[0].startswith("cpu: 144-16-16-2, ")
    assert json.loads(out[-1])["baseline_accuracy"] == 0.5
    assert "; always dark: 50.00%" in out[-2]
    for name in ("dark", "light"):
        assert main(["predict", str(tmp_path / "run"), str(tmp_path / "photos" / name / "3.jpg")]) == 0
        assert f"answer: {name}" in lines_of(capsys)[0]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train --data houses.csv", "houses.csv is a table: say which column is to be predicted, the target"),
        ("train --data houses.csv --target prise", "no column 'prise', the target: expected one of price"),
        ("train --data houses.csv --target price --validation 0.999", "training examples are to be held out"),
        ("train --data houses.csv --target price --shift 1", "--shift needs images"),
        ("train --data houses.csv --target city --task regression", "the target city is text"),
        ("train --target price", "mnist is no table: a target is a column of a .csv, .tsv"),
        ("predict houses houses.csv houses.csv", "2 files are given: expected one table"),
        ("predict houses flowers.csv --out nowhere/a.csv", "nowhere/a.csv cannot be written"),
        ("predict houses nothing.csv", "nothing.csv cannot be read"),
        ("predict houses digit.png", "digit.png is no table, which houses learned: expected a .csv, .tsv"),
        ("experiment noise --run flowers", "needs images, of numbers from 0 to 1: inputs go from "),
        ("predict houses bad.csv", "the table has no column size, city, which training had; it has a besides"),
    ],
)
def test_bad_input_is_a_line_and_writes_nothing(command, message, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    (runs / "bad.csv").write_text("a\n1\n")
    before = sorted(runs.rglob("*"))
    assert main(command.split()) == 2
    out, err = lines_of(capsys)
    assert out == []
    assert message in err
    assert err.splitlines()[-1].startswith("mlp-jax: ")
    assert sorted(runs.rglob("*")) == before
