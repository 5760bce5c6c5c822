"""Runs experiments for the command `experiment`, and writes their figures and numbers."""

import io
import json
import time
from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mlp_jax import figures
from mlp_jax.commands.shared import dataset_of, make_console, open_run, print_json
from mlp_jax.config import Experiment
from mlp_jax.data import Dataset, load_dataset
from mlp_jax.experiments import EXPERIMENTS, claim_of
from mlp_jax.experiments.subject import SEEDS, SIZES, Subject, lesson_networks
from mlp_jax.network import sizes_of
from mlp_jax.programs import keep_programs
from mlp_jax.runs import RunError
from mlp_jax.runs.files import UNFINISHED, replace_file
from mlp_jax.training import init_population, use_cores_for_members


class Material:
    """The data and networks that experiments need. They are loaded or trained when the first experiment asks for them.

    Raises RunError or DatasetError for a run or data that cannot be used, ValueError for a test image out of range.
    """

    def __init__(self, settings: Experiment) -> None:
        use_cores_for_members(len(SEEDS), SIZES, 100)
        keep_programs(settings.cache)
        self._run = open_run(settings.run) if settings.run else None
        self._image = settings.image
        if self._image is not None and not 0 <= self._image < len(self.dataset.test):
            raise ValueError(f"the image is {self._image}: expected 0 to {len(self.dataset.test) - 1}, a test image")

    def of(self, name: str) -> tuple[Any, ...]:
        """The arguments of an experiment's `measure`."""
        kind = EXPERIMENTS[name]
        return () if kind == "nothing" else (self.dataset if kind == "data" else self.subject,)

    @cached_property
    def dataset(self) -> Dataset:
        """The run's data, or MNIST."""
        return dataset_of(self._run[0], self._run[2]) if self._run else load_dataset()

    @cached_property
    def subject(self) -> Subject:
        """The run's network, or the network of the lessons from several seeds."""
        if self._run is None:
            return lesson_networks(self.dataset)._replace(image=self._image)
        run, model, params = self._run
        if run.config.get("members", 1) > 1:
            raise RunError(f"{run.directory} is a committee: experiments are about a network and how it was trained")
        sizes, seed, scale = sizes_of(params), run.config.get("seed"), run.config.get("scale", 1.0)
        if not isinstance(seed, int) or not isinstance(scale, float | int):
            raise RunError(f"{run.directory / 'config.json'} does not say what the parameters were before training")
        return Subject(
            tuple(layer._replace(weights=layer.weights[None], biases=layer.biases[None]) for layer in params),
            init_population([seed], sizes, [scale], standard_normal=bool(run.config.get("standard_normal"))),
            model,
            self.dataset,
            self._image,
        )


def run(settings: Experiment, name: str) -> int:
    """Run one experiment, and print its finding."""
    material, directory, console = Material(settings), _directory(settings), make_console()
    arguments = material.of(name)
    with console.status(f"running {name}"):
        found = _make(name, arguments, directory)
    console.print(f"{found['verdict']}: {found['finding']}", soft_wrap=True)
    width = max(map(len, found["table"]), default=0)
    for what, value in found["table"].items():
        console.print(f"  {what:{width}}  {value}", soft_wrap=True)
    figure, numbers = map(str, _files(directory, name))
    shown = {key: found[key] for key in ("claim", "verdict", "parts")}
    print_json(**shown, figure=figure, numbers=numbers)
    return 0


def run_all(settings: Experiment) -> int:
    """Run every experiment, except those that this run or data cannot serve."""
    material, directory, console, left_out = Material(settings), _directory(settings), make_console(), []
    for number, name in enumerate(EXPERIMENTS, 1):
        arguments, start = material.of(name), time.perf_counter()
        try:
            with console.status(f"running {name}, {number} of {len(EXPERIMENTS)}"):
                found = _make(name, arguments, directory)
            told = f" ({time.perf_counter() - start:.0f} s), {found['verdict']}: {found['finding']}"
        except ValueError as error:
            for kept in _files(directory, name):  # those of an earlier run would be taken for this one's
                kept.unlink(missing_ok=True)
            left_out.append(name)
            told = f": left out, {error}"
        console.print(f"{number:2} of {len(EXPERIMENTS)}  {name}{told}", soft_wrap=True)
    print_json(experiments=str(directory), left_out=left_out)
    return 0


def _make(name: str, arguments: tuple[Any, ...], directory: Path) -> dict[str, Any]:
    """Run an experiment, and write its figure and its numbers. Returns the entries of the JSON file but the numbers."""
    module = import_module(f"mlp_jax.experiments.{name.replace('-', '_')}")
    measured = module.measure(*arguments)
    finding, claim = module.judge(measured), claim_of(name)
    drawn = io.BytesIO()
    one_below_the_other([module.draw(measured), figures.table(finding.table)]).save(drawn, format="png")
    said = {"experiment": name, "claim": claim.text, "source": claim.source, "criteria": claim.criteria}
    said |= {"verdict": finding.verdict, "parts": finding.parts, "finding": finding.text, "table": finding.table}
    figure, numbers = _files(directory, name)
    replace_file(figure, drawn.getvalue())
    replace_file(numbers, (json.dumps(said | {"numbers": measured._asdict()}, default=_as_json) + "\n").encode())
    return said


def one_below_the_other(figures: Sequence[Figure]) -> Image.Image:
    """Figures of one width as a single picture."""
    drawn = []
    for figure in figures:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        drawn.append(Image.open(buffer).convert("RGB"))
    whole, top = Image.new("RGB", (drawn[0].width, sum(each.height for each in drawn)), "white"), 0
    for each in drawn:
        whole.paste(each, (0, top))
        top += each.height
    return whole


def _files(directory: Path, name: str) -> tuple[Path, Path]:
    """The files of an experiment's figure and of its numbers."""
    return directory / f"{name}.png", directory / f"{name}.json"


def _as_json(value: Any) -> Any:
    """Arrays and NumPy's numbers for JSON: six digits of fractions, null for numbers that are not finite."""
    array = np.asarray(value)
    if array.ndim:
        return [_as_json(element) for element in array]
    if np.issubdtype(array.dtype, np.floating):
        return float(f"{array:.6g}") if np.isfinite(array) else None
    return array.item()


def _directory(settings: Experiment) -> Path:
    """The directory to write to. Raises OSError at once, and not after minutes of work, if it cannot be written."""
    directory = settings.out or settings.run or Path("experiments")
    directory.mkdir(parents=True, exist_ok=True)
    trial = directory / f"trial{UNFINISHED}"
    replace_file(trial, b"")
    trial.unlink()
    return directory
