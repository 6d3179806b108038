"""What the commands on spatial support share: the nodes asked for, and the picture of all runs side by side."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from roikit.train.errors import RunError
from roikit.train.parse import Parser

from .analyze_masks import check_box
from .pictured import place_of
from .trained_runs import OneRun, add_data, add_runs, headings, open_runs, open_split, output, trained

MOST = 12  # nodes: a picture of many more could not be opened
DESCRIPTION = (
    " Of a node of the backbone's last map (--node, --centre), or of what the box head's fully connected layers make "
    "of a box (--box, --object; where nothing is said, of the image's largest object). Rows are nodes, columns runs."
)


@dataclasses.dataclass(frozen=True)
class Asked:
    """A node that was asked for: what it is, and where its object lies, if that is known."""

    title: str
    node: Any
    region: Any  # a mask [H, W], or None
    where: str  # what the region is called


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of support.

    Args:
        name: in front of the node in a row's title.
        find: (model, image, node, run's name) to the support.
        say: (support, asked) to a few short lines.
    """

    name: str
    find: Callable[[Any, Any, Any, str], Any]
    say: Callable[[Any, Asked], str]


@dataclasses.dataclass(frozen=True)
class Part:
    """A kind of support on the command line.

    Args:
        kind: of the parsed options.
        add_options: its own, to a parser.
        check_options: raises a `RunError` where they do not fit.
    """

    kind: Callable[[Any], Kind]
    add_options: Callable[[Parser], None] = lambda _: None
    check_options: Callable[[Any], None] = lambda _: None


def make_parser(name: str, description: str) -> Parser:
    parser = Parser(prog=f"roikit analyze {name}", description=description + DESCRIPTION)
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
    add_data(parser)
    parser.add_argument(
        "--out", type=str | None, default=None, help=f"PNG file; nothing is {name}.png in the first RUN."
    )
    return parser


def command(name: str, title: str, description: str, parts: Sequence[Part], arguments: Sequence[str]) -> int:
    """A command that draws these kinds of support."""
    parser = make_parser(name, description)
    for part in parts:
        part.add_options(parser)
    options = parser.parse_args(list(arguments))
    for part in parts:
        part.check_options(options)
    return draw(name, title, options, [part.kind(options) for part in parts])


def draw(name: str, title: str, options: Any, kinds: Sequence[Kind]) -> int:
    """Find the supports of every node in every run, print what they amount to, and draw them.

    Raises:
        RunError: a run, an image, a node or a file that does not fit.
        DataError: a picture or data set that cannot be used.
    """
    runs = open_runs(options.runs)
    picture = output(options.out or str(Path(runs[0].path) / f"{name}.png"), ".png")
    image, what, asked = find_nodes(runs, options)

    from roikit.analysis.support_pictures import Row, draw_supports

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
    return 0


def find_nodes(runs: Sequence[OneRun], options: Any) -> tuple[Any, str, list[Asked]]:
    """The image, its name, and the nodes asked for.

    Raises:
        RunError: no such image or object, a place or a box that does not fit, too many nodes.
        DataError: a picture or data set that cannot be used.
    """
    from roikit.analysis.nodes import BackboneNode, BoxNode
    from roikit.analysis.objects import box_at
    from roikit.data import read_image

    nodes = [numbers_of("--node", node) for node in options.node or []]
    boxes = [numbers_of("--box", box) for box in options.box or []]
    centres, objects = list(options.centre or []), list(options.object or [])
    if len(nodes) + len(boxes) + len(centres) + len(objects) > MOST:
        raise RunError(f"{MOST} nodes at most fit in one picture")
    file = Path(options.image)
    target: Any = None
    dataset: Any = None
    if (nodes or boxes) and not (centres or objects) and file.is_file():
        image, what = read_image(file), file.name
    else:
        dataset, source = open_split(runs, options.data, options.split)
        index = place_of(dataset, options.image, source)
        image, target = dataset.with_transform(None)[index]
        what = f"{Path(dataset.file_name(index)).name} ({source})"
    if not (nodes or boxes or centres or objects):
        objects = [largest(target, what)]
    height, width = image.shape[1:]
    for x, y in nodes:
        if not (0 <= x < width and 0 <= y < height):
            raise RunError(f"--node {x:g} {y:g}: lies outside of the image of {width}×{height} pixels")
    asked = [Asked(str(node), node, None, "") for node in (BackboneNode(x, y) for x, y in nodes)]
    for number in centres:
        label, region = object_at(dataset, target, number, "--centre", what, (height, width))
        x1, y1, x2, y2 = box_at(target, number).tolist()
        node = BackboneNode(min(max((x1 + x2) / 2, 0), width - 1), min(max((y1 + y2) / 2, 0), height - 1))
        asked.append(Asked(f"{label}, {node}", node, region, "on the object"))
    for box in boxes:
        x1, y1, x2, y2 = check_box(box, image)
        boxed = BoxNode((x1, y1, x2, y2))
        asked.append(Asked(str(boxed), boxed, pixels_of(boxed.box, height, width), "in the box"))
    for number in objects:
        label, region = object_at(dataset, target, number, "--object", what, (height, width))
        x1, y1, x2, y2 = box_at(target, number).tolist()
        boxed = BoxNode((x1, y1, x2, y2))
        asked.append(Asked(f"{label}, {boxed}", boxed, region, "on the object"))
    return image, what, asked


def pixels_of(box: Sequence[float], height: int, width: int) -> Any:
    """bool ``Tensor[height, width]``: the pixels whose centres lie in a box."""
    import torch

    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    return ((y >= box[1]) & (y < box[3]))[:, None] & ((x >= box[0]) & (x < box[2]))


def largest(target: Any, what: str) -> int:
    """The number of the largest object."""
    if not len(target["boxes"]):
        raise RunError(f"{what}: has no object; choose with --node X Y or --box X1 Y1 X2 Y2")
    return int((target["boxes"][:, 2:] - target["boxes"][:, :2]).prod(1).argmax())


def object_at(dataset: Any, target: Any, number: int, flag: str, what: str, size: Any) -> tuple[str, Any]:
    """The category of an object, and its mask, or the pixels of its box where it has none.

    Raises:
        RunError: there is no such object.
    """
    from roikit.analysis.objects import box_at, mask_at

    count = len(target["boxes"])
    if not 0 <= number < count:
        raise RunError(f"{flag} {number}: {what} has {count} objects, counted from 0")
    mask = mask_at(target, number)
    label = dataset.categories[int(target["labels"][number]) - 1]
    if mask is None:
        mask = pixels_of(box_at(target, number).tolist(), *size)
    return str(label), mask


def numbers_of(flag: str, given: Sequence[str]) -> list[float]:
    """The numbers of a flag that may be given several times."""
    try:
        values = [float(v) for v in given]
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise RunError(f"{flag} {' '.join(given)}: must be {len(given)} numbers, in pixels of the image")
    return values


def say_located(located: Any, asked: Asked) -> str:
    """How much of it lies where it should, and how far it reaches."""
    if not float(located.strength.sum()) > 0:
        return "nothing counts: the response does not change"
    share = "" if asked.region is None else f"{located.share_inside(asked.region):.0%} {asked.where}, "
    return f"{share}radius {located.radius():.0f} px"
