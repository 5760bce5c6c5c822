"""The examples in docstrings print what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

import mlp_jax

PACKAGE = Path(mlp_jax.__file__).parent
WITH_EXAMPLES = [path for path in sorted(PACKAGE.rglob("*.py")) if "\n    >>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.stem)
def test_examples(path):
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    found = [doctest.DocTestRunner().run(test) for test in doctest.DocTestFinder().find(importlib.import_module(name))]
    assert sum(each.attempted for each in found) == path.read_text(encoding="utf-8").count("\n    >>> ")
    assert not any(each.failed for each in found)
