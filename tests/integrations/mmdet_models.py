"""mmdetection's models from its own configurations, one training step and one prediction on a random picture."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

SIZE = (224, 256)


def model_and_data(name: str) -> tuple[Any, dict[str, Any]]:
    import mmdet
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmdet.utils import register_all_modules
    from mmengine.config import Config
    from mmengine.structures import InstanceData

    register_all_modules()
    config = Config.fromfile(os.path.join(os.path.dirname(mmdet.__file__), ".mim", "configs", name)).model
    config.backbone.init_cfg = None
    torch.manual_seed(0)
    model = MODELS.build(config)
    height, width = SIZE
    truth = InstanceData()
    truth.bboxes = torch.tensor([[20.0, 30.0, 150.0, 160.0], [60.0, 60.0, 120.0, 200.0]])
    truth.labels = torch.tensor([1, 5])
    masks = np.zeros((2, height, width), np.uint8)
    masks[0, 30:160, 20:150] = masks[1, 60:200, 60:120] = 1
    truth.masks = BitmapMasks(masks, height, width)
    sample = DetDataSample()
    sample.gt_instances = truth
    shapes = dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), SIZE)
    sample.set_metainfo({**shapes, "scale_factor": (1.0, 1.0)})
    picture = torch.randint(0, 255, (3, height, width), dtype=torch.uint8)
    return model, model.data_preprocessor({"inputs": [picture], "data_samples": [sample]}, True)


def step_and_predict(name: str) -> tuple[float, list[str], list[str], int]:
    """The loss, parameters without a gradient, those with an infinite one, and the number of detections."""
    model, data = model_and_data(name)
    model.train()
    losses = model.loss(data["inputs"], data["data_samples"])
    parts = [
        part
        for key, value in losses.items()
        if "loss" in key
        for part in (value if isinstance(value, list) else [value])
    ]
    total = torch.stack([part.sum() for part in parts]).sum()
    total.backward()
    named = [(key, p.grad) for key, p in model.named_parameters() if p.requires_grad]
    without = [key for key, grad in named if grad is None]
    infinite = [key for key, grad in named if grad is not None and not torch.isfinite(grad).all()]
    model.eval()
    with torch.no_grad():
        found = model.predict(data["inputs"], data["data_samples"])[0].pred_instances
    return total.item(), without, infinite, len(found)
