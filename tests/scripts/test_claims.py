"""The table of claims, from files as `mlp-jax experiment all` writes them."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlp_jax.experiments import EXPERIMENTS, claim_of

SCRIPT = Path(__file__).parents[2] / "scripts" / "claims.py"
README = "# Title\n<!-- claims: begin -->\nold | table\n<!-- claims: end -->\nafter, ä\n"


@pytest.fixture
def claims(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return importlib.import_module("claims")


@pytest.fixture
def refused(claims, capsys):
    """The one line that says why."""

    def why(*arguments):
        with pytest.raises(SystemExit) as stop:
            claims.main(*arguments)
        out, err = capsys.readouterr()
        assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
        return err

    return why


@pytest.fixture
def found(tmp_path):
    """A directory with a finding for each experiment, every second one refuted."""
    directory = tmp_path / "found"
    directory.mkdir()
    for number, name in enumerate(EXPERIMENTS):
        said = {
            **dict(zip(("claim", "source"), claim_of(name), strict=True)),
            "holds": number % 2 == 0,
            "finding": f"number {number}",
        }
        (directory / f"{name}.json").write_text(json.dumps(said))
    return directory


def rewrite(directory, name, **changes):
    path = directory / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_row_for_each_experiment_in_order(found):
    result = subprocess.run([sys.executable, str(SCRIPT), str(found)], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    heading, rule, *rows = result.stdout.splitlines()
    assert heading == "| what the lessons say | what we measured | command |"
    assert rule == "| --- | --- | --- |"
    assert len(rows) == len(EXPERIMENTS)
    for number, (row, name) in enumerate(zip(rows, EXPERIMENTS, strict=True)):
        verdict = "does not hold" if number % 2 else "holds"
        claim, source = claim_of(name)
        assert row == f"| {claim} ({source}) | **{verdict}**: number {number} | `mlp-jax experiment {name}` |"


def test_nothing_in_a_finding_ends_its_cell(claims, found):
    rewrite(found, "noise", finding="|a|\n\nof b \\| c", holds=True)
    (row,) = (line for line in claims.table_of(found).splitlines() if "experiment noise" in line)
    assert r"**holds**: \|a\| of b \\\| c |" in row
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 4


def test_the_table_goes_between_the_comments(claims, found, tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text(README, encoding="utf-8")
    claims.main(found)
    table = capsys.readouterr().out
    for _ in range(2):  # once more changes nothing
        claims.main(found, readme)
        assert readme.read_text(encoding="utf-8") == README.replace("old | table\n", f"\n{table}\n")
    assert capsys.readouterr() == ("", "")


def test_missing_and_damaged_numbers_are_named(found, tmp_path, refused):
    (found / "chain.json").unlink()
    (found / "noise.json").unlink()
    message = refused(found)
    assert "has no noise.json, chain.json: mlp-jax experiment all --out" in message
    good = {"claim": "c", "source": "s", "holds": True, "finding": "f"}
    for text in ("{", "[]", json.dumps({"claim": "c"})):
        (found / "chain.json").write_text(text)
        (found / "noise.json").write_text(json.dumps(good))
        assert "chain.json is not what mlp-jax experiment chain --out" in refused(found)
    assert "nowhere has no accuracy.json" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!-- claims: begin -->",
        "<!-- claims: end --> <!-- claims: begin -->",
        "<!-- claims: begin --> <!-- claims: end --> <!-- claims: end -->",
    ],
)
def test_a_file_without_a_place_stays_as_it_is(found, tmp_path, refused, text):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    assert "README.md has no place for the table: expected the lines <!-- claims: begin --> and" in refused(
        found, readme
    )
    assert readme.read_text() == text


def test_a_file_that_is_not_there(found, tmp_path, refused):
    assert "nowhere.md" in refused(found, tmp_path / "nowhere.md")
