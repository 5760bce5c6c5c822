"""The benchmarks run as a reader of the README would run them. What they say of time is not tested."""

import importlib
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tyro
from jax.sharding import Mesh
from PIL import Image

from mlp_jax import Examples, Plan, init_params, init_population, load_dataset, loss, make_optimizer

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"
PROGRAMS = SCRIPT.with_name("benchmarks")
NAMES = ("epoch", "population", "gradients", "scaling", "startup", "checkpoints", "stream", "page", "tables")
SIZES, EXAMPLES, BATCH_SIZE = (784, 4, 10), 50, 20  # one compiled epoch for all the quick tests
PACKAGES = {"sklearn": "sklearn", "torch": "torch", "torch_compile": "torch", "flax": "flax", "equinox": "equinox"}
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
    monkeypatch.syspath_prepend(PROGRAMS)
    monkeypatch.setenv("PJRT_NPROC", "1")  # which a benchmark would set, and leave to other tests
    return importlib.import_module


@pytest.fixture(scope="module")
def dataset():
    """A small part of MNIST."""
    few = load_dataset("mnist").first(EXAMPLES)
    return replace(few, test=few.test.rows(slice(200)))


@pytest.fixture
def problem(module, dataset):
    """What the peers are given."""
    plan = Plan(module("peers").MODEL, make_optimizer("sgd", 1.0), BATCH_SIZE)
    return module("epoch").make_problem(dataset, SIZES, plan, 1.0, allowed=1)


def run(name, *arguments, missing=()):
    """What a benchmark prints, if some packages cannot be imported."""
    start = f"import sys, runpy; sys.modules.update(dict.fromkeys({missing!r})); sys.path[0] = {str(PROGRAMS)!r}; "
    start += f"runpy.run_path({str(PROGRAMS / name)!r} + '.py', run_name='__main__')"
    command = ["-c", start] if missing else [str(SCRIPT), name]
    environment = {name: value for name, value in os.environ.items() if name != "PJRT_NPROC"}  # as on a user's machine
    command = [sys.executable, *command, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def refused(*arguments):
    """The only line that the script prints, on stderr."""
    ended = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    return ended.stderr


def rows_in(out):
    """The cells of the printed tables."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]


def names_in(out):
    """The first column of the table."""
    return {row[0] for row in rows_in(out)}


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_is_explained(module, capsys, name):
    main = module(name).main
    arguments = get_type_hints(main, include_extras=True)
    assert arguments.pop("return") is type(None)
    assert all(get_args(hint)[1].help for hint in arguments.values())
    with pytest.raises(SystemExit):
        tyro.cli(main, args=["--help"])
    said = capsys.readouterr().out
    assert main.__doc__.partition("\n")[0][:60] in said
    assert all(f"--{argument.replace('_', '-')}" in said for argument in arguments)


def test_the_script_starts_each_of_them():
    out = subprocess.run([sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"benchmark\.py (\w+) -", out)) == set(NAMES)
    assert all((PROGRAMS / f"{name}.py").is_file() for name in NAMES)
    assert "expected one of epoch, population" in refused("epoc")
    assert re.fullmatch(r"startup\.py: .*rounds is 0: expected 1 or more\n", refused("startup", "--rounds", "0"))


@pytest.mark.slow
def test_tables_are_learned_and_printed(tmp_path):
    report = tmp_path / "report.json"
    command = [sys.executable, str(SCRIPT), "tables", "--tables", "diabetes", "--epochs", "3", "--out", str(report)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    [row] = json.loads(report.read_text())["rows"]
    assert (row["rows"], row["inputs"], row["classes"]) == (442, 10, False)
    assert len(row["scores"]) == len(row["seconds"]) == 4
    assert row["scores"]["boosted trees"] == pytest.approx(0.4, abs=0.05)
    assert "a grid search of 45 fits with it: empty cache " in ended.stdout


@pytest.mark.parametrize("places", [1, 2])
def test_a_table_goes_between_its_comments(module, tmp_path, capsys, places):
    program, readme, out = module("program"), tmp_path / "README.md", tmp_path / "out.json"
    table = "|  | a b |\n| --- | ---: |\n| x | 1 |\n| pip install -e '.[bench]' |  |\n"
    readme.write_text(PLACE * places)
    report = {"benchmark": "epoch", "rounds": 3}
    for _ in range(2):  # once more changes nothing
        cells = (row for row in [["x", "1"], ["pip install -e '.[bench]'"]])
        program.publish(
            report, "title", ["", "a\nb"], cells, out, readme, note="Also this.", packages=["jax", "nonsense"]
        )
        filled = f"\n{table}\nMedians of 3 rounds: title. Also this. {program.caption(['jax'])}\n"
        assert readme.read_text() == PLACE.replace("old\n", filled) + PLACE * (places - 1)
    assert {"x", "pip install -e '.[bench]'"} == names_in(capsys.readouterr().out)
    kept = json.loads(out.read_text())
    assert (kept["rounds"], kept["versions"]["jax"], kept["versions"]["nonsense"]) == (3, jax.__version__, None)


@pytest.mark.parametrize("text", [None, "", "<!-- benchmark: epoch -->", "<!-- end --> <!-- benchmark: epoch -->"])
def test_no_place_for_a_table(module, tmp_path, text):
    readme = tmp_path / "README.md"
    if text is not None:
        readme.write_text(text)
    with pytest.raises(ValueError, match=r"README\.md has no place.*<!-- benchmark: epoch --> and <!-- end -->"):
        module("program").check_arguments(1, None, None, readme, name="epoch")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"examples": 60_001}, r"60001 training examples are asked for: expected 1 to 60000"),
        ({"sizes": (784, 16, 9)}, r"let the sizes start at 784 and end at 10"),
        ({"peer_threads": 0}, r"threads is 0: expected 1 or more"),
        ({"rounds": 0}, r"rounds is 0: expected 1 or more"),
        ({"out": Path("nowhere/epoch.json")}, r"nowhere is not a directory"),
        ({"figure": Path("epoch.xyz")}, r"epoch\.xyz: expected a name that ends in \.png"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_timed(module, settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        module("epoch").main(**{"examples": 1000} | settings)


def test_names_on_the_command_line_are_those_of_the_benchmarks(module):
    assert get_args(module("peers").Name) == tuple(module("peers").PEERS)
    assert get_args(module("scaling").Axis) == tuple(module("scaling").AXES)


def test_operations_are_those_that_xla_counts(module):
    sizes, examples = (784, 128, 64, 10), 200
    params, model = init_params(jax.random.key(0), sizes), module("peers").MODEL
    arguments = params, jnp.ones((examples, 784)), jnp.ones((examples, 10))
    gradient = jax.jit(jax.grad(loss), static_argnums=3)
    counted = gradient.lower(*arguments, model).compile().cost_analysis()["flops"]
    assert module("gemm").operations(sizes, examples) == pytest.approx(counted, rel=0.02)  # and sigmoids


def test_rows_of_an_epoch(module):
    epoch = module("epoch")
    headings, rows = epoch.table(REPORT)
    assert headings[-1].split() == ["accuracy", "after", "2", "epochs"]
    assert rows[0] == ["mlp_jax", "20.0", "10.0 to 40.0", "1.00", "3", "0.8", "75.00 %"]
    assert rows[1][-2:] == ["0.0", "75.00 %"]
    assert rows[2] == ["PyTorch", "", "", "", "", "", "not installed"]
    assert epoch.gemm_line(REPORT).endswith("would take 10 ms at NumPy's rate on 1: mlp_jax reaches 50% of it.")


def test_bars_of_an_epoch(module):
    (axes,) = module("epoch").draw(REPORT).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["mlp_jax", "NumPy", "PyTorch"]
    assert [bar.get_x() + bar.get_width() for bar in axes.patches] == [20.0, 20.0]
    assert "not installed" in {text.get_text() for text in axes.texts}


def test_peers_without_other_packages_learn_the_same(module, problem):
    """Nielsen's program, NumPy, and JAX with jax.grad come to our parameters, but for rounding."""
    order, found = np.random.default_rng(0).permutation(np.int32(EXAMPLES)), {}
    for name in ("mlp_jax", "nielsen", "numpy", "jax"):
        epochs = module("peers").PEERS[name].epochs(problem)
        next(epochs)
        found[name] = [np.array(leaf) for _ in range(2) for leaf in epochs.send(order)][-len(problem.params) :]
    for leaf, start in zip(found["mlp_jax"], problem.params, strict=True):
        assert np.abs(leaf - start).max() > 1e-2
    for theirs in found.values():
        for leaf, ours in zip(theirs, found["mlp_jax"], strict=True):
            np.testing.assert_allclose(leaf, ours, atol=1e-5)


def test_peers_that_are_not_installed_have_blank_rows(module, problem, monkeypatch):
    for package in ("sklearn.neural_network", "torch", "flax", "equinox"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(module("gemm"), "SIDE", 8)
    rows, made = module("epoch").measure(problem, ("numpy", *PACKAGES), rounds=1)
    assert {row["peer"]: row.get("missing") for row in rows} == {
        "numpy": None,
        **dict.fromkeys(PACKAGES, "not installed: pip install -e '.[bench]'"),
    }
    assert rows[0]["calls"] == 1
    assert len(rows[0]["accuracies"]) == 3  # the first epoch, and a turn of two
    assert {product.by for product, _ in made.values()} == {"JAX", "NumPy"}


def test_each_operation_of_an_epoch_has_its_time(module, problem, capsys):
    """The operations that JAX's profiler saw: one product of the first layer's weights and inputs a step."""
    module("operations").show(problem.dataset.train, problem.params, problem.plan)
    rows = rows_in(capsys.readouterr().out)
    steps = [int(row[3]) for row in rows if row[1:3] == ["dot_general", "f32[4,784]"]]
    assert sum(steps) == math.ceil(EXAMPLES / BATCH_SIZE)
    assert rows[-1][0] == "all"
    assert float(rows[-1][-1]) == pytest.approx(sum(float(row[-1]) for row in rows[:-1]), abs=0.005 * len(rows))


def test_a_population_learns_the_same_in_every_way(module, problem):
    """Shared mini-batches on one device, on two, and by jax.vmap of the epoch, which is not our loop over members."""
    benchmark, params = module("population"), init_population(range(2), SIZES)
    meshes = (None, Mesh(np.array(jax.devices()[:2]), ("population",)))
    ways = [benchmark.population(params, problem.dataset.train, replace(problem.plan, mesh=mesh)) for mesh in meshes]
    ways += [benchmark.by_vmap(params, problem.dataset.train, problem.plan)]
    first, *others = ([jax.tree.map(np.asarray, next(way).params) for _ in range(2)][-1] for way in ways)
    assert not np.allclose(first[0].weights, params[0].weights)
    for other in others:
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), first, other)


def test_every_gradient_can_be_computed(module):
    gradients = module("gradients")
    made = gradients.functions(gradients.make_problem(20, (784, 8, 10)))
    assert set(made) == OURS
    shapes = {
        name: jax.eval_shape(partial(function, model=gradients.MODEL), *arguments)
        for name, (function, *arguments) in made.items()
    }
    assert shapes["vmap(jax.grad)"] == shapes["per_example.gradients"]
    assert shapes["vmap(jax.grad), squared norms"] == shapes["per_example.squared_norms"]


def test_exponents_of_a_power(module):
    points = [{"at": at, "median_ms": 3 * at**1.5} for at in (1, 10, 1000)]
    found = module("scaling").exponents(points)
    assert found == {"exponent": pytest.approx(1.5), "last_slope": pytest.approx(1.5)}
    assert module("scaling").exponents(points[:1]) == {"exponent": None, "last_slope": None}


def test_every_kind_of_point_is_timed(module, problem):
    scaling = module("scaling")
    rest = EXAMPLES, SIZES, BATCH_SIZE
    points = [scaling.Point(1, *rest), scaling.Point(2, *rest, members=2), scaling.Point(4, *rest, devices=2)]
    rows = scaling.measure(points, problem.dataset.train, rounds=1)
    assert [row["at"] for row in rows] == [1, 2, 4]
    assert all(row["median_ms"] > 0 for row in rows)


def test_more_examples_are_the_same_again(module):
    few = Examples(np.arange(12, dtype=np.uint8).reshape(6, 2), np.arange(6))
    many = module("scaling").repeated(few, 8)
    assert (np.asarray(many.inputs) == few.inputs[[*range(6), 0, 1]]).all()
    assert np.asarray(many.targets).tolist() == [*range(6), 0, 1]


@pytest.mark.parametrize("inputs", ["uint8", "float32"])
def test_what_is_streamed_is_the_same_again(module, problem, tmp_path, monkeypatch, inputs):
    stream, few = module("stream"), problem.dataset.train
    monkeypatch.setattr(stream, "load_dataset", lambda _: problem.dataset)
    task = stream.Task(tmp_path / "inputs", 2, inputs, SIZES, BATCH_SIZE, 40)
    stream.write(task, few, size=2)
    expected = np.tile(few.inputs if inputs == "uint8" else np.float32(few.inputs) / np.float32(255), (2, 1))
    for name in (stream.IN_MEMORY, stream.FROM_MEMORY, stream.FROM_FILE):
        found = stream.read(name, task)
        assert found.inputs.dtype == expected.dtype
        assert (np.asarray(found.inputs) == expected).all()
        assert (np.asarray(found.targets) == np.tile(few.targets, 2)).all()
    with pytest.raises(ValueError, match="do not fit into .*give another --scratch"):
        stream.write(task, few, size=10**18)


@pytest.mark.slow
def test_gradients_without_backpack(tmp_path):
    out = run("gradients", *TINY, "--out", str(tmp_path / "report.json"), missing=("backpack",))
    assert names_in(out) == OURS
    assert "BackPACK is not installed: pip install -e '.[bench]'" in out
    rows = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert {row["name"] for row in rows} == OURS
    assert not any("backpack" in row for row in rows)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """What `gradients` prints beside BackPACK, and its report."""
    pytest.importorskip("backpack")
    path = tmp_path_factory.mktemp("benchmark") / "report.json"
    out = run("gradients", *TINY, "--out", str(path))
    return out, json.loads(path.read_text())


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
def test_gradients_say_what_their_numbers_depend_on(full):
    _, report = full
    assert set(report["versions"]) == {"python", "jax", "jaxlib", "numpy", "optax", "torch", "backpack-for-pytorch"}
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


@pytest.fixture(scope="module")
def epochs(tmp_path_factory):
    """What `epoch` prints with the peers that are installed, and the files that it writes."""
    path = tmp_path_factory.mktemp("epoch")
    (path / "README.md").write_text(PLACE)
    files = "--out", path / "epoch.json", "--figure", path / "epoch.png", "--readme", path / "README.md"
    settings = "--rounds 1 --examples 12000 --batch-size 16 --learning-rate 1"  # faster learning makes much of rounding
    out = run("epoch", *settings.split(), *map(str, files))
    return out, path, json.loads((path / "epoch.json").read_text())


def not_installed():
    """The peers whose package is not."""
    return {peer for peer, package in PACKAGES.items() if find_spec(package) is None}


@pytest.mark.slow
def test_peers_learn_the_same(epochs):
    _, _, report = epochs
    assert {row["peer"] for row in report["rows"] if "missing" in row} == not_installed()
    accuracies = {row["peer"]: row["accuracies"] for row in report["rows"] if "missing" not in row}
    assert {peer: len(values) for peer, values in accuracies.items()} == dict.fromkeys(accuracies, 3) | {"nielsen": 2}
    ours = accuracies.pop("mlp_jax")
    assert ours[1] > 0.85
    assert accuracies.pop("sklearn", ours)[1] > 0.85  # with another cost
    for others in accuracies.values():
        assert others == pytest.approx(ours[: len(others)], abs=0.003)


@pytest.mark.slow
def test_the_epochs_report(epochs, module):
    out, path, report = epochs
    peers = module("peers").PEERS
    assert [row["peer"] for row in report["rows"]] == list(peers)
    assert names_in(out) - {""} == {peer.name for peer in peers.values()}
    assert (report["sizes"], report["batch_size"], report["examples"]) == ([784, 16, 16, 10], 16, 12000)
    assert all(report["versions"][name] for name in ("python", "jax", "jaxlib", "numpy", "optax"))
    assert re.match(r"\d{4}-\d\d-\d\dT", report["date"])
    assert report["machine"]["threads"] == report["peer_threads"] == 1
    for row in report["rows"]:
        if "missing" in row:
            continue
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
def test_torch_without_a_compiler_has_a_blank_row(monkeypatch, tmp_path):
    pytest.importorskip("torch")
    monkeypatch.setenv("CXX", str(tmp_path / "missing"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # in which no earlier run has left a program
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
@pytest.mark.parametrize("inputs", ["uint8", "float32"])
def test_streaming_trains_the_same(tmp_path, inputs):
    settings = f"--repeat 1 --rounds 1 --stream 9000 --inputs {inputs}"
    out = run("stream", *settings.split(), "--out", str(tmp_path / "report.json"))
    report = json.loads((tmp_path / "report.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert names_in(out) == set(rows) == {"in memory", "streamed from memory", "streamed from a file"}
    assert len({row["parameters"] for row in rows.values()}) == 1
    assert report["image_mb"] == pytest.approx(60_000 * 784 * np.dtype(inputs).itemsize / 1e6)
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
