"""The browser that pages are looked at in."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium, driven by Playwright. Raises ValueError if one of them is missing."""
    path = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise ValueError("Playwright is not installed: pip install -e '.[browser]'") from None
    if path is None:
        raise ValueError("there is no chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def open_page(browser: Any, path: Path, width: int, height: int) -> Any:
    """A report in the browser, once it has begun."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(path.resolve().as_uri())
    page.wait_for_selector("html[data-ready]")
    return page
