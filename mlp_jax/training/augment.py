"""Training images that are others in every epoch."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import repeat

import jax
import numpy as np
from jax.sharding import Mesh

from mlp_jax.data import Augment
from mlp_jax.training.epoch import BATCH


def images_of_epochs(
    images: np.ndarray, epochs: range, augment: Augment | None, seed: int, mesh: Mesh | None
) -> Iterator[np.ndarray]:
    """The training images that each epoch shows, (n, pixels) uint8; the next are made while the last are trained on.

    The seed that `augment` gets is of the order, the epoch, and the process where several share the training images;
    and a 1, for without it NumPy would draw the same numbers as for the order.
    """
    if augment is None:
        yield from repeat(images, len(epochs))
        return
    process = jax.process_index() if mesh is not None and BATCH in mesh.axis_names else 0
    with ThreadPoolExecutor(1) as beside:

        def start(epoch: int) -> Future[np.ndarray]:
            return beside.submit(augment, images, (seed, epoch, process, 1))

        coming = start(epochs[0])
        for epoch in epochs:
            shown = coming.result()
            if epoch + 1 in epochs:
                coming = start(epoch + 1)
            yield shown
