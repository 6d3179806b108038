"""A browser for the explorer's page: Debian's chromium through Playwright. Tests skip where either is missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from explorer_tab import CHROMIUM, Tab


@pytest.fixture(scope="session")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium, which shows the page, is not installed")
    with api.sync_playwright() as playwright:
        # tests run as root in containers, where chromium has no sandbox
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def tabs(browser):
    """`tabs(width, height, ...)` -> a `Tab`; at the end none of them may have said an error."""
    contexts, opened = [], []

    def make(width: int = 1440, height: int = 1000, **options) -> Tab:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        opened.append(Tab(context))
        return opened[-1]

    yield make
    for context in contexts:
        context.close()
    assert not [error for tab in opened for error in tab.errors]


@pytest.fixture
def tab(tabs) -> Iterator[Tab]:
    """The page, opened from its file."""
    yield tabs().open()
