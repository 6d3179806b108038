"""The pictures of a run, for a detector and a data set as training has them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from pngs import read_png

from roikit.analysis import picture_predictions, picture_weights
from roikit.detection import faster_rcnn, mask_rcnn

SMALL = {"num_classes": 3, "channels": 8, "fc_dim": 8, "min_size": 64, "max_size": 128, "weights": None}


@dataclasses.dataclass
class Record:
    boxes: np.ndarray


class Scenes:
    """Four images, the last without objects."""

    categories = ("disc", "box")

    def __init__(self, masks: bool = False) -> None:
        g = np.random.default_rng(0)
        corners = g.uniform(0, 40, (4, 2, 2)).astype(np.float32)
        self.records = [Record(np.concatenate([c, c + 20], 1)) for c in corners[:3]]
        self.records.append(Record(np.zeros((0, 4), np.float32)))
        self.has_masks = masks

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int):
        boxes = torch.from_numpy(self.records[index].boxes)
        target = {"boxes": boxes, "labels": torch.arange(len(boxes)) % 2 + 1}
        if self.has_masks:
            target["masks"] = torch.ones(len(boxes), 64, 64, dtype=torch.uint8)
        return torch.full((3, 64, 64), 90, dtype=torch.uint8), target


@pytest.mark.parametrize("make", [faster_rcnn, mask_rcnn])
def test_a_detector_on_a_data_set(make, tmp_path):
    torch.manual_seed(0)
    model = make("test_resnet", **SMALL, **({"mask_channels": 8} if make is mask_rcnn else {})).train()
    data = Scenes(make is mask_rcnn)
    assert read_png(picture_predictions(model, data, tmp_path / "p.png", threshold=0.0, most=2)).std() > 0.05
    assert read_png(picture_weights(model, data, tmp_path / "w.png", most=1)).std() > 0.05
    assert model.training


def test_no_objects(tmp_path):
    data = Scenes()
    data.records = data.records[3:]
    model = faster_rcnn("test_resnet", **SMALL)
    with pytest.raises(ValueError, match="no object"):
        picture_weights(model, data, tmp_path / "w.png")
    assert picture_predictions(model, data, tmp_path / "p.png").exists()
    data.records = []
    with pytest.raises(ValueError, match="no image"):
        picture_predictions(model, data, tmp_path / "q.png")
