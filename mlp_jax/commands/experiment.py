"""The command that runs the claims of the lessons."""

import io
import json
import time
from difflib import get_close_matches
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from mlp_jax import arguments, training
from mlp_jax.commands.shared import keep_programs, make_console, open_run, print_json
from mlp_jax.data import Dataset, load_dataset
from mlp_jax.experiments import EXPERIMENTS
from mlp_jax.experiments.subject import SEEDS, SIZES, Subject, lesson_networks
from mlp_jax.network import sizes_of
from mlp_jax.runs import RunError
from mlp_jax.runs.files import UNFINISHED, replace_file
from mlp_jax.training import PopulationMetrics, TrainState, init_population

ALL = "all"


def experiment(settings: arguments.Experiment) -> int:
    """Run a claim of the lessons, or all, and keep the figure and the numbers of each; without a name, list them."""
    console = make_console()
    if settings.name is None:
        for name, about in EXPERIMENTS.items():
            console.print(f"{name:16}  {about.claim} ({about.source})", soft_wrap=True)
        return 0
    _check_known(settings.name)
    training.use_cores_for_members(len(SEEDS), SIZES, 100)
    keep_programs(settings.cache)
    material = Material(settings, console)
    directory = settings.out or settings.run or Path("experiments")
    _check_writable(directory)
    if settings.name == ALL:
        print_json(experiments=str(directory), left_out=_run_all(material, directory, console))
        return 0
    found = _run(settings.name, material.of(EXPERIMENTS[settings.name].on), directory)
    console.print(found["finding"], soft_wrap=True)
    figure, numbers = map(str, _files(directory, settings.name))
    print_json(claim=found["claim"], holds=found["holds"], figure=figure, numbers=numbers)
    return 0


class Material:
    """What experiments are made on, read or trained when the first one asks for it.

    Raises RunError or DatasetError for a run or data that cannot be used, ValueError for a test image out of range.
    """

    def __init__(self, settings: arguments.Experiment, console: Console) -> None:
        self._settings, self._console = settings, console
        self._run = open_run(settings.run) if settings.run else None
        if settings.image is not None:
            _check_image(settings.image, self.dataset)

    def of(self, kind: str) -> tuple[Any, ...]:
        """The arguments of an experiment on this kind of thing."""
        return {"nothing": lambda: (), "data": lambda: (self.dataset,), "networks": lambda: (self.subject,)}[kind]()

    @cached_property
    def dataset(self) -> Dataset:
        """What the run learned, or MNIST."""
        return load_dataset(self._run[0].config["data"] if self._run else "mnist")

    @cached_property
    def subject(self) -> Subject:
        """The run's network, or the lessons', from several seeds."""
        if self._run is None:
            with self._console.status("training the network of the lessons") as status:

                def after_epoch(state: TrainState, metrics: PopulationMetrics) -> None:
                    status.update(f"training the network of the lessons from {len(SEEDS)} seeds: epoch {metrics.epoch}")

                return lesson_networks(self.dataset, callback=after_epoch)._replace(image=self._settings.image)
        run, model, params = self._run
        sizes, seed, scale = sizes_of(params), run.config.get("seed"), run.config.get("scale", 1.0)
        pixels = self.dataset.test_images.shape[1]
        if (sizes[0], sizes[-1]) != (pixels, self.dataset.classes):
            raise RunError(
                f"{run.directory} has a network {'-'.join(map(str, sizes))}, but its data have {pixels} pixels and "
                f"{self.dataset.classes} classes"
            )
        if not isinstance(seed, int) or not isinstance(scale, float | int):
            raise RunError(f"{run.directory / 'config.json'} does not say what the parameters were before training")
        return Subject(
            tuple(layer._replace(weights=layer.weights[None], biases=layer.biases[None]) for layer in params),
            init_population([seed], sizes, [scale], standard_normal=bool(run.config.get("standard_normal"))),
            model,
            self.dataset,
            self._settings.image,
        )


def _run_all(material: Material, directory: Path, console: Console) -> list[str]:
    """Make every experiment. Returns the names of those that cannot be made on this material."""
    left_out = []
    for number, name in enumerate(EXPERIMENTS, 1):
        which = f"{number:2} of {len(EXPERIMENTS)}  {name}"
        subject, start = material.of(EXPERIMENTS[name].on), time.perf_counter()
        try:
            found = _run(name, subject, directory)
        except ValueError as error:
            for kept in _files(directory, name):  # an earlier one's would be taken for what this one found
                kept.unlink(missing_ok=True)
            console.print(f"{which}: left out, {error}", soft_wrap=True)
            left_out.append(name)
            continue
        verdict = "holds" if found["holds"] else "does not hold"
        seconds = time.perf_counter() - start
        console.print(f"{which} ({seconds:.0f} s), {verdict}: {found['finding']}", soft_wrap=True)
    return left_out


def _run(name: str, subject: tuple[Any, ...], directory: Path) -> dict[str, Any]:
    """Make an experiment and keep its figure and its numbers. Returns what the latter's file says."""
    module = import_module(f"mlp_jax.experiments.{name.replace('-', '_')}")
    measured = module.measure(*subject)
    finding, about = module.judge(measured), EXPERIMENTS[name]
    drawn = io.BytesIO()
    module.draw(measured).savefig(drawn, format="png")
    said = {
        "experiment": name,
        "claim": about.claim,
        "source": about.source,
        "finding": finding.text,
        "holds": finding.holds,
        "numbers": measured._asdict(),
    }
    figure, numbers = _files(directory, name)
    replace_file(figure, drawn.getvalue())
    replace_file(numbers, (json.dumps(said, default=_as_json) + "\n").encode())
    return said


def _files(directory: Path, name: str) -> tuple[Path, Path]:
    """Where an experiment's figure and its numbers are kept."""
    return directory / f"{name}.png", directory / f"{name}.json"


def _as_json(value: Any) -> Any:
    """What JSON does not know: arrays and NumPy's numbers, six digits of fractions, null for infinity."""
    array = np.asarray(value)
    if array.ndim:
        return [_as_json(element) for element in array]
    if np.issubdtype(array.dtype, np.floating):
        return float(f"{array:.6g}") if np.isfinite(array) else None
    return array.item()


def _check_known(name: str) -> None:
    """Raises ValueError, which offers the nearest ones, for what is neither an experiment's name nor `all`."""
    if name in EXPERIMENTS or name == ALL:
        return
    near = get_close_matches(name, [*EXPERIMENTS, ALL], n=3, cutoff=0.4)
    offer = f"perhaps you meant {' or '.join(near)}" if near else "mlp-jax experiment lists them"
    raise ValueError(f"there is no experiment {name!r}: {offer}")


def _check_writable(directory: Path) -> None:
    """Raises OSError, which names the directory, where no file can be written: now, and not after minutes of work."""
    directory.mkdir(parents=True, exist_ok=True)
    trial = directory / f"trial{UNFINISHED}"
    replace_file(trial, b"")
    trial.unlink()


def _check_image(image: int, dataset: Dataset) -> None:
    if not 0 <= image < len(dataset.test_images):
        raise ValueError(f"the image is {image}: expected 0 to {len(dataset.test_images) - 1}, a test image")
