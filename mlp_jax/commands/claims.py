"""What the command `experiment` makes claims on, and keeps of them."""

import io
import json
import time
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.commands.shared import dataset_of, keep_programs, make_console, open_run, print_json
from mlp_jax.config import Experiment
from mlp_jax.data import Dataset, load_dataset
from mlp_jax.experiments import EXPERIMENTS, claim_of
from mlp_jax.experiments.subject import SEEDS, SIZES, Subject, lesson_networks
from mlp_jax.network import sizes_of
from mlp_jax.runs import RunError
from mlp_jax.runs.files import UNFINISHED, replace_file
from mlp_jax.training import EpochMetrics, TrainState, init_population, use_cores_for_members


class Material:
    """What experiments are made on, read or trained when the first one needs it.

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
        """What the run learned, or MNIST."""
        return dataset_of(self._run[0], self._run[2]) if self._run else load_dataset()

    @cached_property
    def subject(self) -> Subject:
        """The run's network, or the lessons', from several seeds."""
        if self._run is None:
            with make_console().status("training the network of the lessons") as status:

                def after_epoch(state: TrainState, metrics: EpochMetrics) -> None:
                    status.update(f"training the network of the lessons from {len(SEEDS)} seeds: epoch {metrics.epoch}")

                return lesson_networks(self.dataset, callback=after_epoch)._replace(image=self._image)
        run, model, params = self._run
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
    """Make one experiment, and print its finding."""
    material, directory = Material(settings), _directory(settings)
    found = _make(name, material.of(name), directory)
    make_console().print(found["finding"], soft_wrap=True)
    figure, numbers = map(str, _files(directory, name))
    shown = {key: found[key] for key in ("claim", "verdict", "parts")}
    print_json(**shown, figure=figure, numbers=numbers)
    return 0


def run_all(settings: Experiment) -> int:
    """Make every experiment, but those that cannot be made on this material."""
    material, directory, console, left_out = Material(settings), _directory(settings), make_console(), []
    for number, name in enumerate(EXPERIMENTS, 1):
        arguments, start = material.of(name), time.perf_counter()
        try:
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
    """Make an experiment, and keep its figure and its numbers. Returns what is said in their file beside them."""
    module = import_module(f"mlp_jax.experiments.{name.replace('-', '_')}")
    measured = module.measure(*arguments)
    finding, claim = module.judge(measured), claim_of(name)
    drawn = io.BytesIO()
    module.draw(measured).savefig(drawn, format="png")
    said = {"experiment": name, "claim": claim.text, "source": claim.source, "criteria": claim.criteria}
    said |= {"verdict": finding.verdict, "parts": finding.parts, "finding": finding.text}
    figure, numbers = _files(directory, name)
    replace_file(figure, drawn.getvalue())
    replace_file(numbers, (json.dumps(said | {"numbers": measured._asdict()}, default=_as_json) + "\n").encode())
    return said


def _files(directory: Path, name: str) -> tuple[Path, Path]:
    """The files of an experiment's figure and of its numbers."""
    return directory / f"{name}.png", directory / f"{name}.json"


def _as_json(value: Any) -> Any:
    """Arrays and NumPy's numbers for JSON: six digits of fractions, null for what is not finite."""
    array = np.asarray(value)
    if array.ndim:
        return [_as_json(element) for element in array]
    if np.issubdtype(array.dtype, np.floating):
        return float(f"{array:.6g}") if np.isfinite(array) else None
    return array.item()


def _directory(settings: Experiment) -> Path:
    """The directory to write to. Raises OSError, which names it, if that fails: now, and not after minutes of work."""
    directory = settings.out or settings.run or Path("experiments")
    directory.mkdir(parents=True, exist_ok=True)
    trial = directory / f"trial{UNFINISHED}"
    replace_file(trial, b"")
    trial.unlink()
    return directory
