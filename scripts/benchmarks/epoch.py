"""How long an epoch takes, beside what people would write or pick instead.

Every peer trains the same network (sigmoids, quadratic cost, plain gradient descent) from the same parameters, on the
same images in the same mini-batches, an epoch each in turn; `peers.py` says where one cannot. Accuracy stands beside
each time, after as many epochs: a fast wrong network is no peer. A turn is two epochs, of which the second is timed,
for the first finds the caches full of the data of another; it is one for Nielsen's, whose epochs are long.

All get as many threads as `mlp_jax` has, 1 for a small network: with more, and another process on the machine, NumPy,
scikit-learn and PyTorch take up to ten times as long, for their threads wait for one another at every product.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from textwrap import shorten
from time import perf_counter
from typing import Any

import jax
import numpy as np

from mlp_jax import Dataset, Params, evaluate, init_params, load_dataset
from mlp_jax.training import check_fit, epoch_order, use_one_thread_if_small

from . import gemm
from .operations import show as show_operations
from .peers import PEERS, Epochs, Problem, as_params
from .timing import (
    caption,
    check_outputs,
    in_milliseconds,
    markdown_table,
    print_table,
    take_turns,
    threads,
    write_json,
    write_readme,
)

SLOW = {"nielsen"}
PACKAGES = ("jax", "jaxlib", "numpy", "optax", "scikit-learn", "torch", "flax", "equinox")
NOT_INSTALLED = "not installed: pip install -e '.[bench]'"


def main(
    sizes: tuple[int, ...],
    batch_size: int,
    examples: int,
    learning_rate: float,
    rounds: int,
    peers: Sequence[str],
    peer_threads: int | None,
    out: Path | None,
    figure: Path | None,
    readme: Path | None,
    operations: bool,
) -> None:
    """Time epochs of the peers in turns; print the table, and write and draw it if asked."""
    dataset = first_examples(load_dataset("mnist"), examples)
    check_fit(sizes, dataset, rounds, batch_size, 0)
    check_outputs(out, figure, readme, name="epoch")
    if peer_threads is not None and peer_threads < 1:
        raise ValueError(f"the number of threads is {peer_threads}: expected 1 or more")
    use_one_thread_if_small(sizes, batch_size)
    np.seterr(over="ignore")  # of exp, in a sigmoid that is then 0, as it should be
    problem = make_problem(dataset, sizes, batch_size, learning_rate, peer_threads or threads())

    rows, made = measure(problem, tuple(dict.fromkeys(peers)), rounds)
    report = {
        "benchmark": "epoch",
        "sizes": sizes,
        "batch_size": batch_size,
        "examples": examples,
        "learning_rate": learning_rate,
        "rounds": rounds,
        "peer_threads": problem.threads,
        "device": jax.devices()[0].device_kind,
        "accuracy_after_epochs": min((len(row["accuracies"]) for row in rows if "accuracies" in row), default=0),
        "gemm": gemm.summary(made, sizes, examples),
        "rows": rows,
    }
    print_table(title_of(report), *table(report))
    print(gemm_line(report))
    if operations:
        show_operations(dataset, sizes, batch_size, learning_rate)
    if out:
        write_json(out, report, PACKAGES)
    if figure:
        draw(report).savefig(figure, dpi=150)
    if readme:
        write_readme(readme, "epoch", f"{markdown_table(*table(report))}\n{about(report)}")


def first_examples(dataset: Dataset, examples: int) -> Dataset:
    """The same with so many training images. Raises ValueError where there are fewer."""
    there = len(dataset.train_labels)
    if not 1 <= examples <= there:
        raise ValueError(f"the number of examples is {examples}: expected 1 to {there}, the number of training images")
    return replace(dataset, train_images=dataset.train_images[:examples], train_labels=dataset.train_labels[:examples])


def make_problem(
    dataset: Dataset, sizes: tuple[int, ...], batch_size: int, learning_rate: float, allowed: int
) -> Problem:
    """Random parameters and the data as the peers take them."""
    return Problem(
        params=[np.array(leaf) for leaf in jax.tree.leaves(init_params(jax.random.key(0), sizes))],
        dataset=dataset,
        inputs=dataset.train_images.astype(np.float32) / 255,
        targets=np.eye(dataset.classes, dtype=np.float32)[dataset.train_labels],
        batch_size=batch_size,
        learning_rate=learning_rate,
        threads=allowed,
    )


def measure(problem: Problem, peers: Sequence[str], rounds: int) -> tuple[list[dict[str, Any]], dict[str, gemm.Timed]]:
    """A row for each peer, blank but for the reason where it cannot run, and matrix products with their seconds."""
    calls: dict[str, Callable[[], Any]] = {}
    first: dict[str, float] = {}
    missing: dict[str, str] = {}
    learned: dict[str, list[Params]] = {name: [] for name in peers}  # after each epoch
    for name in peers:
        try:
            epochs = PEERS[name].epochs(problem)
            next(epochs)
            calls[name] = one_more(epochs, len(problem.inputs), learned[name])
            with gemm.limited(problem.threads):
                start = perf_counter()
                calls[name]()
                first[name] = perf_counter() - start
        except ModuleNotFoundError:
            missing[name] = NOT_INSTALLED
        except RuntimeError as error:  # what torch.compile raises without a C++ compiler, for one
            del calls[name]
            missing[name] = f"could not run: {str(error).strip().splitlines()[0]}"
    made = gemm.products()
    with gemm.limited(problem.threads):
        products = {name: product.call for name, product in made.items()}
        seconds = take_turns({**calls, **products}, rounds, SLOW, short=True)
    test = problem.dataset.test_images, problem.dataset.test_labels
    accuracies = {name: [evaluate(params, *test).accuracy for params in learned[name]] for name in calls}

    rows = []
    for name in peers:
        row: dict[str, Any] = {"name": PEERS[name].name, "peer": name}
        if name in missing:
            rows.append({**row, "missing": missing[name]})
            continue
        median = float(np.median(seconds[name]))
        row |= {**in_milliseconds(seconds[name]), "first_epoch_s": first[name], "compile_s": first[name] - median}
        row["ratio_to_mlp_jax"] = median / float(np.median(seconds["mlp_jax"])) if "mlp_jax" in calls else None
        rows.append({**row, "accuracies": accuracies[name]})
    return rows, {name: (product, seconds[name]) for name, product in made.items()}


def one_more(epochs: Epochs, examples: int, learned: list[Params]) -> Callable[[], None]:
    """Trains for another epoch at each call, each in an order of its own, and notes the parameters."""
    numbers = count()

    def call() -> None:
        params = epochs.send(epoch_order(0, next(numbers), examples))
        learned.append(as_params([np.array(array) for array in params]))

    return call


def title_of(report: Mapping[str, Any]) -> str:
    """What is measured, in one line."""
    sizes, ours, others = "-".join(map(str, report["sizes"])), report["gemm"]["best"]["threads"], report["peer_threads"]
    on = f"threads: {ours}" if ours == others else f"threads: {ours} in JAX, {others} elsewhere"
    return f"one epoch, {sizes}, {report['examples']:,} examples in batches of {report['batch_size']}, {on}"


def table(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows."""
    after = report["accuracy_after_epochs"]
    headings = ["", "ms", "range", "/ mlp_jax", "epochs", "compile s", f"accuracy after\n{after} epochs"]
    return headings, [_cells(row, after) for row in report["rows"]]


def _cells(row: Mapping[str, Any], after: int) -> list[str]:
    if "missing" in row:
        return [row["name"], "", "", "", "", "", shorten(row["missing"], 80)]
    median, fastest, slowest = (f"{row[name]:,.0f}" for name in ("median_ms", "fastest_ms", "slowest_ms"))
    ratio = "" if row["ratio_to_mlp_jax"] is None else f"{row['ratio_to_mlp_jax']:.2f}"
    cells = [row["name"], median, f"{fastest} to {slowest}", ratio, str(row["calls"])]
    return [*cells, f"{max(row['compile_s'], 0):.1f}", f"{100 * row['accuracies'][after - 1]:.2f} %"]


def gemm_line(report: Mapping[str, Any]) -> str:
    """What the matrix products alone would take, and how near to that mlp_jax comes."""
    found, best = report["gemm"], report["gemm"]["best"]
    rates = ", ".join(f"{rate['by']} on {rate['threads']}: {rate['gflop_per_s']:.0f}" for rate in found["rates"])
    line = (
        f"Products of {found['side']} x {found['side']} matrices in float32 reach, in GFLOP/s and by threads: {rates}. "
        f"The matrix products of an epoch are {found['gflop_an_epoch']:.2f} GFLOP and would take "
        f"{found['ms_at_best']:,.0f} ms at {best['by']}'s rate on {best['threads']}"
    )
    ours = [row["median_ms"] for row in report["rows"] if row["peer"] == "mlp_jax" and "missing" not in row]
    return f"{line}: mlp_jax reaches {found['ms_at_best'] / ours[0]:.0%} of it." if ours else f"{line}."


def about(report: Mapping[str, Any]) -> str:
    """What stands below the table in Markdown."""
    return (
        f"Medians of {report['rounds']} rounds: {title_of(report)}. Compile: how much longer the first epoch takes. "
        f"{gemm_line(report)} {caption(PACKAGES)}"
    )


def draw(report: Mapping[str, Any]) -> Any:
    """A bar for each row, the median, with a line from the fastest to the slowest, as a Matplotlib figure."""
    from matplotlib.figure import Figure

    rows = report["rows"]
    there = [row for row in rows if "missing" not in row]
    figure = Figure(figsize=(9, 1.2 + 0.42 * len(rows)), layout="constrained")
    axes = figure.add_subplot(xscale="log", xlabel="ms, median and range")
    figure.suptitle(title_of(report))
    left = min((row["fastest_ms"] for row in there), default=1) / 2
    for place, row in enumerate(rows):
        if "missing" in row:
            axes.text(left * 1.05, place, shorten(row["missing"], 80), va="center", color="tab:red")
            continue
        median, fastest, slowest = (row[name] for name in ("median_ms", "fastest_ms", "slowest_ms"))
        color = "tab:orange" if row["peer"] == "mlp_jax" else "tab:blue"
        axes.barh(place, median - left, left=left, color=color, height=0.7)
        axes.errorbar(median, place, xerr=[[median - fastest], [slowest - median]], color="black", capsize=3)
        axes.text(slowest * 1.1, place, f"{median:,.0f}", va="center")
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.set_xlim(left, 2 * max((row["slowest_ms"] for row in there), default=10))
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    return figure
