"""The command that shows what a run answers to pictures."""

import jax.numpy as jnp
import numpy as np
from rich.bar import Bar
from rich.table import Table

from mlp_jax import arguments, training
from mlp_jax.commands.shared import keep_programs, make_console, open_run
from mlp_jax.data import read_digit
from mlp_jax.network import feedforward, sizes_of
from mlp_jax.runs import RunError


def predict(settings: arguments.Predict) -> int:
    """Show what a run's network answers to each picture."""
    keep_programs(settings.cache)
    run, model, params = open_run(settings.directory)
    if not settings.images:
        raise ValueError("there is no image to look at: give one or more image files after the run's directory")
    if sizes_of(params)[0] != 784:
        raise RunError(f"{run.directory} has {sizes_of(params)[0]} inputs: pictures are made into 784 pixels")
    digits = [read_digit(path) for path in settings.images]
    console = make_console()
    for path, digit in zip(settings.images, digits, strict=True):
        outputs = np.asarray(feedforward(params, training.as_inputs(jnp.asarray(digit.pixels), params), model))
        notes = [", dark ink on light paper, inverted"] * digit.inverted + [", scaled and centred"] * digit.resized
        console.print(f"{path}{''.join(notes)}", markup=False, soft_wrap=True)
        bars = Table.grid(padding=(0, 1))
        for answer, activation in enumerate(outputs):
            bar = Bar(size=max(1.0, outputs.max()), begin=0, end=max(0.0, activation), width=40)
            bars.add_row(str(answer), f"{activation:7.4f}", bar)
        console.print(bars)
        print(f"answer: {outputs.argmax()}")
    return 0
