"""An image with what a detector found in it, readable with one box and with a hundred."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw
from torch import Tensor

from roikit.data.describe import CLASS_COLOURS
from roikit.oriented import corners

MOST = 30  # boxes that carry their name; more of them would hide the image


def draw_detections(image: Tensor, found: Mapping[str, Tensor], categories: Sequence[str], path: Path) -> None:
    """Write the image with boxes, names and scores, and masks where there are any.

    Where there are more than 30 boxes they carry no names: thin boxes in the colours of their categories, which a line
    below the image names and counts.

    Args:
        image: uint8 ``[3, H, W]``.
        found: ``boxes`` [N, 4] in pixels, ``labels`` [N] (1 is the first category), ``scores`` [N], perhaps
            ``masks`` [N, 1, H, W] or ``oriented_boxes`` [N, 5], which are then drawn instead.
        categories: names.
        path: of a PNG file.
    """
    from torchvision.transforms.functional import to_pil_image
    from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

    labels = [int(label) for label in found["labels"]]
    crowded = len(labels) > MOST
    present = [label for label, _ in Counter(labels).most_common()]
    places = {label: place if crowded else label - 1 for place, label in enumerate(present)}
    colour = {label: CLASS_COLOURS[place % len(CLASS_COLOURS)] for label, place in places.items()}
    if labels:
        colours = [colour[label] for label in labels]
        if "masks" in found:
            image = draw_segmentation_masks(image, found["masks"][:, 0] >= 0.5, alpha=0.4, colors=colours)
        texts = [f"{categories[n - 1]} {float(s):.2f}" for n, s in zip(labels, found["scores"], strict=True)]
        boxes = corners(found["oriented_boxes"]).flatten(1) if "oriented_boxes" in found else found["boxes"]
        image = draw_bounding_boxes(image, boxes, None if crowded else texts, colours, width=1 if crowded else 2)
    picture = to_pil_image(image)
    entries = [(f"{categories[label - 1]} {labels.count(label)}", colour[label]) for label in present]
    (_with_legend(picture, entries) if crowded else picture).save(path)


def _with_legend(picture: Image.Image, entries: Sequence[tuple[str, str]]) -> Image.Image:
    """The picture and, below it, words in their colours."""
    pen = ImageDraw.Draw(picture)
    places, x, y = [], 6, 4
    for text, colour in entries:
        width = round(pen.textlength(text)) + 24
        if x > 6 and x + width > picture.width:
            x, y = 6, y + 16
        places.append((x, y, text, colour))
        x += width
    whole = Image.new("RGB", (picture.width, picture.height + y + 18), "white")
    whole.paste(picture)
    pen = ImageDraw.Draw(whole)
    for x, y, text, colour in places:
        top = picture.height + y
        pen.rectangle((x, top + 1, x + 9, top + 10), fill=colour)
        pen.text((x + 13, top), text, fill="black")
    return whole
