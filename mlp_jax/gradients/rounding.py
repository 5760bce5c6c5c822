"""How far apart rounding alone can put two correct gradients."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mlp_jax.network import Model, Params, loss

FLOAT32_EPS = float(jnp.finfo(jnp.float32).eps)


def rounding_bound(eps: float, roundings: int) -> float:
    """The error, as a fraction of a leaf's largest number, up to which rounding explains a difference.

    Rounding errors go up as often as down, so that K of them add up to a few times sqrt(K) eps (Higham and Mary 2019,
    https://doi.org/10.1137/18M1226312); the few are 4 here. In types coarser than float32 sums are made in float32, and
    some 16 intermediate results are rounded to the type.
    """
    if eps <= FLOAT32_EPS:
        return 4 * eps * roundings**0.5
    return 4 * (FLOAT32_EPS * roundings**0.5 + eps * 16**0.5)


def rounding_noise(
    params: Params,
    inputs: Float[ArrayLike, "*batch n_in"],
    targets: Float[ArrayLike, "*batch n_out"],
    model: Model = Model(),
) -> Params:
    """How far numbers of a gradient move when all that it is made of is rounded: for each leaf the most of them.

    An algorithm that rounds at each step does what an exact one would make of data that are slightly off; where large
    terms cancel, a slight change of each is a large one of their sum. So in float64 each parameter and input is changed
    up or down by 4 eps of itself, each target by 4 eps of the largest, and the change of `jax.grad` is looked at, four
    times. Added to that is twice the error that `jax.grad` itself makes in the type of the parameters. Returns a pytree
    like params whose leaves are floats.
    """
    eps = max(float(jnp.finfo(jnp.result_type(leaf)).eps) for leaf in jax.tree.leaves((params, inputs)))
    with jax.default_matmul_precision("highest"):
        rounded = jax.jit(jax.grad(loss))(params, inputs, targets, model)
    with jax.enable_x64(True):
        problem = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (rounded, params, inputs, targets))
        return jax.tree.map(float, _noise(*problem, model, 4 * eps))


@jax.jit
def _noise(rounded: Params, params: Params, inputs: Array, targets: Array, model: Model, change: ArrayLike) -> Params:
    leaves, structure = jax.tree.flatten((params, inputs))

    def moved(key: Array) -> Params:
        keys = jax.random.split(key, len(leaves) + 1)
        signs = [jax.random.rademacher(k, leaf.shape) for k, leaf in zip(keys, (*leaves, targets), strict=True)]
        changed = [leaf * (1 + change * sign) for leaf, sign in zip(leaves, signs, strict=False)]
        off = change * signs[-1] * jnp.max(jnp.abs(targets))
        return jax.grad(loss)(*structure.unflatten(changed), targets + off, model)

    exact = jax.grad(loss)(params, inputs, targets, model)
    moved_four_times = jax.lax.map(moved, jax.random.split(jax.random.key(0), 4))
    return jax.tree.map(
        lambda m, r, g: jnp.max(jnp.abs(m - g)) + 2 * jnp.max(jnp.abs(r - g)), moved_four_times, rounded, exact
    )
