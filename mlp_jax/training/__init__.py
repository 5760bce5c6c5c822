"""Training: mini-batch stochastic gradient descent, an epoch as one compiled program."""

from mlp_jax.training.devices import epoch_order
from mlp_jax.training.epoch import TrainState, as_inputs, train_epoch, update
from mlp_jax.training.evaluation import Evaluation, evaluate
from mlp_jax.training.loop import DivergenceError, EpochMetrics, check_fit, fit
from mlp_jax.training.members import PopulationMetrics, init_population, member, start_population
from mlp_jax.training.optimizer import LEARNING_RATE, make_optimizer, optimizer_maker
from mlp_jax.training.population import fit_population
from mlp_jax.training.population_epoch import train_population
from mlp_jax.training.stream import images_in_chunk
from mlp_jax.training.threads import use_cores_for_members, use_one_thread_if_small

__all__ = [
    "LEARNING_RATE",
    "DivergenceError",
    "EpochMetrics",
    "Evaluation",
    "PopulationMetrics",
    "TrainState",
    "as_inputs",
    "check_fit",
    "epoch_order",
    "evaluate",
    "fit",
    "fit_population",
    "images_in_chunk",
    "init_population",
    "make_optimizer",
    "member",
    "optimizer_maker",
    "start_population",
    "train_epoch",
    "train_population",
    "update",
    "use_cores_for_members",
    "use_one_thread_if_small",
]
