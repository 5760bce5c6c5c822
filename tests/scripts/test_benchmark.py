"""The benchmarks run as a reader of the README would run them. What they say of time is not tested."""

import importlib
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import jax
import jax.numpy as jnp
import pytest
from PIL import Image

from mlp_jax import init_params, load_dataset, loss

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


PLACE = "before\n<!-- benchmark: epoch -->\nold\n<!-- end -->\nafter\n"
TIMES = {"median_ms": 20.0, "fastest_ms": 10.0, "slowest_ms": 40.0, "calls": 3}
REPORT = {
    "sizes": (784, 16, 10),
    "batch_size": 100,
    "examples": 6000,
    "rounds": 3,
    "peer_threads": 1,
    "accuracy_after_epochs": 2,
    "gemm": {
        "side": 2048,
        "rates": [{"by": "NumPy", "threads": 1, "gflop_per_s": 50.0}],
        "best": {"by": "NumPy", "threads": 1, "gflop_per_s": 50.0},
        "gflop_an_epoch": 0.5,
        "ms_at_best": 10.0,
    },
    "rows": [
        {
            "name": "mlp_jax",
            "peer": "mlp_jax",
            **TIMES,
            "compile_s": 0.8,
            "ratio_to_mlp_jax": 1.0,
            "accuracies": [0.5, 0.75, 0.8],
        },
        {
            "name": "NumPy",
            "peer": "numpy",
            **TIMES,
            "compile_s": -0.1,
            "ratio_to_mlp_jax": 1.0,
            "accuracies": [0.5, 0.75],
        },
        {"name": "PyTorch", "peer": "torch", "missing": "not installed"},
    ],
}


@pytest.fixture
def module(monkeypatch):
    """Imports a module of the benchmarks."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return lambda name: importlib.import_module(name)


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


@pytest.mark.parametrize("command", ["epoch", "gradients", "scaling"])
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


def test_a_table_goes_between_its_comments(module, tmp_path):
    timing, readme = module("benchmarks.timing"), tmp_path / "README.md"
    table = timing.markdown_table(["", "a\nb"], [["x", "1"], ["y"]])
    assert table == "|  | a b |\n| --- | ---: |\n| x | 1 |\n| y |  |\n"
    readme.write_text(PLACE)
    for _ in range(2):  # once more changes nothing
        timing.write_readme(readme, "epoch", table)
        assert readme.read_text() == PLACE.replace("old\n", f"\n{table}\n")


@pytest.mark.parametrize("text", ["", "<!-- benchmark: epoch -->", "<!-- end --> <!-- benchmark: epoch -->"])
def test_no_place_for_a_table(module, tmp_path, text):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(
        ValueError, match=r"README\.md cannot take the table.*<!-- benchmark: epoch --> and <!-- end -->"
    ):
        module("benchmarks.timing").check_outputs(None, None, readme, name="epoch")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"examples": 60_001}, r"examples is 60001: expected 1 to 60000"),
        ({"examples": 50}, r"batch size is 100: expected 1 to 50"),
        ({"sizes": (784, 16, 9)}, r"let the sizes start at 784 and end at 10"),
        ({"peer_threads": 0}, r"threads is 0: expected 1 or more"),
        ({"out": Path("nowhere/epoch.json")}, r"nowhere is not a directory"),
        ({"figure": Path("epoch.xyz")}, r"epoch\.xyz: expected a name that ends in \.png"),
        ({"readme": Path("nowhere.md")}, r"nowhere\.md cannot take the table"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_timed(module, settings, complaint):
    others = ("learning_rate", "rounds", "peers", "peer_threads", "out", "figure", "readme", "operations")
    good = {"sizes": (784, 16, 10), "batch_size": 100, "examples": 1000} | dict.fromkeys(others) | {"rounds": 1}
    with pytest.raises(ValueError, match=complaint):
        module("benchmarks.epoch").main(**(good | settings))


def test_bad_settings_on_the_command_line():
    command = [sys.executable, str(SCRIPT), "scaling", "--rounds", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(r"benchmark\.py: .* 0 rounds: expected .*\n", ended.stderr)


def test_names_on_the_command_line_are_those_of_the_benchmarks(module):
    script = module("benchmark")
    assert get_args(script.Peer) == tuple(module("benchmarks.peers").PEERS)
    assert get_args(script.Axis) == tuple(module("benchmarks.scaling").AXES)


def test_operations_are_those_that_xla_counts(module):
    sizes, examples = (784, 128, 64, 10), 200
    arguments = init_params(jax.random.key(0), sizes), jnp.ones((examples, 784)), jnp.ones((examples, 10))
    counted = jax.jit(jax.grad(loss)).lower(*arguments).compile().cost_analysis()["flops"]
    assert module("benchmarks.gemm").operations(sizes, examples) == pytest.approx(counted, rel=0.02)  # and sigmoids


def test_rows_of_an_epoch(module):
    epoch = module("benchmarks.epoch")
    headings, rows = epoch.table(REPORT)
    assert headings[-1].split() == ["accuracy", "after", "2", "epochs"]
    assert rows[0] == ["mlp_jax", "20", "10 to 40", "1.00", "3", "0.8", "75.00 %"]
    assert rows[1][-2:] == ["0.0", "75.00 %"]
    assert rows[2] == ["PyTorch", "", "", "", "", "", "not installed"]
    assert epoch.gemm_line(REPORT).endswith("would take 10 ms at NumPy's rate on 1: mlp_jax reaches 50% of it.")


def test_bars_of_an_epoch(module):
    (axes,) = module("benchmarks.epoch").draw(REPORT).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["mlp_jax", "NumPy", "PyTorch"]
    assert [bar.get_x() + bar.get_width() for bar in axes.patches] == [20.0, 20.0]
    assert "not installed" in {text.get_text() for text in axes.texts}


def test_peers_that_are_not_installed_have_blank_rows(module, monkeypatch):
    epoch, gemm = module("benchmarks.epoch"), module("benchmarks.gemm")
    packages = {"sklearn": "sklearn.neural_network", "torch": "torch", "flax": "flax", "equinox": "equinox"}
    for package in packages.values():
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(gemm, "SIDE", 8)
    dataset = epoch.first_examples(load_dataset("mnist"), 30)
    rows, made = epoch.measure(epoch.make_problem(dataset, (784, 4, 10), 20, 0.1, 1), ("numpy", *packages), 1)
    assert {row["peer"]: row.get("missing") for row in rows} == {
        "numpy": None,
        **dict.fromkeys(packages, "not installed: pip install -e '.[bench]'"),
    }
    assert rows[0]["calls"] == 1
    assert len(rows[0]["accuracies"]) == 3  # the first epoch, and a turn of two
    assert {product.by for product, _ in made.values()} == {"JAX", "NumPy"}


def test_exponents_of_a_power(module):
    points = [{"at": at, "median_ms": 3 * at**1.5} for at in (1, 10, 1000)]
    found = module("benchmarks.scaling").exponents(points)
    assert found == {"exponent": pytest.approx(1.5), "last_slope": pytest.approx(1.5)}
    assert module("benchmarks.scaling").exponents(points[:1]) == {"exponent": None, "last_slope": None}


def test_more_examples_are_the_same_again(module):
    dataset = load_dataset("mnist")
    images, labels = module("benchmarks.scaling").repeated(dataset, 60_003)
    assert (images[60_000:] == dataset.train_images[:3]).all()
    assert (labels[60_000:] == dataset.train_labels[:3]).all()
    assert (images[59_999] == dataset.train_images[59_999]).all()


@pytest.fixture(scope="module")
def epochs(tmp_path_factory):
    """What `epoch` prints with all peers installed, and the files that it writes."""
    for package in ("sklearn", "torch", "flax", "equinox", "matplotlib"):
        pytest.importorskip(package)
    path = tmp_path_factory.mktemp("epoch")
    (path / "README.md").write_text(PLACE)
    files = "--out", path / "epoch.json", "--figure", path / "epoch.png", "--readme", path / "README.md"
    settings = "--rounds 1 --examples 12000 --batch-size 16 --learning-rate 1"  # faster learning makes much of rounding
    out = run("epoch", *settings.split(), *map(str, files))
    return out, path, json.loads((path / "epoch.json").read_text())


@pytest.mark.slow
def test_peers_learn_the_same(epochs):
    _, _, report = epochs
    assert not [row for row in report["rows"] if "missing" in row]
    accuracies = {row["peer"]: row["accuracies"] for row in report["rows"]}
    assert {peer: len(values) for peer, values in accuracies.items()} == dict.fromkeys(accuracies, 3) | {"nielsen": 2}
    ours = accuracies.pop("mlp_jax")
    assert ours[1] > 0.85
    assert accuracies.pop("sklearn")[1] > 0.85  # with another cost
    for others in accuracies.values():
        assert others == pytest.approx(ours[: len(others)], abs=0.003)


@pytest.mark.slow
def test_the_epochs_report(epochs, module):
    out, path, report = epochs
    peers = module("benchmarks.peers").PEERS
    assert [row["peer"] for row in report["rows"]] == list(peers)
    assert names_in(out) - {""} == {peer.name for peer in peers.values()}
    assert (report["sizes"], report["batch_size"], report["examples"]) == ([784, 16, 16, 10], 16, 12000)
    assert all(report["versions"].values())
    assert re.match(r"\d{4}-\d\d-\d\dT", report["date"])
    assert report["machine"]["threads"] == report["peer_threads"] == 1
    for row in report["rows"]:
        assert 0 < row["fastest_ms"] == row["median_ms"] == row["slowest_ms"]
        assert row["compile_s"] == pytest.approx(row["first_epoch_s"] - row["median_ms"] / 1e3)
        assert row["ratio_to_mlp_jax"] == pytest.approx(row["median_ms"] / report["rows"][0]["median_ms"])
    assert report["gemm"]["gflop_an_epoch"] == pytest.approx(52672 * 12000 / 1e9)
    assert {rate["by"] for rate in report["gemm"]["rates"]} == {"JAX", "NumPy"}
    with Image.open(path / "epoch.png") as image:
        assert image.format == "PNG"
        assert min(image.size) > 500
    readme = (path / "README.md").read_text()
    assert readme.startswith("before\n<!-- benchmark: epoch -->\n\n|  | ms |")
    assert readme.endswith("<!-- end -->\nafter\n")
    assert all(f"\n| {peer.name} | " in readme for peer in peers.values())


@pytest.mark.slow
def test_torch_without_a_compiler_has_a_blank_row(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv("CXX", "/nonexistent")
    out = run("epoch", "--rounds", "1", "--examples", "200", "--peers", "mlp_jax", "torch_compile")
    assert re.search(r"PyTorch, torch\.compile [ │]*could not run: .*compiler", out)
    assert re.search(r"mlp_jax +│ +\d", out)


@pytest.mark.slow
def test_scaling_reports_every_axis(tmp_path):
    out = run(
        *("scaling", "--axes", "examples", "width", "depth", "batch", "--rounds", "1", "--largest-examples", "19000"),
        *("--out", str(tmp_path / "scaling.json"), "--figure", str(tmp_path / "scaling.png")),
    )
    report = json.loads((tmp_path / "scaling.json").read_text())
    assert names_in(out) - {""} == set(report["axes"]) == {"examples", "width", "depth", "batch"}
    at = {name: [point["at"] for point in axis["points"]] for name, axis in report["axes"].items()}
    assert at["examples"] == [6_000, 19_000]
    assert at["batch"] == [1, 10, 100, 1_000, 10_000]
    assert at["depth"] == [len(point["sizes"]) - 2 for point in report["axes"]["depth"]["points"]]
    assert at["width"] == [point["sizes"][1] for point in report["axes"]["width"]["points"]]
    for axis in report["axes"].values():
        first, last = axis["points"][-2:]
        slope = math.log(last["median_ms"] / first["median_ms"]) / math.log(last["at"] / first["at"])
        assert axis["last_slope"] == pytest.approx(slope)
        assert math.isfinite(axis["exponent"])
    assert os.path.getsize(tmp_path / "scaling.png") > 10_000


def test_where_the_time_of_an_epoch_goes(module, capsys):
    """The operations that JAX's profiler saw: one product of the first layer's weights and inputs a step."""
    dataset = module("benchmarks.epoch").first_examples(load_dataset("mnist"), 60)
    module("benchmarks.operations").show(dataset, (784, 4, 10), 20, 0.1)
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines() if "│" in line
    ]
    products = {row[2]: row[3] for row in rows if row[1] == "dot_general"}
    assert products["f32[4,784]"] == "3"
    assert rows[-1][0] == "all"
    assert float(rows[-1][-1]) == pytest.approx(sum(float(row[-1]) for row in rows[:-1]), abs=0.005 * len(rows))


@pytest.mark.slow
def test_populations(tmp_path):
    """Every way to train four networks has a row, in the table, in the README and in the JSON."""
    (tmp_path / "README.md").write_text("<!-- benchmark: population -->\n<!-- end -->\n")
    files = "--out", str(tmp_path / "report.json"), "--readme", str(tmp_path / "README.md")
    settings = "--members 4 --rounds 1 --examples 200 --sizes 784 4 10"
    out = run("population", *settings.split(), *files)
    rows = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert names_in(out) == {row["name"] for row in rows}
    assert {row["members"] for row in rows} == {1, 4}
    assert len(rows) == 5
    assert rows[0]["ratio_to_one_alone"] == 1  # in a process of its own, before the others
    for row in rows:
        assert f"| {row['name']} | {row['median_ms']:.1f} |" in (tmp_path / "README.md").read_text()


@pytest.mark.slow
def test_populations_and_devices_scale(tmp_path):
    flags = "--axes population devices --largest-examples 6400 --rounds 1"
    run("scaling", *flags.split(), "--out", str(tmp_path / "report.json"))
    axes = json.loads((tmp_path / "report.json").read_text())["axes"]
    assert [point["members"] for point in axes["population"]["points"]] == [1, 4, 16, 64, 256]
    assert [point["devices"] for point in axes["devices"]["points"]] == [1, 2, 4, 8]


@pytest.mark.slow
def test_streaming_trains_the_same(tmp_path):
    settings = "--repeat 1 --rounds 1 --stream 9000"
    out = run("stream", *settings.split(), "--out", str(tmp_path / "report.json"))
    report = json.loads((tmp_path / "report.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert names_in(out) == set(rows) == {"in memory", "streamed from memory", "streamed from a file"}
    assert len({row["parameters"] for row in rows.values()}) == 1
    assert report["image_mb"] == pytest.approx(60_000 * 784 / 1e6)
    assert all(row["peak_mb"] > row["before_mb"] > 0 for row in rows.values())
    assert "not the same" not in out


@pytest.mark.slow
def test_runs_with_and_without_checkpoints_are_compared(tmp_path):
    out = tmp_path / "checkpoints.json"
    said = run("checkpoints", "--rounds", "1", "--out", str(out))
    rows = json.loads(out.read_text())["runs"]
    assert names_in(said) == {row["name"] for row in rows} == {"none", "by default", "after every epoch"}
    assert rows[0]["ratio"] == 1
    assert all(row["median_ms"] > 0 for row in rows)
