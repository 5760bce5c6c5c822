"""Parameters in a file, and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from mlp_jax import init_params
from mlp_jax.runs import load_params, save_params


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_the_bits_come_back(tmp_path, dtype):
    params = init_params(jax.random.key(0), (7, 5, 3), dtype=dtype)
    save_params(tmp_path / "params.safetensors", params)
    loaded = load_params(tmp_path / "params.safetensors")
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    for one, other in zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True):
        assert one.dtype == other.dtype
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_other_tools_find_the_names(tmp_path):
    params = init_params(jax.random.key(0), (2,) * 13)
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
        with pytest.raises(ValueError, match=r"layer [01] has weights .* and biases .*: expected"):
            load_params(tmp_path / "params.safetensors")


def test_what_cannot_be_written_is_an_oserror(tmp_path):
    with pytest.raises(OSError, match="missing/params.safetensors cannot be written"):
        save_params(tmp_path / "missing" / "params.safetensors", init_params(jax.random.key(0), (2, 2)))


@pytest.mark.parametrize("names", [[], ["x"], ["layers.0.weights"], ["layers.1.weights", "layers.1.biases"]])
def test_tensors_of_something_else_are_refused(tmp_path, names):
    safetensors.numpy.save_file({name: np.ones(2) for name in names}, tmp_path / "params.safetensors")
    with pytest.raises(ValueError, match="holds (nothing|x|layers.*): expected layers.0.weights and so on"):
        load_params(tmp_path / "params.safetensors")
