"""The map from lesson to code leads somewhere, and what trips people runs."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

import mlp_jax
from mlp_jax.cli import main
from mlp_jax.experiments import EXPERIMENTS

ROOT = Path(mlp_jax.__file__).parent
README = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
MAP = re.search(r"## From lesson to code.*?(?=\n## )", README, re.DOTALL)[0]
PLACES = [
    line.strip("| ").rsplit(" | ", 1)[1]
    for line in MAP.splitlines()
    if re.match(r"\| (?!at |the article \||---)", line)
]


def test_every_statement_has_a_place_and_every_experiment_a_statement():
    assert len(PLACES) >= 91
    assert all(re.search(r"`.+`|\]\(#.+\)|\*.+\*", place) for place in PLACES)
    linked = set(re.findall(r"\(#(.+?)\)", " ".join(PLACES)))
    assert linked == set(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_finding_is_one_short_sentence_with_a_table_and_a_figure(name):
    section = re.search(rf"### {name}\n(.+?)(?=\n###? |<!-- claims: end)", README, re.DOTALL)[1]
    (finding,) = re.findall(rf"^(.+) `mlp-jax experiment {name}`$", section, re.MULTILINE)
    assert len(finding.split()) <= 25
    assert not re.search(r"[.;] ", finding)
    assert section.count("\n| ") >= 4
    (figure,) = re.findall(r"!\[.+?\]\((.+?)\)", section)
    assert (ROOT / "experiments" / figure).resolve().is_file()


def test_every_link_leads_to_a_heading():
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in README.splitlines()
        if line.startswith("#")
    }
    assert set(re.findall(r"\]\(#(.+?)\)", README)) <= headings


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w.]+)`", " ".join(PLACES)))))
def test_every_name_is_the_packages(name):
    *path, last = name.removeprefix("mlp_jax.").split(".")
    where = mlp_jax
    for part in path:
        where = importlib.import_module(f"{where.__name__}.{part}")
    assert hasattr(where, last) or importlib.import_module(f"{where.__name__}.{last}")


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`mlp-jax (.+?)`", README))))
def test_every_command_exists(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command.replace("--seeds 8", "").split()[:1], "--help"])
    assert stop.value.code == 0
    told = capsys.readouterr().out
    assert all(option in told for option in re.findall(r"--[\w-]+", command))


@pytest.mark.parametrize("title", sorted(set(re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", " ".join(PLACES)))))
def test_every_part_of_the_page_is_there(title):
    page = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "report").glob("page.*"))
    assert re.search(rf"[>\"]\s*{re.escape(title)}", page)


def test_what_trips_people_runs():
    blocks = re.findall(r"```python\n(>>>.+?)```", README, re.DOTALL)
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "README.md", None, 0)
    runner = doctest.DocTestRunner()
    result = runner.run(test)
    assert (result.failed, result.attempted) == (0, "\n".join(blocks).count(">>>"))
