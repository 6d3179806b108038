import socket
import urllib.error

import pytest
import torch
from torchvision.models._api import WeightsEnum

from roikit.detection import cascade_rcnn, faster_rcnn, mask_rcnn, rfcn

BUILDERS = {"faster": faster_rcnn, "mask": mask_rcnn, "rfcn": rfcn, "cascade": cascade_rcnn}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def no_network(monkeypatch):
    """No host has an address, and nothing is in a cache."""

    def fail(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *args, **kwargs: None)
    monkeypatch.setattr(
        WeightsEnum, "get_state_dict", lambda *a, **k: (_ for _ in ()).throw(urllib.error.URLError("no network"))
    )


@pytest.fixture
def tiny():
    """Builds a small detector: ``tiny("faster" | "mask" | "rfcn" | "cascade", **arguments)``."""

    def build(kind="faster", **arguments):
        defaults = dict(
            backbone="resnet10t",
            num_classes=4,
            channels=16,
            fc_dim=32,
            min_size=64,
            max_size=96,
            rpn_post_nms_top_n_train=100,
            rpn_post_nms_top_n_test=50,
        )
        if kind == "mask":
            defaults["mask_channels"] = 16
        if kind == "rfcn":
            del defaults["fc_dim"]
        return BUILDERS[kind](**(defaults | arguments))

    return build


@pytest.fixture
def batch():
    """Two images of different sizes, two boxes and none, with masks."""
    images = [torch.rand(3, 64, 64), torch.rand(3, 56, 80)]
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[0, 8:40, 10:50] = 1
    masks[1, 30:60, 2:30] = 1
    targets = [
        {"boxes": torch.tensor([[10.0, 8, 50, 40], [2, 30, 30, 60]]), "labels": torch.tensor([1, 3]), "masks": masks},
        {
            "boxes": torch.zeros(0, 4),
            "labels": torch.zeros(0, dtype=torch.int64),
            "masks": torch.zeros(0, 56, 80, dtype=torch.uint8),
        },
    ]
    return images, targets
