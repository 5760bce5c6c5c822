"""The command that holds gradients against jax.grad's."""

import json

import jax
import jax.numpy as jnp

from mlp_jax import arguments, training
from mlp_jax.commands.shared import keep_programs, open_run
from mlp_jax.data import Dataset, load_dataset
from mlp_jax.gradients.compare import compare_rules
from mlp_jax.gradients.numerical import numerical_gradient
from mlp_jax.network import Model, Params, init_params, loss, sizes_of
from mlp_jax.settings import model_of, rule_of, sizes_for


def compare(settings: arguments.Compare) -> int:
    """Show how far the gradients that rules give are from jax.grad's, parameter by parameter."""
    keep_programs(settings.cache)
    with jax.enable_x64(settings.dtype == "float64"):
        params, model, dataset, data = _network_to_compare(settings)
        params, sizes = jax.tree.map(lambda leaf: jnp.asarray(leaf, settings.dtype), params), sizes_of(params)
        batch = training.epoch_order(settings.seed, 0, len(dataset.train_labels))[: settings.batch_size]
        inputs = training.as_inputs(jnp.asarray(dataset.train_images[batch]), params)
        targets = jax.nn.one_hot(dataset.train_labels[batch], dataset.classes, dtype=inputs.dtype)
        by_nudging = {}
        if "numerical" in settings.rules:
            by_nudging["numerical"] = numerical_gradient(loss, params, inputs, targets, model)
        names = [name for name in settings.rules if name not in ("numerical", "automatic")]
        chosen = {name: rule_of(name, sizes, settings) for name in names}
        report = compare_rules(chosen, params, inputs, targets, model, gradients=by_nudging)
    exact = [name for name in report.overall if name in ("manual", "numerical")]
    agree = all(report.overall[name].agrees for name in exact)
    if settings.json:
        print(json.dumps(report.to_dict() | {"should_agree": exact, "passed": agree}))
    else:
        print(f"{'-'.join(map(str, sizes))}, {settings.dtype}, {settings.batch_size} images of {data}")
        print(report)
        for name in [name for name, overall in report.overall.items() if name not in exact and not overall.agrees]:
            print(f"{name} is another rule than backpropagation: it need not agree")
    return 0 if agree else 1


def _network_to_compare(settings: arguments.Compare) -> tuple[Params, Model, Dataset, str]:
    """Parameters, model and data, with their name: those of a run, or random parameters."""
    names = ("data", "sizes", "hidden", "output", "cost")
    given = {name: value for name in names if (value := getattr(settings, name)) is not None}
    params = None
    if settings.run is not None:
        if given:
            raise ValueError(
                f"{settings.run} has its own {', '.join(given)}: leave out --{' --'.join(given)}, or --run"
            )
        run, model, params = open_run(settings.run)
        data, sizes = run.config["data"], sizes_of(params)
    else:
        data, sizes, *model_names = (given.get(name, getattr(arguments.Problem, name)) for name in names)
        model = model_of(*model_names)
    dataset = load_dataset(data)
    sizes = sizes_for(sizes, dataset)
    training.check_fit(sizes, dataset, 1, settings.batch_size, settings.seed)
    if params is None:
        params = init_params(jax.random.key(settings.seed), sizes)
    return params, model, dataset, data
