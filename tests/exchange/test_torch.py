"""Parameters from and for PyTorch, whose own outputs are the truth."""

import itertools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mlp_jax
from mlp_jax import Model, feedforward, from_torch, init_params, to_torch
from mlp_jax.network import sizes_of

ZEROS = {"0.weight": np.zeros((3, 2)), "0.bias": np.zeros(3), "2.weight": np.zeros((4, 3)), "2.bias": np.zeros(4)}
MODULES = {
    "sigmoid": "Sigmoid",
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "tanh": "Tanh",
    "silu": "SiLU",
    "identity": "Identity",
    "softmax": "Softmax",
}
PAIRS = [(name, "identity") for name in MODULES] + [("tanh", name) for name in MODULES]
UNIT = {"float64": 1e-14, "float32": 1e-6, "bfloat16": 2e-2}


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def make_module(torch, hidden, output, dtype="float32", sizes=(6, 5, 7, 3)):
    def activation(name):
        return torch.nn.Softmax(dim=-1) if name == "softmax" else getattr(torch.nn, MODULES[name])()

    torch.manual_seed(0)
    layers = []
    for number, (n_in, n_out) in enumerate(itertools.pairwise(sizes), start=2):
        layers += [torch.nn.Linear(n_in, n_out), activation(hidden if number < len(sizes) else output)]
    return torch.nn.Sequential(*layers).to(getattr(torch, dtype))


def bits(array):
    return array.shape, array.dtype.name, np.asarray(array).tobytes()


def bits_of_tensor(torch, tensor):
    assert not tensor.requires_grad
    return tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), bytes(tensor.view(torch.uint8).numpy())


@pytest.mark.parametrize(
    ("hidden", "output", "dtype"),
    [(*pair, "float64") for pair in PAIRS] + [("relu", "softmax", dtype) for dtype in ("float32", "bfloat16")],
)
@pytest.mark.usefixtures("float64")
def test_outputs_are_those_of_pytorch(torch, hidden, output, dtype):
    """There, and back into a module that began with other numbers."""
    module = make_module(torch, hidden, output, dtype)
    inputs = np.random.default_rng(0).random((11, 6))
    with torch.no_grad():
        expected = module(torch.tensor(inputs).to(getattr(torch, dtype))).double().numpy()
    model = Model(getattr(mlp_jax, hidden), getattr(mlp_jax, output))
    params = from_torch(module.state_dict())
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {dtype}
    outputs = np.asarray(feedforward(params, jnp.asarray(inputs, dtype), model), np.float64)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=UNIT[dtype])
    other = make_module(torch, hidden, output, dtype)
    for tensor in other.parameters():
        torch.nn.init.normal_(tensor)
    other.load_state_dict(to_torch(params))
    with torch.no_grad():
        np.testing.assert_array_equal(other(torch.tensor(inputs).to(getattr(torch, dtype))).double().numpy(), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.usefixtures("float64")
def test_every_bit_goes_to_pytorch_and_comes_back(torch, dtype):
    """Any bits at all, NaNs with their payload and infinities among them."""
    draw, size = np.random.default_rng(1), jnp.dtype(dtype).itemsize
    leaves = {"a.weight": (40, 30), "a.bias": (40,)}
    state = {
        key: np.frombuffer(draw.bytes(np.prod(shape) * size), dtype).reshape(shape) for key, shape in leaves.items()
    }
    params = from_torch(state)
    there = to_torch(params)
    assert list(there) == ["0.weight", "0.bias"]
    for array, tensor in zip(state.values(), there.values(), strict=True):
        assert bits_of_tensor(torch, tensor) == bits(array)
    assert [*map(bits, jax.tree.leaves(from_torch(there)))] == [*map(bits, state.values())]


def test_neither_pytorch_nor_we_see_what_the_other_changes_later(torch):
    module = make_module(torch, "relu", "identity")
    params = from_torch(module.state_dict())
    before = [*map(bits, jax.tree.leaves(params))]
    with torch.no_grad():
        for tensor in (*module.parameters(), *to_torch(params).values()):
            tensor.zero_()
    assert [*map(bits, jax.tree.leaves(params))] == before


def test_whatever_lies_in_pytorchs_memory_otherwise_is_taken_as_it_is_meant(torch):
    """Parameters that want gradients, transposed views, steps backwards in ours."""
    weight = torch.arange(6.0).reshape(2, 3).T
    state = {"weight": torch.nn.Parameter(weight), "bias": torch.arange(6.0)[::2].requires_grad_()}
    ((weights, biases),) = from_torch(state)
    np.testing.assert_array_equal(weights, [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(biases, [0, 2, 4])
    there = to_torch((mlp_jax.Layer(np.asarray(weights)[::-1], np.asarray(biases)[::-1]),))
    np.testing.assert_array_equal(there["0.weight"], [[2, 5], [1, 4], [0, 3]])
    np.testing.assert_array_equal(there["0.bias"], [4, 2, 0])


def test_what_pytorch_alone_can_hold_is_refused(torch):
    sparse = torch.zeros(3, 2).to_sparse()
    for weight in (sparse, torch.zeros(3, 2, device="meta"), torch.zeros(3, 2).to(torch.float8_e4m3fn)):
        with pytest.raises(ValueError, match="0.weight is no array of numbers that NumPy knows"):
            from_torch(ZEROS | {"0.weight": weight})


@pytest.mark.parametrize("names", ["{}.", "net.{}.", "layers.{}.linear.", "fc{}."])
def test_layers_come_in_the_order_of_their_numbers(names):
    """As text 10 would come before 2: so sorts who writes a state dict by name."""
    numbers, sizes = (0, 2, 10), (2, 3, 3, 3)
    params = init_params(jax.random.key(0), sizes)
    state = {}
    for number, layer in zip(numbers, params, strict=True):
        state |= {f"{names.format(number)}{kind}": array for kind, array in zip(("weight", "bias"), layer, strict=True)}
    for given in (state, dict(sorted(state.items()))):
        assert [*map(bits, jax.tree.leaves(from_torch(given)))] == [*map(bits, jax.tree.leaves(params))]


def test_layers_with_names_come_in_the_order_they_stand_in():
    state = {"up.weight": np.ones((3, 2), "f"), "up.bias": np.ones(3, "f")}
    state |= {"down.weight": np.ones((1, 3), "f"), "down.bias": np.ones(1, "f")}
    assert sizes_of(from_torch(state)) == (2, 3, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"1.running_mean": np.zeros(3)}, "1.running_mean is neither a weight nor a bias: expected Linear layers"),
        ({"3.weight": np.zeros((4, 4))}, "there is 3.weight, but no 3.bias: .* zeros stand for no biases"),
        ({"3.bias": np.zeros(4)}, "there is 3.bias, but no 3.weight"),
        ({"2.weight": np.zeros((4, 5), "f")}, r"2.weight has shape \(4, 5\): expected \(n_out, 3\)"),
        ({"0.weight": np.zeros((3, 2, 5, 5), "f")}, r"0.weight has shape \(3, 2, 5, 5\): expected \(n_out, n_in\)"),
        ({"0.bias": np.zeros(2, "f")}, r"0.bias has shape \(2,\): expected \(3,\), as 0.weight has"),
        ({"0.bias": np.zeros(3, int)}, "0.bias is int64: expected floating point"),
        ({"0.bias": np.zeros(3)}, "0.bias is float64: .* begins with jax.config.update"),
        ({"0.bias": [0.0, 0.0, 0.0]}, "0.bias is no array of numbers"),
    ],
)
def test_anything_else_is_refused_by_name(change, message):
    state = {key: array.astype(np.float32) for key, array in ZEROS.items()} | change
    with pytest.raises(ValueError, match=message):
        from_torch(state)


def test_nothing_is_refused():
    with pytest.raises(ValueError, match="the state dict is empty"):
        from_torch({})


def test_pytorch_is_imported_only_to_make_its_tensors():
    code = (
        "import sys, numpy as np, mlp_jax\n"
        "params = mlp_jax.from_torch({'weight': np.ones((3, 2), 'f'), 'bias': np.ones(3, 'f')})\n"
        "print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
