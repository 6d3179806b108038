"""`roikit analyze masks RUN ... IMAGE`: where the parts of a region lie while its object turns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from roikit.train.errors import RunError
from roikit.train.parse import Parser

from .pictured import place_of
from .trained_runs import OneRun, add_data, add_runs, headings, open_runs, open_split, output, trained


def make_parser() -> Parser:
    parser = Parser(
        prog="roikit analyze masks",
        description="A picture of where the parts of a region lie while its object turns: a row for each angle, a "
        "column for each run (SRA's Figures 3 and 6): for any extractor.",
    )
    add_runs(parser)
    parser.add_argument(
        "image", type=str, help="A picture (with --box), or an image of the evaluation split by its number or name."
    )
    parser.add_argument("--box", type=float, nargs=4, default=None, help="x1 y1 x2 y2 in pixels: a region of your own.")
    parser.add_argument(
        "--object", type=int | None, default=None, help="Which object of an image of the split; nothing is its largest."
    )
    parser.add_argument(
        "--angles",
        type=float,
        nargs="+",
        default=[0.0, 45.0, 90.0, 135.0, 180.0],
        help="Degrees, counter-clockwise.",
    )
    parser.add_argument("--parts", type=int, default=5, help="So many parts, 1 to 8 ...")
    parser.add_argument("--show", type=int, nargs="+", default=None, help="... or these, by number from 0.")
    parser.add_argument(
        "--choose",
        type=Literal["differ", "follow"],
        default="differ",
        help="Which --parts: those that differ most at the first angle, or those that follow the object best over all "
        "angles.",
    )
    add_data(parser)
    parser.add_argument("--out", type=str | None, default=None, help="PNG file; nothing is masks.png in the first RUN.")
    return parser


def main(arguments: Sequence[str]) -> int:
    options = make_parser().parse_args(list(arguments))
    if not 1 <= options.parts <= 8:
        raise RunError(f"--parts must be 1 to 8, not {options.parts}")
    if options.show is not None and len(options.show) > 8:
        raise RunError(f"--show takes at most 8 parts, not {len(options.show)}")
    if options.choose == "follow" and len(options.angles) < 2:
        raise RunError("--choose=follow needs two angles or more: parts follow from one to another")
    runs = open_runs(options.runs)
    picture = output(options.out or str(Path(runs[0].path) / "masks.png"), ".png")

    from roikit.analysis.following import choose_following
    from roikit.analysis.turned_masks import Column, choose_parts, draw_turned, turn_object, turned_views

    image, box, mask, what = find_object(runs, options)
    turned = turn_object(image, box, mask, options.angles)
    columns = []
    try:
        for name, (_, model) in zip(headings(runs), trained(runs, options.cpu), strict=True):
            views = turned_views(model, turned, (image.shape[1], image.shape[2]))
            if options.show is not None:
                parts = options.show
            elif options.choose == "follow":
                parts = choose_following(views, [one.rotation for one in turned], options.parts)
            else:
                parts = choose_parts(views[0], options.parts)
            columns.append(Column(name, views, parts))
        draw_turned(picture, turned, columns, title=what)
    except ValueError as error:
        raise RunError(str(error)) from None
    print(f"wrote {picture}")
    return 0


def find_object(runs: Sequence[OneRun], options: Any) -> tuple[Any, Any, Any, str]:
    """The image, the box, the mask (``None`` where there is none) and a line about them.

    Raises:
        RunError: no such image or object, a box that does not fit.
        DataError: a picture or data set that cannot be used.
    """
    import torch

    from roikit.data import read_image

    file = Path(options.image)
    if options.box is not None and file.is_file():
        image, target, what = read_image(file), None, file.name
    else:
        dataset, source = open_split(runs, options.data, options.split)
        index = place_of(dataset, options.image, source)
        image, target = dataset.with_transform(None)[index]
        what = f"{Path(dataset.file_name(index)).name} ({source})"
    if options.box is not None:
        return image, torch.tensor(check_box(options.box, image)), None, what
    from roikit.analysis.objects import box_at, mask_at

    assert target is not None
    count = len(target["boxes"])
    if not count:
        raise RunError(f"{what}: has no object; choose a region with --box x1 y1 x2 y2")
    number = options.object
    if number is None:
        sides = target["boxes"][:, 2:] - target["boxes"][:, :2]
        number = int(sides.prod(1).argmax())
    if not 0 <= number < count:
        raise RunError(f"--object {number}: {what} has {count}, counted from 0")
    name = dataset.categories[int(target["labels"][number]) - 1]
    return image, box_at(target, number), mask_at(target, number), f"{name} in {what}"


def check_box(box: Sequence[float], image: Any) -> list[float]:
    """The box, if it has an area and some of it is in the image."""
    x1, y1, x2, y2 = box
    height, width = image.shape[1:]
    if not (x1 < x2 and y1 < y2 and x1 < width and y1 < height and x2 > 0 and y2 > 0) or max(map(abs, box)) > 1e6:
        raise RunError(
            f"--box {x1:g} {y1:g} {x2:g} {y2:g}: must be x1 y1 x2 y2 with x1 < x2 and y1 < y2, in the image of "
            f"{width}×{height} pixels"
        )
    return [float(v) for v in box]
