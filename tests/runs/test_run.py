"""A run's directory."""

import json

import jax
import jaxlib
import pytest

from mlp_jax import init_params
from mlp_jax.runs import Run, RunError

PARAMS = init_params(jax.random.key(0), (3, 2))


def test_what_is_kept_comes_back(tmp_path):
    run = Run.create(tmp_path / "deep" / "run", {"seed": 3, "sizes": (3, 2)})
    run.log({"epoch": 1, "loss": 0.5})
    run.log({"epoch": 2, "loss": 0.25})
    run.save(PARAMS)
    again = Run.open(tmp_path / "deep" / "run")
    assert (again.config["seed"], again.config["sizes"]) == (3, [3, 2])
    assert again.config["versions"]["jax"] == jax.__version__
    assert again.config["versions"]["jaxlib"] == jaxlib.__version__
    lines = (again.directory / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), again.load(), PARAMS))


def test_runs_without_a_name_get_one_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    directories = {Run.create(None, {}).directory for _ in range(3)}
    assert len(directories) == 3
    assert {directory.parent.name for directory in directories} == {"runs"}


def test_an_earlier_run_is_never_written_over(tmp_path):
    run = Run.create(tmp_path / "run", {"seed": 1})
    with pytest.raises(RunError, match="run is there already and not empty: give --out a new directory"):
        Run.create(run.directory, {"seed": 2})
    assert Run.open(run.directory).config["seed"] == 1
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file is there already"):
        Run.create(tmp_path / "file", {})
    (tmp_path / "empty").mkdir()
    assert Run.create(tmp_path / "empty", {}).directory == tmp_path / "empty"


def test_what_is_no_run_is_refused(tmp_path):
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError, match="is no run: there is no config.json in it"):
            Run.open(directory)
    run = Run.create(tmp_path / "run", {})
    with pytest.raises(RunError, match="no params.safetensors: no parameters were kept"):
        run.load()
    for content, message in (("{", "config.json is damaged: "), ("[]", "config.json holds no settings")):
        (run.directory / "config.json").write_text(content)
        with pytest.raises(RunError, match=message):
            Run.open(run.directory)
