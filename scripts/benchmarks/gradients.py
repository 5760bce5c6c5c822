"""What a backward pass can tell: how long it takes, and how much memory, beside jax.grad, vmap(jax.grad) and BackPACK.

The network has sigmoids and the quadratic cost, in float32. Everything runs on as many threads as JAX takes by default.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlp_jax import Params, backprop, init_params, load_dataset, loss
from mlp_jax.gradients import curvature, per_example

from . import counterparts
from .timing import in_milliseconds, print_table, take_turns, threads, write_json

REFERENCE = "jax.grad(loss)"
SLOW = {"vmap(jax.grad)", "vmap(jax.grad), squared norms", "curvature.hessian_diagonal", "DiagHessian"}
MEGABYTE = 1e6

each_gradient = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))


def each_squared_norm(params: Params, inputs: jax.Array, targets: jax.Array) -> jax.Array:
    """The squared norms as one writes them without thinking of outer products, reduced in the same program."""
    leaves = jax.tree.leaves(each_gradient(params, inputs, targets))
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
    temporary: the bytes that it holds besides inputs and outputs, where the compiler says.
    """

    call: Callable[[], Any]
    seconds: float
    temporary: int | None


def main(examples: int, sizes: tuple[int, ...], rounds: int, out: Path | None) -> None:
    """Time everything in turns, print the table, and write it as JSON if asked."""
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
    seconds = take_turns(calls, rounds, SLOW, short=True)
    times = {name: in_milliseconds(values) for name, values in seconds.items()}

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
    title = f"{examples:,} examples, {'-'.join(map(str, sizes))}, {count:,} parameters, {threads()} threads"
    show(f"{title}: {rounds} rounds", rows)
    if not beside:
        print("BackPACK is not installed: pip install -e '.[bench]'")
    if out:
        about = {"benchmark": "gradients", "examples": examples, "sizes": sizes, "parameters": count, "rounds": rounds}
        packages = ("jax", "jaxlib", "numpy", "torch", "backpack-for-pytorch")
        write_json(out, {**about, "device": jax.devices()[0].device_kind, "rows": rows}, packages)


def make_problem(examples: int, sizes: tuple[int, ...]) -> Problem:
    """Random parameters and the first training images; another draw of parameters is the vector."""
    dataset = load_dataset("mnist")
    params, vector = (init_params(jax.random.key(seed), sizes) for seed in (0, 1))
    inputs = jnp.asarray(dataset.train_images[:examples]) / jnp.float32(255)
    targets = jax.nn.one_hot(dataset.train_labels[:examples], dataset.classes)
    norms = jnp.sqrt(jax.jit(per_example.squared_norms)(params, inputs, targets))
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
    """Compile, without a call."""
    start = perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
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
    return {"temporary_mb": program.temporary / MEGABYTE, "all_gradients_by_temporary": ratio}


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    headings = ["", "ms", "range", "/ jax\n.grad", "temporary\nMB", "gradients /\ntemporary"]
    headings += ["BackPACK", "ms", "range", "/ ours", "difference"]
    print_table(title, headings, map(_cells, rows))


def _cells(row: Mapping[str, Any]) -> list[str]:
    held, goes = row["temporary_mb"], row["all_gradients_by_temporary"]
    cells = [row["name"], *_times(row), f"{row['ratio_to_jax_grad']:.2f}"]
    cells += ["" if held is None else f"{held:.2f}", "" if goes is None else f"{goes:,.0f}"]
    if other := row.get("backpack"):
        cells += [other["name"], *_times(other), f"{other['ratio_to_ours']:.2f}", f"{other['largest_difference']:.0e}"]
    return cells


def _times(row: Mapping[str, Any]) -> tuple[str, str]:
    median, fastest, slowest = (row[name] for name in ("median_ms", "fastest_ms", "slowest_ms"))
    digits = 1 if median < 100 else 0
    return f"{median:.{digits}f}", f"{fastest:.{digits}f}-{slowest:.{digits}f}"


def _ratio(times: Mapping[str, Any], name: str, other: str) -> float:
    return times[name]["median_ms"] / times[other]["median_ms"]
