"""How soon the page of a run is there, and how soon it has drawn what a visitor does.

Times are of headless Chromium's main thread, without a graphics card: what it does when it hears of an event, and the
whole frame that first shows it, with script, style, layout and painting; what the page puts off comes a frame later.
The screen's own rhythm, which has an event wait for the next frame (at 60 Hz up to 17 ms), comes on top.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from chromium import chromium, open_page
from mlp_jax import Model, init_params, load_dataset
from mlp_jax.report import report
from mlp_jax.runs import Run
from program import Out, Rounds, check_arguments, publish, run
from training import LESSON, named

NETWORKS = (LESSON, (784, 128, 64, 10))
LISTEN = """() => {
  window.times = [];
  let answering = null; // milliseconds in what hears of events, if some came since the last frame: may be 0
  let begun = null; // the frame
  const over = new MessageChannel(); // what it brings comes after the frame
  over.port1.onmessage = () => {
    if (answering !== null) window.times.push(answering + performance.now() - begun);
    answering = null;
    begun = null;
  };
  const ask = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (draw) => ask((time) => {
    if (begun === null) {
      begun = performance.now();
      over.port2.postMessage(0);
    }
    draw(time);
  });
  for (const kind of ["pointerover", "pointermove", "click", "input"]) {
    let heard = 0;
    window.addEventListener(kind, () => (heard = performance.now()), true);
    window.addEventListener(kind, () => (answering = (answering ?? 0) + performance.now() - heard));
  }
}"""
FRAME = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"


def main(rounds: Rounds = 60, out: Out = None) -> None:
    """The page of a run in a browser: first paint, and frames that show what a visitor does."""
    check_arguments(rounds, out)
    rows = []
    with tempfile.TemporaryDirectory() as scratch, chromium() as browser:
        for each in NETWORKS:
            path = write_page(Path(scratch), each)
            network = named(each)
            opened = [first_paint(browser, path) for _ in range(5)]
            rows.append(row(network, "opened, first paint", opened))
            page = open_page(browser, path, 1600, 1000)
            page.evaluate(LISTEN)
            page.wait_for_timeout(1000)  # until all that opening has put off is done
            for name, act in ACTIONS.items():
                rows.append(row(network, name, times_of(page, act, rounds)))
            page.close()
    report = {"benchmark": "page", "rounds": rounds, "chromium": browser.version, "rows": rows}
    headings = ("", "", "median ms", "of 20, 19 within", "slowest")
    cells = [(each["network"], each["name"], *(f"{each[key]:.1f}" for key in COLUMNS)) for each in rows]
    title = f"the page of a run in Chromium, {rounds} of each"
    publish(report, title, headings, cells, out, packages=("jax", "numpy", "playwright"))


COLUMNS = ("median_ms", "p95_ms", "slowest_ms")


def row(network: str, name: str, times: list[float]) -> dict[str, Any]:
    """Of times in milliseconds."""
    values = (float(np.median(times)), float(np.quantile(times, 0.95)), max(times))
    return {"network": network, "name": name, **dict(zip(COLUMNS, values, strict=True))}


def write_page(scratch: Path, sizes: tuple[int, ...]) -> Path:
    """The page of a network with random parameters, which draws as much as that of one that has learned."""
    run = Run.create(scratch / named(sizes), {"data": "mnist", "sizes": sizes})
    page = report(run, Model(), init_params(jax.random.key(0), sizes), load_dataset("mnist"))
    path = run.directory / "report.html"
    path.write_text(page, encoding="utf-8")
    run.close()
    return path


def first_paint(browser: Any, path: Path) -> float:
    """Milliseconds from opening the file to the first thing that is seen."""
    page = open_page(browser, path, 1600, 1000)
    page.wait_for_timeout(300)
    found = page.evaluate(FIRST_PAINT)
    page.close()
    return found


def times_of(page: Any, act: Callable[[Any, int], None], rounds: int) -> list[float]:
    """Milliseconds of the frames that show what the visitor did, one of each time but the first five."""
    times = []
    for number in range(rounds + 5):
        page.evaluate("window.times.length = 0")
        act(page, number)
        page.evaluate(FRAME)
        page.wait_for_timeout(30)
        times.append(max(page.evaluate("window.times")))
    page.mouse.up()
    return times[5:]


def move_pen(page: Any, number: int) -> None:
    """On and on, round and round the pad."""
    box = page.locator("#pad").bounding_box()
    angle = 0.3 * number
    place = (
        box["x"] + box["width"] * (0.5 + 0.3 * np.cos(angle)),
        box["y"] + box["height"] * (0.5 + 0.3 * np.sin(angle)),
    )
    page.mouse.move(*place)
    if number == 0:
        page.mouse.down()


def point_at_neuron(page: Any, number: int) -> None:
    """One after the other."""
    page.locator("#neurons > div").first.locator("button").nth(number % 16).hover()


def next_example(page: Any, number: int) -> None:
    """Of the test images."""
    page.click("#next")


def take_step(page: Any, number: int) -> None:
    """Downhill, with the wanted changes of every layer on the screen."""
    page.click("#take-step")


def turn_bias(page: Any, number: int) -> None:
    """Of the neuron that is chosen."""
    page.fill("#bias", str(number % 9))


ACTIONS = {
    "the pen moves": move_pen,
    "a neuron is pointed at": point_at_neuron,
    "the next example": next_example,
    "a step is taken": take_step,
    "a bias is turned": turn_bias,
}


if __name__ == "__main__":
    run(main)
