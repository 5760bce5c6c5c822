"""How the command line starts: what it imports, and the compiled programs that it keeps."""

import json
import os
import subprocess
import sys

import pytest

from mlp_jax.commands.shared import delete_oldest

# The command line, and then what JAX says of its cache.
COUNTED = """
import collections, json, jax, sys
from mlp_jax.cli import main
events = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: events.update([event.split("/")[-1]]))
status = main(sys.argv[1:])
print(json.dumps(events))
sys.exit(status)
"""


def start(cache, out, *flags, first="", env=None):
    """A process that trains a small network for an epoch, with its programs in the directory `cache`."""
    told = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE", "PJRT_NPROC")
    environment = {name: value for name, value in os.environ.items() if name not in told}
    environment |= {"XDG_CACHE_HOME": str(cache)} | (env or {})
    train = f"train --sizes 784 1 10 --epochs 1 --out {out}"
    command = [sys.executable, "-c", first + COUNTED, *train.split(), *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes)


def finish(process):
    """What JAX counted, once the process has ended as it should."""
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    return json.loads(out.splitlines()[-1])


def kept(directory):
    """The programs in a directory and below, by name."""
    return {path.name: path.parent for path in directory.rglob("*-cache")}


@pytest.fixture(scope="module")
def uncached(tmp_path_factory):
    """The parameters as trained without a cache, and the cache that there is then none of."""
    directory = tmp_path_factory.mktemp("uncached")
    events = finish(start(directory / "cache", directory / "run", "--no-cache"))
    assert "task_disabled_cache" in events
    assert [path.name for path in directory.iterdir()] == ["run"]
    return (directory / "run" / "params.safetensors").read_bytes()


def test_programs_are_kept_where_the_user_keeps_caches_and_give_the_same_bits(uncached, tmp_path):
    cache = tmp_path / "cache"
    at_once = [start(cache, tmp_path / name) for name in ("first", "second")]
    events = [finish(process) for process in at_once]
    assert max(counted["cache_misses"] for counted in events) >= 5
    programs = kept(cache)
    assert set(programs.values()) == {cache / "mlp_jax" / "programs" / "threads-1"}
    assert any(name.startswith("jit_train_epoch-") for name in programs)
    warm = finish(start(cache, tmp_path / "warm"))
    assert warm["cache_hits"] == warm["compile_requests_use_cache"] >= 5
    assert "cache_misses" not in warm
    assert kept(cache) == programs
    for name in ("first", "second", "warm"):
        assert (tmp_path / name / "params.safetensors").read_bytes() == uncached
        assert "cache" not in json.loads((tmp_path / name / "config.json").read_text())


def test_a_directory_that_jax_was_told_of_has_priority(tmp_path):
    env = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "told"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    finish(start(tmp_path / "cache", tmp_path / "run", env=env))
    assert set(kept(tmp_path).values()) == {tmp_path / "told"}
    assert not (tmp_path / "cache").exists()


def test_a_place_that_cannot_be_one_is_no_hindrance(uncached, tmp_path):
    (tmp_path / "cache").write_text("a file")
    finish(start(tmp_path / "cache", tmp_path / "run"))
    assert (tmp_path / "run" / "params.safetensors").read_bytes() == uncached


@pytest.mark.slow
def test_a_disk_that_fills_up_is_no_hindrance_nor_what_it_leaves_behind(uncached, tmp_path):
    """A limit on the size of files stands for the disk: they end in the middle there too."""
    cache, limit = tmp_path / "cache", 5_000
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    finish(start(cache, tmp_path / "full", first=limited))
    cut = [name for name, directory in kept(cache).items() if (directory / name).stat().st_size == limit]
    assert any(name.startswith("jit_train_epoch-") for name in cut)
    finish(start(cache, tmp_path / "after"))
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


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (["--help"], {"jax", "numpy", "optax", "rich", "typeguard", "asyncio"}),
        (["train", "--epochs", "0"], {"matplotlib", "orbax", "scipy", "tensorflow", "tensorflow_datasets", "torch"}),
    ],
    ids=["help", "train"],
)
def test_what_a_command_does_not_need_is_not_imported(arguments, unneeded):
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); from mlp_jax.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    imported = set(result.stdout.splitlines()[-1].split())
    assert "mlp_jax.arguments" in imported
    assert not unneeded & imported
