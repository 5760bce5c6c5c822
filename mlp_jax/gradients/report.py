"""What a comparison of gradients finds, as numbers, as a table and as JSON."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Comparison(NamedTuple):
    """How far one leaf of a gradient, or all leaves together, are from the reference.

    path: where the leaf is, "[0].weights" for instance; "" for all together.
    shape, dtype: of the leaf; all together are () and "".
    absolute: the largest absolute error |g - r|.
    relative: the same as a fraction of the leaf's largest |r|; so a number near zero, where any rounding is relatively
        huge, does not drown the rest.
    bound: what rounding explains of `relative`.
    ulps: the largest error in units in the last place of the leaf's largest |r|, in the coarser of the two types.
    angle: between the two as vectors, degrees from 0 to 180.
    norm_ratio: |g| / |r|.
    worst: path and index of the number that is furthest off for what is tolerated, "[0].weights[3, 7]" for instance.
    value, reference: that number here, and in the reference.
    wrong: how many numbers are further off than what is tolerated.
    where: the slice of the leaf, "[3, :]" for instance, that all wrong numbers lie in.
    remark: what else is to be said: another shape or type, a leaf that is missing, what is not finite.
    agrees: whether rounding explains everything.

    A number that cannot be had, because a leaf is missing or has another shape, is NaN.
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
            overall = self.overall[name]._replace(path="all")
            lines.append(f"{name} and {self.reference} {'agree' if overall.agrees else 'DISAGREE'}")
            rows = _aligned([HEADINGS, *map(_cells, leaves), _cells(overall)])
            for row, comparison in zip(rows, (None, *leaves, overall), strict=True):
                lines += [row, *_said(comparison)]
            if overall.worst:
                lines.append(
                    f"    worst: {overall.worst}, {overall.value:+.6e}; {self.reference} {overall.reference:+.6e}"
                )
        lines.append("relative and bound are fractions of the leaf's largest number; rounding explains the bound")
        return "\n".join([*lines, *self.notes])

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


HEADINGS = ("", "shape", "error", "relative", "bound", "ulps", "angle", "norm ratio")


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


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as what is in them: the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(["", row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
