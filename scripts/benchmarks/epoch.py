"""How long an epoch takes, beside what people would write or pick instead.

Every peer trains the same network (sigmoids, quadratic cost, plain gradient descent) from the same parameters, on the
same images in the same mini-batches, an epoch each in turn; `peers.py` says which cannot. Accuracy stands beside
each time, after as many epochs: a fast wrong network is no peer. A turn is two epochs, of which the second is timed,
for the first finds the caches full of the data of another; it is one for Nielsen's, whose epochs are long.

All get as many threads as `mlp_jax` has, 1 for a small network: with more, and another process on the machine, NumPy,
scikit-learn and PyTorch take up to ten times as long, for their threads wait for one another at every product.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from textwrap import shorten
from typing import Annotated, Any, get_args

import jax
import numpy as np
from tyro.conf import arg

import gemm
from mlp_jax import Dataset, Params, Plan, evaluate, init_params, load_dataset, make_optimizer
from mlp_jax.training import check_training, epoch_order, use_one_thread_if_small
from operations import show as show_operations
from peers import MODEL, PEERS, Epochs, Name, Problem, as_params
from program import PACKAGES, BatchSize, Figure, FromTheStart, Out, Readme, Rounds, Sizes, check_arguments, publish, run
from timing import in_milliseconds, median_and_range, seconds_of, take_turns, threads
from training import LESSON, named

SLOW = {"nielsen"}
VERSIONS = (*PACKAGES, "scikit-learn", "torch", "flax", "equinox")
NOT_INSTALLED = "not installed: pip install -e '.[bench]'"


def main(
    sizes: Sizes = LESSON,
    batch_size: BatchSize = 100,
    examples: FromTheStart = 60_000,
    learning_rate: Annotated[float, arg(help="of plain stochastic gradient descent")] = 3.0,
    rounds: Rounds = 7,
    peers: Annotated[tuple[Name, ...], arg(help="who takes part")] = get_args(Name),
    peer_threads: Annotated[
        int | None, arg(help="for the peers that do not run on JAX; as many as those that do, if not given")
    ] = None,
    out: Out = None,
    figure: Figure = None,
    readme: Readme = None,
    operations: Annotated[bool, arg(help="list the operations of the compiled epoch with their times as well")] = False,
) -> None:
    """An epoch of training beside Nielsen's program, NumPy, scikit-learn, PyTorch, Flax, Equinox and plain JAX."""
    check_arguments(rounds, out, figure, readme, "epoch")
    if peer_threads is not None and peer_threads < 1:
        raise ValueError(f"the number of threads is {peer_threads}: expected 1 or more")
    use_one_thread_if_small(sizes, batch_size)
    plan = Plan(MODEL, make_optimizer("sgd", learning_rate), batch_size)
    dataset = load_dataset("mnist").first(examples)
    check_training(sizes, dataset, plan, rounds, seed=0)
    np.seterr(over="ignore")  # of exp, in a sigmoid that is then 0, as it should be
    problem = make_problem(dataset, sizes, plan, learning_rate, peer_threads or threads())

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
    headings, cells = table(report)
    note = f"Compile: how much longer the first epoch takes. {gemm_line(report)}"
    publish(report, title_of(report), headings, cells, out, readme, note=note, packages=VERSIONS)
    if operations:
        show_operations(dataset.train, problem.params, plan)
    if figure:
        draw(report).savefig(figure, dpi=150)


def make_problem(dataset: Dataset, sizes: tuple[int, ...], plan: Plan, learning_rate: float, allowed: int) -> Problem:
    """Random parameters and the data as the peers take them."""
    return Problem(
        params=[np.array(leaf) for leaf in jax.tree.leaves(init_params(jax.random.key(0), sizes))],
        dataset=dataset,
        inputs=dataset.train.inputs.astype(np.float32) / 255,
        targets=np.eye(dataset.n_out, dtype=np.float32)[dataset.train.targets],
        plan=plan,
        learning_rate=learning_rate,
        threads=allowed,
    )


def measure(problem: Problem, peers: Sequence[Name], rounds: int) -> tuple[list[dict[str, Any]], dict[str, gemm.Timed]]:
    """A row for each peer, blank but for the reason if it cannot run, and matrix products with their seconds."""
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
                first[name] = seconds_of(calls[name])
        except ModuleNotFoundError:
            missing[name] = NOT_INSTALLED
        except RuntimeError as error:  # what torch.compile raises without a C++ compiler, for one
            del calls[name]
            missing[name] = f"could not run: {str(error).strip().splitlines()[0]}"
    made = gemm.products()
    with gemm.limited(problem.threads):
        products = {name: product.call for name, product in made.items()}
        seconds = take_turns({**calls, **products}, rounds, SLOW, short=True)

    rows = []
    for name in peers:
        row: dict[str, Any] = {"name": PEERS[name].name, "peer": name}
        if name in missing:
            rows.append({**row, "missing": missing[name]})
            continue
        median = float(np.median(seconds[name]))
        row |= {**in_milliseconds(seconds[name]), "first_epoch_s": first[name], "compile_s": first[name] - median}
        row["ratio_to_mlp_jax"] = median / float(np.median(seconds["mlp_jax"])) if "mlp_jax" in calls else None
        row["accuracies"] = [evaluate(params, problem.dataset.test, MODEL).score for params in learned[name]]
        rows.append(row)
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
    sizes, ours, others = named(report["sizes"]), report["gemm"]["best"]["threads"], report["peer_threads"]
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
    ratio = "" if row["ratio_to_mlp_jax"] is None else f"{row['ratio_to_mlp_jax']:.2f}"
    cells = [row["name"], *median_and_range(row), ratio, str(row["calls"])]
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


if __name__ == "__main__":
    run(main)
