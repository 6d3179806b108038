"""The pictures that pages ask for: blocks ``{picture} name.png`` of Markdown, whose body says the rows in Python."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import roikit

from .rows import rows_of, smooth_noise, spots
from .sheet import BOX, HEIGHT, WIDTH, Row, save_rows

BLOCK = re.compile(r"^```\{picture\} +(\S+)\n((?:^:[^\n]*\n)*)(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Asked:
    """A picture that a page asks for.

    Args:
        name: of the file.
        code: calls ``row(title, extractor, …)`` of `rows_of` once or more.
        page: where it stands.
        line: its first line there.
    """

    name: str
    code: str
    page: Path
    line: int

    def __str__(self) -> str:
        return self.name

    def rows(self) -> list[Row]:
        """Run the block: it sees ``row``, ``roikit``, ``torch``, the box, and features to look at."""
        found: list[Row] = []
        names: dict[str, Any] = {
            "row": lambda *args, **more: found.extend(rows_of(*args, **more)),
            "roikit": roikit, "torch": torch, "BOX": BOX, "HEIGHT": HEIGHT, "WIDTH": WIDTH,
            "smooth_noise": smooth_noise, "spots": spots,
        }  # fmt: skip
        torch.manual_seed(0)
        exec(compile("\n" * self.line + self.code, str(self.page), "exec"), names)
        if not found:
            raise ValueError(f"{self.page}, line {self.line}: the picture {self.name} has no row(title, extractor)")
        return found


def asked_in(folder: Path) -> Iterator[Asked]:
    """Every picture that the pages of a folder ask for."""
    for page in sorted(folder.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            yield Asked(block[1], block[3], page, text[: block.start(3)].count("\n"))


def draw_asked(asked: Asked, folder: Path) -> Path:
    """Draw a picture into a folder."""
    path = folder / asked.name
    save_rows(asked.rows(), path)
    return path
