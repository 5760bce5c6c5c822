"""The benchmarks run as a reader of the README would run them. What they say of time is not tested."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"
TINY = ("--examples", "20", "--sizes", "784", "8", "10", "--rounds", "1")
OURS = {
    "jax.grad(loss)",
    "backprop",
    "vmap(jax.grad)",
    "vmap(jax.grad), squared norms",
    "per_example.gradients",
    "per_example.squared_norms",
    "per_example.inner_products",
    "per_example.second_moment",
    "per_example.variance",
    "per_example.clipped_mean",
    "per_example.noise_scale",
    "curvature.gauss_newton_diagonal",
    "curvature.kronecker_factors",
    "curvature.gauss_newton_product",
    "curvature.hessian_diagonal",
}
BESIDE = {
    "jax.grad(loss)": "backward()",
    "per_example.gradients": "BatchGrad",
    "per_example.squared_norms": "BatchL2Grad",
    "per_example.second_moment": "SumGradSquared",
    "per_example.variance": "Variance",
    "curvature.gauss_newton_diagonal": "DiagGGNExact",
    "curvature.kronecker_factors": "KFLR",
    "curvature.gauss_newton_product": "ggn_vector_product",
    "curvature.hessian_diagonal": "DiagHessian",
}


def run(*arguments, missing=()):
    """What the script prints, where some packages cannot be imported."""
    start = f"import sys, runpy; sys.modules.update(dict.fromkeys({missing!r})); "
    start += f"sys.path[0] = {str(SCRIPT.parent)!r}; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    command = [sys.executable, "-c", start, *arguments] if missing else [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def names_in(out):
    """The first column of the table."""
    return {line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│")}


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """What `gradients` prints beside BackPACK, and its report."""
    pytest.importorskip("backpack")
    path = tmp_path_factory.mktemp("benchmark") / "report.json"
    out = run("gradients", *TINY, "--out", str(path))
    return out, json.loads(path.read_text())


@pytest.mark.parametrize("command", ["epoch", "gradients"])
def test_help_needs_no_jax(command):
    assert "--rounds" in run(command, "--help", missing=("jax",))


@pytest.mark.slow
def test_gradients_without_backpack(tmp_path):
    out = run("gradients", *TINY, "--out", str(tmp_path / "report.json"), missing=("backpack",))
    assert names_in(out) == OURS
    assert "BackPACK is not installed: pip install -e '.[bench]'" in out
    rows = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert {row["name"] for row in rows} == OURS
    assert not any("backpack" in row for row in rows)


@pytest.mark.slow
def test_gradients_are_backpacks(full):
    out, report = full
    rows = {row["name"]: row for row in report["rows"]}
    assert names_in(out) == set(rows) == OURS
    beside = {name: row["backpack"] for name, row in rows.items() if "backpack" in row}
    assert {name: other["name"] for name, other in beside.items()} == BESIDE
    assert all(other["largest_difference"] < 1e-4 for other in beside.values())
    for row in (*rows.values(), *beside.values()):
        assert row["calls"] == 1
        assert 0 < row["fastest_ms"] == row["median_ms"] == row["slowest_ms"]


@pytest.mark.slow
def test_gradients_say_what_their_numbers_hang_on(full):
    _, report = full
    assert set(report["versions"]) == {"python", "jax", "jaxlib", "numpy", "torch", "backpack-for-pytorch"}
    assert all(report["versions"].values())
    assert report["machine"]["cpu"]
    assert report["machine"]["cores"] >= report["machine"]["threads"] >= 1
    assert re.match(r"\d{4}-\d\d-\d\dT", report["date"])
    assert (report["examples"], report["sizes"], report["parameters"]) == (20, [784, 8, 10], 6370)
    reference = next(row for row in report["rows"] if row["name"] == "jax.grad(loss)")
    assert reference["ratio_to_jax_grad"] == 1
    for row in report["rows"]:
        held = row["temporary_mb"] * 1e6
        expected = pytest.approx(20 * 6370 * 4 / held) if held else None
        assert row["all_gradients_by_temporary"] == expected


@pytest.mark.slow
def test_the_epochs_contestants_learn_the_same():
    pytest.importorskip("torch")
    out = run("epoch", "--rounds", "1")
    accuracies = [float(number) for number in re.findall(r"(\d+\.\d+)%", out)]
    assert len(accuracies) == 3
    assert max(accuracies) - min(accuracies) < 0.1
