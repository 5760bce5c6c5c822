"""The public names, and which module may import which."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mlp_jax

PACKAGE = Path(mlp_jax.__file__).parent
JAX = {"jax", "jaxtyping"}
# What each module or folder may import, of the package and from outside; the standard library is free.
MAY_IMPORT = {
    "activations": JAX,
    "costs": JAX | {"activations"},
    "network": JAX | {"activations", "costs"},
    "backward": JAX | {"activations", "network"},
    "gradients": JAX | {"numpy", "activations", "network", "backward"},
    "data": JAX | {"numpy", "PIL", "platformdirs", "pyarrow", "rich", "scipy", "tensorflow_datasets", "network"}
    | {"scaling"},
    "scaling": JAX | {"numpy", "network"},
    "runs": JAX | {"filelock", "numpy", "safetensors", "tensorboard", "activations", "costs", "network", "backward"}
    | {"data"},
    "training": JAX | {"numpy", "optax", "rich", "network", "backward", "data", "gradients"},
    "rendezvous": set(),
    "distributed": {"jax", "numpy", "failures", "rendezvous", "training"},
    "exchange": JAX | {"numpy", "torch", "network", "scaling"},
    "config": set(),
    "build": {"jax", "optax", "activations", "costs", "network", "backward", "config", "gradients", "data", "training"},
    "figures": {"jaxtyping", "matplotlib", "numpy"},
    "plots": JAX | {"numpy", "matplotlib", "figures", "data", "network", "training"},
    "experiments": JAX | {"numpy", "matplotlib", "activations", "costs", "network", "backward", "config"}
    | {"gradients", "data", "figures", "build", "training"},
    "report": JAX | {"numpy", "PIL", "network", "data", "experiments", "runs", "training"},
    "commands": {"jax", "jaxtyping", "numpy", "matplotlib", "optax", "PIL", "psutil", "rich", "config", "network"}
    | {"backward", "gradients", "data", "distributed", "exchange", "experiments", "figures", "plots", "report", "runs"}
    | {"build", "training", "programs"},
    "programs": {"jax", "platformdirs"},
    "sklearn": JAX | {"numpy", "scipy", "sklearn", "activations", "costs", "data", "network", "programs", "scaling"}
    | {"training"},
    "checks": {"config"},
    "failures": set(),
    "cli": {"checks", "config", "failures"},
    "__main__": {"cli"},
    "__init__": {"lazy_loader"},
}  # fmt: skip


def imports_of(path):
    """Modules and folders of the package, and other packages, that a file imports anywhere in it."""
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
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert set(imports_of(path)) <= MAY_IMPORT[name] | {name} | sys.stdlib_module_names


def test_every_public_name_is_there_and_none_is_a_module():
    assert {"backprop", "loss", "fit", "load_dataset"} <= set(mlp_jax.__all__) <= set(dir(mlp_jax))
    assert not [name for name in mlp_jax.__all__ if (PACKAGE / name).exists() or (PACKAGE / f"{name}.py").exists()]
    for name in mlp_jax.__all__:
        assert type(getattr(mlp_jax, name)).__name__ != "module"


def test_the_package_and_the_command_line_do_not_wait_for_jax():
    code = "import sys, mlp_jax.cli; print('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
