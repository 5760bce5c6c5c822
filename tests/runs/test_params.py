"""Parameters in a file, and back."""

import functools
import json
import re
import subprocess
import sys
from contextlib import suppress

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import mlp_jax
from mlp_jax import Activation, Cost, Layer, Model, feedforward, init_params, load_model, load_params, save_params


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.usefixtures("float64")
def test_the_bits_come_back(tmp_path, dtype):
    """Any bits at all, NaNs with their payload and infinities among them."""
    draw, size = np.random.default_rng(0), jnp.dtype(dtype).itemsize

    def random_bits(*shape):
        return jnp.asarray(np.frombuffer(draw.bytes(np.prod(shape) * size), dtype).reshape(shape))

    params = (Layer(random_bits(50, 70), random_bits(50)), Layer(random_bits(3, 50), random_bits(3)))
    save_params(tmp_path / "params.safetensors", params, Model())
    loaded = load_params(tmp_path / "params.safetensors")
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    for one, other in zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True):
        assert one.dtype == other.dtype
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_arrays_that_lie_otherwise_in_memory_are_saved_as_they_are_meant(tmp_path):
    weights = np.arange(6, dtype=np.float32).reshape(2, 3).T
    save_params(tmp_path / "params.safetensors", (Layer(weights, weights[::-1, 1]),))
    ((loaded, biases),) = load_params(tmp_path / "params.safetensors")
    np.testing.assert_array_equal(loaded, [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(biases, [5, 4, 3])


@pytest.mark.parametrize("dtype", ["float64", "int32", "complex64"])
def test_numbers_that_a_network_cannot_take_as_they_are_are_refused(tmp_path, dtype):
    save_params(tmp_path / "params.safetensors", (Layer(np.ones((2, 3), dtype), np.ones(2, dtype)),))
    with pytest.raises(ValueError, match=f"layers.0.weights in .*params.safetensors is {dtype}: expected floating"):
        load_params(tmp_path / "params.safetensors")


MODELS = [
    Model(mlp_jax.relu, mlp_jax.softmax, mlp_jax.cross_entropy),
    *(Model(getattr(mlp_jax, name)) for name in ("sigmoid", "leaky_relu", "tanh", "silu", "identity", "softmax")),
]


@pytest.mark.parametrize("model", MODELS)
def test_the_model_comes_back(tmp_path, model):
    save_params(tmp_path / "params.safetensors", init_params(jax.random.key(0), (2, 3, 2)), model)
    assert load_model(tmp_path / "params.safetensors") == model


def test_other_tools_find_the_model(tmp_path):
    model = Model(mlp_jax.relu, mlp_jax.softmax, mlp_jax.cross_entropy)
    save_params(tmp_path / "params.safetensors", init_params(jax.random.key(0), (2, 3, 2)), model)
    with safetensors.safe_open(tmp_path / "params.safetensors", framework="np") as file:
        description = json.loads(file.metadata()["mlp_jax"])
    assert "layers.N.weights (n_out, n_in)" in description.pop("format")
    assert description == {"sizes": [2, 3, 2], "hidden": "relu", "output": "softmax", "cost": "cross_entropy"}


def test_files_without_a_model_have_none(tmp_path):
    params = init_params(jax.random.key(0), (2, 2))
    save_params(tmp_path / "params.safetensors", params)
    assert load_model(tmp_path / "params.safetensors") is None
    assert len(load_params(tmp_path / "params.safetensors")) == 1


class Steep:
    """A function that is none for Python's `def`."""

    def __call__(self, z):
        return 9 * z


@pytest.mark.parametrize(
    ("own", "name"),
    [
        (Activation(jax.nn.softplus, jax.nn.sigmoid), r"jax\..*softplus"),
        (Activation(jax.nn.relu, jnp.ones_like), r"jax\..*relu"),  # not relu: it learns otherwise
        (Activation(lambda z: z, jnp.ones_like), r".*test_params\.<lambda>"),
        (Activation(functools.partial(jax.nn.leaky_relu, negative_slope=0.1), jnp.ones_like), r"functools\.partial"),
        (Activation(Steep(), jnp.ones_like), r".*test_params\.Steep"),
    ],
)
def test_functions_of_ones_own_are_saved_by_the_name_they_have(tmp_path, own, name):
    params = init_params(jax.random.key(0), (2, 3, 2))
    for model in (Model(hidden=own), Model(output=own)):
        save_params(tmp_path / "params.safetensors", params, model)
        with safetensors.safe_open(tmp_path / "params.safetensors", framework="np") as file:
            description = json.loads(file.metadata()["mlp_jax"])
        (found,) = {description["hidden"], description["output"]} - {"sigmoid"}
        assert re.fullmatch(name, found)
        assert load_model(tmp_path / "params.safetensors") is None


def test_a_cost_of_ones_own(tmp_path):
    absolute = Cost(lambda a, y: abs(a - y).sum(-1), lambda a, y: jnp.sign(a - y))
    save_params(tmp_path / "params.safetensors", init_params(jax.random.key(0), (2, 2)), Model(cost=absolute))
    assert load_model(tmp_path / "params.safetensors") is None


@pytest.mark.parametrize(
    "description",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"hidden": [], "output": "relu", "cost": "quadratic"}',
        '{"hidden": "relu", "output": "tanh", "cost": "cross_entropy"}',
    ],
)
def test_metadata_that_describe_no_model_are_refused(tmp_path, description):
    tensors = {"layers.0.weights": np.ones((2, 2), "f"), "layers.0.biases": np.ones(2, "f")}
    safetensors.numpy.save_file(tensors, tmp_path / "params.safetensors", {"mlp_jax": description})
    assert len(load_params(tmp_path / "params.safetensors")) == 1
    with pytest.raises(ValueError, match="metadata describe no model|the cost needs outputs from 0 to 1"):
        load_model(tmp_path / "params.safetensors")


def test_equal_networks_make_equal_files(tmp_path):
    """In processes of their own, where hashes differ."""
    code = (
        "import sys, numpy as np; from mlp_jax import Layer, Model, save_params, tanh;"
        "layer = Layer(np.ones((2, 2)), np.ones(2)); save_params(sys.argv[1], (layer, layer), Model(tanh))"
    )
    for name in "ab":
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_tools_find_the_names(tmp_path):
    params = tuple(Layer(np.full((2, 2), number, "f"), np.zeros(2, "f")) for number in range(12))
    save_params(tmp_path / "params.safetensors", params)
    tensors = safetensors.numpy.load_file(tmp_path / "params.safetensors")
    assert set(tensors) == {f"layers.{number}.{name}" for number in range(12) for name in ("weights", "biases")}
    np.testing.assert_array_equal(tensors["layers.11.weights"], params[11].weights)
    np.testing.assert_array_equal(load_params(tmp_path / "params.safetensors")[11].weights, params[11].weights)


def test_saving_again_replaces_and_leaves_nothing_beside_it(tmp_path):
    for seed in (0, 1):
        save_params(tmp_path / "params.safetensors", init_params(jax.random.key(seed), (2, 2)))
    assert [path.name for path in tmp_path.iterdir()] == ["params.safetensors"]
    np.testing.assert_array_equal(
        load_params(tmp_path / "params.safetensors")[0].weights, init_params(jax.random.key(1), (2, 2))[0].weights
    )


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 100])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "params.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="params.safetensors is damaged, or no safetensors file"):
        load_params(tmp_path / "params.safetensors")


def test_layers_that_do_not_fit_are_refused(tmp_path):
    one, other = init_params(jax.random.key(0), (3, 4, 2))
    for params in ((other, one), (one._replace(weights=one.biases),), (one._replace(biases=one.biases[1:]),)):
        save_params(tmp_path / "params.safetensors", params)
        with pytest.raises(ValueError, match=r"params\[[01]\] has weights .* and biases .*: expected"):
            load_params(tmp_path / "params.safetensors")


def test_whoever_may_read_other_files_may_read_this_one(tmp_path):
    (tmp_path / "other").touch()
    save_params(tmp_path / "params.safetensors", init_params(jax.random.key(0), (2, 2)))
    assert (tmp_path / "params.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_what_cannot_be_written_is_an_oserror(tmp_path):
    with pytest.raises(OSError, match="missing/params.safetensors cannot be written"):
        save_params(tmp_path / "missing" / "params.safetensors", init_params(jax.random.key(0), (2, 2)))


@pytest.mark.parametrize("names", [[], ["x"], ["layers.0.weights"], ["layers.1.weights", "layers.1.biases"]])
def test_tensors_of_something_else_are_refused(tmp_path, names):
    safetensors.numpy.save_file({name: np.ones(2) for name in names}, tmp_path / "params.safetensors")
    with pytest.raises(ValueError, match="holds (nothing|x|layers.*): expected layers.0.weights and so on"):
        load_params(tmp_path / "params.safetensors")


@functools.cache
def a_file(directory):
    save_params(directory / "whole", init_params(jax.random.key(0), (2, 3, 2)), Model(mlp_jax.relu))
    return (directory / "whole").read_bytes()


def assert_network_or_refused(path, content):
    """Either it is a network, one that computes, or it is refused."""
    path.write_bytes(content)
    with suppress(ValueError, OSError):
        assert isinstance(load_model(path), Model | None)
    try:
        params = load_params(path)
    except (ValueError, OSError):
        return
    inputs = np.ones(params[0].weights.shape[1], params[0].weights.dtype)
    assert jax.eval_shape(feedforward, params, inputs, Model()).shape == params[-1].biases.shape


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_is_never_another_error(tmp_path_factory, data):
    """Bytes changed, lost and added, most of all in the header, whose length is the first eight."""
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    content = bytearray(a_file(path.parent))
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, header) | st.integers(0, len(content)))
        lost, added = data.draw(st.integers(0, 3)), data.draw(st.binary(max_size=3) | st.sampled_from(TYPES))
        content[place : place + lost] = added
    assert_network_or_refused(path, bytes(content))


TYPES = [b"F64", b"I64", b"BOOL", b"C64", b"F8_E4M3", b"F4", b"F6_E2M3", b"9" * 30, b'"', b"["]


@pytest.mark.parametrize("dtype", TYPES[:7])
def test_another_type_in_the_header_is_never_another_error(tmp_path, dtype):
    header = {"layers.0.weights": [0, 4], "layers.0.biases": [4, 8]}
    described = {name: {"dtype": dtype.decode(), "shape": [1], "data_offsets": at} for name, at in header.items()}
    for shape in ([1], [1, 1], [4], [8], [0], [2**40], []):
        text = json.dumps({name: value | {"shape": shape} for name, value in described.items()}).encode()
        assert_network_or_refused(tmp_path / "params.safetensors", len(text).to_bytes(8, "little") + text + bytes(8))
