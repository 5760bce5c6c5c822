"""What the page of a run shows, as JSON can hold it."""

import base64
import io
import json
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from PIL import Image

from mlp_jax.data import Column, Dataset
from mlp_jax.experiments import EXPERIMENTS
from mlp_jax.network import Model, Params, as_inputs, feedforward, sizes_of
from mlp_jax.runs import Run, RunError
from mlp_jax.runs.files import quoted
from mlp_jax.runs.params import names_of
from mlp_jax.runs.run import METRICS
from mlp_jax.runs.snapshots import as_kept, read_snapshots
from mlp_jax.training import evaluate, init_population, member, training_sample

SAMPLE = 1_000
"""How many test images the page has to count right answers on."""
IMAGES_BYTES = 2**21
"""The most bytes that images take before they are packed: the page keeps fewer of images larger than MNIST's."""
MOST_PARAMETERS = 2**23
"""Beyond it a page takes more than 45 MB, and a browser takes seconds to draw the network."""
FIGURE_COLOURS = 128
"""What a figure is drawn in; all sixteen with the colours they were drawn with would take 2.5 MB."""


def payload_of(run: Run, model: Model, params: Params, dataset: Dataset, command: str) -> dict[str, Any]:
    """Everything that the page shows. Raises RunError as `report` does."""
    numbers = _in_a_row(run, params)
    found, shape = evaluate(params, dataset.test, model), dataset.image_shape
    metrics = _metrics(run.directory / METRICS, dataset.has_classes)
    start = _before_training(run, model, params, dataset) if metrics else []
    # With --patience the parameters are the best epoch's, which may have no snapshot.
    last = metrics[-1]["epoch"] if metrics and not run.config.get("patience") else 0
    return {
        **names_of(model),
        "sizes": sizes_of(params),
        "imageShape": shape if shape is not None and shape[2] in (1, 3) else None,  # what can be shown as a picture
        "parameters": _base64(numbers.tobytes()),
        **_examples(dataset, _outputs(params, dataset, model)),
        **(_table(dataset) if dataset.test.inputs.dtype != np.uint8 else {}),
        "classNames": dataset.class_names,
        "target": _target(dataset),
        "confusion": None if found.confusion is None else found.confusion.tolist(),
        "metrics": start + metrics,
        "snapshots": _snapshots(run.directory, params, last),
        "settings": run.config,
        "command": command,
        "experiments": _experiments(run.directory),
    }


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _packed(content: bytes) -> str:
    return _base64(zlib.compress(content, 9))


def _in_a_row(run: Run, params: Params) -> np.ndarray:
    """All parameters, little-endian float32: weights and biases, layer by layer. RunError unless all are finite."""
    count = sum(leaf.size for layer in params for leaf in layer)
    if count > MOST_PARAMETERS:
        raise RunError(f"{run.directory} has {count:,} parameters: a page holds {MOST_PARAMETERS:,} at most")
    arrays = []
    for number, layer in enumerate(params):
        for name, leaf in layer._asdict().items():
            array = np.asarray(leaf).astype("<f4").ravel()
            wrong = np.flatnonzero(~np.isfinite(array))
            if wrong.size:
                raise RunError(
                    f"{run.directory} has {wrong.size} numbers in layers.{number}.{name} that are not finite in "
                    f"float32: training diverged, and there is nothing to show"
                )
            arrays.append(array)
    return np.concatenate(arrays)


def _outputs(params: Params, dataset: Dataset, model: Model) -> Float[np.ndarray, "n n_out"]:
    answer = jax.jit(lambda inputs: feedforward(params, as_inputs(inputs, params), model))
    pieces = np.array_split(dataset.test.inputs, max(1, len(dataset.test) // 10_000))
    return np.concatenate([np.asarray(answer(inputs)) for inputs in pieces])


def _examples(dataset: Dataset, outputs: Float[np.ndarray, "n n_out"]) -> dict[str, Any]:
    """Test examples for the page: a sample of all, evenly spaced, and then wrong answers that are not among them.

    Labels and answers are classes, or the outputs that are wanted and those that the network gives. Inputs are bytes,
    or float32 if they are no bytes in the data.
    """
    inputs, targets = dataset.test.inputs, dataset.test.targets
    if inputs.dtype != np.uint8:
        inputs = inputs.astype("<f4")
    tests, most = len(inputs), max(10, IMAGES_BYTES // inputs[0].nbytes)
    count = min(SAMPLE, tests, most)
    chosen, answers = np.arange(count) * tests // count, outputs
    if dataset.has_classes:
        answers = outputs.argmax(axis=1)
        mistakes = np.setdiff1d(np.flatnonzero(answers != targets), chosen)[: max(0, most - count)]
        chosen = np.concatenate([chosen, mistakes]).astype(int)
    return {
        "sample": count,
        "images": _packed(inputs[chosen].tobytes()),
        "indices": chosen.tolist(),
        "labels": targets[chosen].tolist(),
        "answers": answers[chosen].tolist(),
    }


def _table(dataset: Dataset) -> dict[str, Any]:
    """The columns of a table, and the scaling of the inputs that they make; of other floats a column for each."""
    kept = dataset.preprocessing
    if kept is None or not kept.columns:
        inputs = dataset.train.inputs
        low, high = inputs.min(axis=0), inputs.max(axis=0)
        middle = np.median(inputs, axis=0)
        columns = [
            Column(f"input {n}", "number", fill=float(middle[n]), low=float(low[n]), high=float(high[n]))
            for n in range(dataset.n_in)
        ]
        return {"columns": [asdict(column) for column in columns], "scaling": None}
    scaling = kept.inputs and {
        "shift": np.asarray(kept.inputs.shift, np.float64).tolist(),
        "scale": np.asarray(kept.inputs.scale, np.float64).tolist(),
        "clip": kept.inputs.clip,
    }
    return {"columns": [asdict(column) for column in kept.columns], "scaling": scaling}


def _target(dataset: Dataset) -> dict[str, Any] | None:
    """What the outputs are if they are numbers: their names, and how they are brought into the unit of the target."""
    if dataset.has_classes:
        return None
    kept, n_out = dataset.preprocessing, dataset.n_out
    shift, scale, names = np.zeros(n_out), np.ones(n_out), [f"output {n}" for n in range(n_out)]
    if kept is not None and kept.targets is not None:
        shift, scale, names = np.asarray(kept.targets.shift), np.asarray(kept.targets.scale), [str(kept.target)]
    targets = dataset.test.targets
    return {
        "names": names,
        "shift": shift.tolist(),
        "scale": scale.tolist(),
        "low": targets.min(axis=0).tolist(),
        "high": targets.max(axis=0).tolist(),
    }


def _metrics(path: Path, classes: bool) -> list[dict[str, Any]]:
    """The lines of metrics that are whole: the last may be half written."""
    score = "accuracy" if classes else "r2"
    try:
        # To the page it is one whether a score is that of test examples or of others that were held out.
        lines = [
            {name.replace("validation_", "test_"): number for name, number in json.loads(line).items()}
            for line in (path.read_text().split("\n")[:-1] if path.is_file() else [])
        ]
        return [
            {"epoch": int(line["epoch"]), **{name: float(line[name]) for name in ("loss", f"test_{score}")}}
            | {name: float(line[name]) for name in ("test_loss", f"train_{score}") if line.get(name) is not None}
            for line in lines
        ]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise RunError(f"{path} is damaged: a line lacks what training logs ({error!r})") from error


def _before_training(run: Run, model: Model, params: Params, dataset: Dataset) -> list[dict[str, Any]]:
    """What a line of metrics of epoch 0 would say, from the parameters that training began with: they are drawn anew.

    Nothing if the run does not say how, or if its snapshot of epoch 0 does not agree.
    """
    if run.config.get("members", 1) != 1:
        return []  # the page's member may have begun with another one's
    seed, scale, held_out = (run.config.get(name) for name in ("seed", "scale", "validation"))
    scale = 1.0 if scale is None else scale
    if not isinstance(seed, int) or not isinstance(scale, float | int):
        return []
    normal, kept = bool(run.config.get("standard_normal")), read_snapshots(run.directory)
    initial = member(init_population([seed], sizes_of(params), [scale], standard_normal=normal), 0)
    if kept is not None and (kept.epochs[0] != 0 or not np.array_equal(kept.weights[0], as_kept(initial))):
        return []
    last = run.config.get("split") == "time"
    known = dataset.held_out(held_out, last=last) if isinstance(held_out, int | float) and held_out else dataset
    test, train = (evaluate(initial, part, model) for part in (known.test, training_sample(known)))
    score = "accuracy" if dataset.has_classes else "r2"
    scores = {f"test_{score}": test.score, f"train_{score}": train.score}
    return [{"epoch": 0, "loss": train.loss, "test_loss": test.loss, **scores}]


def _snapshots(directory: Path, params: Params, last: int) -> dict[str, Any] | None:
    """First-layer weights through the epochs, in steps of 1/127 of each snapshot's largest: enough to look at."""
    kept, latest = read_snapshots(directory), as_kept(params)
    if kept is None or kept.weights.shape[1:] != latest.shape:
        return None
    epochs, weights = kept.epochs.tolist(), list(kept.weights)
    if last > epochs[-1]:  # training that was stopped between two snapshots
        epochs.append(last)
        weights.append(latest)
    weights = np.nan_to_num(np.array(weights, np.float32), posinf=0, neginf=0)
    scales = np.maximum(np.abs(weights).max(axis=(1, 2)), 1e-30)
    levels = np.rint(127 * weights / scales[:, None, None]).astype(np.int8)
    packed = _packed(levels.tobytes())
    return {"epochs": epochs, "neurons": weights.shape[1], "scales": scales.tolist(), "weights": packed}


def _experiments(directory: Path) -> list[dict[str, Any]]:
    """The findings of experiments that were made on the run."""
    found = []
    for name in EXPERIMENTS:
        numbers = directory / f"{name}.json"
        if not numbers.is_file():
            continue
        try:
            said = json.loads(numbers.read_text())
            texts = {key: str(said[key]) for key in ("claim", "source", "verdict", "finding")}
            parts = {str(part): bool(holds) for part, holds in said["parts"].items()}
            criteria = {part: str(said["criteria"][part]) for part in parts}
            table = {str(what): str(value) for what, value in said["table"].items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            again = f"mlp-jax experiment {name} --run {quoted(directory)} writes it anew"
            raise RunError(f"{numbers} is damaged, or of another version ({error!r}): {again}") from error
        figure = numbers.with_suffix(".png")
        drawn = _figure(figure) if figure.is_file() else None
        found.append({"name": name, **texts, "parts": parts, "criteria": criteria, "table": table, "figure": drawn})
    return found


def _figure(path: Path) -> str:
    try:
        return _base64(in_few_colours(path))
    except Exception as error:  # a damaged file can make Pillow's decoders raise almost anything
        raise RunError(f"{path} is no readable PNG ({error})") from error


def in_few_colours(path: Path) -> bytes:
    """A picture as PNG in few colours, none of them far from the original: a third of its bytes."""
    content = io.BytesIO()
    with Image.open(path, formats=["PNG"]) as image:
        few = image.convert("RGB").quantize(FIGURE_COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1)
        few.save(content, "PNG", optimize=True)
    return content.getvalue()
