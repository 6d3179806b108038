"""`roikit info --extractors`: every region feature extractor, described by itself."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator

import torch

from roikit.detection.pooling import make_extractor
from roikit.extractors import EXTRACTORS, RegionExtractor

WIDTH = 100
CHANNELS = 256
ABOUT = (
    f"Region feature extractors with their default arguments, for maps of {CHANNELS} channels: the kind of their "
    "weights, how many parameters they learn, whether a gradient reaches the boxes, and what they take besides boxes; "
    "then the paper, and the arguments, which --extractor.NAME VALUE sets (channels follow from the detector)."
)
_COLUMNS = ((24, "extractor"), (14, "weights"), (12, "parameters"), (16, "gradient to box"), (0, "further arguments"))


def listing() -> Iterator[str]:
    """The lines: a heading, then for each extractor a row, its paper and its arguments."""
    yield from textwrap.wrap(ABOUT, WIDTH)
    yield ""
    yield _row(*(title for _, title in _COLUMNS))
    for kind in EXTRACTORS:
        extractor = make_extractor(kind, CHANNELS)
        yield ""
        yield _row(
            kind.__name__,
            kind_of_weights(extractor),
            f"{sum(p.numel() for p in extractor.parameters() if p.requires_grad):,}",
            "yes" if extractor.differentiable_in_boxes else "no",
            ", ".join(extractor.extras) or "none",
        )
        yield f"  {kind.paper}"
        yield from textwrap.wrap(arguments(kind), WIDTH, initial_indent="  ", subsequent_indent="    ")


def _row(*cells: str) -> str:
    return "".join(f"{cell:{width}}" for cell, (width, _) in zip(cells, _COLUMNS, strict=True)).rstrip()


def kind_of_weights(extractor: RegionExtractor) -> str:
    """The class of the weights that the extractor gives for a small map."""
    channels = getattr(extractor, "channels", extractor.groups)
    with torch.no_grad():
        weights = extractor.eval().weights(torch.ones(1, channels, 4, 4), [torch.tensor([[0.0, 0.0, 3.0, 3.0]])])
    return type(weights).__name__


def arguments(kind: type[RegionExtractor]) -> str:
    """The constructor's arguments as they are written: "output_size=7, sampling_ratio=2"."""
    parameters = inspect.signature(kind).parameters.values()
    given = (p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters)
    return ", ".join(given)
