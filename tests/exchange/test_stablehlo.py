"""The prediction function as a program of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mlp_jax
from mlp_jax import Layer, Model, feedforward, init_params
from mlp_jax.exchange import prediction_program

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 12), dtype=np.uint8)


@pytest.mark.parametrize("name", ["sigmoid", "relu", "leaky_relu", "tanh", "silu", "identity", "softmax"])
def test_every_activation_function_survives_as_bytes(name):
    model, params = Model(hidden=getattr(mlp_jax, name)), init_params(jax.random.key(0), (12, 5, 4, 3))
    program = jax.export.deserialize(bytearray(prediction_program(params, model).serialize()))
    expected = feedforward(params, IMAGES.astype(np.float32) / 255, model)
    np.testing.assert_allclose(program.call(IMAGES), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.usefixtures("float64")
def test_the_outputs_have_the_type_of_the_parameters(dtype):
    params = init_params(jax.random.key(0), (12, 5, 3), dtype=jnp.dtype(dtype))
    program = prediction_program(params)
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert [str(aval.str_short()) for aval in (*program.in_avals, *program.out_avals)] == [
        "uint8[batch,12]",
        f"{dtype}[batch,3]",
    ]
    outputs = program.call(IMAGES)
    expected = feedforward(params, jnp.asarray(IMAGES).astype(dtype) * (1 / 255))
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(outputs, float), np.asarray(expected, float), rtol=0, atol=4 * eps)


def test_a_program_for_one_platform_says_so_where_it_cannot_run():
    program = prediction_program(init_params(jax.random.key(0), (12, 3)), platforms=("tpu",))
    with pytest.raises(ValueError, match="exported for platforms"):
        program.call(IMAGES)


def test_what_is_no_network_is_refused():
    with pytest.raises(ValueError, match=r"layer 0 has weights \(3, 2\) and biases \(2,\)"):
        prediction_program((Layer(jnp.zeros((3, 2)), jnp.zeros(2)),))
