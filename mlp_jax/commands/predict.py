"""The command that shows a run's predictions for pictures."""

import numpy as np
from rich.bar import Bar
from rich.table import Table

from mlp_jax.commands.shared import inputs_of, keep_programs, make_console, open_run
from mlp_jax.config import Predict
from mlp_jax.data import read_digit
from mlp_jax.network import as_inputs, feedforward, sizes_of
from mlp_jax.runs import RunError


def predict(settings: Predict) -> int:
    """Show the activations of a run's output neurons for each picture."""
    keep_programs(settings.cache)
    run, model, params = open_run(settings.directory)
    if sizes_of(params)[0] != 784 or inputs_of(run) != "uint8":
        raise RunError(
            f"{run.directory} has a network of {sizes_of(params)[0]} {inputs_of(run)} inputs: expected 784 of uint8, "
            "because pictures become 28 x 28 pixels from 0 to 255"
        )
    if run.config.get("targets") == "numbers":
        raise RunError(f"{run.directory} learned numbers, not classes: there is no answer to a picture")
    digits = [read_digit(path) for path in settings.images]
    console = make_console()
    for path, digit in zip(settings.images, digits, strict=True):
        outputs = np.asarray(feedforward(params, as_inputs(digit.pixels, params), model))
        notes = [", dark ink on light paper, inverted"] * digit.inverted + [", scaled and centred"] * digit.resized
        console.print(f"{path}{''.join(notes)}", markup=False, soft_wrap=True)
        bars = Table.grid(padding=(0, 1))
        for answer, activation in enumerate(outputs):
            bar = Bar(size=max(1.0, outputs.max()), begin=0, end=max(0.0, activation), width=40)
            bars.add_row(str(answer), f"{activation:7.4f}", bar)
        console.print(bars)
        print(f"answer: {outputs.argmax()}")
    return 0
