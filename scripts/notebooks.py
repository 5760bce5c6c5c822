"""Executes the notebooks of scripts/lessons from top to bottom and keeps what they print and draw, and nothing else.

    python scripts/notebooks.py                                   # all of them
    python scripts/notebooks.py scripts/lessons/4-the-calculus.ipynb

Needs nbclient and ipykernel: pip install -e '.[notebooks]'.
"""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient

LESSONS = Path(__file__).parent / "lessons"


def executed(path: Path) -> Any:
    """The notebook with new outputs, in an empty directory of its own; no path of this machine gets into them."""
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as empty:
        client = NotebookClient(
            notebook, timeout=300, kernel_name="python3", coalesce_streams=True, resources={"metadata": {"path": empty}}
        )
        client.execute()
    return cleaned(notebook)


def cleaned(notebook: Any) -> Any:
    """Only what was printed and what was drawn, and no times, versions or random names of cells."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.metadata, cell.id = {}, f"cell-{number}"
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_kept, cell.outputs) if output]
    return notebook


def _kept(output: Any) -> Any:
    """The output without what differs from run to run; None if it is a progress bar or the like."""
    if output.output_type == "stream":
        return output if output.name == "stdout" else None
    if output.output_type == "error":
        return output
    output.metadata = {}
    if "image/png" in output.data:
        output.data = {"image/png": output.data["image/png"]}
        return output
    return output if output.output_type == "execute_result" else None


def main(paths: list[Path]) -> None:
    """Execute them, and write each back if it ran to its end."""
    for path in paths or sorted(LESSONS.glob("*.ipynb")):
        start = time.perf_counter()
        notebook = executed(path)
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
