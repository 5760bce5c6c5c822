"""The plan of training, which stays the same, its state, which changes, and checks that both fit the data."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Int

from mlp_jax.backward import GradientRule, backprop, in_float32_or_finer
from mlp_jax.data import Dataset, Examples
from mlp_jax.network import Model, Params, check_layers, described
from mlp_jax.training.sharding import BATCH, POPULATION, check_mesh, count_examples


class TrainState(NamedTuple):
    """Where training stands: a pytree. That of a population has a leading axis of members in every array.

    params: the network's parameters.
    optimizer_state: what the Optax transformation remembers from one step to the next.
    epoch: how many epochs are behind it, () int32.
    model_params: values that a plan's `model` function makes a model of, by name; {} if the plan has a Model.

    >>> from mlp_jax import TrainState, init_params, make_optimizer
    >>> state = TrainState.start(init_params(jax.random.key(0), (2, 3)), make_optimizer("sgd", 3.0))
    >>> int(state.epoch), state.params
    (0, (Layer(weights=float32[3, 2], biases=float32[3]),))
    """

    params: Params
    optimizer_state: optax.OptState
    epoch: Int[Array, "*members"]
    model_params: dict[str, Array] = {}  # noqa: RUF012 - nobody writes to it

    def __repr__(self) -> str:
        numbers = sum(np.size(leaf) for leaf in jax.tree.leaves(self.optimizer_state))
        more = f", model_params={', '.join(self.model_params)}" if self.model_params else ""
        epoch = described(self.epoch) if np.ndim(self.epoch) else self.epoch
        return f"TrainState(epoch={epoch}, params={self.params}, optimizer_state=<{numbers:,} numbers>{more})"

    @classmethod
    def start(cls, params: Params, optimizer: optax.GradientTransformation) -> "TrainState":
        """The state before the first epoch. What an optimiser remembers of parameters of 16 bits is in float32."""
        check_layers(params)
        with jax.numpy_dtype_promotion("standard"):  # Optax's optimisers rely on it
            return cls(params, optimizer.init(in_float32_or_finer(params)), jnp.zeros((), jnp.int32))


@dataclass(frozen=True, eq=False)
class Plan:
    """How to train: static and hashable, so that one compiled program serves every epoch.

    model: a Model; or, for a population, a function that makes one of a member's `model_params`.
    optimizer: an Optax transformation, the one that the state was started with.
    batch_size: examples in a mini-batch, 1 or more. If it does not divide the examples, the last one is smaller.
    gradient: a rule with the signature of `backprop`.
    mesh: devices that share each mini-batch along the mesh's axis "batch", or the members of a population along its
        axis "population", or both; None for one device.

    Two plans are equal if they compute the same steps: `optimizer.init` does not count, so optimisers of
    `make_optimizer` that differ only in their rates share one program. Raises ValueError for a batch size below 1.

    >>> from mlp_jax import Model, Plan, make_optimizer
    >>> Plan(Model(), make_optimizer("sgd", 0.1)) == Plan(Model(), make_optimizer("sgd", 0.2))
    True
    """

    model: Model | Callable[..., Model]
    optimizer: optax.GradientTransformation
    batch_size: int = 100
    gradient: GradientRule = backprop
    mesh: Mesh | None = None

    def __post_init__(self) -> None:
        count_steps(1, 1, self.batch_size)  # which refuses a batch size below 1

    def _key(self) -> tuple[Any, ...]:
        return self.model, self.optimizer.update, self.batch_size, self.gradient, self.mesh

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def model_of(self, state: TrainState) -> Model:
        """The model of one network."""
        return self.model if isinstance(self.model, Model) else self.model(**state.model_params)

    def devices(self, axis: str) -> int:
        """How many devices the mesh has along an axis; 1 if it does not have it."""
        return 1 if self.mesh is None else self.mesh.shape.get(axis, 1)

    @property
    def across(self) -> str | None:
        """The mesh axis that gradients are averaged across, if there is one."""
        return BATCH if self.mesh is not None and BATCH in self.mesh.axis_names else None

    def on_each_device(self) -> "Plan":
        """The plan of one device of the mesh, which takes its part of every mini-batch.

        Raises ValueError for a batch size that does not divide over the devices.
        """
        share, left_over = divmod(self.batch_size, self.devices(BATCH))
        if left_over:
            raise ValueError(
                f"the batch size is {self.batch_size}: expected a multiple of the {self.devices(BATCH)} devices"
            )
        return replace(self, batch_size=share, mesh=None)


def member(tree: Any, number: int) -> Any:
    """One member's part, from 0, of the parameters or the state of a population.

    >>> from mlp_jax import init_population
    >>> from mlp_jax.training import member
    >>> member(init_population(range(8), (2, 3)), 5)
    (Layer(weights=float32[3, 2], biases=float32[3]),)
    """
    return jax.tree.map(lambda leaf: leaf[number], tree)


def count_steps(epochs: int, examples: int, batch_size: int) -> int:
    """How many updates training makes, 1 or more: the last mini-batch of an epoch may be smaller.

    Raises ValueError for a batch size below 1.

    >>> from mlp_jax.training import count_steps
    >>> count_steps(epochs=30, examples=60_000, batch_size=100)
    18000
    """
    if batch_size < 1:
        raise ValueError(f"the batch size is {batch_size}: expected 1 or more")
    return max(1, epochs * -(-examples // batch_size))


def check_training(
    sizes: Sequence[int], dataset: Dataset, plan: Plan, until: int, seed: int, members: int | None = None
) -> None:
    """Raises ValueError, saying what to change, for what cannot be trained.

    sizes: neurons of each layer. They must start at the data's columns and end at its outputs.
    until: epochs, 1 or more. seed: 0 to 2^32 - 1. members: of a population.

    >>> from mlp_jax import Model, Plan, load_dataset, make_optimizer
    >>> from mlp_jax.training import check_training
    >>> check_training((784, 16, 10), load_dataset("mnist"), Plan(Model(), make_optimizer(), 100), until=30, seed=0)
    """
    examples, mesh = count_examples(len(dataset.train), plan.mesh), plan.mesh
    check_sizes(sizes, dataset)
    if plan.batch_size > examples:
        raise ValueError(
            f"the batch size is {plan.batch_size}: expected 1 to {examples}, the number of training examples"
        )
    if until < 1:
        raise ValueError(f"the number of epochs is {until}: expected 1 or more")
    if not 0 <= seed < 2**32:
        raise ValueError(f"the seed is {seed}: expected 0 to {2**32 - 1}")
    if isinstance(plan.model, Model):
        check_targets(plan.model, dataset.train, dataset.test)
    if dataset.train.weights is not None:
        check_takes_weights(plan.gradient)
    if mesh is not None:
        axes = {BATCH: {"the batch size": plan.batch_size, "the number of training examples": examples}}
        if members is not None:
            axes[POPULATION] = {"the number of members": members}
        check_mesh(mesh, axes)


def check_sizes(sizes: Sequence[int], dataset: Dataset) -> None:
    """Raises ValueError unless a network of these sizes takes the inputs and has an output for every target.

    >>> from mlp_jax import load_dataset
    >>> from mlp_jax.training import check_sizes
    >>> check_sizes((784, 16, 10), load_dataset("mnist"))
    """
    if len(sizes) < 2 or (sizes[0], sizes[-1]) != (dataset.n_in, dataset.n_out):
        outputs = "classes" if dataset.has_classes else "columns of targets"
        raise ValueError(
            f"the sizes are {tuple(sizes)}, but the data have {dataset.n_in} inputs and {dataset.n_out} {outputs}: "
            f"let the sizes start at {dataset.n_in} and end at {dataset.n_out}"
        )


def check_patience(patience: int | None, validation: int | float) -> None:
    """Raises ValueError unless examples are held out to be patient with: the epoch is not chosen on test examples.

    >>> from mlp_jax.training import check_patience
    >>> check_patience(5, validation=1000)
    """
    if patience is not None and (patience < 1 or validation <= 0):
        raise ValueError(
            f"the patience is {patience} epochs with {validation} examples held out: expected 1 or more "
            "of both, because the epoch to stop at is not to be chosen on test examples"
        )


def takes_weights(rule: GradientRule) -> bool:
    """Whether a gradient rule can be told how much each example counts."""
    parameters = inspect.signature(rule).parameters
    return "weights" in parameters or any(p.kind == p.VAR_KEYWORD for p in parameters.values())


def check_takes_weights(rule: GradientRule) -> None:
    """Raises ValueError for a gradient rule that cannot be told how much each example counts."""
    if not takes_weights(rule):
        name = getattr(rule, "__name__", repr(rule))
        raise ValueError(
            f"the examples have weights, but the gradient rule {name} takes none: give it a parameter `weights`, as "
            "backprop has, or leave the weights out"
        )


def check_targets(model: Model, *parts: Examples) -> None:
    """Raises ValueError for wanted outputs that the cost does not take or the output activation cannot give."""
    if parts[0].has_classes:
        return
    targets = [part.targets for part in parts]
    low, high = min(map(np.min, targets)), max(map(np.max, targets))
    (lowest, highest), (least, most) = model.output.range, model.cost.domain
    if low < least or high > most:
        raise ValueError(
            f"the targets are from {low:g} to {high:g}, but the cost takes {least:g} to {most:g}: "
            "use the quadratic cost, or scale the targets"
        )
    if low < lowest or high > highest:
        raise ValueError(
            f"the targets are from {low:g} to {high:g}, but the output activation gives {lowest:g} to {highest:g}: "
            "use the output activation identity, or scale the targets"
        )
