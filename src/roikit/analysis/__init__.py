"""What detectors and extractors do, seen: where a region's features come from, and what was found.

Importing this is light: matplotlib is imported when a picture is drawn.
"""

from .matching import Match, match_detections
from .pictures import draw_predictions, draw_weights, picture_predictions, picture_weights
from .regions import RegionView, region_weights_of, view_region

__all__ = [
    "Match",
    "RegionView",
    "draw_predictions",
    "draw_weights",
    "match_detections",
    "picture_predictions",
    "picture_weights",
    "region_weights_of",
    "view_region",
]
