"""How the command line starts: what it imports, and the compiled programs that it keeps."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import pytest

from mlp_jax.programs import delete_oldest, keep_programs

# The command line, then what JAX says of its cache, and what was imported.
COUNTED = """
import collections, json, jax, sys
from mlp_jax.cli import main
events = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: events.update([event.split("/")[-1]]))
status = main(sys.argv[1:])
print(json.dumps(events))
print(json.dumps([*sys.modules]))
sys.exit(status)
"""


def start(data, cache, out, first="", **env):
    """Train a small network for an epoch in a process that keeps its programs in the directory `cache`.

    Returns what JAX counted, and the modules that were imported.
    """
    told = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE", "PJRT_NPROC")
    environment = {name: value for name, value in os.environ.items() if name not in told}
    environment |= {"XDG_CACHE_HOME": str(cache), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"} | env
    train = f"train --data {data} --sizes 0 1 0 --epochs 1 --out {out}"
    command = [sys.executable, "-c", first + COUNTED, *train.split()]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0
    assert all("nothing was learned" in line for line in result.stderr.splitlines())  # in so few steps
    return [json.loads(line) for line in result.stdout.splitlines()[-2:]]


def kept(directory):
    """The programs in a directory and below, by name."""
    return {path.name: path.parent for path in directory.rglob("*-cache")}


@pytest.fixture(scope="module")
def uncached(digits_file, tmp_path_factory):
    """The parameters as trained where no cache can be: there is a file of that name."""
    directory = tmp_path_factory.mktemp("uncached")
    (directory / "cache").write_text("a file")
    start(digits_file, directory / "cache", directory / "run")
    assert {path.name for path in directory.iterdir()} == {"run", "cache"}
    return (directory / "run" / "params.safetensors").read_bytes()


def test_programs_are_kept_where_the_user_keeps_caches_and_give_the_same_bits(uncached, digits_file, tmp_path):
    cache = tmp_path / "cache"
    cold, imported = start(digits_file, cache, tmp_path / "cold")
    assert cold["cache_misses"] >= 5
    programs = kept(cache)
    assert set(programs.values()) == {cache / "mlp_jax" / "programs" / "threads-1"}
    assert any(name.startswith("jit_train_epochs-") for name in programs)
    warm, _ = start(digits_file, cache, tmp_path / "warm")
    assert warm["cache_hits"] == warm["compile_requests_use_cache"] >= 5
    assert "cache_misses" not in warm
    assert kept(cache) == programs
    for name in ("cold", "warm"):
        assert (tmp_path / name / "params.safetensors").read_bytes() == uncached
        assert "cache" not in json.loads((tmp_path / name / "config.json").read_text())
    assert "mlp_jax.training" in imported
    assert not {"matplotlib", "scipy", "tensorflow", "tensorflow_datasets", "torch"} & set(imported)


@pytest.mark.slow
def test_processes_that_compile_at_the_same_time_do_not_hinder_one_another(uncached, digits_file, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        runs = [tmp_path / "first", tmp_path / "second"]
        list(pool.map(lambda run: start(digits_file, tmp_path / "cache", run), runs))
    assert [(run / "params.safetensors").read_bytes() for run in runs] == [uncached] * 2


def test_a_directory_that_jax_was_told_of_has_priority_and_no_cache_means_none(monkeypatch):
    told = []
    monkeypatch.setattr(jax.config, "update", lambda name, value: told.append((name, value)))
    keep_programs(True)
    assert told == []  # this process keeps its programs in .pytest_cache
    keep_programs(False)
    assert told == [("jax_enable_compilation_cache", False)]


@pytest.mark.slow
def test_a_disk_that_fills_up_is_no_hindrance_nor_what_it_leaves_behind(uncached, digits_file, tmp_path):
    """A limit on the size of files stands for the disk: they end in the middle there too."""
    cache, limit = tmp_path / "cache", 5_000
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    start(digits_file, cache, tmp_path / "full", limited)
    cut = [name for name, directory in kept(cache).items() if (directory / name).stat().st_size == limit]
    assert any(name.startswith("jit_train_epochs-") for name in cut)
    start(digits_file, cache, tmp_path / "after")
    for name in ("full", "after"):
        assert (tmp_path / name / "params.safetensors").read_bytes() == uncached


def test_the_oldest_programs_make_room(tmp_path):
    for age, name in enumerate(["1/newest", "2/newer", "1/old", "2/oldest"]):
        path = tmp_path / f"threads-{name}-cache"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(10))
        os.utime(path, (1e9 - age, 1e9 - age))
    delete_oldest(tmp_path, 25)
    assert set(kept(tmp_path)) == {"newest-cache", "newer-cache"}
    delete_oldest(tmp_path / "missing", 25)


def test_only_the_command_line_keeps_programs(tmp_path):
    code = "import jax, mlp_jax; mlp_jax.init_params(jax.random.key(0), (2, 1)); print(jax.config.values[%r])"
    command = [sys.executable, "-c", code % "jax_compilation_cache_dir"]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "None\n"
    assert not list(tmp_path.iterdir())


def test_help_imports_neither_jax_nor_numpy():
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); from mlp_jax.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True)
    imported = set(result.stdout.splitlines()[-1].split())
    assert "mlp_jax.config" in imported
    assert not {"jax", "numpy", "optax", "rich", "tyro", "asyncio"} & imported
