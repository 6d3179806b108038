"""The five figures: what parts each class has and how they hang together.

A figure lies in its own frame: the body's centre at (0, 0), the head towards -y, lengths in units of the body. Every
limb has an angle of its own. Classes differ by their parts and nowhere else: colours, texture, size, turn and skew
come from the same distributions for all (`scene.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.random import Generator

CLASSES = ("walker", "crab", "spider", "moth", "lizard")
"""Names of the categories, label 1 to 5."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Capsule:
    """A rounded stick from p to q whose radius goes from r to s."""

    p: Point
    q: Point
    r: float
    s: float


@dataclass(frozen=True)
class Ellipse:
    """Half axes a and b; the first points in direction (ux, uy)."""

    centre: Point
    a: float
    b: float
    u: Point = (1.0, 0.0)


@dataclass(frozen=True)
class Polygon:
    """A convex polygon, its edges pushed outwards by `round` with round corners. Either winding."""

    points: tuple[Point, ...]
    round: float = 0.0


@dataclass(frozen=True)
class Part:
    """A shape and its tone: brightness around the figure's colour; "white" and "black" (eyes) stay as they are."""

    shape: Capsule | Ellipse | Polygon
    tone: float | str = 1.0


def uniform(rng: Generator, low: float, high: float) -> float:
    """A number of [low, high) from one draw, by exact arithmetic (the same on every platform)."""
    return low + (high - low) * float(rng.random())


def direction(degrees: float) -> Point:
    """The unit vector at an angle from the x axis towards the y axis, rounded so that math libraries agree on it."""
    angle = math.radians(degrees)
    return round(math.cos(angle), 9), round(math.sin(angle), 9)


def along(start: Point, degrees: float, length: float) -> Point:
    """The point at a distance from another in a direction."""
    x, y = direction(degrees)
    return start[0] + length * x, start[1] + length * y


def figure(name: str, rng: Generator) -> list[Part]:
    """The parts of one figure with fresh joint angles, in the order they are painted."""
    return {"walker": _walker, "crab": _crab, "spider": _spider, "moth": _moth, "lizard": _lizard}[name](rng)


def loose_parts(rng: Generator) -> list[Part]:
    """A bit of clutter: a stick, a limb, a blob, a triangle, a bar. Never two of a figure's parts as it joins them."""
    kind = int(rng.integers(5))
    angle = uniform(rng, 0, 360)
    tone = uniform(rng, 0.8, 1.2)
    if kind == 0:
        return [Part(Capsule((0, 0), along((0, 0), angle, uniform(rng, 0.5, 1.6)), 0.08, 0.08), tone)]
    if kind == 1:
        return _limb(rng, (0, 0), angle, 0.5, 0.5, uniform(rng, -70, 70), 0.1, 0.07)[0]
    if kind == 2:
        return [Part(Ellipse((0, 0), uniform(rng, 0.2, 0.5), uniform(rng, 0.15, 0.4), direction(angle)), tone)]
    corners = 3 if kind == 3 else 4
    size = uniform(rng, 0.3, 0.6)
    turn = 360 / corners
    ring = tuple(along((0, 0), angle + turn * k + uniform(rng, -15, 15), size) for k in range(corners))
    return [Part(Polygon(ring, 0.03), tone)]


def _limb(
    rng: Generator,
    root: Point,
    angle: float,
    upper: float,
    lower: float,
    bend: float,
    r: float,
    s: float,
) -> tuple[list[Part], Point, float]:
    """Two sticks with a joint. Returns parts, the tip, and the direction of the last stick."""
    knee = along(root, angle, upper)
    tip = along(knee, angle + bend, lower)
    middle = (r + s) / 2
    return [Part(Capsule(knee, tip, middle, s), 0.92), Part(Capsule(root, knee, r, middle), 0.84)], tip, angle + bend


def _eyes(centre: Point, facing: float, apart: float, size: float) -> list[Part]:
    parts = []
    for side in (-90, 90):
        eye = along(centre, facing + side, apart)
        parts.append(Part(Ellipse(eye, size, size), "white"))
        parts.append(Part(Ellipse(along(eye, facing, size * 0.35), size * 0.5, size * 0.5), "black"))
    return parts


def _walker(rng: Generator) -> list[Part]:
    """Two arms and two legs with balls at the ends, a round head on a neck."""
    parts: list[Part] = []
    for side in (-1, 1):
        away = 0 if side > 0 else 180
        arm, hand, _ = _limb(
            rng,
            (0.17 * side, -0.38),
            away + side * uniform(rng, -60, 60),
            0.42,
            0.40,
            uniform(rng, -75, 75),
            0.095,
            0.08,
        )
        leg, foot, _ = _limb(
            rng,
            (0.13 * side, 0.42),
            90 - side * uniform(rng, -5, 45),
            0.46,
            0.46,
            uniform(rng, -55, 55),
            0.12,
            0.09,
        )
        parts += [*arm, Part(Ellipse(hand, 0.13, 0.13), 1.12), *leg, Part(Ellipse(foot, 0.15, 0.15), 1.12)]
    facing = -90 + uniform(rng, -30, 30)
    neck = along((0, -0.45), facing, 0.2)
    head = along(neck, facing, 0.2)
    parts += [
        Part(Capsule((0, -0.45), neck, 0.09, 0.09), 0.9),
        Part(Capsule((0, -0.32), (0, 0.36), 0.24, 0.19), 1.0),
        Part(Ellipse(head, 0.27, 0.27), 1.1),
    ]
    return parts + _eyes(along(head, facing, 0.06), facing, 0.11, 0.07)


def _crab(rng: Generator) -> list[Part]:
    """A wide shell, two arms with open pincers, three short legs on each side, eyes on stalks."""
    parts: list[Part] = []
    for side in (-1, 1):
        away = 0 if side > 0 else 180
        for k, base in enumerate((10, 40, 68)):
            root = ((0.5 - 0.12 * k) * side, 0.1 + 0.12 * k)
            leg, _, _ = _limb(
                rng,
                root,
                away + side * (base + uniform(rng, -12, 12)),
                0.26,
                0.24,
                side * uniform(rng, 5, 60),
                0.075,
                0.035,
            )
            parts += leg
        arm, wrist, towards = _limb(
            rng,
            (0.44 * side, -0.16),
            away - side * uniform(rng, 5, 60),
            0.36,
            0.26,
            -side * uniform(rng, -10, 75),
            0.095,
            0.085,
        )
        gape = uniform(rng, 22, 42)
        parts += arm
        for turn in (-gape, gape):
            middle = along(wrist, towards + turn * 1.3, 0.2)
            parts.append(Part(Capsule(middle, along(middle, towards - turn * 0.5, 0.22), 0.1, 0.025), 1.12))
            parts.append(Part(Capsule(wrist, middle, 0.1, 0.105), 1.12))
        stalk = along((0.14 * side, -0.28), -90 + side * uniform(rng, 0, 30), 0.2)
        parts.append(Part(Capsule((0.14 * side, -0.28), stalk, 0.045, 0.045), 0.9))
        parts += [Part(Ellipse(stalk, 0.08, 0.08), "white"), Part(Ellipse(stalk, 0.04, 0.04), "black")]
    parts.append(Part(Ellipse((0, 0), 0.6, 0.38), 1.0))
    return parts


def _spider(rng: Generator) -> list[Part]:
    """A ball and a smaller ball, eight thin legs with sharp knees."""
    parts: list[Part] = []
    for side in (-1, 1):
        away = 0 if side > 0 else 180
        for k, base in enumerate((-58, -22, 16, 50)):
            root = (0.17 * side, -0.24 + 0.12 * k)
            bend = side * (-1 if base < 0 else 1) * uniform(rng, 15, 70)
            leg, _, _ = _limb(
                rng,
                root,
                away + side * (base + uniform(rng, -11, 11)),
                0.55,
                0.55,
                bend,
                0.06,
                0.03,
            )
            parts += leg
    lean = uniform(rng, -18, 18)
    abdomen = along((0, 0), 90 + lean, 0.38)
    facing = -90 + uniform(rng, -18, 18)
    head = along((0, -0.12), facing, 0.1)
    parts += [Part(Ellipse(abdomen, 0.42, 0.34, direction(90 + lean)), 1.0), Part(Ellipse(head, 0.25, 0.25), 1.12)]
    return parts + _eyes(along(head, facing, 0.08), facing, 0.1, 0.065)


def _moth(rng: Generator) -> list[Part]:
    """Two pairs of broad wings on a slim body, feelers with knobs."""
    parts: list[Part] = []
    facing = -90 + uniform(rng, -25, 25)
    head = along((0, -0.36), facing, 0.17)
    for side in (-1, 1):
        away = 0 if side > 0 else 180
        lower = away + side * uniform(rng, 15, 60)
        upper = away - side * uniform(rng, 5, 50)
        for root, angle, length, width, tone in (
            ((0.05 * side, 0.12), lower, 0.72, 26, 0.86),
            ((0.05 * side, -0.18), upper, 0.98, 24, 1.06),
        ):
            edge = (root, along(root, angle - width, length), along(root, angle + width, length * 0.92))
            parts.append(Part(Polygon(edge, 0.06), tone))
        feeler, knob, _ = _limb(
            rng,
            along(head, facing + 60 * side, 0.1),
            facing + side * uniform(rng, 10, 40),
            0.2,
            0.2,
            side * uniform(rng, -20, 50),
            0.03,
            0.03,
        )
        parts += [*feeler, Part(Ellipse(knob, 0.065, 0.065), 1.12)]
    tail = along((0, 0.1), 90 + uniform(rng, -20, 20), 0.5)
    parts += [
        Part(Capsule((0, 0.1), tail, 0.12, 0.06), 0.9),
        Part(Capsule((0, -0.35), (0, 0.15), 0.13, 0.13), 1.0),
        Part(Ellipse(head, 0.17, 0.17), 1.12),
    ]
    return parts + _eyes(along(head, facing, 0.04), facing, 0.08, 0.055)


def _lizard(rng: Generator) -> list[Part]:
    """A wedge-shaped head, four short legs, a long tail of five joints that tapers."""
    parts: list[Part] = []
    point, angle, curl = (0.0, 0.42), 90 + uniform(rng, -30, 30), uniform(rng, -38, 38)
    radii = (0.17, 0.145, 0.115, 0.085, 0.055, 0.02)
    tail: list[Part] = []
    for k in range(5):
        tip = along(point, angle, 0.3)
        tail.append(Part(Capsule(point, tip, radii[k], radii[k + 1]), 0.86 + 0.05 * (k % 2)))
        point, angle = tip, angle + curl + uniform(rng, -14, 14)
    parts += tail[::-1]
    for side in (-1, 1):
        away = 0 if side > 0 else 180
        for y, base in ((-0.3, -15), (0.32, 20)):
            leg, foot, _ = _limb(
                rng,
                (0.15 * side, y),
                away + side * (base + uniform(rng, -28, 28)),
                0.24,
                0.24,
                side * (-1 if y < 0 else 1) * uniform(rng, 10, 80),
                0.085,
                0.06,
            )
            parts += [*leg, Part(Ellipse(foot, 0.08, 0.08), 1.12)]
    facing = -90 + uniform(rng, -35, 35)
    neck = along((0, -0.4), facing, 0.12)
    nose = along(neck, facing, 0.5)
    jaw = (along(neck, facing - 90, 0.22), along(neck, facing + 90, 0.22))
    parts += [
        Part(Capsule((0, -0.34), (0, 0.4), 0.21, 0.18), 1.0),
        Part(Polygon((nose, *jaw), 0.05), 1.1),
    ]
    return parts + _eyes(along(neck, facing, 0.12), facing, 0.12, 0.055)
