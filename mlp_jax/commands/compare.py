"""The command that compares gradients with those of jax.grad."""

from dataclasses import asdict, replace

import jax
import jax.numpy as jnp
import optax

from mlp_jax import training
from mlp_jax.build import batch_size_for, data_options, model_for, rule_of, sizes_for
from mlp_jax.commands.shared import dataset_of, notes_said, open_run, print_json
from mlp_jax.config import Compare
from mlp_jax.data import Dataset, load_dataset
from mlp_jax.gradients.compare_rules import compare_rules
from mlp_jax.gradients.numerical import numerical_gradient
from mlp_jax.network import Model, Params, as_inputs, as_targets, init_params, loss, sizes_of
from mlp_jax.programs import keep_programs


def compare(settings: Compare) -> int:
    """Show how far the gradients that rules give are from jax.grad's, parameter by parameter."""
    keep_programs(settings.cache)
    with jax.enable_x64(settings.dtype == "float64"):
        params, model, dataset, data = _network_to_compare(settings)
        params, sizes = jax.tree.map(lambda leaf: jnp.asarray(leaf, settings.dtype), params), sizes_of(params)
        order = training.epoch_order(settings.seed, 0, len(dataset.train))
        settings = replace(settings, batch_size=batch_size_for(settings, dataset))
        batch = dataset.train.rows(order[: settings.batch_size])
        inputs, targets = as_inputs(batch.inputs, params), as_targets(batch.targets, params)
        numerical = {}
        if "numerical" in settings.rules:
            numerical["numerical"] = numerical_gradient(loss, params, inputs, targets, model)
        names = [name for name in settings.rules if name not in ("numerical", "automatic")]
        chosen = {name: rule_of(name, sizes, settings) for name in names}
        report = compare_rules(chosen, params, inputs, targets, model, gradients=numerical)
    exact = [name for name in report.overall if name in ("manual", "numerical")]
    agree = all(report.overall[name].agrees for name in exact)
    if settings.json:
        print_json(**report.to_dict(), should_agree=exact, passed=agree)
    else:
        print(f"{'-'.join(map(str, sizes))}, {settings.dtype}, {settings.batch_size} examples of {data}")
        print(report)
        for name, overall in report.overall.items():
            if name not in exact and not overall.agrees:
                print(f"{name} is another rule than backpropagation: it need not agree")
    return 0 if agree else 1


def _network_to_compare(settings: Compare) -> tuple[Params, Model, Dataset, str]:
    """Parameters, model, and data with their name: those of a run, or random parameters."""
    if settings.run is not None:
        run, model, params = open_run(settings.run)
        data, dataset, sizes = run.config["data"], dataset_of(run, params), sizes_of(params)
    else:
        with notes_said():
            data, dataset = settings.data, load_dataset(settings.data, **data_options(asdict(settings)))
        model, params = model_for(settings, dataset), None
        sizes = sizes_for(settings.sizes, dataset)
    plan = training.Plan(model, optax.identity(), batch_size_for(settings, dataset))
    training.check_training(sizes, dataset, plan, 1, settings.seed)
    return params or init_params(jax.random.key(settings.seed), sizes), model, dataset, data
