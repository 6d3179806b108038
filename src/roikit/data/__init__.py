"""Data sets for detection: COCO, VOC and the drawn Shapes, checked before anything is trained on them."""

from roikit.data.checks import Progress
from roikit.data.dataset import DetectionDataset, Record, Report, collate, only
from roikit.data.describe import contact_sheet, describe
from roikit.data.errors import DataError, Problem
from roikit.data.images import images_in, read_image
from roikit.data.open import open_dataset, splits_of
from roikit.data.proposals import with_proposals
from roikit.data.write_coco import to_coco

__all__ = [
    "DataError",
    "DetectionDataset",
    "Problem",
    "Progress",
    "Record",
    "Report",
    "collate",
    "contact_sheet",
    "describe",
    "images_in",
    "only",
    "open_dataset",
    "read_image",
    "splits_of",
    "to_coco",
    "with_proposals",
]
