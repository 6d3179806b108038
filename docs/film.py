"""Draw the loop of the explorer that README.md shows: `python docs/film.py [FILE]`, with playwright and chromium."""

from __future__ import annotations

import io
import math
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
PAGE = HERE.parent / "src" / "roikit" / "explore" / "page" / "index.html"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTH, FRAMES, MILLISECONDS = 1120, 40, 100
COLOURS = 200
LIMIT = 2_000_000  # bytes
START = "part=23&box=214,49,337,171"


def frames() -> list[Image.Image]:
    """A box that goes to the right and back, its parts in both methods, and the plot of one of them."""
    found = []
    with sync_playwright() as playwright:
        # without a sandbox, as containers need it; it opens this one file alone
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 1000})
        page.goto(f"{PAGE.as_uri()}#{START}")
        page.wait_for_function("roikit.explorer.drawn.sides")
        page.wait_for_timeout(300)
        page.evaluate("for (const id of ['keys', 'boxes']) document.getElementById(id).hidden = true")
        area = page.locator("#stage").bounding_box()
        clip = {"x": area["x"] - 6, "y": area["y"] - 6, "width": area["width"] + 12, "height": area["height"] + 12}
        for n in range(FRAMES):
            shift = -12 * (1 - math.cos(2 * math.pi * n / FRAMES))
            page.evaluate(
                "x => { roikit.page.state.box = { x1: 214 + x, y1: 49, x2: 337 + x, y2: 171 };"
                " roikit.explorer.drag(true); roikit.explorer.changed(true);"
                " return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))); }",
                shift,
            )
            shot = Image.open(io.BytesIO(page.screenshot(clip=clip)))
            found.append(shot.convert("RGB").resize((round(shot.width * 0.8), round(shot.height * 0.8)), Image.LANCZOS))
        browser.close()
    return found


def main(file: Path) -> None:
    shots = frames()
    palette = shots[0].quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=2)
    drawn = [shot.quantize(palette=palette, dither=Image.Dither.NONE) for shot in shots]
    drawn[0].save(file, save_all=True, append_images=drawn[1:], duration=MILLISECONDS, loop=0, optimize=True)
    size = file.stat().st_size
    print(f"wrote {file}, {size / 1000:.0f} kB, {drawn[0].width} × {drawn[0].height}")
    if size > LIMIT:
        raise SystemExit(f"more than {LIMIT / 1000:.0f} kB: fewer frames or colours")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "explorer.gif")
