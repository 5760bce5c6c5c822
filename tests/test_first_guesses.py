"""What someone tries first, before reading, gets one short message that says what to do."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax import (
    Dataset,
    DatasetError,
    Examples,
    Model,
    Plan,
    TrainState,
    assert_gradients_match,
    backprop,
    compare_gradients,
    compare_rules,
    epochs,
    evaluate,
    fit,
    fit_population,
    init_params,
    load_dataset,
    loss,
    make_optimizer,
    predict,
    relu,
)

pytestmark = pytest.mark.usefixtures("as_installed")
PARAMS = init_params(jax.random.key(0), (784, 3, 10))
PIXELS, CLASSES = np.ones((5, 784), np.uint8), np.arange(5)
EXAMPLES = Examples(PIXELS, CLASSES)
DATASET = Dataset(EXAMPLES, EXAMPLES, n_out=10)
INPUTS, MODEL = PIXELS / 255, Model()
SGD = make_optimizer("sgd", 1.0)
STATE = TrainState.start(PARAMS, SGD)
BY_NAME = 'call compare_gradients({"by hand": a, "jax.grad": b}, reference="jax.grad")'
A_DATASET = "expected Dataset(train=Examples(inputs, targets), test=Examples(inputs, targets)), or load_dataset(...)"
A_KEY = "expected a random key, jax.random.key(0) for instance"
LAYERS = "expected a tuple of Layer(weights, biases), see init_params"
GUESSES = {
    "two gradients": (
        lambda: compare_gradients(PARAMS, PARAMS),
        f"gradients come by name, and the reference is one of the names, but a tuple was given: {BY_NAME}",
    ),
    "two gradients that are dictionaries": (
        lambda: compare_gradients({"w": 1.0}, {"w": 1.0}),
        f"a dict was given: {BY_NAME}",
    ),
    "a gradient and a name": (lambda: compare_gradients(PARAMS, "b"), f"a tuple was given: {BY_NAME}"),
    "two gradients in a test": (lambda: assert_gradients_match(PARAMS, PARAMS), f"a tuple was given: {BY_NAME}"),
    "a rule without a name": (
        lambda: compare_rules(backprop, PARAMS, INPUTS, CLASSES, MODEL),
        'a function was given: call compare_rules({"by hand": backprop}, params, inputs, targets, model)',
    ),
    "a seed": (lambda: init_params(0), f"the key is 0: {A_KEY}"),
    "a seed in an array": (lambda: init_params(jnp.array(0)), A_KEY),
    "sizes alone": (lambda: init_params((784, 10)), f"the key is (784, 10): {A_KEY}"),
    "a name of an activation": (
        lambda: Model("relu"),
        "hidden is 'relu': expected mlp_jax.relu, or another Activation(value, derivative)",
    ),
    "a function as activation": (lambda: Model(output=jax.nn.relu), "expected mlp_jax.relu, or another Activation"),
    "a name of a cost": (lambda: Model(relu, cost="quadratic"), "cost is 'quadratic': expected mlp_jax.quadratic, or"),
    "a tuple of arrays": (lambda: fit(PARAMS, (PIXELS, CLASSES)), f"the dataset is of type tuple: {A_DATASET}"),
    "arrays for a population": (lambda: fit_population(PARAMS, (PIXELS, CLASSES)), A_DATASET),
    "arrays for epochs": (
        lambda: epochs(STATE, PIXELS, Plan(MODEL, SGD)),
        f"the dataset is of type ndarray: {A_DATASET}",
    ),
    "examples as a data set": (
        lambda: fit(PARAMS, EXAMPLES),
        "the dataset is of type Examples: expected Dataset(train=examples, test=others), or load_dataset(...)",
    ),
    "data first": (lambda: fit(DATASET, PARAMS), f"the dataset is of type tuple: {A_DATASET}"),
    "a model to train": (lambda: fit(MODEL, DATASET), f"params are of type Model: {LAYERS}"),
    "one network as a population": (lambda: fit_population(PARAMS, DATASET), "as init_population makes them"),
    "pairs of arrays": (
        lambda: loss([tuple(PARAMS[0])], INPUTS, CLASSES, MODEL),
        f"params are of type list of tuple: {LAYERS}",
    ),
    "one layer": (lambda: predict(PARAMS[0], INPUTS, MODEL), f"params are of type Layer: {LAYERS}"),
    "a state as parameters": (
        lambda: predict(STATE, INPUTS, MODEL),
        "params are of type TrainState: expected its part `params`",
    ),
    "a state to evaluate": (
        lambda: evaluate(STATE, EXAMPLES, MODEL),
        "params are of type TrainState: expected its part `params`",
    ),
    "a data set to evaluate": (
        lambda: evaluate(PARAMS, DATASET, MODEL),
        "examples is of type Dataset: expected its part train or test",
    ),
    "arrays to evaluate": (
        lambda: evaluate(PARAMS, (PIXELS, CLASSES), MODEL),
        "examples is of type tuple: expected Examples(inputs, targets)",
    ),
    "classes as targets": (
        lambda: loss(PARAMS, INPUTS, CLASSES, MODEL),
        "targets have shape (5,), but the outputs have (5, 10): jax.nn.one_hot(classes, 10) makes wanted outputs",
    ),
    "pixels": (
        lambda: loss(PARAMS, PIXELS, CLASSES, MODEL),
        "inputs are uint8: expected floating point; divide pixels by 255.0",
    ),
    "an image": (
        lambda: predict(PARAMS, np.ones((28, 28)), MODEL),
        "inputs have shape (28, 28), but the network has 784 input neurons: expected (..., 784), as "
        "inputs.reshape(-1, 784) makes it",
    ),
    "images": (lambda: predict(PARAMS, np.ones((5, 28, 28)), MODEL), "as inputs.reshape(-1, 784) makes it"),
    "another data set": (
        lambda: load_dataset("digits"),
        "there is no data set 'digits' (No such file or directory): expected 'mnist'",
    ),
}


@pytest.mark.parametrize("guess", GUESSES)
def test_a_first_guess_is_answered_in_a_line(guess):
    attempt, message = GUESSES[guess]
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        attempt()
    assert len(str(refused.value)) <= 220
    assert "\n" not in str(refused.value)


def test_a_forgotten_model_is_named():
    for function in (loss, backprop):
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'model'"):
            function(PARAMS, INPUTS, CLASSES)


def test_what_is_refused_is_an_error_of_data_if_it_is_one():
    for attempt in (lambda: fit(PARAMS, (PIXELS, CLASSES)), lambda: evaluate(PARAMS, DATASET, MODEL)):
        with pytest.raises(DatasetError):
            attempt()
