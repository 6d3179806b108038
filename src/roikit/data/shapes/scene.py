"""One picture of Shapes: a background, clutter, figures, and what of them can be seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from roikit.data.shapes.figures import CLASSES, Part, direction, figure, loose_parts, uniform
from roikit.data.shapes.levels import Level
from roikit.data.shapes.paint import Coat, Colour, Pose, extent, noise, paint, random_coat, silhouette

SPLITS = ("train", "val")
_TRIES = 12
_MARGIN = 3  # pixels around a figure on its sheet: the outline
_SMALLEST = 6.0  # the visible box's longest side, in pixels: less is no figure any more


@dataclass
class Figure:
    """A figure in a finished picture."""

    label: int  # 1..5
    mask: np.ndarray  # bool [H, W], what is seen of it
    angle: float  # degrees counter-clockwise as seen in the image
    visible: float  # share of its area that is seen

    @property
    def box(self) -> tuple[int, int, int, int]:
        """xyxy of the visible mask, right and lower edge exclusive."""
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@dataclass
class Placed:
    """A figure where it was painted."""

    parts: list[Part]
    pose: Pose
    label: int
    angle: float
    area: float  # of all of it, in or out of the picture
    seen: np.ndarray  # bool [H, W], what is seen of it so far


def draw(level: Level, split: str, index: int) -> tuple[np.ndarray, list[Figure]]:
    """Draw image `index` of a split: uint8 `[H, W, 3]` and its figures, from the back to the front.

    The picture depends on the level, the split and the index, and on nothing else.
    """
    rng = dice(level, split, index)
    canvas = background(rng, level)
    for _ in range(count_of(rng, level.clutter)):
        paint(canvas, *loose_one(rng, level))
    placed = _place(rng, level)
    for count, item in enumerate(placed):
        coat = random_coat(rng, standing_out(rng, canvas, item.parts, item.pose, level.contrast), 0.4)
        item.seen = laid_over(placed[:count], canvas, *paint(canvas, item.parts, item.pose, coat))
    for _ in range(count_of(rng, level.front)):
        loose = loose_one(rng, level)
        cover = silhouette(*loose[:2], level.height, level.width)
        if any(share_of(item, ~cover) < 1 - level.hidden for item in placed):
            continue
        paint(canvas, *loose)
        for item in placed:
            item.seen &= ~cover
    pixels = canvas * np.float32(255) + rng.integers(-level.grain, level.grain + 1, canvas.shape).astype(np.float32)
    image = np.clip(pixels + np.float32(0.5), 0, 255).astype(np.uint8)
    return image, [found for item in placed if (found := finished(item)) is not None]


def dice(level: Level, split: str, index: int) -> Generator:
    """The random numbers of one picture, or of one video."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: Shapes has {' and '.join(SPLITS)}")
    return np.random.default_rng([level.seed, SPLITS.index(split), index])


def laid_over(below: Iterable[Placed], canvas: np.ndarray, cover: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    """bool ``[H, W]``, what is seen of a figure that was just painted; of those below it that is not seen any more."""
    top, left = corner
    seen = np.zeros(canvas.shape[:2], bool)
    seen[top : top + cover.shape[0], left : left + cover.shape[1]] = cover >= 0.5
    for item in below:
        item.seen &= ~seen
    return seen


def count_of(rng: Generator, bounds: tuple[int, int]) -> int:
    """A number from the first to the second."""
    return int(rng.integers(bounds[0], bounds[1] + 1))


def _random_colour(rng: Generator) -> Colour:
    return (float(rng.random()), float(rng.random()), float(rng.random()))


def background(rng: Generator, level: Level) -> np.ndarray:
    """A colour with blotches of three sizes."""
    base = np.array(_random_colour(rng), np.float32) * np.float32(0.7) + np.float32(0.15)
    canvas = np.broadcast_to(base, (level.height, level.width, 3)).copy()
    for cells, weight in ((3, 0.4), (10, 0.16), (40, 0.1)):
        weight *= uniform(rng, 0.4, 1.0)
        canvas += (noise(rng, level.height, level.width, cells) - np.float32(0.5)) * np.float32(weight)
    return np.clip(canvas, 0, 1)


def pose_of(rng: Generator, level: Level, parts: list[Part]) -> tuple[Pose, float]:
    """Turn, skew and scale about (0, 0); the longest side of the box is the size drawn for it."""
    angle = uniform(rng, -level.turn, level.turn)
    cos, sin = direction(angle)
    shear, stretch = uniform(rng, -level.skew, level.skew), 1 + uniform(rng, -level.skew, level.skew)
    # M = R · [[stretch, shear], [0, 1 / stretch]], R counter-clockwise as seen, y downwards
    turned = Pose(
        cos * stretch,
        cos * shear + sin / stretch,
        -sin * stretch,
        -sin * shear + cos / stretch,
    )
    x1, y1, x2, y2 = extent(parts, turned)
    low, high = level.size
    size = round(low * (high / low) ** float(rng.random()), 2)
    k = size / max(x2 - x1, y2 - y1)
    return Pose(turned.a * k, turned.b * k, turned.c * k, turned.d * k), angle


def _place(rng: Generator, level: Level) -> list[Placed]:
    """Figures and their places, such that each stays visible enough under those after it."""
    placed: list[Placed] = []
    masks: list[np.ndarray] = []
    for _ in range(count_of(rng, level.figures)):
        label = int(rng.integers(len(CLASSES))) + 1
        parts = figure(CLASSES[label - 1], rng)
        pose, angle = pose_of(rng, level, parts)
        x1, y1, x2, y2 = extent(parts, pose)
        # drawn once on a sheet of its own; places are whole pixels from there, so that the sheet can be moved about
        x, y = _MARGIN - x1, _MARGIN - y1
        sheet = silhouette(parts, replace(pose, x=x, y=y), int(y2 + y) + _MARGIN, int(x2 + x) + _MARGIN)
        whole = int(sheet.sum())
        out_x, out_y = int(sheet.shape[1] * level.outside), int(sheet.shape[0] * level.outside)
        for _ in range(_TRIES):
            left = int(rng.integers(-out_x, max(level.width - sheet.shape[1] + out_x, -out_x) + 1))
            top = int(rng.integers(-out_y, max(level.height - sheet.shape[0] + out_y, -out_y) + 1))
            mask = _moved(sheet, top, left, level)
            rest = [below & ~mask for below in masks]
            # the share is of the whole figure, so that several coverings and the border add up
            if mask.sum() < (1 - level.outside) * whole or any(
                kept.sum() < (1 - level.hidden) * other.area for kept, other in zip(rest, placed, strict=True)
            ):
                continue
            masks = [*rest, mask]
            placed.append(Placed(parts, replace(pose, x=x + left, y=y + top), label, angle, whole, mask))
            break
    return placed


def _moved(sheet: np.ndarray, top: int, left: int, level: Level) -> np.ndarray:
    """The sheet's mask in the picture, its upper left corner at (top, left)."""
    mask = np.zeros((level.height, level.width), bool)
    y1, x1 = max(top, 0), max(left, 0)
    y2, x2 = min(top + sheet.shape[0], level.height), min(left + sheet.shape[1], level.width)
    mask[y1:y2, x1:x2] = sheet[y1 - top : y2 - top, x1 - left : x2 - left]
    return mask


def share_of(item: Placed, where: np.ndarray) -> float:
    """How much of a figure is seen in a part of the picture, as a share of all of it."""
    return float((item.seen & where).sum()) / max(item.area, 1.0)


def loose_one(rng: Generator, level: Level) -> tuple[list[Part], Pose, Coat]:
    """A bit of clutter, half as large as figures are, anywhere."""
    parts = loose_parts(rng)
    pose, _ = pose_of(rng, level, parts)
    x, y = uniform(rng, 0, level.width), uniform(rng, 0, level.height)
    pose = Pose(pose.a / 2, pose.b / 2, pose.c / 2, pose.d / 2, x, y)
    return parts, pose, random_coat(rng, _random_colour(rng), 0.4)


def standing_out(rng: Generator, canvas: np.ndarray, parts: list[Part], pose: Pose, contrast: float) -> Colour:
    """A random colour that stands out from what is behind a figure."""
    x1, y1, x2, y2 = extent(parts, pose)
    rows, columns = slice(max(int(y1), 0), max(int(y2), 1)), slice(max(int(x1), 0), max(int(x2), 1))
    behind = canvas[rows, columns][::4, ::4].astype(np.float64).reshape(-1, 3)
    # a sum over few numbers in a fixed order, rounded: platforms sum in different orders
    mean = [round(float(sum(behind[:, c].tolist())) / max(len(behind), 1), 6) for c in range(3)]
    for _ in range(20):
        colour = _random_colour(rng)
        if sum(abs(a - b) for a, b in zip(colour, mean, strict=True)) / 3 >= contrast:
            break
    return colour


def finished(item: Placed) -> Figure | None:
    """What is listed of a figure; None where nothing that could be named is seen of it."""
    found = Figure(item.label, item.seen, item.angle, min(share_of(item, item.seen), 1.0))
    if not item.seen.any():
        return None
    x1, y1, x2, y2 = found.box
    return found if max(x2 - x1, y2 - y1) >= _SMALLEST else None
