"""`roikit proposals RUN --out FILE`: what the RPN of a trained detector proposes, for detectors that have none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from roikit.train.checkpoint import write_atomically
from roikit.train.errors import RunError
from roikit.train.parse import Parser
from roikit.train.trained import load_trained, new_file, pick_device

from .trained_runs import add_data


def make_parser() -> Parser:
    parser = Parser(
        prog="roikit proposals",
        description="The proposals of a trained detector's RPN as a file in COCO's result format; "
        "roikit train --data.proposals FILE trains heads on them.",
    )
    parser.add_argument("run", type=str, help="Run folder of roikit train.")
    add_data(parser, "train_split")
    parser.add_argument("--out", type=str, required=True, help="JSON file to write; must not exist.")
    parser.add_argument("--most", type=int, default=1000, help="Proposals of an image, at most.")
    return parser


def main(arguments: Sequence[str]) -> int:
    options = make_parser().parse_args(list(arguments))
    if options.most < 1:
        raise RunError(f"--most must be at least 1, not {options.most}")
    out = new_file(options.out, "--out")
    model, _, config = load_trained(options.run)
    if config.data.proposals is not None:
        raise RunError(f"{options.run}: has no RPN: it was trained on the proposals of {config.data.proposals}")

    import torch

    from roikit.data import open_dataset
    from roikit.detection.given_proposals import as_results
    from roikit.train.datasets import show_progress
    from roikit.train.progress import Progress

    path, split = options.data or config.data.path, options.split or config.data.train_split
    dataset = open_dataset(path, split, progress=show_progress)
    detector: Any = model.to(pick_device(options.cpu))
    device = next(detector.parameters()).device
    detector.rpn._post_nms_top_n["testing"] = options.most
    detector.rpn._pre_nms_top_n["testing"] = max(options.most, detector.rpn._pre_nms_top_n["testing"])
    rows: list[dict[str, Any]] = []
    with Progress("proposals", len(dataset), every=max(1, len(dataset) // 4)) as bar, torch.no_grad():
        for index, record in enumerate(dataset.records):
            image = dataset[index][0].to(device).float() / 255
            images, _ = detector.transform([image])
            boxes = detector.rpn(images, detector.backbone(images.tensors))[0][0]
            height, width = images.image_sizes[0]
            boxes = boxes * boxes.new_tensor([image.shape[2] / width, image.shape[1] / height] * 2)
            # best first; the RPN gives no scores, so they say the order
            rows += as_results(record.image_id, boxes.cpu(), [1 - place / len(boxes) for place in range(len(boxes))])
            bar.update(1)
    write_atomically(out, (json.dumps(rows) + "\n").encode())
    print(f"{len(dataset)} images, {len(rows)} proposals; wrote {out}")
    return 0
