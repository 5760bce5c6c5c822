"""Bringing columns of numbers to a similar size, which networks learn from, and back to their units.

Of heights in metres, for instance:

    >>> heights = np.array([[1.5], [1.7], [1.9]])
    >>> scaling = standard_scaling(heights)
    >>> scaling(heights).round(2).tolist()
    [[-1.22], [0.0], [1.22]]
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from mlp_jax.network import Layer, Params, sizes_of

CLIP = 3.0
"""Where `robust_scaling` bends: its numbers never leave -3 to 3."""
Rows = Float[np.ndarray, "n columns"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Scaling:
    """z = (x - shift) / scale for each column, bent smoothly if there is a clip: z / sqrt(1 + (z / clip)^2).

    A pytree, and a function of NumPy arrays as of JAX's, (*batch, columns).

    shift, scale: (columns,), in the columns' units; scale above 0.
    clip: above 0; the largest size that numbers can have. None for a linear scaling.

    >>> scaling = Scaling(shift=np.array([10.0]), scale=np.array([2.0]))
    >>> scaling(np.array([14.0])), scaling.undo(np.array([2.0]))
    (array([2.]), array([14.]))
    """

    shift: Any
    scale: Any
    clip: float | None = field(default=None, metadata={"static": True})

    def __call__(self, columns: Any) -> Any:
        """The columns, scaled."""
        z = (columns - self.shift) / self.scale
        return z if self.clip is None else z / (1 + (z / self.clip) ** 2) ** 0.5

    def undo(self, z: Any) -> Any:
        """The columns in their units. Of bent numbers those near the clip come back inexactly."""
        if self.clip is not None:
            z = z / (1 - (z / self.clip) ** 2) ** 0.5
        return z * self.scale + self.shift


def standard_scaling(columns: Rows, weights: Float[np.ndarray, " n"] | None = None) -> Scaling:
    """To mean 0 and standard deviation 1. A column that never changes becomes 0.

    columns: (n, columns) floats. weights: how much each row counts, (n,), 0 or more.

    >>> standard_scaling(np.array([[1.0, 5.0], [3.0, 5.0]])).scale.tolist()
    [1.0, 1.0]
    """
    columns = np.asarray(columns, np.float64)
    mean = np.average(columns, axis=0, weights=weights)
    deviation = np.sqrt(np.average((columns - mean) ** 2, axis=0, weights=weights))
    constant = deviation <= 10 * np.finfo(np.float64).eps * np.abs(mean)  # what is left is rounding
    return Scaling(mean, np.where(constant, 1.0, deviation))


def robust_scaling(columns: Rows, weights: Float[np.ndarray, " n"] | None = None) -> Scaling:
    """To median 0 and a distance of 1 between the quartiles, bent at 3, so that outliers do no harm.

    A column whose quartiles are the same goes from 0 to 2 over its range. One that never changes becomes 0. As in
    RealMLP (Holzmuller, Grinsztajn and Steinwart 2024, "Better by default").

    columns: (n, columns) floats. weights: how much each row counts, (n,), 0 or more.

    >>> scaling = robust_scaling(np.array([[0.0], [1.0], [2.0], [3.0], [1000.0]]))
    >>> scaling(np.array([[2.0], [3.0], [1000.0]])).round(2).tolist()
    [[0.0], [0.49], [3.0]]
    """
    columns = np.asarray(columns, np.float64)
    if weights is None or (weights == weights[0]).all():
        low, lower, median, upper, high = np.percentile(columns, (0, 25, 50, 75, 100), axis=0)
    else:
        low, lower, median, upper, high = _weighted_percentiles(columns, weights, (0, 25, 50, 75, 100))
    scale = np.where(upper > lower, upper - lower, (high - low) / 2)
    return Scaling(median, np.where(scale > 0, scale, 1.0), CLIP)


def _weighted_percentiles(columns: Rows, weights: Float[np.ndarray, " n"], percent: Sequence[int]) -> np.ndarray:
    """Of each column the lowest number that so much of the weight does not exceed, (percent, columns)."""
    some = weights > 0
    fractions = np.array(percent) / 100
    return np.quantile(columns[some], fractions, axis=0, weights=weights[some], method="inverted_cdf")


def folded(params: Params, scaling: Scaling) -> Params:
    """Parameters that take unscaled inputs and give what `params` give for scaled ones: W / scale, b - W shift / scale.

    scaling: a linear one, of as many columns as the network has inputs.

    Raises ValueError for one that clips, which no weights can do, or of another number of columns.

    >>> params = (Layer(weights=jnp.array([[2.0]]), biases=jnp.array([1.0])),)
    >>> [layer] = folded(params, Scaling(shift=np.array([10.0]), scale=np.array([4.0])))
    >>> layer.weights.tolist(), layer.biases.tolist()  # 2 (x - 10) / 4 + 1
    ([[0.5]], [-4.0])
    """
    n_in = sizes_of(params)[0]
    if scaling.clip is not None:
        raise ValueError(f"the scaling clips at {scaling.clip}: only a linear one, clip=None, fits into a layer")
    if np.shape(scaling.scale) != (n_in,) or np.shape(scaling.shift) != (n_in,):
        raise ValueError(
            f"the scaling has shift {np.shape(scaling.shift)} and scale {np.shape(scaling.scale)}: expected ({n_in},), "
            "one number for each input of the network"
        )
    (weights, biases), *others = params
    scaled = weights / jnp.asarray(scaling.scale, weights.dtype)
    return (Layer(scaled, biases - scaled @ jnp.asarray(scaling.shift, weights.dtype)), *others)
