"""How hard a set of Shapes is: one small configuration per level."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Level:
    """What is drawn. Lengths in image pixels, angles in degrees."""

    name: str
    width: int
    height: int
    train: int  # images
    val: int
    figures: tuple[int, int]  # per image, tried; those that find no place are left out
    size: tuple[float, float]  # longest side of a figure's box, log-uniform
    turn: float = 180.0  # a figure is turned by up to this, either way
    skew: float = 0.35  # shear and stretch, up to
    clutter: tuple[int, int] = (6, 16)  # loose parts behind the figures
    front: tuple[int, int] = (0, 4)  # loose parts before them
    hidden: float = 0.5  # a figure may be covered up to this share
    outside: float = 0.2  # or cut off by the border
    contrast: float = 0.15  # least distance of a figure's colour from what is behind it (0..1, per channel on average)
    grain: int = 10  # noise of the pixels, up to (of 255)
    quality: int = 92  # of the JPEG
    seed: int = 20240601
    about: str = ""  # said when the level is opened


@dataclass(frozen=True)
class MovingLevel(Level):
    """A level of videos; `train` and `val` count videos."""

    frames: int = 12  # of a video
    travel: tuple[float, ...] = (
        0.0,
        0.15,
        0.5,
        1.0,
    )  # one is drawn: how much of the way to a random place a figure goes
    spin: float = 40.0  # a figure turns by up to this, either way, from the first frame to the last
    spoilt: float = 0.5  # share of the frames that are blurred and noisy
    blur: tuple[int, int] = (2, 5)  # pixels that a spoilt frame's boxes of means reach to each side
    noise: int = 60  # of the pixels of a spoilt frame, up to (of 255)


LEVELS: dict[str, Level] = {
    level.name: level
    for level in (
        Level("full", 512, 384, train=4000, val=500, figures=(4, 14), size=(12, 200), clutter=(10, 30)),
        Level(
            "easy",
            128,
            128,
            train=2000,
            val=300,
            figures=(1, 3),
            size=(40, 84),
            turn=45,
            skew=0.15,
            clutter=(1, 4),
            front=(0, 0),
            hidden=0.1,
            outside=0.0,
            contrast=0.25,
            grain=5,
            about="an easier level of Shapes: larger figures, nearly upright and whole, little clutter",
        ),
        Level(
            "medium",
            128,
            128,
            train=2400,
            val=600,
            figures=(1, 3),
            size=(36, 90),
            clutter=(2, 6),
            front=(0, 1),
            hidden=0.2,
            outside=0.0,
            contrast=0.22,
            grain=6,
            about="a level of Shapes between easy and full: figures at any angle, small pictures, some clutter",
        ),
        Level(
            "tiny",
            96,
            96,
            train=24,
            val=12,
            figures=(1, 2),
            size=(32, 64),
            turn=45,
            skew=0.15,
            clutter=(1, 3),
            front=(0, 0),
            hidden=0.1,
            outside=0.0,
            contrast=0.25,
            grain=5,
            about="a few easy pictures for tests",
        ),
        MovingLevel(
            "moving",
            128,
            128,
            train=200,
            val=40,
            figures=(1, 2),
            size=(36, 80),
            turn=180,
            skew=0.15,
            clutter=(2, 6),
            front=(0, 2),
            hidden=0.8,
            outside=0.0,
            contrast=0.22,
            grain=6,
            about="videos of 12 frames: figures that stand, walk or run and turn, half of the frames blurred and noisy",
        ),
        MovingLevel(
            "moving-tiny",
            96,
            96,
            train=4,
            val=3,
            figures=(1, 2),
            size=(32, 56),
            turn=45,
            skew=0.15,
            clutter=(1, 3),
            front=(0, 1),
            hidden=0.8,
            outside=0.0,
            contrast=0.25,
            grain=5,
            frames=5,
            about="a few short videos for tests",
        ),
    )
}
"""`"shapes"` (or `"shapes:full"`) is the full one; `"shapes:easy"` is for a first run of a few minutes: larger figures,
nearly upright and whole, little clutter; `"shapes:moving"` is of videos; `"shapes:tiny"` and `"shapes:moving-tiny"`
are for tests."""
