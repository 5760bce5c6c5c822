"""A page of its own to look at a run with: the network inside it, in one file that needs nothing else."""

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping
from html import escape
from importlib import metadata, resources
from typing import Any

from mlp_jax.data import Dataset
from mlp_jax.network import Model, Params
from mlp_jax.report.payload import payload_of
from mlp_jax.runs import Run, RunError
from mlp_jax.training import evaluate

PARTS = ["sample", "table", "hand", "lights", "neuron", "wants", "each", "dials", "chain", "learned"]
SCRIPTS = ["network", "paint", "raster", "draw", "page", *PARTS, "begin"]
"""In the order in which they are to run, as one script: the first says that it is strict."""


def report(run: Run, model: Model, params: Params, dataset: Dataset, command: str = "") -> str:
    """The page of a run, HTML that opens from disk.

    dataset: what the run learned; its test images are shown. command: that made the run, or nothing.

    Raises RunError for parameters that are not finite or too many, and files that are damaged.
    """
    payload = payload_of(run, model, params, dataset, command)
    network, name = "-".join(map(str, payload["sizes"])), run.directory.resolve().name
    hidden = f"Hidden layers: {payload['hidden']}; outputs" if len(payload["sizes"]) > 2 else "Outputs"
    tests, unit = len(dataset.test), "rows" if "columns" in payload else "images"
    if dataset.has_classes:
        right = sum(row[j] for j, row in enumerate(payload["confusion"]))
        score = f"{right / tests:.2%} of {tests:,} test {unit} of {run.config.get('data')} are answered right."
    else:
        r2 = evaluate(params, dataset.test, model).score
        score = f"R^2 is {r2:.3f} on {tests:,} test {unit} of {run.config.get('data')}."
    if run.config.get("members", 1) != 1:
        score += (
            f" This is the best member of a committee of {run.config['members']}; the curves are means and medians."
        )
    return _filled(
        title=f"{name}: {network}",
        name=name,
        summary=(
            f"{network}, {sum(leaf.size for layer in params for leaf in layer):,} parameters. "
            f"{hidden}: {payload['output']}; cost: {payload['cost']}. "
            f"{score}"
        ),
        payload=payload,
    )


def _filled(title: str, name: str, summary: str, payload: Mapping[str, Any]) -> str:
    """The page with its style, its script and its payload; everything that comes from files is escaped."""
    try:
        data = json.dumps(_finite(payload), allow_nan=False, default=str)
    except RecursionError as error:
        raise RunError(f"the settings of {name} are nested too deep to be shown") from error
    style, script = _file("page.css"), "\n".join(_file(f"{name}.js") for name in SCRIPTS)
    policy = (
        f"default-src 'none'; script-src '{_sha256(script)}'; style-src '{_sha256(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    values = {
        "policy": policy,
        "title": escape(title),
        "name": escape(name),
        "summary": escape(summary),
        "version": escape(metadata.version("mlp_jax")),
        "style": style,
        "script": script,
        # "</script>" or "<!--" within it would end or hide the script.
        "data": data.replace("<", "\\u003c"),
    }
    # In one pass: a run may be named {{script}}.
    page = re.sub(r"\{\{(\w+)\}\}", lambda place: values[place[1]], _file("page.html"))
    return page.encode(errors="replace").decode()  # names of files that are no UTF-8


def _file(name: str) -> str:
    return resources.files("mlp_jax.report").joinpath(name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    """As a content security policy names what stands between two tags."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _finite(value: Any) -> Any:
    """The same for JSON: null for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(name): _finite(element) for name, element in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(element) for element in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
