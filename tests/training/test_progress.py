"""The line that shows how far training is: where it is shown, what it says, and when it ends."""

import builtins
import io
import re
import sys
from types import ModuleType

import numpy as np
import pytest
from rich.console import Console
from small import PARAMS, PICTURES, PLAN, SETTINGS, SGD, TABLE, assert_same
from test_population import POPULATION

from mlp_jax import EpochMetrics, TrainState, epochs, fit, fit_population
from mlp_jax.training import progress
from mlp_jax.training.progress import with_progress


@pytest.fixture
def terminal(monkeypatch):
    """What a terminal shows."""
    screen = io.StringIO()
    monkeypatch.setattr(progress, "_console", lambda: Console(file=screen, force_terminal=True, width=120))
    return lambda: re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", screen.getvalue())


def test_nothing_is_shown_in_a_pipe(capfd):
    fit(PARAMS, PICTURES, **SETTINGS)
    fit_population(POPULATION, PICTURES, **SETTINGS)
    list(epochs(TrainState.start(PARAMS, SGD), PICTURES, PLAN, 2))
    assert capfd.readouterr() == ("", "")


def test_a_terminal_shows_epoch_cost_score_and_time(terminal, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    kept = []
    state = fit(PARAMS, PICTURES, callback=lambda *both: kept.append(both), **SETTINGS)
    last = kept[-1][1]
    assert f"cost {last.loss:.4f}   accuracy {100 * last.score:.2f} % 0:00:0" in terminal()
    assert "epoch 2 of 2" in terminal()
    assert_same(state, fit(PARAMS, PICTURES, progress=False, **SETTINGS))
    assert terminal().count("epoch 2 of 2") == 1


def test_numbers_have_a_coefficient_of_determination_and_populations_a_best_member(terminal):
    _, metrics = fit_population(POPULATION, TABLE, progress=True, **SETTINGS)
    best = metrics.best
    assert f"best of 4: cost {metrics.loss[best]:.4f}   R² {metrics.score[best]:.4f}" in terminal()


def test_training_goes_on_where_it_was_and_the_line_ends_with_the_loop(terminal):
    state = fit(PARAMS, PICTURES, **SETTINGS | {"epochs": 1})
    for _ in epochs(state, PICTURES, PLAN, 3, progress=True):
        break
    assert "epoch 2 of 3" in terminal()
    assert sys.stdout.__class__.__name__ != "FileProxy"  # rich stands before stdout while it shows the line
    with pytest.raises(ZeroDivisionError):
        fit(PARAMS, PICTURES, callback=lambda *both: 1 / 0, progress=True, **SETTINGS)
    assert sys.stdout.__class__.__name__ != "FileProxy"


class Cell:
    def __init__(self):
        self.texts = []

    def display(self, content, raw, display_id):
        self.update(content, raw)
        return self

    def update(self, content, raw):
        self.texts.append(content["text/plain"])


def test_a_notebook_shows_one_line_that_changes(monkeypatch, capfd):
    cell = Cell()
    monkeypatch.setattr(builtins, "display", cell.display, raising=False)
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    fit(PARAMS, PICTURES, **SETTINGS)
    assert cell.texts[0].startswith("epoch 0 of 2 ")
    assert re.fullmatch(r"epoch 2 of 2 ━+ cost \d\.\d{4}   accuracy \d+\.\d\d % 0:00:0\d", cell.texts[-1])
    assert len(cell.texts) <= 4
    assert capfd.readouterr() == ("", "")
    before = len(cell.texts)
    many = (EpochMetrics(number + 1, 0.5, 0.5, 0.5, None, 0.0) for number in range(1000))
    assert len(list(with_progress(((None, metrics) for metrics in many), 0, 1000, True))) == 1000
    assert len(cell.texts) - before < 100


def test_only_the_first_process_shows_it(terminal, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress.jax, "process_index", lambda: 1)
    running = iter([(None, EpochMetrics(1, 0.5, 0.5, np.float64(0.5), None, 0.0))])
    assert len(list(with_progress(running, 0, 1, None))) == 1
    assert terminal() == ""
