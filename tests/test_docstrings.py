"""The examples in docstrings print what they say."""

import ast
import doctest
import importlib
import re
from pathlib import Path

import pytest

import mlp_jax
from mlp_jax import data, runs, training

PACKAGE = Path(mlp_jax.__file__).parent
WITH_EXAMPLES = [path for path in sorted(PACKAGE.rglob("*.py")) if "\n    >>> " in path.read_text(encoding="utf-8")]


def module_of(path):
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return importlib.import_module(name.removesuffix(".__init__"))


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.stem)
def test_examples(path):
    found = [doctest.DocTestRunner().run(test) for test in doctest.DocTestFinder().find(module_of(path))]
    text = path.read_text(encoding="utf-8")
    skipped = text.count("# doctest: +SKIP")
    assert skipped == (path.stem == "exchange")  # it needs PyTorch, and tests/test_exchange.py runs the same
    assert sum(each.attempted for each in found) == text.count("\n    >>> ") - skipped
    assert not any(each.failed for each in found)


def names_of(path, kinds=(ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)):
    """The names without an underscore that a file defines itself: functions, classes, constants."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, kinds):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
            names = [getattr(target, "name", getattr(target, "id", "_")) for target in targets]
            yield from (name for name in names if not name.startswith("_"))


def has_example(module, name):
    """Whether a function or class has an example, or the docstring of its module has one that uses the constant."""
    value = getattr(module, name)
    if isinstance(value, type) or getattr(value, "__name__", "") == name:
        return ">>> " in (value.__doc__ or "")
    examples = [line for line in (module.__doc__ or "").splitlines() if line.startswith(("    >>> ", "    ... "))]
    return any(re.search(rf"\b{name}\b", line) for line in examples)


PUBLIC = {name: getattr(module, name) for module in (mlp_jax, data, runs, training) for name in module.__all__}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_public_name_has_an_example(path):
    if path.parent.name == "gradients":
        names = set(names_of(path, (ast.FunctionDef, ast.ClassDef)))
    else:
        names = {name for name in set(names_of(path)) & set(PUBLIC) if getattr(module_of(path), name) is PUBLIC[name]}
    assert [name for name in sorted(names) if not has_example(module_of(path), name)] == []


def test_every_public_name_is_looked_at():
    assert {name for path in PACKAGE.rglob("*.py") for name in names_of(path)} >= set(PUBLIC)


def test_the_package_is_a_map_of_its_public_names():
    named = set(re.findall(r"\w+", mlp_jax.__doc__))
    assert set(mlp_jax.__all__) <= named
