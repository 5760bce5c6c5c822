"""What a backward pass can tell: how long it takes, and how much memory, beside jax.grad, vmap(jax.grad) and BackPACK.

The network has sigmoids and the quadratic cost, in float32. Everything runs on as many threads as JAX takes by default.
"""

from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import counterparts
from mlp_jax import Model, Params, backprop, init_params, load_dataset, loss
from mlp_jax.gradients import curvature, per_example
from mlp_jax.network import as_inputs, as_targets
from mlp_jax.training import check_sizes
from program import PACKAGES, FromTheStart, Out, Rounds, Sizes, check_arguments, publish, run
from timing import in_milliseconds, median_and_range, take_turns, threads
from training import named

MODEL = Model()
REFERENCE = "jax.grad(loss)"
SLOW = {"vmap(jax.grad)", "vmap(jax.grad), squared norms", "curvature.hessian_diagonal", "DiagHessian"}
HEADINGS = (
    *("", "ms", "range", "/ jax\n.grad", "temporary\nMB", "gradients /\ntemporary"),
    *("BackPACK", "ms", "range", "/ ours", "difference"),
)


def each_gradient(params: Params, inputs: jax.Array, targets: jax.Array, model: Model) -> Params:
    """The gradients of all examples by automatic differentiation."""
    return jax.vmap(jax.grad(loss), in_axes=(None, 0, 0, None))(params, inputs, targets, model)


def each_squared_norm(params: Params, inputs: jax.Array, targets: jax.Array, model: Model) -> jax.Array:
    """The squared norms as one writes them without thinking of outer products, reduced in the same program."""
    leaves = jax.tree.leaves(each_gradient(params, inputs, targets, model))
    return sum((jnp.sum(leaf.reshape(len(inputs), -1) ** 2, axis=1) for leaf in leaves), jnp.zeros(len(inputs)))


class Problem(NamedTuple):
    """A network, a batch for it, and what some of the quantities need besides."""

    params: Params
    inputs: jax.Array
    targets: jax.Array
    vector: Params
    median_norm: jax.Array


class Program(NamedTuple):
    """A compiled function with its arguments.

    call: runs it to its end.
    seconds: how long compiling took.
    temporary: the bytes that it holds besides inputs and outputs, if the compiler says.
    """

    call: Callable[[], Any]
    seconds: float
    temporary: int | None


def main(
    examples: FromTheStart = 1000, sizes: Sizes = (784, 256, 256, 10), rounds: Rounds = 9, out: Out = None
) -> None:
    """What a backward pass can tell, beside jax.grad, vmap(jax.grad) and BackPACK."""
    check_arguments(rounds, out)
    problem = make_problem(examples, sizes)
    programs = {name: compiled(*function) for name, function in functions(problem).items()}
    batch = problem.params, problem.inputs, problem.targets
    try:
        beside = counterparts.make(*batch, problem.vector, threads())
    except ImportError:
        beside = {}
    differences = {name: first_calls(program, beside.get(name), examples) for name, program in programs.items()}

    calls = {name: program.call for name, program in programs.items()}
    calls |= {counterpart.name: counterpart.call for counterpart in beside.values()}
    times = {name: in_milliseconds(values) for name, values in take_turns(calls, rounds, SLOW, short=True).items()}

    count = sum(leaf.size for leaf in jax.tree.leaves(problem.params))
    rows = []
    for name, program in programs.items():
        row = {"name": name, **times[name], "ratio_to_jax_grad": _ratio(times, name, REFERENCE)}
        row |= {"compile_s": program.seconds, **memory(program, examples * count)}
        if name in beside:
            other = beside[name].name
            row["backpack"] = {"name": other, **times[other], "ratio_to_ours": _ratio(times, other, name)}
            row["backpack"]["largest_difference"] = differences[name]
        rows.append(row)
    title = f"{examples:,} examples, {named(sizes)}, {count:,} parameters, {threads()} threads: {rounds} rounds"
    report = {"benchmark": "gradients", "examples": examples, "sizes": sizes, "parameters": count, "rounds": rounds}
    report |= {"device": jax.devices()[0].device_kind, "rows": rows}
    note = "" if beside else "BackPACK is not installed: pip install -e '.[bench]'"
    packages = (*PACKAGES, "torch", "backpack-for-pytorch")
    publish(report, title, HEADINGS, map(_cells, rows), out, note=note, packages=packages)


def make_problem(examples: int, sizes: tuple[int, ...]) -> Problem:
    """Random parameters and the first training images; another draw of parameters is the vector."""
    dataset = load_dataset("mnist").first(examples)
    check_sizes(sizes, dataset)
    params, vector = (init_params(jax.random.key(seed), sizes) for seed in (0, 1))
    inputs, targets = as_inputs(dataset.train.inputs, params), as_targets(dataset.train.targets, params)
    norms = jnp.sqrt(jax.jit(per_example.squared_norms, static_argnums=3)(params, inputs, targets, MODEL))
    return Problem(params, inputs, targets, vector, jnp.median(norms))


def functions(problem: Problem) -> dict[str, tuple[Any, ...]]:
    """What is timed, by name: a function and its arguments."""
    batch = problem.params, problem.inputs, problem.targets
    return {
        REFERENCE: (jax.grad(loss), *batch),
        "backprop": (backprop, *batch),
        "vmap(jax.grad)": (each_gradient, *batch),
        "vmap(jax.grad), squared norms": (each_squared_norm, *batch),
        "per_example.gradients": (per_example.gradients, *batch),
        "per_example.squared_norms": (per_example.squared_norms, *batch),
        "per_example.inner_products": (per_example.inner_products, *batch),
        "per_example.second_moment": (per_example.second_moment, *batch),
        "per_example.variance": (per_example.variance, *batch),
        "per_example.clipped_mean": (per_example.clipped_mean, *batch, problem.median_norm),
        "per_example.noise_scale": (per_example.noise_scale, *batch),
        "curvature.gauss_newton_diagonal": (curvature.gauss_newton_diagonal, *batch),
        "curvature.kronecker_factors": (curvature.kronecker_factors, *batch),
        "curvature.gauss_newton_product": (curvature.gauss_newton_product, *batch, problem.vector),
        "curvature.hessian_diagonal": (curvature.hessian_diagonal, *batch),
    }


def compiled(function: Callable[..., Any], *arguments: Any) -> Program:
    """Compile for the model, without a call."""
    start = perf_counter()
    program = jax.jit(partial(function, model=MODEL)).lower(*arguments).compile()
    seconds = perf_counter() - start
    analysis = program.memory_analysis()
    return Program(
        call=lambda: jax.block_until_ready(program(*arguments)),
        seconds=seconds,
        temporary=analysis.temp_size_in_bytes if analysis else None,
    )


def first_calls(program: Program, counterpart: counterparts.Counterpart | None, examples: int) -> float | None:
    """The calls that are not counted, ours and BackPACK's; returns how far apart they are."""
    result = program.call()
    if counterpart is None:
        return None
    theirs = counterpart.to_ours(counterpart.call(), examples)
    return counterparts.largest_difference(result, theirs)


def memory(program: Program, numbers: int) -> dict[str, float | None]:
    """What a program holds besides inputs and outputs, and how often that goes into all examples' gradients."""
    if program.temporary is None:
        return {"temporary_mb": None, "all_gradients_by_temporary": None}
    ratio = 4 * numbers / program.temporary if program.temporary else None
    return {"temporary_mb": program.temporary / 1e6, "all_gradients_by_temporary": ratio}


def _cells(row: Mapping[str, Any]) -> list[str]:
    held, goes = row["temporary_mb"], row["all_gradients_by_temporary"]
    cells = [row["name"], *median_and_range(row), f"{row['ratio_to_jax_grad']:.2f}"]
    cells += ["" if held is None else f"{held:.2f}", "" if goes is None else f"{goes:,.0f}"]
    if other := row.get("backpack"):
        cells += [
            other["name"],
            *median_and_range(other),
            f"{other['ratio_to_ours']:.2f}",
            f"{other['largest_difference']:.0e}",
        ]
    return cells


def _ratio(times: Mapping[str, Any], name: str, other: str) -> float:
    return times[name]["median_ms"] / times[other]["median_ms"]


if __name__ == "__main__":
    run(main)
