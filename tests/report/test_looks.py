"""Both colour schemes on a telephone and on a large screen: nothing hidden, nothing that only some can use."""

import pytest

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_it_can_be_read_and_used(opened, trained, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = opened(trained, width, scheme)
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    page.locator("#confusion td:not(.right) button").first.click()
    page.wait_for_timeout(1000)  # until all has been drawn
    assert page.evaluate("parts.every(({ stale }) => !stale)")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wider = """[...document.querySelectorAll('body *')]
        .filter((each) => each.getBoundingClientRect().right > innerWidth + 1 && !each.closest('.scroll, .unseen'))
        .map((each) => each.outerHTML.slice(0, 80))"""
    assert page.evaluate(wider) == []
    page.evaluate("document.activeElement.blur(); scrollTo({ top: 0, behavior: 'instant' })")
