"""A video of Shapes: figures that move and turn rigidly over a background that stays, some of the frames spoilt."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from roikit.data.shapes.figures import CLASSES, Part, direction, figure, uniform
from roikit.data.shapes.levels import MovingLevel
from roikit.data.shapes.paint import Coat, Pose, extent, paint, random_coat, silhouette
from roikit.data.shapes.scene import (
    Figure,
    Placed,
    background,
    count_of,
    dice,
    finished,
    laid_over,
    loose_one,
    pose_of,
    share_of,
    standing_out,
)


@dataclass(frozen=True)
class Actor:
    """A figure with its way through the video."""

    label: int
    parts: list[Part]
    coat: Coat
    area: float  # pixels, of all of it
    start: Pose
    way: tuple[float, float]  # pixels, from the first frame to the last
    angle: float  # degrees, in the first frame
    spin: float  # degrees, from the first frame to the last

    def at(self, part: float) -> tuple[Pose, float]:
        """Its pose and angle after a part (0 to 1) of the video."""
        cos, sin = direction(self.spin * part)
        s = self.start
        # turned counter-clockwise as seen, about its centre: R · M, y downwards
        turned = Pose(
            cos * s.a + sin * s.c, cos * s.b + sin * s.d, cos * s.c - sin * s.a, cos * s.d - sin * s.b,
            s.x + self.way[0] * part, s.y + self.way[1] * part,
        )  # fmt: skip
        return turned, self.angle + self.spin * part


def draw_video(level: MovingLevel, split: str, index: int) -> list[tuple[np.ndarray, list[tuple[int, Pose, Figure]]]]:
    """Draw video `index` of a split: of each frame the picture, uint8 `[H, W, 3]`, and its figures from the back to the
    front with the number that each has in this video and its pose.

    A figure of which less is seen than the level allows is painted, and not listed. The video depends on the level,
    the split and the index, and on nothing else.
    """
    rng = dice(level, split, index)
    scene = background(rng, level)
    for _ in range(count_of(rng, level.clutter)):
        paint(scene, *loose_one(rng, level))
    actors = [_actor(rng, level, scene) for _ in range(count_of(rng, level.figures))]
    front = [loose_one(rng, level) for _ in range(count_of(rng, level.front))]
    frames = []
    for number in range(level.frames):
        canvas = scene.copy()
        placed: list[tuple[int, Pose, Placed]] = []
        for track, actor in enumerate(actors):
            pose, angle = actor.at(number / max(level.frames - 1, 1))
            below = (item for _, _, item in placed)
            seen = laid_over(below, canvas, *paint(canvas, actor.parts, pose, actor.coat))
            placed.append((track, pose, Placed(actor.parts, pose, actor.label, angle, actor.area, seen)))
        for loose in front:
            cover_all = silhouette(*loose[:2], level.height, level.width)
            paint(canvas, *loose)
            for _, _, item in placed:
                item.seen &= ~cover_all
        found = []
        for track, pose, item in placed:
            if share_of(item, item.seen) >= 1 - level.hidden and (one := finished(item)) is not None:
                found.append((track, pose, one))
        frames.append((_photographed(rng, level, canvas), found))
    return frames


def _actor(rng: Generator, level: MovingLevel, scene: np.ndarray) -> Actor:
    label = int(rng.integers(len(CLASSES))) + 1
    parts = figure(CLASSES[label - 1], rng)
    pose, angle = pose_of(rng, level, parts)
    # inside at every angle: its farthest point from its centre, which it turns about
    x1, y1, x2, y2 = extent(parts, pose)
    reach = min(max(-x1, -y1, x2, y2) + 1, min(level.width, level.height) / 2)
    x, y, to_x, to_y = (
        uniform(rng, reach, side - reach) for side in (level.width, level.height, level.width, level.height)
    )
    share = level.travel[int(rng.integers(len(level.travel)))]
    spin = uniform(rng, -level.spin, level.spin) * (share > 0)
    start = replace(pose, x=x, y=y)
    whole = silhouette(parts, replace(pose, x=level.width / 2, y=level.height / 2), level.height, level.width)
    colour = standing_out(rng, scene, parts, start, level.contrast)
    way = (share * (to_x - x), share * (to_y - y))
    return Actor(label, parts, random_coat(rng, colour, 0.4), float(whole.sum()), start, way, angle, spin)


def _photographed(rng: Generator, level: MovingLevel, canvas: np.ndarray) -> np.ndarray:
    """The pixels of a frame: with grain, or spoilt."""
    grain = level.grain
    if float(rng.random()) < level.spoilt:
        grain = level.noise
        reach = count_of(rng, level.blur)
        for axis in (0, 1):
            canvas = _mean(canvas, reach, axis)
    pixels = canvas * np.float32(255) + rng.integers(-grain, grain + 1, canvas.shape).astype(np.float32)
    return np.clip(pixels + np.float32(0.5), 0, 255).astype(np.uint8)


def _mean(canvas: np.ndarray, reach: int, axis: int) -> np.ndarray:
    """The mean of each pixel and its neighbours along an axis, added up in one order on every platform."""
    pad = [(reach, reach) if one == axis else (0, 0) for one in range(3)]
    wide, size = np.pad(canvas, pad, mode="edge"), canvas.shape[axis]
    total = np.zeros_like(canvas)
    for shift in range(2 * reach + 1):
        total += wide[shift : shift + size] if axis == 0 else wide[:, shift : shift + size]
    return total * np.float32(1 / (2 * reach + 1))
