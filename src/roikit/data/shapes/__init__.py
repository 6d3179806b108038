"""Shapes: a data set the package draws itself, for first runs, tests and studies of what an extractor is worth.

Five classes of articulated figures (walker, crab, spider, moth, lizard) that differ by their parts only: colours,
textures, sizes, turn and skew are drawn from the same distributions for all, and every limb has an angle of its own.
"""

from roikit.data.shapes.figures import CLASSES
from roikit.data.shapes.levels import LEVELS, Level
from roikit.data.shapes.scene import Figure, draw
from roikit.data.shapes.write import level_of, shapes_folder

__all__ = ["CLASSES", "LEVELS", "Figure", "Level", "draw", "level_of", "shapes_folder"]
