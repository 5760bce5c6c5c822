"""Where examples come from."""

from mlp_jax.data.augment import Augment, shifted
from mlp_jax.data.dataset import Dataset, DatasetError
from mlp_jax.data.images import Digit, read_digit
from mlp_jax.data.load import load_dataset

__all__ = ["Augment", "Dataset", "DatasetError", "Digit", "load_dataset", "read_digit", "shifted"]
