"""Training: mini-batch stochastic gradient descent, an epoch as one compiled program."""

from mlp_jax.training.divergence import DivergenceError
from mlp_jax.training.epoch import train_epoch, train_population, update
from mlp_jax.training.evaluation import Evaluation, evaluate, evaluator, training_sample
from mlp_jax.training.loop import EpochMetrics, epochs, fit, start_or_continue
from mlp_jax.training.optimizer import LEARNING_RATE, current_rate, make_optimizer, with_rates_of
from mlp_jax.training.plan import (
    Plan,
    TrainState,
    check_patience,
    check_sizes,
    check_training,
    count_steps,
    member,
)
from mlp_jax.training.population import fit_population, init_population, start_population
from mlp_jax.training.sharding import epoch_order
from mlp_jax.training.stream import examples_in_chunk
from mlp_jax.training.threads import use_cores_for_members, use_one_thread_if_small

__all__ = [
    "LEARNING_RATE",
    "DivergenceError",
    "EpochMetrics",
    "Evaluation",
    "Plan",
    "TrainState",
    "check_patience",
    "check_sizes",
    "check_training",
    "count_steps",
    "current_rate",
    "epoch_order",
    "epochs",
    "evaluate",
    "evaluator",
    "examples_in_chunk",
    "fit",
    "fit_population",
    "init_population",
    "make_optimizer",
    "member",
    "start_or_continue",
    "start_population",
    "train_epoch",
    "train_population",
    "training_sample",
    "update",
    "use_cores_for_members",
    "use_one_thread_if_small",
    "with_rates_of",
]
