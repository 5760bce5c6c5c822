"""The command that makes a run's network a program for other tools."""

from mlp_jax.commands.shared import inputs_of, open_run, print_json
from mlp_jax.config import Export
from mlp_jax.exchange import prediction_program
from mlp_jax.runs.files import replace_file

PROGRAM = "predict.stablehlo"


def export(settings: Export) -> int:
    """Write a run's network as a serialised StableHLO program."""
    run, model, params = open_run(settings.directory, committee=True)
    kept = run.preprocessing()
    # Programs take float32 for float64 too, as training does.
    dtype = "uint8" if inputs_of(run) == "uint8" else "float32"
    scale_inputs, scale_targets = (None, None) if kept is None else (kept.inputs, kept.targets)
    program = prediction_program(params, model, dtype=dtype, scale_inputs=scale_inputs, scale_targets=scale_targets)
    path = settings.out or run.directory / PROGRAM
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"{path} cannot be written: give --out a file in a directory that is there")
    replace_file(path, bytes(program.serialize()))
    (inputs,), (outputs,) = program.in_avals, program.out_avals
    names = {} if kept is None else {"inputs": kept.feature_names or None, "outputs": kept.class_names or [kept.target]}
    print_json(
        path=str(path),
        bytes=path.stat().st_size,
        platforms=program.platforms,
        input={"shape": [str(inputs.shape[0]), *inputs.shape[1:]], "dtype": inputs.dtype.name},
        output={"shape": [str(outputs.shape[0]), *outputs.shape[1:]], "dtype": outputs.dtype.name},
        **({"names": names} if names else {}),
    )
    return 0
