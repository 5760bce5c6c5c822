"""The command that writes the page of a run."""

from pathlib import Path

from mlp_jax.commands.shared import dataset_of, open_run, print_json
from mlp_jax.config import Report, command_of
from mlp_jax.programs import keep_programs
from mlp_jax.report import report as page_of
from mlp_jax.runs.files import replace_file


def report(settings: Report) -> int:
    """Write report.html into a run's directory."""
    keep_programs(settings.cache)
    page = made(settings.directory)
    path = settings.out or settings.directory / "report.html"
    replace_file(path, page.encode())
    print_json(report=str(path), bytes=len(page.encode()))
    return 0


def made(directory: Path) -> str:
    """The page of the run in `directory`."""
    run, model, params = open_run(directory)
    return page_of(run, model, params, dataset_of(run, params), command_of(run.config))
