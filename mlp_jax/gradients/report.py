"""What a comparison of gradients finds, as numbers, as a table and as JSON."""

from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

import numpy as np


class Comparison(NamedTuple):
    """How far one leaf of a gradient, or all leaves together, are from the reference.

    path: where the leaf is, "[0].weights" for instance; "" for all together.
    shape, dtype: of the leaf; all together are () and "".
    absolute: the largest absolute error |g - r|.
    relative: the same as a fraction of the leaf's largest |r|. As a fraction of each number itself, the rounding of a
        number close to 0 would be huge.
    bound: the largest `relative` that rounding explains.
    ulps: the largest error in units in the last place of the leaf's largest |r|, in the coarser of the two types.
    angle: between the two as vectors, degrees from 0 to 180.
    norm_ratio: |g| / |r|.
    worst: path and index of the number whose error is largest relative to its tolerance, "[0].weights[3, 7]" for
        instance.
    value, reference: that number here, and in the reference.
    wrong: how many numbers have a larger error than is tolerated.
    where: the slice of the leaf, "[3, :]" for instance, that all wrong numbers lie in.
    remark: another shape or dtype, a leaf that is missing, or numbers that are not finite.
    agrees: whether rounding explains everything.

    Numbers are NaN if a leaf is missing or has another shape.

    >>> from mlp_jax import compare_gradients
    >>> report = compare_gradients({"mine": [np.array([1.0, 2.5])], "exact": [np.array([1.0, 2.0])]}, "exact")
    >>> leaf = report.leaves["mine"][0]
    >>> leaf.absolute, leaf.relative, leaf.worst, leaf.agrees
    (0.5, 0.25, '[0][1]', False)
    """

    path: str
    shape: tuple[int, ...] = ()
    dtype: str = ""
    absolute: float = np.nan
    relative: float = np.nan
    bound: float = np.nan
    ulps: float = np.nan
    angle: float = np.nan
    norm_ratio: float = np.nan
    worst: str = ""
    value: float = np.nan
    reference: float = np.nan
    wrong: int = 0
    where: str = ""
    remark: str = ""
    agrees: bool = False


@dataclass(frozen=True)
class GradientReport:
    """Gradients compared with a reference; it prints, and shows in a notebook, as a table.

    reference: the name of the gradient that the others were compared with.
    leaves: for each other name a Comparison for each leaf.
    overall: for each other name all leaves together.
    notes: further findings, a line each.

    >>> from mlp_jax import compare_gradients
    >>> report = compare_gradients({"mine": [np.array([1.0, 2.5])], "exact": [np.array([1.0, 2.0])]}, "exact")
    >>> print(str(report).splitlines()[0])
    mine and exact DISAGREE
    >>> report.agree, report.leaves["mine"][0].absolute
    (False, 0.5)
    """

    reference: str
    leaves: dict[str, tuple[Comparison, ...]]
    overall: dict[str, Comparison]
    notes: tuple[str, ...] = ()

    @property
    def agree(self) -> bool:
        """Whether rounding explains every difference."""
        return all(comparison.agrees for comparison in self.overall.values())

    def __str__(self) -> str:
        """Each gradient's verdict, and a row for each leaf."""
        lines = []
        for name, leaves in self.leaves.items():
            overall = self.overall[name]._replace(path="all")
            lines.append(f"{name} and {self.reference} {'agree' if overall.agrees else 'DISAGREE'}")
            rows = _aligned([HEADINGS, *map(_cells, leaves), _cells(overall)])
            for row, comparison in zip(rows, (None, *leaves, overall), strict=True):
                lines += [row, *_said(comparison)]
            if overall.worst:
                lines.append(
                    f"    worst: {overall.worst}, {overall.value:+.6e}; {self.reference} {overall.reference:+.6e}"
                )
        return "\n".join([*lines, LEGEND, *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What a notebook shows: a table for each gradient, disagreements in bold."""
        parts = []
        for name, leaves in self.leaves.items():
            overall = self.overall[name]._replace(path="all")
            verdict = f"{name} and {self.reference} {'agree' if overall.agrees else 'DISAGREE'}"
            rows = [_html_row("th", HEADINGS)]
            for comparison in (*leaves, overall):
                rows.append(_html_row("td", _cells(comparison), bold=not comparison.agrees))
                rows += [f'<tr><td colspan="{len(HEADINGS)}">{escape(said)}</td></tr>' for said in _said(comparison)]
            parts.append(f"<table><caption>{escape(verdict)}</caption>{''.join(rows)}</table>")
        return "".join([*parts, *(f"<p>{escape(line)}</p>" for line in (LEGEND, *self.notes))])

    def to_dict(self) -> dict[str, Any]:
        """The same as dictionaries, lists, strings and numbers for JSON; None for numbers that are not finite."""

        def plain(comparison: Comparison) -> dict[str, Any]:
            fields = comparison._asdict() | {"shape": list(comparison.shape)}
            return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in fields.items()}

        gradients = {
            name: {"overall": plain(self.overall[name]), "leaves": [plain(leaf) for leaf in leaves]}
            for name, leaves in self.leaves.items()
        }
        return {"reference": self.reference, "agree": self.agree, "gradients": gradients, "notes": list(self.notes)}


HEADINGS = ("", "shape", "error", "relative", "bound", "ulps", "angle", "norm ratio")
LEGEND = "relative and bound are fractions of the leaf's largest number; rounding explains the bound"


def _cells(c: Comparison) -> tuple[str, ...]:
    def number(value: float, form: str, unit: str = "") -> str:
        return "-" if np.isnan(value) else format(value, form) + unit

    return (
        c.path,
        "x".join(map(str, c.shape)),
        number(c.absolute, ".1e"),
        number(c.relative, ".1e"),
        number(c.bound, ".1e"),
        number(c.ulps, ".3g"),
        number(c.angle, ".1e", "°"),
        number(c.norm_ratio, ".6f"),
    )


def _said(comparison: Comparison | None) -> list[str]:
    """The line below a row, if there is anything to say."""
    if comparison is None or (comparison.path == "all" and not comparison.remark):
        return []
    wrong = f"{comparison.wrong:,} wrong" + f" in {comparison.where}" * bool(comparison.where)
    if not comparison.agrees and comparison.wrong and comparison.worst:
        wrong += f", the worst {comparison.worst}: {comparison.value:+.6e}, reference {comparison.reference:+.6e}"
    said = "; ".join(filter(None, (wrong * bool(comparison.wrong), comparison.remark)))
    return [f"    {'' if comparison.agrees else 'DISAGREE: '}{said}"] if said else []


def _html_row(cell: str, texts: tuple[str, ...], *, bold: bool = False) -> str:
    style = ' style="font-weight: bold"' if bold else ""
    return f"<tr{style}>{''.join(f'<{cell}>{escape(text)}</{cell}>' for text in texts)}</tr>"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as their content: the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(["", row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
