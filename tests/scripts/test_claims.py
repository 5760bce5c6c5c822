"""The findings in Markdown, from files as `mlp-jax experiment all` writes them."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

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
    """A directory with a finding for each experiment, every second one refuted in its last part."""
    directory = tmp_path / "found"
    directory.mkdir()
    for number, name in enumerate(EXPERIMENTS):
        claim = claim_of(name)
        parts = dict.fromkeys(claim.criteria, True) | {list(claim.criteria)[-1]: number % 2 == 0}
        said = {
            "claim": claim.text,
            "source": claim.source,
            "criteria": claim.criteria,
            "verdict": f"verdict {number}",
            "parts": parts,
            "finding": f"number {number}",
            "table": {"what [0] is": f"{number} | 2"},
        }
        (directory / f"{name}.json").write_text(json.dumps(said))
    return directory


def rewrite(directory, name, **changes):
    path = directory / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_row_and_a_section_for_each_experiment_in_order(found):
    result = subprocess.run([sys.executable, str(SCRIPT), str(found)], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    table, *sections = result.stdout.split("\n### ")
    heading, rule, *rows = table.strip().splitlines()
    assert heading == "| claim | source | verdict | experiment |"
    assert rule == "| --- | --- | --- | --- |"
    assert len(rows) == len(sections) == len(EXPERIMENTS)
    for number, (row, section, name) in enumerate(zip(rows, sections, EXPERIMENTS, strict=True)):
        claim = claim_of(name)
        assert row == f"| {claim.text} | {claim.source} | **verdict {number}** | [`{name}`](#{name}) |"
        title, *lines = section.strip().splitlines()
        parts = [line for line in lines if line.startswith("- ")]
        assert title == name
        assert f"Number {number}. `mlp-jax experiment {name}`" in lines
        assert lines[-1] == rf"| what \\[0] is | {number} \| 2 |"
        assert len(parts) == len(claim.criteria)
        assert all(line.startswith("- holds: ") for line in parts[:-1])
        assert parts[-1].startswith("- **does not hold**: *" if number % 2 else "- holds: *")


def test_nothing_in_a_finding_is_markdown(claims, found):
    rewrite(found, "noise", finding="[0].weights *a*\n\nof b_c < \\d", claim="|a| or b")
    findings = claims.findings_of(found)
    assert r"\[0].weights \*a\* of b\_c \< \\d. `mlp-jax" in findings
    (row,) = (line for line in findings.splitlines() if "(#noise)" in line)
    assert row.startswith(r"| \|a\| or b | lesson")


def test_the_findings_go_between_the_comments(claims, found, tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text(README, encoding="utf-8")
    claims.main(found)
    findings = capsys.readouterr().out
    for _ in range(2):  # once more changes nothing
        claims.main(found, readme)
        assert readme.read_text(encoding="utf-8") == README.replace("old | table\n", f"\n{findings}\n")
    assert capsys.readouterr() == ("", "")


def test_figures_lie_where_the_findings_say(claims, found, tmp_path):
    for name in EXPERIMENTS:
        Image.new("RGB", (3, 2), "white").save(found / f"{name}.png")
    readme, pictures = tmp_path / "docs" / "README.md", tmp_path / "pictures" / "claims"
    readme.parent.mkdir()
    readme.write_text(README, encoding="utf-8")
    claims.main(found, readme, pictures)
    shown = re.findall(r"!\[.+?\]\((.+?)\)", readme.read_text(encoding="utf-8"))
    assert len(shown) == len(EXPERIMENTS)
    for link in shown:
        with Image.open(readme.parent / link) as image:
            assert (image.size, image.convert("RGB").getpixel((0, 0))) == ((3, 2), (255, 255, 255))


def test_missing_and_damaged_numbers_are_named(found, tmp_path, refused):
    (found / "chain.json").unlink()
    (found / "noise.json").unlink()
    message = refused(found)
    assert "has no noise.json, chain.json: mlp-jax experiment all --out" in message
    good = json.loads((found / "accuracy.json").read_text())
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
    assert "README.md has no place for the findings: expected the lines <!-- claims: begin --> and" in refused(
        found, readme
    )
    assert readme.read_text() == text


def test_a_file_that_is_not_there(found, tmp_path, refused):
    assert "nowhere.md" in refused(found, tmp_path / "nowhere.md")
