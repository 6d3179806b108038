"""Painting parts into an image: signed distances turned into coverage, with an outline, shading and a texture.

Only +, -, *, /, sqrt and comparisons run on arrays, in float32 and in a fixed order, so that every platform paints the
same pixels (sin, exp and matrix products differ in the last bit from one to the next).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.random import Generator

from roikit.data.shapes.figures import Capsule, Ellipse, Part, Point, Polygon, direction, uniform

_FINE = 36  # pixels per unit: smaller figures have parts thinner than a pixel and get four samples per pixel
_OUTLINE = (0.6, 1.4)  # width in pixels: smallest and largest figures

Colour = tuple[float, float, float]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Pose:
    """Image = centre + M · local, M = [[a, b], [c, d]] (turn, skew and scale)."""

    a: float
    b: float
    c: float
    d: float
    x: float = 0.0
    y: float = 0.0

    @property
    def scale(self) -> float:
        """Pixels per unit, the same area as M."""
        return math.sqrt(abs(self.a * self.d - self.b * self.c))

    def to_image(self, x: float, y: float) -> Point:
        return self.a * x + self.b * y + self.x, self.c * x + self.d * y + self.y


@dataclass(frozen=True)
class Coat:
    """What a figure looks like, whatever its class."""

    colour: Colour  # 0..1
    second: Colour
    line: Colour
    pattern: str  # plain, stripes, spots, checks
    period: float  # in units of the body
    turn: Point  # direction of the stripes


PATTERNS = ("plain", "stripes", "spots", "checks")


def random_coat(rng: Generator, colour: Colour, contrast: float) -> Coat:
    """A pattern of a colour and another near it, with a dark (or, on a dark colour, light) line."""
    shift = uniform(rng, 0.15, 0.15 + contrast)
    brightness = (colour[0] * 3 + colour[1] * 6 + colour[2]) / 10
    towards = 0.0 if brightness > 0.5 else 1.0
    second = _mix(colour, (towards, towards, towards), shift)
    line = _mix(colour, (0.0, 0.0, 0.0), 0.78) if brightness > 0.22 else _mix(colour, (1.0, 1.0, 1.0), 0.75)
    pattern = PATTERNS[int(rng.integers(len(PATTERNS)))]
    return Coat(colour, second, line, pattern, uniform(rng, 0.16, 0.4), direction(uniform(rng, 0, 180)))


def extent(parts: list[Part], pose: Pose) -> tuple[float, float, float, float]:
    """xyxy around all parts in the image (outlines not counted)."""
    return _around([_bounds(part.shape, pose) for part in parts])


def _around(boxes: list[tuple[float, float, float, float]]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = zip(*boxes, strict=True)
    return min(x1), min(y1), max(x2), max(y2)


def paint(canvas: Array, parts: list[Part], pose: Pose, coat: Coat) -> tuple[Array, tuple[int, int]]:
    """Paint parts over `canvas` (float32 [H, W, 3], 0..1) in place.

    Returns the coverage 0..1 of all of them together, on a window, and the window's upper left corner (row, column).
    """
    return _run(parts, pose, canvas.shape[0], canvas.shape[1], canvas, coat)


def silhouette(parts: list[Part], pose: Pose, height: int, width: int) -> Array:
    """Bool `[height, width]`: the pixels that `paint` would cover by half or more."""
    cover, (top, left) = _run(parts, pose, height, width)
    mask = np.zeros((height, width), bool)
    mask[top : top + cover.shape[0], left : left + cover.shape[1]] = cover >= 0.5
    return mask


def _run(
    parts: list[Part], pose: Pose, height: int, width: int, canvas: Array | None = None, coat: Coat | None = None
) -> tuple[Array, tuple[int, int]]:
    line = _OUTLINE[0] + (_OUTLINE[1] - _OUTLINE[0]) * min(pose.scale / 60, 1.0)
    sub = 1 if pose.scale > _FINE else 2
    bounds = [_bounds(part.shape, pose) for part in parts]
    whole = _window(_around(bounds), line + 1, height, width)
    cover = np.zeros((max(whole[2] - whole[0], 0), max(whole[3] - whole[1], 0)), np.float32)
    if cover.size == 0:
        return cover, (0, 0)
    for part, box in zip(parts, bounds, strict=True):
        top, left, bottom, right = _window(box, line + 1, height, width)
        if bottom <= top or right <= left:
            continue
        x, y = _grid(top, left, bottom, right, pose, sub)
        # distance in samples, negative inside; a skewed figure's is off by the skew, which only bends its outline
        distance = _distance(part.shape, x, y) * np.float32(pose.scale * sub)
        outer = _coverage(distance - np.float32(line * sub), sub)
        window = cover[top - whole[0] : bottom - whole[0], left - whole[1] : right - whole[1]]
        np.maximum(window, outer, out=window)
        if canvas is None or coat is None:
            continue
        area = canvas[top:bottom, left:right]
        _over(area, outer, np.array(coat.line, np.float32))
        colour = _fill(part, coat, x[::sub, ::sub], y[::sub, ::sub], distance[::sub, ::sub] * np.float32(1 / sub))
        _over(area, _coverage(distance, sub), colour)
    return cover, (whole[0], whole[1])


def noise(rng: Generator, height: int, width: int, cells: int) -> Array:
    """Smooth noise 0..1 of [height, width, 3]: random values on a coarse grid, linear between them."""
    rows, columns = cells + 2, max(cells * width // height, 1) + 2
    grid = rng.random((rows, columns, 3)).astype(np.float32)
    at_y = np.arange(height, dtype=np.float32) * np.float32(cells / height)
    at_x = np.arange(width, dtype=np.float32) * np.float32((columns - 2) / width)
    y0, x0 = at_y.astype(np.int64), at_x.astype(np.int64)
    fy, fx = (at_y - y0.astype(np.float32))[:, None, None], (at_x - x0.astype(np.float32))[None, :, None]
    lines = grid[y0] + (grid[y0 + 1] - grid[y0]) * fy
    left = lines[:, x0]
    result = lines[:, x0 + 1]
    result -= left
    result *= fx
    result += left
    return result


def _mix(a: Colour, b: Colour, t: float) -> Colour:
    return (a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t)


def _bounds(shape: Capsule | Ellipse | Polygon, pose: Pose) -> tuple[float, float, float, float]:
    if isinstance(shape, Capsule):
        discs = [(shape.p, shape.r), (shape.q, shape.s)]
    elif isinstance(shape, Ellipse):
        discs = [(shape.centre, max(shape.a, shape.b))]
    else:
        discs = [(point, shape.round) for point in shape.points]
    xs, ys = [], []
    for (px, py), r in discs:
        x, y = pose.to_image(px, py)
        dx = r * math.sqrt(pose.a * pose.a + pose.b * pose.b)
        dy = r * math.sqrt(pose.c * pose.c + pose.d * pose.d)
        xs += [x - dx, x + dx]
        ys += [y - dy, y + dy]
    return min(xs), min(ys), max(xs), max(ys)


def _window(
    box: tuple[float, float, float, float], margin: float, height: int, width: int
) -> tuple[int, int, int, int]:
    top, left = max(math.floor(box[1] - margin), 0), max(math.floor(box[0] - margin), 0)
    bottom, right = min(math.ceil(box[3] + margin), height), min(math.ceil(box[2] + margin), width)
    return top, left, bottom, right


def _grid(top: int, left: int, bottom: int, right: int, pose: Pose, sub: int) -> tuple[Array, Array]:
    """Local coordinates of the samples of a window."""
    step = 1 / sub
    rows = (np.arange((bottom - top) * sub, dtype=np.float32) * np.float32(step)) + np.float32(top + step / 2 - pose.y)
    columns = (np.arange((right - left) * sub, dtype=np.float32) * np.float32(step)) + np.float32(
        left + step / 2 - pose.x
    )
    det = pose.a * pose.d - pose.b * pose.c
    x = columns[None, :] * np.float32(pose.d / det) - rows[:, None] * np.float32(pose.b / det)
    y = rows[:, None] * np.float32(pose.a / det) - columns[None, :] * np.float32(pose.c / det)
    return x, y


def _distance(shape: Capsule | Ellipse | Polygon, x: Array, y: Array) -> Array:
    f = np.float32
    if isinstance(shape, Capsule):
        (px, py), (qx, qy) = shape.p, shape.q
        dx, dy = f(qx - px), f(qy - py)
        ox, oy = x - f(px), y - f(py)
        t = np.minimum(
            np.maximum((ox * dx + oy * dy) / f(max((qx - px) * (qx - px) + (qy - py) * (qy - py), 1e-9)), f(0)), f(1)
        )
        nx, ny = ox - t * dx, oy - t * dy
        return np.sqrt(nx * nx + ny * ny) - (f(shape.r) + t * f(shape.s - shape.r))
    if isinstance(shape, Ellipse):
        ux, uy = f(shape.u[0]), f(shape.u[1])
        ox, oy = x - f(shape.centre[0]), y - f(shape.centre[1])
        u, v = (ox * ux + oy * uy) / f(shape.a), (oy * ux - ox * uy) / f(shape.b)
        return (np.sqrt(u * u + v * v) - 1) * f(min(shape.a, shape.b))
    edges = list(zip(shape.points, shape.points[1:] + shape.points[:1], strict=True))
    winding = 1 if sum(p[0] * q[1] - q[0] * p[1] for p, q in edges) > 0 else -1
    sides: list[Array] = []
    squares: list[Array] = []
    for (px, py), (qx, qy) in edges:
        dx, dy = f(qx - px), f(qy - py)
        ox, oy = x - f(px), y - f(py)
        length = max((qx - px) * (qx - px) + (qy - py) * (qy - py), 1e-9)
        # distance to the edge's line, positive outside, and squared to the edge itself
        sides.append((ox * dy - oy * dx) * f(winding / math.sqrt(length)))
        t = np.minimum(np.maximum((ox * dx + oy * dy) / f(length), f(0)), f(1))
        nx, ny = ox - t * dx, oy - t * dy
        squares.append(nx * nx + ny * ny)
    side, square = reduce(np.maximum, sides), reduce(np.minimum, squares)
    return np.where(side > 0, np.sqrt(square), side) - f(shape.round)


def _coverage(distance: Array, sub: int) -> Array:
    """Share of each pixel inside, from distances (in samples) at its samples."""
    soft = np.minimum(np.maximum(np.float32(0.5) - distance, np.float32(0)), np.float32(1))
    if sub == 1:
        return soft
    return (soft[0::2, 0::2] + soft[1::2, 0::2] + soft[0::2, 1::2] + soft[1::2, 1::2]) * np.float32(0.25)


def _over(area: Array, cover: Array, colour: Array) -> None:
    area += (colour - area) * cover[:, :, None]


def _fill(part: Part, coat: Coat, x: Array, y: Array, distance: Array) -> Array:
    if isinstance(part.tone, str):
        return np.full(3, 0.97 if part.tone == "white" else 0.05, np.float32)
    f = np.float32
    # darker towards the edge, as a round body is
    one, two = np.array(coat.colour, np.float32), np.array(coat.second, np.float32)
    shade = f(part.tone) * (f(0.78) + f(0.27) * np.minimum(np.maximum(distance * f(-0.25), f(0)), f(1)))
    if coat.pattern != "plain":
        one = one + (two - one) * _pattern(coat, x, y)[:, :, None]
    return np.minimum(one * shade[:, :, None], f(1))


def _pattern(coat: Coat, x: Array, y: Array) -> Array:
    """0 (first colour) to 1 (second)."""
    f = np.float32
    u = (x * f(coat.turn[0]) + y * f(coat.turn[1])) / f(coat.period)
    v = (y * f(coat.turn[0]) - x * f(coat.turn[1])) / f(coat.period)
    u, v = u - np.floor(u) - f(0.5), v - np.floor(v) - f(0.5)
    if coat.pattern == "stripes":
        return np.minimum(np.maximum((f(0.25) - np.abs(u)) * f(8) + f(0.5), f(0)), f(1))
    if coat.pattern == "spots":
        return np.minimum(np.maximum((f(0.3) - np.sqrt(u * u + v * v)) * f(8) + f(0.5), f(0)), f(1))
    return np.minimum(np.maximum(u * v * f(40) + f(0.5), f(0)), f(1))
