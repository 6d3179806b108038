"""A data set of a few small pictures in COCO's format, and the flags of a detector that trains on it in seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CATEGORIES = ("disc", "box")

# the smallest detector that is still the real one
FLAGS = [
    "--model.backbone=test_resnet",
    "--model.weights=null",
    "--data.batch=2",
    "--model.channels=16",
    "--model.fc_dim=16",
    "--model.mask_channels=8",
    "--model.min_size=64",
    "--model.max_size=64",
    "--model.proposals_train=50",
    "--model.proposals_test=20",
    "--model.anchors_per_image=16",
    "--model.rois_per_image=8",
    "--model.anchor_sizes=[8, 16, 32, 48, 64]",
    "--optim.warmup=2",
    "--log_every=1",
    "--pictures=false",
    "--cpu=true",
]

# one thread: two processes share two cores, and sums have one order
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "1000", "PYTHONUNBUFFERED": "1"}


def roikit(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "roikit", *arguments]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=280, check=False, **options)


def make_coco(
    folder: Path, *, images: int = 6, side: int = 64, seed: int = 0, splits: tuple[str, ...] = ("train", "val")
) -> Path:
    """Discs and boxes on noise, one to three per picture, with polygons as masks."""
    rng = np.random.default_rng(seed)
    (folder / "annotations").mkdir(parents=True)
    for split in splits:
        (folder / "images" / split).mkdir(parents=True)
        entries, annotations = [], []
        for number in range(1, images + 1):
            picture = Image.fromarray(rng.integers(60, 120, (side, side, 3), dtype=np.uint8))
            draw = ImageDraw.Draw(picture)
            for _ in range(int(rng.integers(1, 4))):
                size = int(rng.integers(side // 6, side // 2))
                x, y = (int(v) for v in rng.integers(0, side - size, 2))
                category = int(rng.integers(1, 3))
                shape = draw.ellipse if category == 1 else draw.rectangle
                shape((x, y, x + size - 1, y + size - 1), fill=("red", "white")[category - 1])
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": category,
                        "bbox": [x, y, size, size],
                        "area": size * size,
                        "iscrowd": 0,
                        "segmentation": [[x, y, x + size, y, x + size, y + size, x, y + size]],
                    }
                )
            name = f"{number:03d}.png"
            picture.save(folder / "images" / split / name)
            entries.append({"id": number, "file_name": name, "width": side, "height": side})
        content = {
            "images": entries,
            "annotations": annotations,
            "categories": [{"id": i, "name": name} for i, name in enumerate(CATEGORIES, start=1)],
        }
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return folder


def log(run: Path) -> list[dict]:
    """The log without the times."""
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def metrics(run: Path) -> dict:
    found = json.loads((run / "metrics.json").read_text())
    return {kind: found[kind] for kind in ("bbox", "segm") if kind in found}


def assert_same(one: Path, other: Path) -> None:
    """Weights and metrics to the bit, and the same log, no line twice.

    The files of weights differ in the configuration they carry (the name of the run folder), so tensors are compared.
    """
    from safetensors.torch import load_file

    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert first.keys() == second.keys()
    assert [name for name in first if first[name].numpy().tobytes() != second[name].numpy().tobytes()] == []
    assert metrics(one) == metrics(other)
    assert log(one) == log(other)
