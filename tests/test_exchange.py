"""Parameters from and for PyTorch, whose own outputs are the truth, and the prediction function as a program."""

import itertools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import ACTIVATIONS, make_model, outputs_of

import mlp_jax
from mlp_jax import Layer, Model, feedforward, from_torch, init_params, to_torch
from mlp_jax.exchange import prediction_program
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
PAIRS = [(name, "identity") for name in MODULES] + [("tanh", name) for name in MODULES if name != "identity"]
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


@pytest.mark.parametrize("dtype", UNIT)
@pytest.mark.usefixtures("float64")
def test_outputs_are_those_of_pytorch(torch, dtype):
    """There, and back into a module that began with other numbers; each activation function in both places."""
    inputs = np.random.default_rng(0).random((11, 6))
    there = torch.tensor(inputs).to(getattr(torch, dtype))
    modules = {pair: make_module(torch, *pair, dtype) for pair in PAIRS}
    params = from_torch(modules[PAIRS[0]].state_dict())  # the same numbers in each
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {dtype}

    @jax.jit
    def outputs(params, inputs):
        return [feedforward(params, inputs, make_model(*pair)) for pair in PAIRS]

    found = outputs(params, inputs.astype(dtype))
    for (pair, module), ours in zip(modules.items(), found, strict=True):
        with torch.no_grad():
            expected = module(there).double().numpy()
        np.testing.assert_allclose(np.asarray(ours, np.float64), expected, rtol=0, atol=UNIT[dtype], err_msg=str(pair))
        for tensor in module.parameters():
            torch.nn.init.normal_(tensor)
        module.load_state_dict(to_torch(params))
        with torch.no_grad():
            np.testing.assert_array_equal(module(there).double().numpy(), expected)


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


PIXELS = np.random.default_rng(0).integers(0, 256, (9, 12), dtype=np.uint8)


@pytest.mark.parametrize("pair", [*zip(ACTIVATIONS[::2], ("relu", "tanh", "identity", "softmax"), strict=True)])
def test_every_activation_function_survives_as_bytes(pair):
    model, params = make_model(*pair), init_params(jax.random.key(0), (12, 5, 4, 3))
    program = jax.export.deserialize(bytearray(prediction_program(params, model).serialize()))
    expected = outputs_of(params, PIXELS.astype(np.float32) / 255, model)
    np.testing.assert_allclose(program.call(PIXELS), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.usefixtures("float64")
def test_the_outputs_have_the_type_of_the_parameters(dtype):
    params = init_params(jax.random.key(0), (12, 5, 3), dtype=jnp.dtype(dtype))
    program = prediction_program(params, Model())
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert [str(aval.str_short()) for aval in (*program.in_avals, *program.out_avals)] == [
        "uint8[batch,12]",
        f"{dtype}[batch,3]",
    ]
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    expected = outputs_of(exact, PIXELS / 255, Model())
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(program.call(PIXELS), float), expected, rtol=0, atol=8 * eps)


def test_a_network_of_floats_takes_them_as_they_are():
    params = init_params(jax.random.key(0), (12, 5, 3))
    numbers = np.random.default_rng(1).normal(size=(9, 12)).astype(np.float32)
    program = prediction_program(params, Model(), ("cpu",), dtype=np.float32)
    np.testing.assert_allclose(program.call(numbers), outputs_of(params, numbers, Model()), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="inputs are int32: expected uint8, from 0 to 255, or floating point"):
        prediction_program(params, Model(), dtype=np.int32)


def test_a_program_for_one_platform_says_so_where_it_cannot_run():
    program = prediction_program(init_params(jax.random.key(0), (12, 3)), Model(), ("tpu",))
    with pytest.raises(ValueError, match="exported for platforms"):
        program.call(PIXELS)


def test_what_is_no_network_is_refused():
    with pytest.raises(ValueError, match=r"params\[0\] has weights \(3, 2\) and biases \(2,\)"):
        prediction_program((Layer(jnp.zeros((3, 2)), jnp.zeros(2)),), Model())
