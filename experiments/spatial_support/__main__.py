"""`python -m experiments.spatial_support RUN ... IMAGE`: what nodes depend on, of all runs side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from roikit.cli import run
from roikit.commands.trained_runs import add_data, add_runs, headings, open_runs, output, trained
from roikit.train.errors import RunError
from roikit.train.parse import Parser

from .asked import find_nodes
from .kinds import KINDS
from .pictures import Row, draw_supports

PROGRAM = "python -m experiments.spatial_support"
DESCRIPTION = (
    "Spatial supports over an image, runs side by side (DCNv2, Figures 1 and 2): effective sampling locations (where a "
    "box's bins lie, or the samples of the backbone's last convolutions, and how much each counts), effective "
    "receptive fields (how much a node's response changes with each pixel), and error-bounded saliency regions (the "
    "smallest part of the image that gives the response within an error bound, found by masking ever more). Of a node "
    "of the backbone's last map (--node, --centre), or of what the box head's fully connected layers make of a box "
    "(--box, --object; where nothing is said, of the image's largest object). Rows are nodes, columns runs."
)


def make_parser() -> Parser:
    parser = Parser(prog=PROGRAM, description=DESCRIPTION)
    add_runs(parser)
    parser.add_argument(
        "image", type=str, help="An image of the evaluation split by its number or name, or any picture."
    )
    parser.add_argument(
        "--node", action="append", nargs=2, default=None, metavar=("X", "Y"),
        help="The backbone's node at this pixel; may be given several times.",
    )  # fmt: skip
    parser.add_argument(
        "--centre", type=int, nargs="+", default=None, help="The nodes at the centres of these objects."
    )
    parser.add_argument(
        "--box", action="append", nargs=4, default=None, metavar=("X1", "Y1", "X2", "Y2"),
        help="The head's node of this box, in pixels; may be given several times.",
    )  # fmt: skip
    parser.add_argument("--object", type=int, nargs="+", default=None, help="The head's nodes of these objects.")
    parser.add_argument(
        "--show", action="append", default=None, metavar="KIND",
        help=f"One of {', '.join(KINDS)}; may be given several times. Nothing is all of them.",
    )  # fmt: skip
    parser.add_argument(
        "--by",
        type=Literal["location", "features"],
        default="location",
        help="Of a box: how much the response changes with a bin's place, as in the paper, or with its features.",
    )
    parser.add_argument("--layers", type=int, default=3, help="Of the backbone: so many of its last convolutions.")
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
    add_data(parser)
    parser.add_argument(
        "--out", type=str | None, default=None,
        help="PNG file; nothing is spatial-support.png in the first RUN, of a single kind KIND.png.",
    )  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    return run(PROGRAM, lambda: draw(make_parser().parse_args(arguments)))


def check(options: Any) -> None:
    """Raise a `RunError` where an option does not fit."""
    for kind in options.show or ():
        if kind not in KINDS:
            raise RunError(f"--show must be one of {', '.join(KINDS)}, not {kind!r}")
    if options.layers < 1:
        raise RunError(f"--layers must be at least 1, not {options.layers}")
    if options.by == "features" and (options.node or options.centre):
        raise RunError("--by=features is of the bins of a box, not of a backbone's node")
    if not 0 <= options.bound < float("inf"):
        raise RunError(f"--bound is an error and must be 0 or more, not {options.bound:g}")
    if not 2 <= options.blocks <= 256:
        raise RunError(f"--blocks must be 2 to 256, not {options.blocks}")
    for name in ("batch", "most"):
        if getattr(options, name) < 1:
            raise RunError(f"--{name} must be at least 1, not {getattr(options, name)}")


def draw(options: Any) -> None:
    """Find the supports of every node in every run, print what they amount to, and draw them.

    Raises:
        RunError: a run, an image, a node or a file that does not fit.
        DataError: a picture or data set that cannot be used.
    """
    check(options)
    shown = list(dict.fromkeys(options.show or KINDS))
    kinds = [KINDS[kind](options) for kind in shown]
    name, title = (shown[0], kinds[0].title) if len(kinds) == 1 else ("spatial-support", "Spatial support")
    runs = open_runs(options.runs)
    picture = output(options.out or str(Path(runs[0].path) / f"{name}.png"), ".png")
    image, what, asked = find_nodes(runs, options)

    names = headings(runs)
    found: list[list[Any]] = [[] for _ in range(len(asked) * len(kinds))]
    captions: list[list[str]] = [[] for _ in found]
    width = max(map(len, names))
    try:
        for heading, (_, model) in zip(names, trained(runs, options.cpu), strict=True):
            for place, (one, kind) in enumerate((one, kind) for one in asked for kind in kinds):
                found[place].append(kind.find(model, image, one.node, heading))
                captions[place].append(kind.say(found[place][-1], one))
                line = captions[place][-1].replace("\n", ", ")
                print(f"{heading:{width}}  {kind.name}, {one.title}: {line}", flush=True)
        rows = [
            Row(f"{kind.name}: {one.title}", image, one.node, supports, lines)
            for (one, kind), supports, lines in zip(
                ((one, kind) for one in asked for kind in kinds), found, captions, strict=True
            )
        ]
        draw_supports(picture, rows, names, title=f"{title}: {what}")
    except ValueError as error:
        raise RunError(str(error)) from None
    print(f"wrote {picture}")


if __name__ == "__main__":
    sys.exit(main())
