"""Which rows to train with, and which to hold out."""

import numpy as np
from jaxtyping import Int, Integer

Split = tuple[Int[np.ndarray, " kept"], Int[np.ndarray, " out"]]


def stratified(rows: int, count: int, classes: Integer[np.ndarray, " rows"] | None = None) -> Split:
    """The rows that are kept and the `count` that are held out, both in order; always the same for the same arguments.

    How many of a class are held out is its proportion, rounded by the method of largest remainders. The last row of a
    class is kept as long as others can be held out.
    """
    order = np.random.default_rng(0).permutation(rows)
    shuffled = np.zeros(rows, int) if classes is None else classes[order]
    _, sizes = np.unique(shuffled, return_counts=True)
    taken, remainders = np.divmod(count * sizes, rows)
    remainders[taken + 1 == sizes] = -1
    taken[np.argsort(-remainders, kind="stable")[: count - taken.sum()]] += 1
    by_class = np.split(order[np.argsort(shuffled, kind="stable")], np.cumsum(sizes)[:-1])
    out = np.sort(np.concatenate([of_class[:most] for of_class, most in zip(by_class, taken, strict=True)]))
    return np.setdiff1d(order, out), out


def split_rows(
    rows: int, fraction: float, classes: Integer[np.ndarray, " rows"] | None = None, in_order: bool = False
) -> Split:
    """The rows to train with, and a fraction of them to test with: one row at least of both.

    in_order: whether the last rows are held out, and not random ones. Raises ValueError for a fraction that is not
    above 0 and below 1.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the fraction to test with is {fraction}: expected a number above 0 and below 1")
    count = min(max(1, round(fraction * rows)), rows - 1)
    if in_order:
        return np.arange(rows - count), np.arange(rows - count, rows)
    return stratified(rows, count, classes)
