"""The page as a file: what is refused, what is escaped, how large it is, and the command that it tells."""

import base64
import io
import json
import re
import shlex
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mlp_jax import Model, evaluate, init_params, load_dataset, load_params
from mlp_jax.cli import main
from mlp_jax.config import command_of
from mlp_jax.runs import Run

EXPERIMENT = {"claim": "c", "source": "s", "verdict": "holds", "finding": "f"}
EXPERIMENT |= {"parts": {"p": True}, "criteria": {"p": "more than half"}, "table": {"share": "60%"}}
"""What an experiment's file says, without its numbers."""


def payload_of(path):
    [facts] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    return json.loads(facts)


def refused(capsys, *arguments):
    """The one line that a command which is refused says."""
    assert main([*map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_it_is_one_file_that_asks_for_nothing(make_run, report):
    path = report(make_run())
    page = path.read_text()
    assert path.name == "report.html"
    assert len(page) < 3e6
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", page)
    code = re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.DOTALL)
    assert "http" not in re.sub(r"http-equiv|http://www\.w3\.org/2000/svg", "", code)


@pytest.fixture
def make_small(make_run, few_digits):
    return partial(make_run, data=few_digits)


def test_its_numbers_are_those_of_evaluate(make_small, report, capsys):
    run = make_small()
    facts = payload_of(report(run))
    assert main(["evaluate", str(run)]) == 0
    evaluated = json.loads(capsys.readouterr().out.splitlines()[-1])
    confusion = np.array(facts["confusion"])
    assert confusion.trace() == evaluated["of"] - evaluated["wrong"]
    assert len(facts["labels"]) == len(facts["answers"]) == len(facts["indices"]) == len(set(facts["indices"]))
    assert facts["sample"] == 300
    assert [line["epoch"] for line in facts["metrics"]] == [1, 2]


def test_parameters_stand_in_it_as_they_are(make_small, report):
    run = make_small()
    there = np.frombuffer(base64.b64decode(payload_of(report(run))["parameters"]), "<f4")
    params = load_params(run / "params.safetensors")
    np.testing.assert_array_equal(there, np.concatenate([np.ravel(leaf) for layer in params for leaf in layer]))


def before_training(config):
    """The parameters that training began with, one network at a time."""
    return init_params(jax.random.key(config["seed"]), config["sizes"], standard_normal=config["standard_normal"])


@pytest.mark.parametrize("flags", ["", "--standard-normal --seed 3 --validation 100"])
def test_curves_begin_before_training(tmp_path, few_digits, report, flags):
    run = tmp_path / "run"
    small = f"--data {few_digits} --sizes 784 6 10 --epochs 4 --batch-size 20 {flags}"
    assert main(["train", *small.split(), "--out", str(run)]) == 0
    start, *lines = payload_of(report(run))["metrics"]
    config, dataset = Run.open(run).config, load_dataset(few_digits)
    if config["validation"]:
        dataset = dataset.held_out(config["validation"])
    for line, params in (start, before_training(config)), (lines[-1], load_params(run / "params.safetensors")):
        test, count = evaluate(params, dataset.test, Model()), min(len(dataset.train), len(dataset.test))
        some = dataset.train.rows(np.arange(count) * len(dataset.train) // count)
        assert line["test_accuracy"] == pytest.approx(test.score)
        assert line["test_loss"] == pytest.approx(test.loss, rel=1e-5)
        assert line["train_accuracy"] == pytest.approx(evaluate(params, some, Model()).score)
    assert start["loss"] == pytest.approx(evaluate(before_training(config), some, Model()).loss, rel=1e-5)
    assert [start["epoch"], *(line["epoch"] for line in lines)] == [0, 1, 2, 3, 4]


def test_a_run_of_other_initial_parameters_than_its_settings_say_has_no_epoch_0(make_small, report):
    run = make_small()
    assert [line["epoch"] for line in payload_of(report(run))["metrics"]] == [1, 2]
    (run / "snapshots.npz").unlink()  # nothing is left that could disagree
    assert [line["epoch"] for line in payload_of(report(run))["metrics"]] == [0, 1, 2]
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"seed": None}))
    assert [line["epoch"] for line in payload_of(report(run))["metrics"]] == [1, 2]


def test_a_network_trained_past_its_last_snapshot_ends_the_scrubber(make_small, report):
    run = make_small()
    assert payload_of(report(run))["snapshots"]["epochs"] == [0, 1, 2]
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "loss": 0.5, "test_accuracy": 0.9, "seconds": 1.0}\n')
    assert payload_of(report(run))["snapshots"]["epochs"] == [0, 1, 2, 3]


def test_names_from_files_are_escaped(make_small, report, tmp_path):
    run = make_small("<script>alert(1)<")
    text = "</script><script>alert(2)</script><!--"
    experiment = {"parts": {text: True}, "criteria": {text: text}, "table": {text: text}}
    experiment |= dict.fromkeys(("claim", "source", "verdict", "finding"), text)
    (run / "noise.json").write_text(json.dumps(experiment))
    path = report(run)
    page = path.read_text()
    assert "alert(1)" not in page.replace("&lt;script&gt;alert(1)&lt;", "")
    assert page.count("</script>") == 2
    assert "<!--" not in page
    assert payload_of(path)["experiments"][0]["claim"] == text


def test_figures_keep_their_colours(make_small, report):
    run = make_small()
    levels = np.arange(256, dtype=np.uint8)
    drawn = np.full((300, 256, 3), 255, np.uint8)
    drawn[:100] = levels[:, None]  # weights from black to white
    drawn[100:200, :, :2] = levels[:, None]  # and from blue to white
    drawn[250, :8] = (255, 128, 0)  # a short thin line in a colour that is nowhere else
    (run / "noise.json").write_text(json.dumps(EXPERIMENT))
    Image.fromarray(drawn).save(run / "noise.png")
    [shown] = payload_of(report(run))["experiments"]
    with Image.open(io.BytesIO(base64.b64decode(shown["figure"]))) as figure:
        away = np.abs(np.asarray(figure.convert("RGB")).astype(int) - drawn).max()
    assert away <= 32


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_parameters_that_are_no_numbers_are_refused(make_small, capsys, value):
    def spoil(params):
        return (params[0]._replace(weights=params[0].weights.at[3, 5].set(value)), *params[1:])

    assert "1 numbers in layers.0.weights that are not finite" in refused(capsys, "report", make_small(change=spoil))


def test_what_is_no_run_or_has_no_parameters_is_refused(make_small, capsys, tmp_path):
    assert "is no run" in refused(capsys, "report", tmp_path / "nowhere")
    run = make_small()
    (run / "params.safetensors").unlink()
    assert "params.safetensors" in refused(capsys, "report", run)
    assert "params.safetensors" in refused(capsys, "serve", run)
    assert not (run / "report.html").exists()


def test_other_data_than_the_network_learned_are_refused(make_small, capsys):
    assert "784 inputs and 10 outputs" in refused(capsys, "report", make_small(sizes=(100, 10)))


def test_a_network_too_large_to_look_at_is_refused(make_small, capsys, monkeypatch):
    monkeypatch.setattr("mlp_jax.report.payload.MOST_PARAMETERS", 13_001)
    assert "has 13,002 parameters: a page holds 13,001 at most" in refused(capsys, "report", make_small())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("snapshots.npz", b"no zip"),
        ("metrics.jsonl", b"no JSON\n"),
        ("metrics.jsonl", b'{"epoch": 1}\n'),
        ("metrics.jsonl", b'{"epoch": Infinity, "loss": 1, "test_accuracy": 1}\n'),
        ("noise.json", b"[]"),
        ("noise.json", json.dumps(EXPERIMENT | {"parts": ["p"]}).encode()),
        ("noise.json", json.dumps(EXPERIMENT | {"criteria": {}}).encode()),
        ("noise.json", json.dumps(EXPERIMENT | {"table": ["share"]}).encode()),
        ("noise.png", b"no PNG"),
    ],
)
def test_a_damaged_file_is_named(make_small, capsys, name, content):
    run = make_small()
    (run / "noise.json").write_text(json.dumps(EXPERIMENT))
    (run / name).write_bytes(content)
    assert name in refused(capsys, "report", run)


@pytest.mark.parametrize(
    "flags",
    [
        "--preset nielsen --learning-rate 1 --validation 100",
        *(
            pytest.param(flags, marks=pytest.mark.slow)
            for flags in (
                "",
                "--hidden relu --output softmax --cost cross_entropy --optimizer adam --learning-rate 0.001 --shift 1",
                "--gradient suggested_activations --step 0.25 --angles --schedule constant --standard-normal --seed 5",
            )
        ),
    ],
)
def test_the_command_that_it_tells_makes_the_same_run(tmp_path, few_digits, flags):
    small = f"--data {few_digits} --sizes 784 6 10 --epochs 1 --batch-size 20"
    assert main(["train", *small.split(), *flags.split(), "--out", str(tmp_path / "one")]) == 0
    [program, *again] = shlex.split(command_of(Run.open(tmp_path / "one").config))
    assert program == "mlp-jax"
    assert main([*again, "--out", str(tmp_path / "other")]) == 0
    one, other = (Run.open(tmp_path / name) for name in ("one", "other"))
    assert one.config == other.config
    for name in ("params.safetensors", "snapshots.npz"):
        assert (one.directory / name).read_bytes() == (other.directory / name).read_bytes()


def test_settings_that_are_no_settings_are_shown_or_refused(make_small, report, capsys):
    run = make_small()
    config = json.loads((run / "config.json").read_text())
    odd = {"preset": ["x"], "checkpoint_every": 0, "optimizer": None, "rate": float("nan")}
    (run / "config.json").write_text(json.dumps(config | odd))
    assert payload_of(report(run))["command"] == ""
    (run / "config.json").write_text(json.dumps(config)[:-1] + ', "deep": ' + 900 * "[" + 900 * "]" + "}")
    assert "nested too deep" in refused(capsys, "report", run)


def test_a_page_has_the_name_of_its_directory(make_small, report, monkeypatch):
    monkeypatch.chdir(make_small("lesson"))
    assert "<h1>lesson</h1>" in report(".").read_text()


def test_a_member_of_a_sweep_has_a_page_and_no_command(tmp_path, few_digits, report):
    flags = f"--data {few_digits} --sizes 784 6 10 --epochs 1 --batch-size 20 --seeds 1 --learning-rate 1 2"
    assert main(["sweep", *flags.split(), "--out", str(tmp_path / "sweep")]) == 0
    members = [path.parent for path in (tmp_path / "sweep").rglob("params.safetensors")]
    assert members
    assert payload_of(report(members[0]))["command"] == ""
