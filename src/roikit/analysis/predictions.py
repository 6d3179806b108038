"""Ground truth beside detections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from roikit.oriented import corners

from .canvas import INK, QUIET, as_array, class_colour, new_figure, save_figure, write
from .detection_panel import DASHES, Shown, draw_panel
from .inputs import check_image
from .matching import match_detections

GAP, MARGIN, HEAD = 0.06, 0.25, 0.85  # inches


def draw_predictions(
    path: str | Path,
    images: Sequence[Tensor],
    targets: Sequence[dict[str, Any]],
    predictions: Sequence[dict[str, Any]],
    categories: Sequence[str],
    *,
    threshold: float = 0.5,
    iou: float = 0.5,
    most: int = 8,
) -> Path:
    """Write a PNG with ground truth beside detections, one pair of panels per image.

    A class has one colour. Solid boxes are matched (same class, IoU ≥ ``iou``, as COCO's evaluation matches them);
    dashed ones are missed objects on the left, wrong detections on the right. Masks are filled in.

    Args:
        path: where to write; an existing file is replaced.
        images: ``Tensor[3, H, W]`` each, uint8 or floats in 0-1; sizes may differ.
        targets: torchvision's, one per image: ``boxes`` (xyxy, image pixels), ``labels`` (1..n), perhaps ``masks``
            ``[N, H, W]``, ``oriented_boxes`` ``[N, 5]`` and ``iscrowd``.
        predictions: torchvision's, one per image: ``boxes``, ``labels``, ``scores``, perhaps ``masks``
            ``[D, 1, H, W]`` (probabilities) or ``oriented_boxes``.
        categories: names; label i is ``categories[i - 1]``.
        threshold: least score of a detection that is drawn.
        most: at most so many images, the first ones.

    Raises:
        ValueError: no image, lists of different lengths, labels without a category, boxes of a wrong shape.
    """
    _check(images, targets, predictions, categories, threshold, most)
    pairs = []
    counts = {"objects": 0, "found": 0, "drawn": 0, "wrong": 0}
    for image, target, prediction in list(zip(images, targets, predictions, strict=True))[:most]:
        target = {k: v.detach().cpu() if isinstance(v, Tensor) else v for k, v in target.items()}
        every = {k: v.detach().cpu() for k, v in prediction.items() if isinstance(v, Tensor)}
        keep = every["scores"] >= threshold
        kept = {k: v[keep] for k, v in every.items()}
        match = match_detections(target, kept, iou)
        crowd = target["iscrowd"].bool() if "iscrowd" in target else torch.zeros(len(match.found), dtype=torch.bool)
        counts["objects"] += int((~crowd).sum())
        counts["found"] += int(match.found.sum())
        counts["drawn"] += len(match.right)
        counts["wrong"] += int((~match.right & ~match.ignored).sum())
        names = [categories[label - 1] for label in target["labels"].tolist()]
        truth = Shown(
            target["boxes"].float().numpy(),
            target["labels"].tolist(),
            names,
            (match.found | crowd).tolist(),
            crowd.tolist(),
            target["masks"].numpy() > 0 if "masks" in target else None,
            _corners(target),
        )
        scores = [
            f"{categories[label - 1]} {score:.2f}"
            for label, score in zip(kept["labels"].tolist(), kept["scores"].tolist(), strict=True)
        ]
        found = Shown(
            kept["boxes"].float().numpy(),
            kept["labels"].tolist(),
            scores,
            (match.right | match.ignored).tolist(),
            match.ignored.tolist(),
            kept["masks"].flatten(0, 1).numpy() >= 0.5 if "masks" in kept else None,
            _corners(kept),
        )
        empty = f"nothing ≥ {threshold:g}; best score {every['scores'].max():.2f}" if len(keep) else "nothing found"
        pairs.append((as_array(image), truth, found, empty))
    return save_figure(_lay_out(pairs, categories, counts, threshold, iou), path)


def _corners(boxes: dict[str, Tensor]) -> Any:
    return corners(boxes["oriented_boxes"].float()).numpy() if "oriented_boxes" in boxes else None


def _lay_out(pairs: list, categories: Sequence[str], counts: dict[str, int], threshold: float, iou: float) -> Any:
    wide = max(picture.shape[1] / picture.shape[0] for picture, *_ in pairs)
    # two pairs beside each other, a single wide image larger
    columns = min(2, len(pairs))
    panel_width = 3.4 if columns == 2 else 4.6
    tall = panel_width / min(wide, 2.0) if wide > 1 else panel_width  # the height no panel exceeds
    rows = [pairs[k : k + columns] for k in range(0, len(pairs), columns)]
    heights = [
        max(min(panel_width * picture.shape[0] / picture.shape[1], tall * 1.2) for picture, *_ in row) for row in rows
    ]
    labels = sorted({label for _, truth, found, _ in pairs for label in truth.labels + found.labels})
    pair_width = 2 * panel_width + GAP
    width = 2 * MARGIN + columns * pair_width + (columns - 1) * 2.5 * GAP
    crowds = any(any(truth.quiet) for _, truth, *_ in pairs)
    handles = _handles(labels, categories, crowds)
    per_row = max(1, int((width - 2 * MARGIN) / 1.5))
    height = HEAD + sum(heights) + len(rows) * 2.5 * GAP + 0.15 + 0.22 * -(-len(handles) // per_row)
    figure = new_figure(width, height)
    title = (
        f"{counts['found']} of {counts['objects']} objects found, "
        f"{counts['wrong']} of {counts['drawn']} detections wrong"
    )
    write(figure, MARGIN, 0.14, title, 12, weight="bold")
    images = f"{len(pairs)} image{'s' if len(pairs) > 1 else ''}"
    note = f"{images}, detections with a score ≥ {threshold:g}; found: same class and IoU ≥ {iou:g}"
    write(figure, MARGIN, 0.38, note, 8.5, color=QUIET)
    top = HEAD
    for number, (row, tallest) in enumerate(zip(rows, heights, strict=True)):
        for column, (picture, truth, found, empty) in enumerate(row):
            left = MARGIN + column * (pair_width + 2.5 * GAP)
            for k, shown in enumerate((truth, found)):
                start = left + k * (panel_width + GAP)
                if number == 0:
                    write(figure, start, top - 0.19, ("ground truth", "detections")[k], 9, color=INK)
                draw_panel(figure, picture, shown, (start, top, panel_width, tallest), empty if k else "")
        top += tallest + 2.5 * GAP
    across, down = figure.get_size_inches()
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(MARGIN / across, 1 - top / down), frameon=False,
        ncols=per_row, fontsize=8.5, borderaxespad=0, borderpad=0, handlelength=1.8,
    )  # fmt: skip
    return figure


def _handles(labels: Sequence[int], categories: Sequence[str], crowds: bool) -> list[Any]:
    """What the legend shows."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    lines: list[tuple[Any, str]] = [("-", "matched"), (DASHES, "left: missed, right: wrong")]
    if crowds:
        lines.append((":", "crowd, not counted"))
    return [
        Patch(facecolor=class_colour(label), edgecolor=QUIET, linewidth=0.5, label=categories[label - 1])
        for label in labels
    ] + [Line2D([], [], color=INK, linewidth=1.6, linestyle=style, label=text) for style, text in lines]


def _check(images, targets, predictions, categories, threshold, most) -> None:
    if not len(images):
        raise ValueError("there is no image to draw: give at least one")
    if not len(images) == len(targets) == len(predictions):
        raise ValueError(
            f"{len(images)} images, {len(targets)} targets and {len(predictions)} predictions: "
            "give one of each per image"
        )
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is a score between 0 and 1, not {threshold!r}")
    if most < 1:
        raise ValueError(f"most is a number of images, at least 1, not {most!r}")
    for i, image in enumerate(images):
        check_image(image)
        for name, one in (("targets", targets[i]), ("predictions", predictions[i])):
            boxes, labels = one["boxes"], one["labels"]
            if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) != len(labels):
                raise ValueError(
                    f"{name}[{i}]: boxes must be a Tensor[N, 4] with N labels, but they are {list(boxes.shape)} with "
                    f"{len(labels)} labels"
                )
            if len(labels) and not 1 <= int(labels.min()) <= int(labels.max()) <= len(categories):
                raise ValueError(
                    f"{name}[{i}]: labels reach from {int(labels.min())} to {int(labels.max())}, but there are "
                    f"{len(categories)} categories (labels 1 to {len(categories)})"
                )
