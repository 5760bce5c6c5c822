"""Committees on the command line: many networks trained at once, whose outputs are averaged."""

import csv
import json

import jax
import numpy as np
import pytest
import sklearn.metrics
from processes import call, metrics_of
from safetensors.numpy import load_file, save_file

from mlp_jax import Model, feedforward, init_population, load_model, load_params, load_table, save_params, softmax
from mlp_jax.data import encoded_rows
from mlp_jax.runs import load_preprocessing
from mlp_jax.training import interval_margin, member

ROWS = 120
SETTINGS = ["--members", 5, "--sizes", 0, 8, 0, "--learning-rate", 0.02, "--batch-size", 20, "--schedule", "constant"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """houses.csv, numbers to predict, and flowers.csv, classes."""
    folder, random = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    size, city = random.uniform(20, 200, ROWS).round(1), random.choice(["Oslo", "Rome"], ROWS)
    price = 3000 * size + 50_000 * (city == "Rome") + random.normal(0, 5000, ROWS)
    kinds = np.array(["iris", "rose", "tulip"])[(size > 80).astype(int) + (size > 140)]
    for name, target, values in (("houses", "price", price.round()), ("flowers", "kind", kinds)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["size", "city", target])
            rows.writerows(zip(size, city, values, strict=True))
    return folder


def trained(folder, out, name, target, *more):
    """The command that trains a committee."""
    return ["train", "--data", folder / f"{name}.csv", "--target", target, *SETTINGS, "--out", out, *more]


@pytest.fixture(scope="module")
def houses(folder):
    assert call(*trained(folder, folder / "houses", "houses", "price", "--epochs", 60, "--patience", 10)) == 0
    return folder / "houses"


@pytest.fixture(scope="module")
def flowers(folder):
    assert call(*trained(folder, folder / "flowers", "flowers", "kind", "--epochs", 60, "--patience", 10)) == 0
    return folder / "flowers"


def outputs_of(run, path):
    """Each member's answers to a table's rows, by `feedforward` of each alone."""
    _, inputs = encoded_rows(load_preprocessing(run / "params.safetensors"), path)
    return outputs_of_rows(run, inputs)


def outputs_of_rows(run, inputs):
    params, model = load_params(run / "params.safetensors"), load_model(run / "params.safetensors")
    return np.stack([feedforward(member(params, n), inputs, model) for n in range(len(params[0].biases))])


def last_json(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def answers(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_mean_of_the_members_is_scored_and_predicted(houses, folder, tmp_path, capsys):
    assert call("evaluate", houses) == 0
    found = last_json(capsys)
    assert (found["members"], found["of"]) == (5, 24)
    assert 0.9 < found["test_r2"] <= 1
    data = load_table(folder / "houses.csv", "price")
    path = tmp_path / "answers.csv"
    assert call("predict", houses, folder / "houses.csv", "--spread", "--out", path) == 0
    rows, kept = answers(path), data.preprocessing
    outputs = outputs_of(houses, folder / "houses.csv")
    predicted = np.array([float(row["price"]) for row in rows])
    np.testing.assert_allclose(predicted, kept.numbers(outputs.mean(axis=0)), rtol=1e-5)
    spread = [float(row["spread"]) for row in rows]
    np.testing.assert_allclose(spread, outputs.std(axis=0)[:, 0] * kept.unit, rtol=1e-3)
    low, high = (np.array([float(row[name]) for row in rows]) for name in ("price from", "to"))
    np.testing.assert_allclose((low + high) / 2, predicted, rtol=1e-5)
    with (folder / "houses.csv").open() as file:
        true = np.array([float(row["price"]) for row in csv.DictReader(file)])
    assert 0.8 < np.mean((low <= true) & (true <= high)) <= 1
    assert 0.7 < found["interval_coverage"] <= 1


def test_a_committee_beats_its_median_member_and_says_so(folder, tmp_path, capsys):
    assert call(*trained(folder, tmp_path / "run", "houses", "price", "--epochs", 60, "--patience", 10)) == 0
    output = capsys.readouterr().out.splitlines()
    assert "validation R^2 of members " in output[-3]
    found = json.loads(output[-1])
    assert f"test R^2 {found['test_r2']:.3f}, RMSE {found['test_rmse']:.4g}; the median member: RMSE " in output[-2]
    assert 0.9 < found["member_r2"] <= 1
    assert found["members"] == 5


def test_probabilities_of_classes_are_averaged(flowers, folder, tmp_path, capsys):
    path = tmp_path / "answers.csv"
    assert call("predict", flowers, folder / "flowers.csv", "--spread", "--out", path) == 0
    rows, outputs = answers(path), outputs_of(flowers, folder / "flowers.csv")
    found = np.array([[float(row[f"probability {name}"]) for name in ("iris", "rose", "tulip")] for row in rows])
    np.testing.assert_allclose(found, outputs.mean(axis=0), atol=1e-5)
    answer = outputs.mean(axis=0).argmax(axis=1)
    of_answer = [outputs.std(axis=0)[row, place] for row, place in enumerate(answer)]
    np.testing.assert_allclose([float(row["spread"]) for row in rows], of_answer, atol=1e-5)
    capsys.readouterr()
    assert call("evaluate", flowers) == 0
    scores = last_json(capsys)
    tested = load_table(folder / "flowers.csv", "kind").test
    model, params = load_model(flowers / "params.safetensors"), load_params(flowers / "params.safetensors")
    mean = np.mean([feedforward(member(params, n), tested.inputs, model) for n in range(5)], axis=0)
    assert scores["log_loss"] == pytest.approx(sklearn.metrics.log_loss(tested.targets, mean), abs=1e-5)
    assert scores["cost"] == pytest.approx(scores["log_loss"], abs=1e-5)
    assert scores["test_accuracy"] == pytest.approx(np.mean(mean.argmax(axis=1) == tested.targets))


def test_the_best_member_is_the_first_and_stands_for_the_committee(flowers, capsys):
    params, lines = load_params(flowers / "params.safetensors"), metrics_of(flowers)
    lowest = sorted(min(losses) for losses in zip(*(line["losses"] for line in lines), strict=True))
    assert len(lowest) == len(params[0].biases) == 5
    assert call("compare", "--run", flowers) == 0
    output = capsys.readouterr()
    assert output.err == f"mlp-jax: {flowers} is a committee: this is about its best member\n"
    assert call("experiment", "noise", "--run", flowers) == 2
    assert "is a committee: experiments are about a network" in capsys.readouterr().err


@pytest.mark.parametrize("patience", [[], ["--patience", 4]], ids=["no patience", "patience"])
def test_more_epochs_give_what_they_had_given_at_once(folder, tmp_path, patience):
    command = ["--checkpoint-every", 0, "--validation", 0.2, *patience]
    for out, epochs in (("whole", 24), ("parts", 9)):
        assert call(*trained(folder, tmp_path / out, "flowers", "kind", *command, "--epochs", epochs)) == 0
    assert call("train", "--resume", tmp_path / "parts", "--epochs", 24) == 0
    whole, parts = (load_file(tmp_path / out / "params.safetensors") for out in ("whole", "parts"))
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    whole, parts = ([line | {"seconds": 0} for line in metrics_of(tmp_path / out)] for out in ("whole", "parts"))
    assert whole == parts


def test_members_that_vary_are_chosen_by_their_cost(folder, tmp_path, capsys):
    more = ["--vary", "--weight-decay", 1e-4, "--validation", 0.3, "--patience", 20, "--epochs", 20]
    assert call(*trained(folder, tmp_path / "run", "houses", "price", *more)) == 0
    assert last_json(capsys)["members"] == 2  # of 5, the best quarter
    whole = load_file(tmp_path / "run" / "members.safetensors")
    kept = load_file(tmp_path / "run" / "params.safetensors")
    lowest = np.min([line["losses"] for line in metrics_of(tmp_path / "run")], axis=0)
    for name in ("layers.0.weights", "layers.1.biases"):
        np.testing.assert_array_equal(kept[name], whole[name][np.argsort(lowest)[:2]])


def test_one_member_that_is_left_is_still_a_committee(folder, tmp_path, capsys):
    more = ["--members", 3, "--vary", "--epochs", 5, "--out", tmp_path / "run"]
    assert call(*trained(folder, tmp_path / "run", "houses", "price", *more)) == 0
    assert last_json(capsys)["members"] == 1
    for command in (["evaluate"], ["export"], ["report"]):
        assert call(*command, tmp_path / "run") == 0
    assert call("predict", tmp_path / "run", folder / "houses.csv", "--spread") == 0


def test_a_line_without_the_members_costs_is_named(folder, tmp_path, capsys):
    run = tmp_path / "run"
    more = ["--epochs", 3, "--checkpoint-every", 0, "--patience", 9]
    assert call(*trained(folder, run, "houses", "price", *more)) == 0
    lines = metrics_of(run)
    lines[1]["losses"] = [0.5]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert call("train", "--resume", run, "--epochs", 5) == 2
    assert "the line of epoch 2 has no losses of 5 members" in capsys.readouterr().err


def test_an_exported_committee_gives_the_mean(houses, folder, capsys):
    assert call("export", houses) == 0
    program = jax.export.deserialize((houses / "predict.stablehlo").read_bytes())
    kept = load_preprocessing(houses / "params.safetensors")
    data = load_table(folder / "houses.csv", "price")
    inputs = np.asarray(kept.inputs.undo(data.test.inputs.astype(np.float64)), np.float32)
    outputs = outputs_of_rows(houses, data.test.inputs)
    np.testing.assert_allclose(program.call(inputs)[:, 0], kept.numbers(outputs.mean(axis=0)), rtol=1e-3)


def test_a_committee_of_pictures(digits_file, tmp_path, capsys):
    train = ["train", "--data", digits_file, "--members", 3, "--sizes", 0, 8, 0, "--epochs", 2]
    assert call(*train, "--out", tmp_path / "run") == 0
    found = last_json(capsys)
    assert call("evaluate", tmp_path / "run") == 0
    assert last_json(capsys)["test_accuracy"] == found["test_accuracy"]


REFUSED = {
    ("--members", 0): "--members is 0: expected 1 or more",
    ("--members", 1, "--vary"): "--vary is for a committee: give the number of its --members too, 32 say",
    ("--members", 4, "--vary", "--validation", 0, "--preset", "lesson"): "give --validation too, 0.15 say",
    ("--members", 4, "--tensorboard"): "--tensorboard is for one network: leave it out, or --members",
    ("--members", 4, "--devices", 2): "--devices is for one network: leave it out, or --members",
    ("--members", 4, "--patience", 0): "--patience is 0: expected 1 or more",
}


@pytest.mark.parametrize("arguments", REFUSED, ids=lambda given: " ".join(map(str, given)))
def test_what_does_not_go_with_a_committee_is_refused_and_nothing_written(folder, tmp_path, capsys, arguments):
    out = tmp_path / "run"
    data = ["--data", folder / "houses.csv", "--target", "price"]
    assert call("train", *data, *arguments, "--out", out) == 2
    assert REFUSED[arguments] in capsys.readouterr().err
    assert not out.exists()


def test_the_spread_of_one_network_is_refused(folder, tmp_path, capsys):
    data = ["--data", folder / "houses.csv", "--target", "price", "--sizes", 0, 8, 0, "--epochs", 1]
    assert call("train", *data, "--out", tmp_path / "run") == 0
    assert call("predict", tmp_path / "run", folder / "houses.csv", "--spread") == 2
    assert "is one network: --spread is for a committee, of train --members 8, say" in capsys.readouterr().err


def test_parameters_of_a_population_are_kept_and_damage_is_named(tmp_path):
    path, params = tmp_path / "params.safetensors", init_population(range(4), (3, 2))
    save_params(path, params, Model(output=softmax))
    jax.tree.map(np.testing.assert_array_equal, load_params(path), params)
    arrays = load_file(path)
    for wrong in (arrays["layers.0.biases"][:3], arrays["layers.0.biases"][0]):
        save_file({**arrays, "layers.0.biases": wrong}, path)
        with pytest.raises(ValueError, match=r"expected (the same number of members in each|\(n_out, 3\))"):
            load_params(path)


def test_intervals_hold_nine_tenths_of_new_numbers():
    random = np.random.default_rng(0)
    true = random.normal(size=(4000, 1))
    answers = true + random.normal(size=(8, 1, 1)) * 0.2 + random.standard_t(3, size=(4000, 1))
    margin = interval_margin(answers[:, :2000], true[:2000])
    widths = 2 * answers[:, 2000:].std(axis=0) + margin
    covered = np.abs(answers[:, 2000:].mean(axis=0) - true[2000:]) <= widths
    assert np.mean(covered) == pytest.approx(0.9, abs=0.02)
    assert interval_margin(answers[:, :8], true[:8]) is None
    assert interval_margin(answers[:, :9], true[:9]) is not None
