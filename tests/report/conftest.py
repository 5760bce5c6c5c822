"""Pages of runs that were never trained, and a real browser to see them in."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from untrained import SIZES

from mlp_jax import init_params, load_dataset
from mlp_jax.build import model_of
from mlp_jax.cli import main
from mlp_jax.runs import Run
from mlp_jax.runs.snapshots import keep_snapshot


@pytest.fixture
def make_run(tmp_path):
    """A run as training keeps one, with parameters that were drawn and not learned."""

    def make(name="run", data="mnist", sizes=SIZES, model=("sigmoid", "sigmoid", "quadratic"), change=None):
        settings = dict(zip(("hidden", "output", "cost"), model, strict=True), data=data, sizes=sizes, seed=0)
        run = Run.create(tmp_path / name, settings)
        params = init_params(jax.random.key(1), sizes)
        if change:
            params = change(params)
        run.save(params, model_of(*model))
        for epoch in range(3):
            keep_snapshot(run.directory, epoch, jax.tree.map(lambda leaf: leaf * (epoch + 1), params))  # noqa: B023
        for epoch in (1, 2):
            run.log({"epoch": epoch, "loss": 1 / epoch, "test_accuracy": 0.4 * epoch, "seconds": 1.0})
        run.close()
        return run.directory

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run of the network of the lessons that has learned its digits."""
    directory = tmp_path_factory.mktemp("trained") / "run"
    command = [sys.executable, "-m", "mlp_jax", "train", "--epochs", "10", "--out", str(directory)]
    subprocess.run(command, check=True)
    return directory


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory):
    """Some of MNIST: to pack a page's images takes most of its time."""
    path, mnist = tmp_path_factory.mktemp("data") / "few.npz", load_dataset()
    x_train, x_test = (part.inputs[:300].reshape(-1, 28, 28) for part in (mnist.train, mnist.test))
    np.savez(path, x_train=x_train, y_train=mnist.train.targets[:300], x_test=x_test, y_test=mnist.test.targets[:300])
    return str(path)


@pytest.fixture
def report(capsys):
    """Where the page of a run is, written anew."""

    def write(directory):
        assert main(["report", str(directory)]) == 0
        return Path(json.loads(capsys.readouterr().out.splitlines()[-1])["report"])

    return write


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium. Where there is none, the tests fail."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    assert path, "there is no chromium here: apt-get install chromium"
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, report, request):
    """The page of a run in the browser, which may complain of nothing and ask for nothing; photographed at the end."""
    pages = []

    def visit(page, address):
        page.set_default_timeout(10_000)
        page.complaints = []
        page.on("console", lambda said: said.type in ("error", "warning") and page.complaints.append(said.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or page.complaints.append(asked.url))
        page.goto(address)
        page.wait_for_selector("html[data-ready]")
        pages.append(page)
        return page

    def open_page(directory, width=1600, scheme="light", **context):
        page = browser.new_page(viewport={"width": width, "height": 1000}, color_scheme=scheme, **context)
        return visit(page, report(directory).as_uri())

    yield open_page
    pictures = request.config.rootpath / ".ci" / "artifacts"
    pictures.mkdir(parents=True, exist_ok=True)
    for number, page in enumerate(pages):
        page.screenshot(path=pictures / f"{re.sub(r'[^a-z0-9]+', '-', request.node.name.lower())}{number or ''}.png")
        complaints = page.complaints
        page.close()
        assert complaints == []
