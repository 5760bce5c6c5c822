"""What was measured of each claim of the lessons, in Markdown, from what `mlp-jax experiment all` has written.

mlp-jax experiment all --out experiments
python scripts/claims.py experiments --readme mlp_jax/experiments/README.md --pictures scripts/pictures/experiments
"""

import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from mlp_jax.experiments import EXPERIMENTS
from mlp_jax.report.payload import in_few_colours

BEGIN, END = "<!-- claims: begin -->", "<!-- claims: end -->"


def main(
    directory: Annotated[Path, tyro.conf.Positional], readme: Path | None = None, pictures: Path | None = None
) -> None:
    """Print the findings, or put them into a Markdown file.

    Args:
        directory: where `mlp-jax experiment all --out DIRECTORY` has written NAME.json for each experiment.
        readme: the file, to put the findings between the lines <!-- claims: begin --> and <!-- claims: end -->.
        pictures: a directory to copy the figures to; the findings then show them.
    """
    try:
        beside = Path() if readme is None else readme.parent
        findings = findings_of(directory, None if pictures is None else os.path.relpath(pictures, beside))
        if readme is None:
            print(findings, end="")
        else:
            text = with_findings(readme.read_text(encoding="utf-8"), findings, readme)
            readme.write_text(text, encoding="utf-8")
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            for name in EXPERIMENTS:
                (pictures / f"{name}.png").write_bytes(in_few_colours(directory / f"{name}.png"))
    except (OSError, ValueError) as error:
        print(f"claims.py: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def findings_of(directory: Path, pictures: str | None = None) -> str:
    """A table of all verdicts, and a section for each experiment, with its figure in the directory `pictures`.

    Raises ValueError for missing or damaged numbers.
    """
    missing = [name for name in EXPERIMENTS if not (directory / f"{name}.json").is_file()]
    if missing:
        raise ValueError(
            f"{directory} has no {', '.join(f'{name}.json' for name in missing)}: "
            f"mlp-jax experiment all --out {directory} writes them"
        )
    rows = ["| claim | source | verdict | experiment |", "| --- | --- | --- | --- |"]
    sections = []
    for name in EXPERIMENTS:
        path = directory / f"{name}.json"
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            rows.append(_row(name, said))
            sections.append(_section(name, said, pictures))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            again = f"mlp-jax experiment {name} --out {directory}"
            raise ValueError(f"{path} is not what {again} writes ({error!r}): run it again") from error
    return "\n".join([*rows, "", *sections])


def with_findings(text: str, findings: str, path: Path) -> str:
    """The text with the findings in their place. Raises ValueError, which names the file, if it has none or several."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if (text.count(BEGIN), text.count(END), rest.count(END)) != (1, 1, 1):
        raise ValueError(
            f"{path} has no place for the findings: expected the lines {BEGIN} and {END}, once and in this order"
        )
    return f"{before}{BEGIN}\n\n{findings}\n{END}{after}"


def _row(name: str, said: dict[str, Any]) -> str:
    cells = (said["claim"], said["source"], f"**{said['verdict']}**")
    return f"| {' | '.join(map(_cell, cells))} | [`{name}`](#{name}) |"


def _section(name: str, said: dict[str, Any], pictures: str | None) -> str:
    parts = [
        f"- {'holds' if held else '**does not hold**'}: *{_line(part)}*. {_sentence(said['criteria'][part])}"
        for part, held in said["parts"].items()
    ]
    lines = [
        f"### {name}",
        "",
        f"{_line(said['claim'])} ({_line(said['source'])}).",
        "",
        *parts,
        "",
        f"{_sentence(said['finding'])} `mlp-jax experiment {name}`",
        "",
        *_numbers(said["table"]),
    ]
    if pictures is not None:
        lines += [f"![The figure of {name}]({pictures}/{name}.png)", ""]
    return "\n".join(lines)


def _numbers(table: dict[str, str]) -> list[str]:
    """A table without a heading, which Markdown has only with an empty one."""
    rows = [f"| {_cell(_line(what))} | {_cell(_line(value))} |" for what, value in table.items()]
    return ["| | |", "| --- | --- |", *rows, ""] if rows else []


def _sentence(text: str) -> str:
    """With a capital at its beginning and a full stop at its end."""
    text = _line(text)
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _line(text: str) -> str:
    """One line of Markdown that shows the text as it is."""
    return re.sub(r"([\\`*_<\[])", r"\\\1", " ".join(text.split()))


def _cell(text: str) -> str:
    """One line, in which nothing ends the cell."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")


if __name__ == "__main__":
    tyro.cli(main)
