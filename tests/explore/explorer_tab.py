"""The explorer's page in a tab of a browser, and what a test does there."""

from __future__ import annotations

import shutil
from pathlib import Path

PAGE = Path(__file__).parents[2] / "src" / "roikit" / "explore" / "page"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Tab:
    """A tab with the explorer, which must not say a single error."""

    def __init__(self, context) -> None:
        self.page = context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: said.type == "error" and self.errors.append(said.text))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, url: str | None = None, hash: str = "") -> Tab:
        self.page.goto((url or (PAGE / "index.html").as_uri()) + (f"#{hash}" if hash else ""))
        self.page.wait_for_function("roikit.explorer.drawn.sides")
        self.settle()
        return self

    def settle(self) -> None:
        """Until what was asked for is drawn."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def state(self) -> dict:
        return self.page.evaluate("roikit.page.state")

    def box(self) -> list[float]:
        box = self.state()["box"]
        return [box[key] for key in ("x1", "y1", "x2", "y2")]

    def shown(self, side: str) -> list[str]:
        """The pooled values as they stand on the page."""
        return self.page.locator(f"#pooled-{side} [role=gridcell]").all_inner_texts()

    def at(self, panel: str, x: float, y: float) -> tuple[float, float]:
        """Where an image pixel is on the screen."""
        script = """([name, x, y]) => { const place = roikit.explorer.placed[name];
            const { left, top } = roikit.explorer.panels[name].getBoundingClientRect();
            return [left + place.x(x), top + place.y(y)]; }"""
        return tuple(self.page.evaluate(script, [panel, x, y]))

    def drag(self, panel: str, start: tuple[float, float], end: tuple[float, float], steps: int = 8) -> None:
        """With the mouse, between two places in image pixels."""
        self.page.mouse.move(*self.at(panel, *start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(panel, *end), steps=steps)
        self.page.mouse.up()
        self.settle()
