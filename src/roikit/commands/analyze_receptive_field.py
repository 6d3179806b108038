"""`roikit analyze receptive-field RUN ... IMAGE`: which pixels of an image a node responds to."""

from __future__ import annotations

from collections.abc import Sequence

from .spatial_support import draw, field_kind, make_parser


def main(arguments: Sequence[str]) -> int:
    options = make_parser(
        "receptive-field",
        "Effective receptive fields over an image, runs side by side (DCNv2, Figures 1 and 2): how much "
        "a node's response changes with each pixel.",
    ).parse_args(list(arguments))
    return draw("receptive-field", "Effective receptive fields", options, [field_kind()])
