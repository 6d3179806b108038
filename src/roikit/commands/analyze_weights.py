"""`roikit analyze weights RUN IMAGE`: the weights of regions before and after training, and of each of their terms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roikit.train.errors import RunError
from roikit.train.parse import Parser, read
from roikit.train.runfolder import RunFolder

from .pictured import place_of
from .trained_runs import add_data, output

OBJECTS = 2  # shown of an image where no box is given
MOST = 20  # boxes: a picture of many more could not be opened


def make_parser() -> Parser:
    parser = Parser(
        prog="roikit analyze weights",
        description="Where the features of regions of an image come from, before training and after it, and by each "
        "term of the weights alone where they have several: Figure 2 of Learned Region Features. Train with "
        "--keep_checkpoints=0 to keep the detector as it began; else it is built anew from the run's seed.",
    )
    parser.add_argument("run", type=str, help="Run folder of roikit train.")
    parser.add_argument(
        "image", type=str, help="A picture's file; or a number (from 0) or a file name in the evaluation split."
    )
    parser.add_argument(
        "--box",
        action="append",
        nargs=4,
        default=None,
        metavar=("X1", "Y1", "X2", "Y2"),
        help="A region, in pixels of the picture; may be given several times. Nothing takes the two largest objects "
        "of an image of the split.",
    )
    add_data(parser)
    parser.add_argument(
        "--sampled",
        type=bool,
        default=False,
        help="Where only some cells are read, show these alone; else the weights on all cells.",
    )
    parser.add_argument("--out", type=str | None, default=None, help="PNG file; RUN/weights-NAME.png.")
    return parser


@dataclass(frozen=True)
class Regions:
    """An image (uint8 ``Tensor[3, H, W]``), its name, and boxes (in its pixels) with what they are."""

    image: Any
    name: str
    boxes: list[list[float]]
    titles: list[str]


def main(arguments: Sequence[str]) -> int:
    options = make_parser().parse_args(list(arguments))
    boxes = [numbers_of(box) for box in options.box or []]
    if len(boxes) > MOST:
        raise RunError(f"--box: {len(boxes)} boxes are too many for one picture; give at most {MOST}")
    run = RunFolder.open(options.run)
    given = None if options.out is None else output(options.out, ".png")
    config, _ = read(run.config)

    import torch

    from roikit.analysis.learned_weights import draw_learned_weights
    from roikit.analysis.regions import region_terms_of
    from roikit.data import open_dataset
    from roikit.detection.pooling import show
    from roikit.train.datasets import show_progress
    from roikit.train.stages import first_stage, last_stage
    from roikit.train.trained import pick_device

    def dataset() -> Any:
        return open_dataset(
            options.data or config.data.path, options.split or config.data.eval_split, progress=show_progress
        )

    regions = find_regions(options.image, boxes, dataset)
    picture = given or run.path / f"weights-{regions.name}.png"
    data = config.data
    final = last_stage(run, config, lambda: len(open_dataset(data.path, data.eval_split).categories))
    initial = first_stage(run, config, final)
    views = []
    for stage in (initial, final):
        model = stage.model.to(pick_device(options.cpu))
        try:
            boxes_of = map(torch.tensor, regions.boxes)
            views.append([region_terms_of(model, regions.image, b, whole=not options.sampled) for b in boxes_of])
        except ValueError as error:  # an extractor that needs more than boxes
            raise RunError(f"{run.path}: its weights cannot be shown ({error})") from None
    draw_learned_weights(
        picture,
        regions.image,
        [view["all"] for view in views[0]],
        views[1],
        titles=regions.titles,
        captions=(f"initial weights ({initial.source})", f"final weights ({final.source})"),
        title=f"What training made of the weights: {show(config.extractor)}, {regions.name}",
    )
    print(f"wrote {picture}")
    return 0


def numbers_of(box: Sequence[str]) -> list[float]:
    """(x1, y1, x2, y2) of a ``--box``."""
    try:
        values = [float(v) for v in box]
    except ValueError:
        raise RunError(f"--box {' '.join(box)}: must be four numbers X1 Y1 X2 Y2") from None
    x1, y1, x2, y2 = values
    if not all(map(math.isfinite, values)) or x2 <= x1 or y2 <= y1:
        raise RunError(f"--box {' '.join(box)}: must have X1 < X2 and Y1 < Y2, in pixels of the picture")
    return values


def find_regions(given: str, boxes: list[list[float]], dataset: Any) -> Regions:
    """The image that was asked for, with the boxes given, or with its largest objects.

    Args:
        given: a file, or a number or a file name in the data set.
        boxes: the boxes given.
        dataset: opens the data set; called where it is needed.

    Raises:
        RunError: no such image, no box known, a box that does not touch the image.
    """
    from roikit.data import read_image

    path = Path(given)
    if boxes and path.is_file():
        image, name, titles = read_image(path), path.stem, ["region"] * len(boxes)
    else:
        data = dataset()
        index = place_of(data, given, data.report.source)
        image, _ = data[index]
        name = Path(data.file_name(index)).stem
        titles = ["region"] * len(boxes)
        if not boxes:
            boxes, titles = largest_objects(data, index)
    height, width = image.shape[1:]
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
            raise RunError(f"--box {x1:g} {y1:g} {x2:g} {y2:g}: lies outside of {given}, {width}×{height} pixels")
        titles[k] += (
            f": ({x1:.0f}, {y1:.0f}) to ({x2:.0f}, {y2:.0f}), {x2 - x1:.0f}×{y2 - y1:.0f} of {width}×{height} px"
        )
    return Regions(image, name, boxes, titles)


def largest_objects(data: Any, index: int) -> tuple[list[list[float]], list[str]]:
    """Boxes and names of the largest objects of an image."""
    record = data.records[index]
    sizes = {n: (b[2] - b[0]) * (b[3] - b[1]) for n, b in enumerate(record.boxes) if not record.iscrowd[n]}
    if not sizes:
        raise RunError(f"{record.path}: has no object; give --box X1 Y1 X2 Y2")
    largest = sorted(sizes, key=lambda n: -sizes[n])[:OBJECTS]
    names = [data.categories[int(record.labels[n]) - 1] for n in largest]
    return [[float(v) for v in record.boxes[n]] for n in largest], names
