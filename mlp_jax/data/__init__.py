"""Data sets: loading, checking and augmenting them."""

from mlp_jax.data.dataset import Dataset, DatasetError, Examples
from mlp_jax.data.images import Digit, read_digit
from mlp_jax.data.load import load_dataset
from mlp_jax.data.shift import Augment, shifted

__all__ = ["Augment", "Dataset", "DatasetError", "Digit", "Examples", "load_dataset", "read_digit", "shifted"]
