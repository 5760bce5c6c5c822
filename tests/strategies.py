"""What the property tests draw, and what holds of it by arithmetic alone, worked out in NumPy."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import reject
from hypothesis import strategies as st
from problems import ACTIVATIONS, OUTPUTS, make_model

from mlp_jax import Layer

DTYPES = {"float16": jnp.float16, "bfloat16": jnp.bfloat16, "float32": jnp.float32, "float64": jnp.float64}
SLOPES = {  # the most that the first and the second derivative come to; softmax's as a map of vectors of norm 1
    "sigmoid": (0.25, 0.1),
    "relu": (1, 0),
    "leaky_relu": (1, 0),
    "tanh": (1, 0.77),
    "silu": (1.1, 0.5),
    "identity": (1, 0),
    "softmax": (0.5, 1),
}
KINKED = ("relu", "leaky_relu")
seeds = st.integers(0, 2**32 - 1)
several = st.integers(2, 6)


class Case(NamedTuple):
    """A network and its examples, but for the numbers. Without a batch axis where examples is None."""

    dtype: str
    hidden: str = "sigmoid"
    output: str = "sigmoid"
    cost: str = "quadratic"
    sizes: tuple[int, ...] = (3, 4, 2)
    examples: int | None = 6

    def __str__(self):
        return "-".join(map(str, (*self[:4], "x".join(map(str, self.sizes)), self.examples)))

    @property
    def model(self):
        return make_model(self.hidden, self.output, self.cost)

    @property
    def activations(self):
        """The name of each layer's."""
        return (self.hidden,) * (len(self.sizes) - 2) + (self.output,)

    @property
    def limits(self):
        return jnp.finfo(DTYPES[self.dtype])

    @property
    def batch(self):
        return () if self.examples is None else (self.examples,)

    def arrays(self, number):
        """Params, inputs and targets of this case's shapes, each array made by number(shape)."""
        layers = tuple(Layer(number((j, k)), number((j,))) for k, j in itertools.pairwise(self.sizes))
        return layers, number((*self.batch, self.sizes[0])), number((*self.batch, self.sizes[-1]))

    def as_jax(self, tree):
        return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), DTYPES[self.dtype]), tree)


def cases(dtypes=tuple(DTYPES), hidden=ACTIVATIONS, outputs=OUTPUTS, examples=several, widest=6):
    """Every setting; a hidden activation only where there is a hidden layer."""
    sizes = st.lists(st.integers(1, widest), min_size=2, max_size=5).map(tuple)
    settings = st.tuples(st.sampled_from(dtypes), st.sampled_from(hidden), st.sampled_from(outputs), sizes, examples)
    return settings.map(lambda s: Case(s[0], s[1], *s[2], *s[3:]))


def ordinary(case, seed):
    """Numbers of the size that networks have; targets one-hot. In float64, but what case's type can hold."""
    draw = np.random.default_rng(seed)
    params, inputs, targets = case.arrays(lambda shape: draw.normal(size=shape))
    params = tuple(Layer(w / w.shape[1] ** 0.5, b) for w, b in params)
    targets = np.eye(case.sizes[-1])[draw.integers(case.sizes[-1], size=case.batch)]
    return case.as_jax((params, inputs, targets))


def whole_numbers(case, seed):
    """Small whole numbers, whose sums and products every type holds exactly."""
    draw = np.random.default_rng(seed)
    params, inputs, targets = case.arrays(lambda shape: draw.integers(-1, 2, size=shape))
    return case.as_jax((params, inputs, targets))


def extreme(case, seed, reach, power):
    """Numbers of all sizes, zeros of both signs among them, as large as the docstrings' domain lets them be.

    reach: from 0, all of size 1, to 1, from the smallest to the largest of the type, as far as the domain goes.
    power: the domain ends where the largest number on the way, to this power, leaves the range of the type.
    """
    draw = np.random.default_rng(seed)
    end = np.log2(float(case.limits.max))
    sizes = case.arrays(lambda shape: draw.random() ** 2 * draw.uniform(-1, 1, size=shape))  # some arrays reach further
    signs = case.arrays(lambda shape: draw.choice([-1, -1, -1, 1, 1, 1, -0.0, 0.0], size=shape))
    terms = 1 if power == 1 else sum(leaf.size for leaf in jax.tree.leaves(sizes))
    certain = draw.choice([0, 1, 0.5, 1e-3], size=np.shape(sizes[2]))
    for shrunk in range(100):
        exponent = reach * end * 0.8**shrunk
        problem = jax.tree.map(lambda size, sign, e=exponent, s=shrunk: sign * 2 ** (size * e - s / 4), sizes, signs)
        if case.cost == "cross_entropy":
            problem = (*problem[:2], certain)
        problem = case.as_jax(problem)
        if largest_on_the_way(case, *problem, feedback=6 if power == 1 else 0) ** power * terms <= float(
            case.limits.max
        ):
            return problem
    reject()  # a few networks in float16 are so deep that their feedback alone leaves its range
    return None


def largest_on_the_way(case, params, inputs, targets, feedback):
    """At least the largest sum that any function forms of these numbers, all its terms taken by their sizes.

    feedback: what errors may be multiplied by on their way back in place of smaller weights. In the widest
    floating-point type that there is.
    """
    params, a, y = jax.tree.map(
        lambda leaf: np.abs(np.asarray(leaf, np.float64).astype(np.longdouble)), (params, inputs, targets)
    )
    found, coming_in = [a, y], []
    for (weights, biases), name in zip(params, case.activations, strict=True):
        coming_in.append(a)
        z = a @ weights.T + biases
        bounds = {"sigmoid": z**0, "softmax": z**0, "tanh": np.minimum(z, 1)}
        a = bounds.get(name, z)
        found += [z, a]
    costs = (a + y) ** 2 if case.cost == "quadratic" else 2 * z + 1
    delta = np.maximum(1, 2 * (a + y))
    found.append(costs.sum(-1))
    for number in reversed(range(len(params))):
        if case.activations[number] == "softmax":
            delta = np.broadcast_to(delta.sum(-1, keepdims=True), delta.shape)
        delta = 1.1 * delta  # the steepest slope, silu's
        found += [delta, delta[..., :, None] * coming_in[number][..., None, :]]
        delta = delta @ np.maximum(params[number].weights, feedback)
        found.append(delta)
    return 4 * max(np.max(array) for array in found)  # twice a difference is the most that is made of any two


def rounding_errors(case, params, inputs, targets, forward):
    """How far rounding may take gradient, outputs and loss from those of exact arithmetic.

    forward: weighted sums and activations as they were computed. Each sum of n terms is off by at most n eps of its
    terms' sizes, in whatever order they are added (Higham, Accuracy and Stability of Numerical Algorithms, 2002,
    section 3.1, where eps is halved), each activation by 16 eps, and both pass on what their terms are off by, to first
    order. Where rounding may take a weighted sum across a kink, the slope is unknown.

    Returns a pytree like params, an array like the outputs, and a number.
    """
    eps = float(case.limits.eps)
    params, y, (sums, activations) = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, targets, forward))

    def slope_error(name, z, e_z):
        kink = (np.abs(z) <= e_z) if name in KINKED else 0
        return SLOPES[name][1] * e_z + 16 * eps * (1 + np.abs(z)) + kink

    def norm(vector):
        return np.linalg.norm(vector, axis=-1, keepdims=True)

    def through(name, z, e_z, g, e_g):
        """Of g times the slope: its size and its error."""
        if name == "softmax":
            size = (norm(e_g) / 2 + norm(g) * (norm(e_z) + 16 * eps * z.shape[-1])) * np.ones_like(z)
            return norm(g) / 2 * np.ones_like(z), size
        return SLOPES[name][0] * np.abs(g), SLOPES[name][0] * e_g + np.abs(g) * slope_error(name, z, e_z)

    e_a, e_activations, e_sums = np.zeros_like(activations[0]), [], []
    for (weights, biases), z, a, name in zip(params, sums, activations, case.activations, strict=False):
        e_activations.append(e_a)
        size = np.abs(a) @ np.abs(weights).T + np.abs(biases)
        e_z = e_a @ np.abs(weights).T + (weights.shape[1] + 1) * eps * size
        e_a = SLOPES[name][0] * (norm(e_z) if name == "softmax" else e_z) + 16 * eps * (1 + np.abs(z))
        e_sums.append(e_z)
    a, e_outputs = activations[-1], e_a
    if case.cost == "quadratic":
        cost, e_cost = (a - y) ** 2, 2 * np.abs(a - y) * e_a + e_a**2 + 4 * eps * (a**2 + y**2)
        g, e_g = 2 * (np.abs(a) + np.abs(y)), 2 * e_a + 4 * eps * (np.abs(a) + np.abs(y))
        delta, e_delta = through(case.output, z, e_z, g, e_g)
    else:
        cost, e_cost = 2 * np.abs(z) + 1, e_z + norm(e_z) + 16 * eps * (1 + np.abs(z))
        delta, e_delta = np.abs(a - y), e_a + 4 * eps
    e_loss = float(np.mean(np.sum(e_cost + (len(a) + a.shape[-1]) * eps * cost, axis=-1)))
    layers = []
    for number in reversed(range(len(params))):
        a, e_a = np.abs(activations[number]), e_activations[number]
        e_g = e_delta[..., :, None] * (a + e_a)[..., None, :] + delta[..., :, None] * e_a[..., None, :]
        rounding = (len(a) + 2) * eps
        layers.append(
            Layer(
                weights=(e_g + rounding * delta[..., :, None] * a[..., None, :]).mean(0),
                biases=(e_delta + rounding * delta).mean(0),
            )
        )
        if number:
            weights = np.abs(params[number].weights)
            e_delta = e_delta @ weights + (len(weights) + 1) * eps * (delta @ weights)
            delta = delta @ weights
            delta, e_delta = through(case.hidden, sums[number - 1], e_sums[number - 1], delta, e_delta)
    return tuple(reversed(layers)), e_outputs, e_loss


def small_enough(case, params, inputs, targets, gradient, forward):
    """(rate, slope): a step against the gradient that cannot raise the loss, and |g|^2, by which it falls at first.

    Along params - t gradient, 0 <= t <= 1, the norms of each layer's activations and of their first two derivatives
    with respect to t are bounded, layer after layer, by those of the weights and by the slopes. With f'(0) = -|g|^2 and
    f'' <= M, f(t) <= f(0) - t |g|^2 + t^2 M / 2, which falls until t = 2 |g|^2 / M and lies lowest half way: the rate.
    Where there are kinks, it is so small that no weighted sum reaches one.
    """
    params, a, y, gradient, sums = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64), (params, inputs, targets, gradient, forward[0])
    )

    def norm(array):
        return np.linalg.norm(array, axis=-1)

    a, da, dda, rate = norm(a), 0.0, 0.0, 1.0
    for (weights, biases), (dw, db), z_now, name in zip(params, gradient, sums, case.activations, strict=True):
        speed, largest = np.linalg.norm(dw), np.linalg.norm(weights) + np.linalg.norm(dw)
        z = largest * a + norm(biases) + norm(db)
        dz = speed * a + largest * da + norm(db)
        ddz = 2 * speed * da + largest * dda
        first, second = SLOPES[name]
        bounded = name in ("sigmoid", "softmax", "tanh")
        a, da, dda = (len(biases) ** 0.5 if bounded else first * z), first * dz, second * dz**2 + first * ddz
        if name in KINKED:
            rate = min(rate, 0.99 * np.min(np.min(np.abs(z_now), axis=-1) / np.maximum(dz, 1e-300)))
    if case.cost == "quadratic":
        curvature = 2 * da**2 + 2 * (a + norm(y)) * dda
    else:
        first = SLOPES[case.output][0]  # of a - y, which is the cost's derivative with respect to z
        curvature = first * dz**2 + (len(biases) ** 0.5 + norm(y)) * ddz
    curvature = float(np.mean(curvature))
    slope = sum(float(np.sum(leaf**2)) for leaf in jax.tree.leaves(gradient))
    return min(rate, slope / curvature) if curvature else rate, slope
