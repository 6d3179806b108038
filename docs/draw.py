"""Draw the pictures of the documentation: `python docs/draw.py [FOLDER]`."""

from __future__ import annotations

import sys
from pathlib import Path

from pictures.by_hand import DRAWN
from pictures.overview import overview
from pictures.pages import asked_in, draw_asked

HERE = Path(__file__).parent


def draw_all(folder: Path) -> None:
    """Every picture of the pages."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in DRAWN.items():
        draw(folder / name)
    for asked in asked_in(HERE):
        draw_asked(asked, folder)
    overview(folder / "extractors.png")


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "_pictures")
