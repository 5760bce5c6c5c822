"""The README's pictures, and how soon the page has drawn what they show."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

SCRIPTS = Path(__file__).parents[2] / "scripts"


def call(*arguments):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.browser
def test_they_are_drawn_from_a_run(tmp_path):
    made = call("-m", "mlp_jax", "train", "--epochs", "1", "--out", tmp_path / "run")
    assert made.returncode == 0, made.stderr
    drawn = call(SCRIPTS / "pictures.py", tmp_path / "run", "--out", tmp_path / "pictures")
    assert drawn.returncode == 0, drawn.stderr
    for name in ("page.png", "training.png"):
        with Image.open(tmp_path / "pictures" / name) as picture:
            assert picture.width > 1000
            assert len(picture.convert("L").getcolors()) > 50


@pytest.mark.browser
def test_a_table_has_one_of_its_page(tmp_path):
    table = tmp_path / "lines.csv"
    table.write_text("x,y,kind\n" + "".join(f"{n},{n % 7},{'even' if n % 2 else 'odd'}\n" for n in range(60)))
    trained = call(
        *("-m", "mlp_jax", "train", "--data", table, "--target", "kind", "--epochs", "2", "--out", tmp_path / "run")
    )
    assert trained.returncode == 0, trained.stderr
    drawn = call(SCRIPTS / "pictures.py", tmp_path / "run", "--out", tmp_path / "pictures")
    assert drawn.returncode == 0, drawn.stderr
    with Image.open(tmp_path / "pictures" / "table.png") as picture:
        assert picture.width > 1000


def test_those_of_the_readme_are_there():
    root = SCRIPTS.parent
    readmes = {"page.png": "", "training.png": "mlp_jax/training", "table.png": "mlp_jax/data"}
    for name, place in readmes.items():
        assert f"scripts/pictures/{name})" in (root / place / "README.md").read_text()
        assert (SCRIPTS / "pictures" / name).stat().st_size < 300_000


def test_what_is_no_run_has_none(tmp_path):
    said = call(SCRIPTS / "pictures.py", tmp_path / "nowhere", "--out", tmp_path / "pictures")
    assert (said.returncode, said.stdout) == (2, "")
    assert "is no run" in said.stderr


@pytest.mark.browser
def test_what_a_visitor_does_is_timed(tmp_path):
    timed = call(SCRIPTS / "benchmark.py", "page", "--rounds", "2", "--out", tmp_path / "page.json")
    assert timed.returncode == 0, timed.stderr
    rows = json.loads((tmp_path / "page.json").read_text())["rows"]
    assert {row["network"] for row in rows} == {"784-16-16-10", "784-128-64-10"}
    assert len(rows) == 12
    assert all(0 < row["median_ms"] <= row["slowest_ms"] for row in rows)
