"""The package's face, and which room may know of which."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mlp_jax

PACKAGE = Path(mlp_jax.__file__).parent
JAX = {"jax", "jaxtyping"}
# What each room may import, of the package and from outside; the standard library is free.
MAY_IMPORT = {
    "activations": JAX,
    "costs": JAX | {"activations"},
    "network": JAX | {"activations", "costs"},
    "backprop": JAX | {"activations", "network"},
    "gradients": JAX | {"numpy", "activations", "costs", "network", "backprop"},
    "data": {"jaxtyping", "numpy", "PIL", "platformdirs", "rich", "tensorflow_datasets"},
    "runs": JAX | {"numpy", "orbax", "safetensors", "tensorboard", "activations", "costs", "network"},
    "training": JAX | {"numpy", "optax", "network", "backprop", "data"},
    "exchange": JAX | {"numpy", "torch", "network", "training"},
    "settings": JAX | {"activations", "costs", "network", "backprop", "arguments", "gradients", "data", "training"},
    "experiments": JAX | {"numpy", "matplotlib", "optax", "activations", "costs", "network", "backprop"}
    | {"arguments", "gradients", "data", "figures", "settings", "training"},
    "arguments": {"tyro", "typeguard"},
    "cli": {"arguments"},
    "report": JAX | {"numpy", "PIL", "network", "data", "experiments", "runs", "training"},
    "figures": {"jaxtyping", "matplotlib", "numpy"},
    "commands": JAX | {"numpy", "platformdirs", "rich", "arguments", "network", "backprop"}
    | {"gradients", "data", "exchange", "experiments", "figures", "optax", "report", "runs", "settings", "training"},
    "__init__": {"lazy_loader"},
}  # fmt: skip


def imports_of(path):
    """Rooms of the package, and other packages, that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            first, *rest = name.split(".")
            yield rest[0] if first == "mlp_jax" else first


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert set(imports_of(path)) <= MAY_IMPORT[room] | {room} | sys.stdlib_module_names


def test_every_public_name_is_there_and_no_room_hides_one():
    assert {"backprop", "loss", "fit", "load_dataset"} <= set(mlp_jax.__all__) <= set(dir(mlp_jax))
    for name in mlp_jax.__all__:
        assert type(getattr(mlp_jax, name)).__name__ != "module"


@pytest.mark.parametrize("first", ["import mlp_jax.training", "from mlp_jax.backprop import backward_pass", "pass"])
def test_backprop_is_the_function_whatever_was_imported_before(first):
    code = (
        f"{first}\nfrom mlp_jax import backprop\nimport mlp_jax\nprint(callable(backprop), callable(mlp_jax.backprop))"
    )
    assert python(code) == "True True\n"


def test_the_face_and_the_command_line_do_not_wait_for_jax():
    assert python("import sys, mlp_jax.cli; print('jax' in sys.modules)") == "False\n"


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
