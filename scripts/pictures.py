"""The README's pictures, of a run: its page, and how it learned.

mlp-jax train --out runs/lesson
python scripts/pictures.py runs/lesson

Of a run that learned a table there is one of its page; that of the data's README is of the sixth notebook's runs/wine.

The page is seen in Chromium: `apt-get install chromium`, `pip install -e '.[browser]'`.
"""

import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from benchmarks.chromium import chromium, open_page
from PIL import Image

from mlp_jax import figures
from mlp_jax.commands.report import made
from mlp_jax.runs import Run
from mlp_jax.runs.snapshots import read_snapshots

PICTURES = Path(__file__).with_name("pictures")
NEURONS = 8


def main(directory: Annotated[Path, tyro.conf.Positional], out: Path = PICTURES) -> None:
    """Write page.png and training.png, or of a run that learned a table, table.png.

    Args:
        directory: a run of `mlp-jax train`.
        out: a directory for the pictures.
    """
    try:
        out.mkdir(exist_ok=True)
        kept = Run.open(directory).preprocessing()
        if kept is not None and kept.columns:
            photograph_table(directory, out / "table.png")
            return
        draw_training(Run.open(directory).directory, out / "training.png")
        photograph(directory, out / "page.png")
    except (OSError, ValueError, KeyError) as error:
        print("pictures.py:", *str(error).split(), file=sys.stderr)
        raise SystemExit(2) from None


def draw_training(directory: Path, path: Path) -> None:
    """Cost and accuracy of every epoch, and the weights of some neurons of the second layer after some of them.

    Raises ValueError for a run that has no epochs or no snapshots, or whose inputs are no square images.
    """
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    kept = read_snapshots(directory)
    if not lines or kept is None:
        raise ValueError(f"{directory} has no epochs, or no snapshots: expected a run of mlp-jax train")
    if "test_accuracy" not in lines[0]:
        raise ValueError(f"{directory} learned wanted outputs: the pictures are of a run on classes")
    side = int(kept.weights.shape[2] ** 0.5)
    images = kept.weights[:, :NEURONS].astype(np.float32).reshape(len(kept.epochs), -1, side, side)
    epochs = [line["epoch"] for line in lines]
    shown = [number for number, epoch in enumerate(kept.epochs) if epoch in (0, 1, 3, 8, kept.epochs[-1])]
    figure, (top, *strips) = figures.strips(2.6, *[1.05] * len(shown))
    cost, accuracy = top.subplots(1, 2)
    figures.curves(cost, np.array(epochs), {"cost": np.array([line["loss"] for line in lines])})
    figures.name_axes(cost, "epoch", "mean cost of an example")
    figures.curves(accuracy, np.array(epochs), {"accuracy": np.array([100 * line["test_accuracy"] for line in lines])})
    figures.name_axes(accuracy, "epoch", "test accuracy, %")
    for number, strip in zip(shown, strips, strict=True):
        title = "before training" if kept.epochs[number] == 0 else f"after epoch {kept.epochs[number]}"
        limit = float(np.quantile(np.abs(images), 0.995))
        figures.gallery(strip, images[number], [""] * NEURONS, columns=NEURONS, limit=limit, title=title)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    save(drawn, path)


def photograph(directory: Path, path: Path) -> None:
    """The page of the run with a 3 being drawn on it."""
    with tempfile.TemporaryDirectory() as scratch, chromium() as browser:
        file = Path(scratch, "report.html")
        file.write_text(made(directory), encoding="utf-8")
        page = open_page(browser, file, 1440, 900)
        if not page.is_visible("#clear"):
            raise ValueError(f"{directory} has no images of one channel, which one can draw on")
        page.click("#clear")
        box = page.locator("#pad").bounding_box()
        angles = np.linspace(-0.75 * np.pi, 0.5 * np.pi, 25)
        upper = [(0.5 + 0.17 * np.cos(angle), 0.34 + 0.15 * np.sin(angle)) for angle in angles]
        angles = np.linspace(-0.5 * np.pi, 0.75 * np.pi, 25)
        lower = [(0.5 + 0.2 * np.cos(angle), 0.66 + 0.17 * np.sin(angle)) for angle in angles]
        for number, (x, y) in enumerate([*upper, *lower]):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            if number == 0:
                page.mouse.down()
        page.mouse.up()
        page.locator("#neurons > div").nth(1).locator("button").nth(2).click()
        page.mouse.move(0, 0)
        page.evaluate("document.activeElement.blur()")
        page.wait_for_timeout(1000)
        save(io.BytesIO(page.locator("#draw").screenshot()), path)


def photograph_table(directory: Path, path: Path) -> None:
    """The columns and the answer, and below them what another answer would want of each column."""
    with tempfile.TemporaryDirectory() as scratch, chromium() as browser:
        file = Path(scratch, "report.html")
        file.write_text(made(directory), encoding="utf-8")
        page = open_page(browser, file, 1280, 900)
        last = page.locator("#wanted label").last
        if last.count() and page.locator("#wanted input").last.get_attribute("type") == "radio":
            last.click()
        page.wait_for_selector("#columns-wanted[data-done]")
        page.wait_for_timeout(1000)
        shots = [Image.open(io.BytesIO(page.locator(place).screenshot())) for place in ("#draw", "#columns-wanted")]
        whole = Image.new("RGB", (max(shot.width for shot in shots), sum(shot.height for shot in shots)), "white")
        top = 0
        for shot in shots:
            whole.paste(shot, ((whole.width - shot.width) // 2, top))
            top += shot.height
        drawn = io.BytesIO()
        whole.save(drawn, "PNG")
        save(drawn, path)


def save(drawn: io.BytesIO, path: Path) -> None:
    """In 256 colours, none of them far from the original: a third of the bytes."""
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1).save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    tyro.cli(main)
