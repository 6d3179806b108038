"""`roikit analyze sampling-locations RUN ... IMAGE`: the places that a node reads, and how much each counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from roikit.train.errors import RunError
from roikit.train.parse import Parser

from .spatial_support import Kind, Part, command, say_located

DESCRIPTION = (
    "Effective sampling locations over an image, runs side by side (DCNv2, Figures 1 and 2): where a box's bins lie, "
    "or the samples of the backbone's last convolutions, and how much each counts."
)


def add_options(parser: Parser) -> None:
    parser.add_argument(
        "--by",
        type=Literal["location", "features"],
        default="location",
        help="Of a box: how much the response changes with a bin's place, as in the paper, or with its features.",
    )
    parser.add_argument("--layers", type=int, default=3, help="Of the backbone: so many of its last convolutions.")


def check_options(options: Any) -> None:
    if options.layers < 1:
        raise RunError(f"--layers must be at least 1, not {options.layers}")
    if options.by == "features" and (options.node or options.centre):
        raise RunError("--by=features is of the bins of a box, not of a backbone's node")


def kind(options: Any) -> Kind:
    from roikit.analysis.conv_samples import sampling_locations
    from roikit.analysis.nodes import BackboneNode
    from roikit.analysis.spatial_support import bin_locations

    def find(model: Any, image: Any, node: Any, _: str) -> Any:
        if isinstance(node, BackboneNode):
            return sampling_locations(model, image, node, options.layers)
        return bin_locations(model, image, node, options.by)

    return Kind("sampling locations", find, say_located)


PART = Part(kind, add_options, check_options)


def main(arguments: Sequence[str]) -> int:
    return command("sampling-locations", "Effective sampling locations", DESCRIPTION, [PART], arguments)
