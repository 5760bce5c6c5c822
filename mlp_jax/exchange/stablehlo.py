"""The prediction function as a program for anything that runs StableHLO, JAX without this package for instance."""

from collections.abc import Sequence

import jax
from jax import export
from jaxtyping import Array, Float, UInt8

from mlp_jax.network import Model, Params, check_params, feedforward, sizes_of
from mlp_jax.training import as_inputs

PLATFORMS = ("cpu", "cuda", "tpu")


def prediction_program(params: Params, model: Model = Model(), platforms: Sequence[str] = PLATFORMS) -> export.Exported:
    """What the network answers to images, as a program that holds the parameters and takes any number of images.

    platforms: where it is to run, as JAX calls them; none of them need be here.

    Returns the function from pixels, (batch, pixels) uint8, 0 to 255, to the activations of the last layer,
    (batch, classes) in the type of the parameters; `.serialize()` gives its bytes, `.mlir_module()` its text. A program
    that has JAX alone runs them with `jax.export.deserialize(bytes).call(images)`. Raises ValueError for parameters
    that are no network.
    """
    check_params(params)

    @jax.jit
    def predict(images: UInt8[Array, "batch pixels"]) -> Float[Array, "batch classes"]:
        return feedforward(params, as_inputs(images, params), model)

    images = jax.ShapeDtypeStruct((*export.symbolic_shape("batch"), sizes_of(params)[0]), "uint8")
    return export.export(predict, platforms=platforms)(images)
