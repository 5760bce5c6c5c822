"""The command that makes a run's network a program for other tools."""

from mlp_jax import arguments
from mlp_jax.commands.shared import open_run, print_json
from mlp_jax.exchange import prediction_program
from mlp_jax.runs.files import replace_file

PROGRAM = "predict.stablehlo"


def export(settings: arguments.Export) -> int:
    """Write what a run's network answers to images as a serialised StableHLO program."""
    run, model, params = open_run(settings.directory)
    program = prediction_program(params, model)
    path = settings.out or run.directory / PROGRAM
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"{path} is no place for a file: give --out a file in a directory that is there")
    replace_file(path, bytes(program.serialize()))
    (images,), (outputs,) = program.in_avals, program.out_avals
    print_json(
        path=str(path),
        bytes=path.stat().st_size,
        platforms=program.platforms,
        input={"shape": [str(images.shape[0]), *images.shape[1:]], "dtype": images.dtype.name},
        output={"shape": [str(outputs.shape[0]), *outputs.shape[1:]], "dtype": outputs.dtype.name},
    )
    return 0
