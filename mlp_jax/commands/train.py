"""The command that trains a network."""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import psutil

from mlp_jax.backward import GradientRule, backprop
from mlp_jax.build import (
    augment_of,
    batch_size_for,
    data_of,
    held_out,
    model_for,
    optimizer_of,
    rule_of,
    sizes_for,
    with_learning_rate,
)
from mlp_jax.commands.committee import train_committee
from mlp_jax.commands.recorder import TITLES, Recorder, as_line, part_of, recording, score_name, score_text
from mlp_jax.commands.resume import begin, data_settings, sha256
from mlp_jax.commands.scores import print_result, scores_of, unit_of, warn_unless_learned
from mlp_jax.commands.shared import heading, make_console, notes_said, progress_bar
from mlp_jax.config import Train
from mlp_jax.data import Dataset, Examples
from mlp_jax.distributed import Processes, processes_of, together
from mlp_jax.network import Model, Params, as_inputs, as_targets, init_params
from mlp_jax.programs import keep_programs
from mlp_jax.runs import Run
from mlp_jax.runs.params import names_of
from mlp_jax.runs.snapshots import is_due, keep_snapshot, read_snapshots
from mlp_jax.runs.tensorboard import EventWriter, check_tensorboard, deltas
from mlp_jax.training import (
    EpochMetrics,
    Plan,
    TrainState,
    check_patience,
    check_training,
    count_steps,
    current_rate,
    epochs,
    evaluate,
    evaluator,
    examples_in_chunk,
    training_sample,
    use_one_thread_if_small,
)

SOME = 1_000
"""Training examples that angles and histograms of errors are measured on."""
PLACES = ("out", "resume", "cache", "distributed", "coordinator", "num_processes", "process_id", "timeout")
"""Settings that say where a run takes place: its processes may differ in them."""
OF_COMMITTEE = ("members", "vary")
"""Settings of a committee, which one network does not keep."""
AfterEpoch = Callable[[TrainState, EpochMetrics], dict[str, Any]]
"""A function that measures more after an epoch: further entries of its line of metrics."""


def train(settings: Train) -> int:
    """Train a network, or a committee; print, log and keep every epoch. Returns the exit status."""
    if settings.members != 1 or settings.vary:
        return train_committee(settings)
    processes = processes_of(
        settings.distributed, settings.coordinator, settings.num_processes, settings.process_id, settings.timeout
    )
    with together(processes):
        return _train(settings, processes)


def _train(settings: Train, processes: Processes) -> int:
    """One process's part. The first alone prints and keeps the run."""
    with notes_said():
        whole = data_of(settings, processes.index, processes.count)
    dataset = held_out(settings, whole)
    settings = replace(settings, batch_size=batch_size_for(settings, dataset))
    model, part = model_for(settings, dataset), part_of(settings)
    sizes = sizes_for(settings.sizes, dataset)
    settings = with_learning_rate(settings, model, sizes)
    use_one_thread_if_small(sizes, settings.batch_size)
    keep_programs(settings.cache)
    config = {name: value for name, value in asdict(settings).items() if name not in (*PLACES, *OF_COMMITTEE)}
    config |= {"sizes": sizes, **names_of(model)}
    if processes.count > 1:
        _check_same(processes, config, dataset, resuming=settings.resume is not None)
    processes.start()
    examples = processes.count * len(dataset.train)
    optimizer = optimizer_of(settings, count_steps(settings.epochs, examples, settings.batch_size))
    plan = Plan(
        model,
        optimizer,
        settings.batch_size,
        rule_of(settings.gradient, sizes, settings),
        processes.mesh(settings.devices),
    )
    check_training(sizes, dataset, plan, settings.epochs, settings.seed)
    devices = 1 if plan.mesh is None else plan.mesh.size
    stream, augment = _examples_at_a_time(settings, dataset, devices), augment_of(settings, dataset)
    if stream is not None and augment is not None:
        raise ValueError("the examples are streamed, and streamed images cannot be moved: leave out --shift")
    check_patience(settings.patience, settings.validation)
    params = init_params(jax.random.key(settings.seed), sizes, standard_normal=settings.standard_normal)
    if settings.tensorboard:
        check_tensorboard()
    config |= data_settings(settings.data, dataset, settings.test) | {"processes": processes.count}
    config |= {"device": jax.devices()[0].device_kind, "devices": devices}
    run = begin(settings, config) if processes.index == 0 else None
    console = make_console(quiet=run is None)
    console.print(heading(config, params, examples))
    with (
        recording(settings, config, run, processes.max_over_processes) as recorder,
        progress_bar(console, alone=processes.count == 1) as progress,
    ):
        state = TrainState.start(params, optimizer)
        if settings.resume:
            state = processes.broadcast(recorder.resume(state, ("loss", f"{part}_loss", "seconds")))
            console.print(f"resuming after epoch {int(state.epoch)} of {settings.epochs}")
        keepers = _keepers(settings, recorder, dataset, plan, state)
        task = progress.add_task("epochs", total=settings.epochs, completed=int(state.epoch))
        running = epochs(state, dataset, plan, settings.epochs, settings.seed, stream=stream, augment=augment)
        for state, metrics in () if _out_of_patience(settings, recorder) else running:
            if run and (settings.patience is None or metrics.test_loss < recorder.best["loss"]):
                # before the checkpoint, after which it would be missed
                run.save(state.params, model, dataset.preprocessing)
            more = {name: value for keep in keepers for name, value in keep(state, metrics).items()}
            line = as_line(metrics, part, unit_of(dataset)) | more
            stopped = recorder.after_epoch(state, metrics.epoch, metrics.score, line)
            console.print(_line(metrics, settings.epochs, examples, part, more.get("angles")), soft_wrap=True)
            progress.advance(task)
            if stopped or _out_of_patience(settings, recorder):
                break
    if run:
        if recorder.status == 0 and recorder.lines:
            last = recorder.lines[-1]
            costs, rate = [last["loss"], last[f"{part}_loss"]], config["learning_rate"]
            warn_unless_learned(dataset, model, last["epoch"], costs, [rate])
        _print_summary(settings, recorder, whole, run, model)
    return recorder.status


def _out_of_patience(settings: Train, recorder: Recorder) -> bool:
    """Whether --patience ends training, because the best epoch is too long ago."""
    behind = recorder.lines[-1]["epoch"] if recorder.lines else 0
    return settings.patience is not None and behind - recorder.best["epoch"] >= settings.patience


def _check_same(processes: Processes, config: dict[str, Any], dataset: Dataset, resuming: bool) -> None:
    """Raises ProcessError unless all processes have the same settings, versions and data, but for their examples."""
    versions = {name: metadata.version(name) for name in ("mlp_jax", "jax")}
    facts = {"training examples": len(dataset.train), "inputs": dataset.n_in, "outputs": dataset.n_out}
    facts |= {"weights": dataset.train.weights is not None}
    test = sha256(dataset.test.inputs, dataset.test.targets, dataset.test.weights)
    facts |= {"test examples with SHA-256": test, "resuming": resuming}
    processes.check_same(**config | {"sizes": "-".join(map(str, config["sizes"]))}, **versions, **facts)


def _examples_at_a_time(settings: Train, dataset: Dataset, devices: int) -> int | None:
    """How many training examples to stream at a time: as many as were asked for, or as fit in memory.

    None if a device's part of all of them takes no more than half its memory. Raises ValueError for too few.
    """
    stream, inputs = settings.stream, dataset.train.inputs
    if stream is None:
        about = jax.local_devices()[0].memory_stats()  # None for a CPU
        memory = about["bytes_limit"] if about else psutil.virtual_memory().total
        if inputs.nbytes > devices * memory / 2:
            stream = max(devices * memory // 4 // inputs[0].nbytes, 2 * settings.batch_size)
    if stream is not None:
        examples_in_chunk(stream, settings.batch_size)  # raises ValueError for too few
    return stream


def _keepers(settings: Train, recorder: Recorder, dataset: Dataset, plan: Plan, start: TrainState) -> list[AfterEpoch]:
    """The functions that measure or keep something after each epoch, before its line of metrics is logged.

    start: the state that training begins or resumes with, which is saved now.
    """
    run, model, some = recorder.run, plan.model_of(start), dataset.train.rows(slice(SOME))
    keepers = [_angles(model, plan.gradient, some)] if settings.angles else []
    if run is None:
        return keepers
    if int(start.epoch) == 0 or settings.patience is None:  # a checkpoint outlives parameters that were lost
        run.save(start.params, model, dataset.preprocessing)
    if int(start.epoch) == 0:
        keep_snapshot(run.directory, 0, start.params)
    else:
        read_snapshots(run.directory)  # damaged ones are refused before training, not in the middle of it

    def snapshot(state: TrainState, metrics: EpochMetrics) -> dict[str, Any]:
        if is_due(metrics.epoch, settings.epochs):
            keep_snapshot(run.directory, metrics.epoch, state.params)
        return {}

    keepers += [snapshot, _training_score(dataset, plan, settings.epochs)]
    if settings.tensorboard:
        examples = recorder.config["processes"] * len(dataset.train)
        keepers.append(_events(run.directory, int(start.epoch), some, model, examples, part_of(settings)))
    return keepers


def _training_score(dataset: Dataset, plan: Plan, epochs: int) -> AfterEpoch:
    """Measures the score on training examples after the epochs that have a snapshot.

    Each of several processes has only its own part of them. After every epoch it would take 8 % of a short run's time.
    """
    evaluation = evaluator(training_sample(dataset), plan.model)

    def measure(state: TrainState, metrics: EpochMetrics) -> dict[str, Any]:
        if not is_due(metrics.epoch, epochs):
            return {}
        score = float(evaluation(state).score)
        return {score_name(metrics, "train"): score if math.isfinite(score) else None}

    return measure


def _events(directory: Path, epoch: int, some: Examples, model: Model, examples: int, part: str) -> AfterEpoch:
    """Writes each epoch, from the one after `epoch` on, into an event file for TensorBoard."""
    writer = EventWriter(directory, epoch)

    def events(state: TrainState, metrics: EpochMetrics) -> dict[str, Any]:
        line = as_line(metrics, part)
        numbers = {name: number for name, number in line.items() if name not in ("epoch", "seconds")}
        numbers |= {"examples_per_second": examples / metrics.seconds, "learning_rate": current_rate(state)}
        writer.write(metrics.epoch, numbers, jax.device_get(state.params), deltas(state.params, some, model))
        return {}

    return events


def _angles(model: Model, rule: GradientRule, some: Examples) -> AfterEpoch:
    """Measures the angle between a rule's gradient and the true one in each layer, in degrees.

    None for a gradient that is zero or not finite.
    """
    from mlp_jax.gradients.compare import angles

    @jax.jit
    def between(params: Params) -> tuple[jax.Array, ...]:
        problem = params, as_inputs(some.inputs, params), as_targets(some.targets, params), model
        weights = {} if some.weights is None else {"weights": jnp.asarray(some.weights)}
        return angles(rule(*problem, **weights), backprop(*problem, **weights))

    def measure(state: TrainState, _: EpochMetrics) -> dict[str, Any]:
        found = between(state.params)
        return {"angles": [round(float(angle), 3) if jnp.isfinite(angle) else None for angle in found]}

    return measure


def _line(metrics: EpochMetrics, epochs: int, examples: int, part: str, angles: list[float | None] | None) -> str:
    """The line that is printed after an epoch."""
    name = score_name(metrics, part)
    line = (
        f"epoch {metrics.epoch:>{len(str(epochs))}}   cost {metrics.loss:.4f}   "
        f"{TITLES[name]} {score_text(name, metrics.score)}   {examples / metrics.seconds:>9,.0f} examples/s"
    )
    if angles is None:
        return line
    return f"{line}   angles " + " ".join("-" if angle is None else f"{angle:.1f}°" for angle in angles)


def _print_summary(settings: Train, recorder: Recorder, whole: Dataset, run: Run, model: Model) -> None:
    """How the parameters that were kept, the last, or with --patience the best, do beside always the same answer.

    The last line is JSON. whole: with the test examples, also if others were held out to validate with.
    """
    lines, part = recorder.lines, part_of(settings)
    kept: dict[str, Any] = {f"{part}_accuracy" if whole.has_classes else f"{part}_r2": None}
    if lines:
        kept = lines[recorder.best["epoch"] - 1] if settings.patience else lines[-1]
    found = {name: kept[name] for name in (*TITLES, f"{part}_rmse") if name in kept}
    if part == "validation" and lines:
        found |= scores_of(evaluate(run.load(), whole.test, model), unit_of(whole))
    if found.get("test_accuracy") is not None and whole.test.weights is None:
        found["wrong"] = round((1 - found["test_accuracy"]) * len(whole.test))
    if settings.patience and lines:
        found["epoch"] = kept["epoch"]
    seconds = round(sum(line["seconds"] for line in lines), 3)
    print_result(found, whole, of=len(whole.test), seconds=seconds, run=str(run.directory))
