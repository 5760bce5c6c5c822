"""The README's table of what the lessons say and what was measured, from what `mlp-jax experiment all` has written.

mlp-jax experiment all --out experiments
python scripts/claims.py experiments --readme README.md
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import tyro

from mlp_jax.experiments import EXPERIMENTS

BEGIN, END = "<!-- claims: begin -->", "<!-- claims: end -->"


def main(directory: Annotated[Path, tyro.conf.Positional], readme: Path | None = None) -> None:
    """Print the table, or put it into a Markdown file.

    Args:
        directory: where `mlp-jax experiment all --out DIRECTORY` has written NAME.json for each experiment.
        readme: the file, to put the table between the lines <!-- claims: begin --> and <!-- claims: end -->.
    """
    try:
        table = table_of(directory)
        if readme is None:
            print(table, end="")
        else:
            readme.write_text(with_table(readme.read_text(encoding="utf-8"), table, readme), encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"claims.py: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def table_of(directory: Path) -> str:
    """A row for each experiment, in Markdown. Raises ValueError if its numbers are missing or damaged."""
    missing = [name for name in EXPERIMENTS if not (directory / f"{name}.json").is_file()]
    if missing:
        raise ValueError(
            f"{directory} has no {', '.join(f'{name}.json' for name in missing)}: "
            f"mlp-jax experiment all --out {directory} writes them"
        )
    lines = ["| what the lessons say | what we measured | command |", "| --- | --- | --- |"]
    for name in EXPERIMENTS:
        path = directory / f"{name}.json"
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            verdict = "holds" if said["holds"] else "does not hold"
            cells = (f"{said['claim']} ({said['source']})", f"**{verdict}**: {said['finding']}")
        except (ValueError, KeyError, TypeError) as error:
            again = f"mlp-jax experiment {name} --out {directory}"
            raise ValueError(f"{path} is not what {again} writes ({error!r}): run it again") from error
        lines.append(f"| {' | '.join(map(_cell, cells))} | `mlp-jax experiment {name}` |")
    return "\n".join(lines) + "\n"


def with_table(text: str, table: str, path: Path) -> str:
    """The text with the table in its place. Raises ValueError, which names the file, if it has none, or several."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if (text.count(BEGIN), text.count(END), rest.count(END)) != (1, 1, 1):
        raise ValueError(
            f"{path} has no place for the table: expected the lines {BEGIN} and {END}, once and in this order"
        )
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def _cell(text: str) -> str:
    """One line, in which nothing ends the cell."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")


if __name__ == "__main__":
    tyro.cli(main)
