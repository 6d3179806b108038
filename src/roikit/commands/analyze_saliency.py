"""`roikit analyze saliency RUN ... IMAGE`: the smallest region of an image that gives a node's response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from roikit.train.errors import RunError
from roikit.train.parse import Parser

from .spatial_support import Asked, Kind, Part, command

DESCRIPTION = (
    "Error-bounded saliency regions over an image, runs side by side (DCNv2, Figures 1 and 2): the smallest part of "
    "the image that gives a node's response within an error bound, found by masking ever more."
)


def add_options(parser: Parser) -> None:
    parser.add_argument("--bound", type=float, default=0.1, help="Largest error of the response.")
    parser.add_argument(
        "--measure",
        type=Literal["cosine", "size"],
        default="cosine",
        help="The error: 1 - cosine between the responses, or the size of their difference by that of the response.",
    )
    parser.add_argument("--blocks", type=int, default=16, help="Blocks along the longer side of the image.")
    parser.add_argument("--batch", type=int, default=8, help="Masked images at a time.")
    parser.add_argument("--most", type=int, default=4000, help="Masked images in all; the search ends there.")


def check_options(options: Any) -> None:
    if not 0 <= options.bound < float("inf"):
        raise RunError(f"--bound is an error and must be 0 or more, not {options.bound:g}")
    if not 2 <= options.blocks <= 256:
        raise RunError(f"--blocks must be 2 to 256, not {options.blocks}")
    for name in ("batch", "most"):
        if getattr(options, name) < 1:
            raise RunError(f"--{name} must be at least 1, not {getattr(options, name)}")


def kind(options: Any) -> Kind:
    from roikit.analysis.saliency import saliency_region
    from roikit.analysis.spatial_support import Located
    from roikit.train.progress import Progress

    def find(model: Any, image: Any, node: Any, name: str) -> Any:
        with Progress(f"saliency, {name}", total=options.most, every=max(200, options.most // 10)) as bar:
            return saliency_region(
                model, image, node, options.bound, measure=options.measure, blocks=options.blocks, batch=options.batch,
                most=options.most,
                report=lambda n, share, error: bar.update(n, f"{share:.0%} of the image left, error {error:.2g}"),
            )  # fmt: skip

    def say(region: Any, asked: Asked) -> str:
        text = f"{region.share:.1%} of the image, error {region.error:.2g}"
        if asked.region is not None and region.share > 0:
            left = Located.of(region.mask(*asked.region.shape).float())
            text += f"\n{left.share_inside(asked.region):.0%} of it {asked.where}"
        return text if region.minimal else f"{text}\nnot the smallest: ended by --most"

    return Kind("saliency region", find, say)


PART = Part(kind, add_options, check_options)


def main(arguments: Sequence[str]) -> int:
    return command("saliency", "Error-bounded saliency regions", DESCRIPTION, [PART], arguments)
