"""What a comparison of gradients finds, as numbers, as a table and as JSON."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Comparison(NamedTuple):
    """How far one leaf of a gradient, or all leaves together, are from the reference.

    path: where the leaf is, "[0].weights" for instance; "" for all together.
    shape, dtype: of the leaf; all together are () and "".
    absolute: the largest absolute error |g - r|.
    relative: the largest error as a fraction of the leaf's largest |r|; so a number near zero, where any rounding is
        relatively huge, does not drown the rest.
    ulps: the largest error in units in the last place of the leaf's largest |r|, in the coarser of the two types.
    angle: between the two as vectors, degrees from 0 to 180.
    norm_ratio: |g| / |r|.
    worst: path and index of the number that exceeds its tolerance most, or comes closest to it.
    value, reference: that number here, and in the reference.
    bound: what rounding explains of `relative`.
    wrong: how many numbers are further off than that.
    where: the slice of the leaf, "[3, :]" for instance, that all wrong numbers lie in.
    remark: what else is to be said: another shape or type, a leaf that is missing, what is not finite.
    agrees: whether rounding explains everything.
    """

    path: str
    shape: tuple[int, ...] = ()
    dtype: str = ""
    absolute: float = np.nan
    relative: float = np.nan
    ulps: float = np.nan
    angle: float = np.nan
    norm_ratio: float = np.nan
    worst: str = ""
    value: float = np.nan
    reference: float = np.nan
    bound: float = np.nan
    wrong: int = 0
    where: str = ""
    remark: str = ""
    agrees: bool = False


@dataclass(frozen=True)
class GradientReport:
    """Gradients compared with a reference. As a string, a table.

    reference: the name of the gradient that the others were compared with.
    leaves: for each other name a Comparison for each leaf.
    overall: for each other name all leaves together.
    notes: what else was found, a line each.
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
            overall = self.overall[name]
            verdict = "agree" if overall.agrees else "DISAGREE"
            lines += [f"{name} and {self.reference} {verdict}{': ' * bool(overall.remark)}{overall.remark}"]
            lines += _aligned([HEADINGS, *map(_cells, leaves), _cells(overall._replace(path="all"))])
        lines += [
            "relative: the largest error as a fraction of the leaf's largest number; rounding explains the bound",
            *self.notes,
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain dictionaries, lists, strings and numbers for JSON, with None for what is not finite."""

        def plain(comparison: Comparison) -> dict[str, Any]:
            fields = comparison._asdict() | {"shape": list(comparison.shape)}
            return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in fields.items()}

        gradients = {
            name: {"overall": plain(self.overall[name]), "leaves": [plain(leaf) for leaf in leaves]}
            for name, leaves in self.leaves.items()
        }
        return {"reference": self.reference, "agree": self.agree, "gradients": gradients, "notes": list(self.notes)}


HEADINGS = (
    "",
    "shape",
    "error",
    "relative",
    "bound",
    "ulps",
    "angle",
    "norm ratio",
    "worst at",
    "here",
    "reference",
    "",
)


def _cells(comparison: Comparison) -> tuple[str, ...]:
    c = comparison

    def number(value: float, form: str) -> str:
        return "-" if np.isnan(value) else format(value, form)

    wrong = f"{c.wrong:,} wrong" + f" in {c.where}" * bool(c.where) if c.wrong else ""
    return (
        c.path,
        "x".join(map(str, c.shape)),
        number(c.absolute, ".1e"),
        number(c.relative, ".1e"),
        number(c.bound, ".1e"),
        number(c.ulps, ".3g"),
        number(c.angle, ".1e") + "°",
        number(c.norm_ratio, ".7f"),
        c.worst,
        format(c.value, "+.6e") if c.worst else "-",
        format(c.reference, "+.6e") if c.worst else "-",
        "; ".join(filter(None, ("" if c.agrees else "DISAGREE", wrong, c.remark))),
    )


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as what is in them: words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    words = ("", "worst at")
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if heading in words else cell.rjust(width)
            for cell, width, heading in zip(row, widths, rows[0], strict=True)
        ).rstrip()
        for row in rows
    ]
