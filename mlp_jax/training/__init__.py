"""Training: mini-batch stochastic gradient descent, an epoch as one compiled program."""

from mlp_jax.training.committee import (
    Chosen,
    evaluate_committee,
    half_widths,
    interval_margin,
    outputs_of_members,
    varied,
)
from mlp_jax.training.divergence import DivergenceError
from mlp_jax.training.epoch import train_epoch, train_population, update
from mlp_jax.training.evaluation import Evaluation, evaluate, evaluator, training_sample
from mlp_jax.training.loop import EpochMetrics, epochs, fit, start_or_continue
from mlp_jax.training.optimizer import LEARNING_RATE, current_rate, make_optimizer, usual_rate, with_rates_of
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
from mlp_jax.training.probabilities import as_probabilities, calibration, calibration_error, log_loss
from mlp_jax.training.sharding import epoch_order
from mlp_jax.training.stream import examples_in_chunk
from mlp_jax.training.threads import use_cores_for_members, use_one_thread_if_small

__all__ = [
    "LEARNING_RATE",
    "Chosen",
    "DivergenceError",
    "EpochMetrics",
    "Evaluation",
    "Plan",
    "TrainState",
    "as_probabilities",
    "calibration",
    "calibration_error",
    "check_patience",
    "check_sizes",
    "check_training",
    "count_steps",
    "current_rate",
    "epoch_order",
    "epochs",
    "evaluate",
    "evaluate_committee",
    "evaluator",
    "examples_in_chunk",
    "fit",
    "fit_population",
    "half_widths",
    "init_population",
    "interval_margin",
    "log_loss",
    "make_optimizer",
    "member",
    "outputs_of_members",
    "start_or_continue",
    "start_population",
    "train_epoch",
    "train_population",
    "training_sample",
    "update",
    "use_cores_for_members",
    "use_one_thread_if_small",
    "usual_rate",
    "varied",
    "with_rates_of",
]
