"""The table of every listed extractor: its page, paper, weights and layers."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import torch

from roikit.extractors import EXTRACTORS, RegionExtractor

from .overview import made, read_by


@functools.cache
def table(folder: Path) -> str:
    """The table in Markdown, for a page of ``folder``, in which the methods' pages are."""
    lines = ["| | paper | weights | parameters at 256 channels | gradient to the box |", "|---|---|---|---|---|"]
    for kind in EXTRACTORS:
        page = page_of(kind, folder)
        extractor = made(kind, 256)
        count = sum(p.numel() for p in extractor.parameters())
        with torch.no_grad():
            weights = type(read_by(made(kind, 8), torch.rand(1, 8, 6, 8), torch.tensor([2.0, 2.0, 7.0, 6.0]), 1.0))
        name = f"[{kind.__name__}]({page.name})" if page else f"`{kind.__name__}`"
        gradient = "yes" if kind.differentiable_in_boxes else "no"
        if extractor.differentiable_in_boxes != kind.differentiable_in_boxes:
            gradient = f"{'yes' if extractor.differentiable_in_boxes else 'no'}, as it is set"
        size = f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count:,}" if count else "–"
        lines.append(f"| {name} | {kind.paper} | `{weights.__name__}` | {size} | {gradient} |")
    return "\n".join(lines)


def page_of(kind: type[RegionExtractor], folder: Path) -> Path | None:
    """The page whose head names the class."""
    for page in sorted(folder.glob("*.md")):
        if re.search(rf"\{{py:class\}}`roikit\.{kind.__name__}`", page.read_text(encoding="utf-8")):
            return page
    return None
