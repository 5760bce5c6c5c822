"""Training: mini-batch stochastic gradient descent, an epoch as one compiled program."""

from mlp_jax.training.epoch import TrainState, as_inputs, train_epoch, update
from mlp_jax.training.evaluation import Evaluation, evaluate
from mlp_jax.training.loop import DivergenceError, EpochMetrics, check_fit, epoch_order, fit
from mlp_jax.training.optimizer import LEARNING_RATE, make_optimizer
from mlp_jax.training.threads import use_one_thread_if_small

__all__ = [
    "LEARNING_RATE",
    "DivergenceError",
    "EpochMetrics",
    "Evaluation",
    "TrainState",
    "as_inputs",
    "check_fit",
    "epoch_order",
    "evaluate",
    "fit",
    "make_optimizer",
    "train_epoch",
    "update",
    "use_one_thread_if_small",
]
