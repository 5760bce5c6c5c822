"""Data sets: loading, checking and augmenting them."""

from mlp_jax.data.dataset import Dataset, DatasetError, DataWarning, Examples
from mlp_jax.data.folders import load_pictures, read_picture
from mlp_jax.data.images import Digit, Frame, read_digit
from mlp_jax.data.load import load_dataset
from mlp_jax.data.preprocessing import Column, Preprocessing
from mlp_jax.data.shift import Augment, shifted
from mlp_jax.data.table import encoded_rows, load_table

__all__ = [
    "Augment",
    "Column",
    "DataWarning",
    "Dataset",
    "DatasetError",
    "Digit",
    "Examples",
    "Frame",
    "Preprocessing",
    "encoded_rows",
    "load_dataset",
    "load_pictures",
    "load_table",
    "read_digit",
    "read_picture",
    "shifted",
]
