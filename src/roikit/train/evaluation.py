"""A detector over a data set, on every process, to COCO's metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from .metrics import coco_metrics, encode_masks
from .motion_metrics import motion_metrics
from .oriented_metrics import oriented_metrics
from .resampled import resampled_ap
from .stream import collate, to_device
from .video import detect_in_videos, streams
from .voc_metrics import voc_metrics


class _Indexed(Dataset):
    """Samples with their index, so that detections can be put back in order."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, Tensor, dict[str, Any]]:
        image, target = self.dataset[index]
        return index, image, target


def chunks(length: int, batch: int, rank: int, world: int) -> Iterator[list[int]]:
    """Batches of consecutive indices, dealt to the processes in turn; who shares one does not depend on `world`."""
    for number, first in enumerate(range(0, length, batch)):
        if number % world == rank:
            yield list(range(first, min(first + batch, length)))


@torch.no_grad()
def detect(
    model: nn.Module,
    dataset: Any,
    accelerator,
    *,
    batch: int = 4,
    workers: int = 0,
    tick: Callable[[int], None] | None = None,
) -> list[dict[str, Any]] | None:
    """Detections of every image of the data set, in its order.

    Args:
        model: a torchvision-like detector; set to evaluation mode and put back.
        dataset: `(image uint8 [3, H, W], target)` by index.
        accelerator: accelerate's; each process does its share.
        batch: images per forward pass and process.
        workers: loader processes.
        tick: called with the number of images done in this process.

    Returns:
        On the main process one dict per image: `boxes` [N, 4] (pixels of the data set's image), `labels`, `scores` on
        the CPU, `masks` as run-length codes and `oriented_boxes` where the model predicts some. None on the others.
    """
    from accelerate.utils import gather_object

    own = list(chunks(len(dataset), batch, accelerator.process_index, accelerator.num_processes))
    loader = DataLoader(
        _Indexed(dataset),
        batch_sampler=own,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=quiet_worker,
        generator=torch.Generator(),  # the loader would otherwise draw from the training's random numbers
    )
    was_training = model.training
    model.eval()
    found: list[tuple[int, dict[str, Any]]] = []
    try:
        for indices, images, targets in loader:
            inputs, given = to_device(images, [_proposed(one) for one in targets], accelerator.device)
            with accelerator.autocast():
                outputs = model(inputs, given) if any(given) else model(inputs)
            for index, output in zip(indices, outputs, strict=True):
                found.append((index, record_of(output)))
            if tick is not None:
                tick(len(indices))
    finally:
        model.train(was_training)
    everything = gather_object(found) if accelerator.num_processes > 1 else found
    if not accelerator.is_main_process:
        return None
    return [record for _, record in sorted(everything, key=lambda pair: pair[0])]


def record_of(output: dict[str, Tensor]) -> dict[str, Any]:
    """What is kept of an image's detections, on the CPU."""
    record: dict[str, Any] = {k: output[k].float().cpu() for k in ("boxes", "scores", "oriented_boxes") if k in output}
    record["labels"] = output["labels"].cpu()
    if "masks" in output:
        record["masks"] = encode_masks(output["masks"][:, 0] >= 0.5)
    return record


def evaluate(
    model: nn.Module,
    dataset: Any,
    accelerator,
    *,
    batch: int = 4,
    workers: int = 0,
    tick: Callable[[int], None] | None = None,
    voc: bool = False,
    oriented: bool = False,
    reach: int = 9,
    resample: int = 0,
    found: Callable[[Sequence[dict[str, Any]]], None] | None = None,
) -> dict[str, Any] | None:
    """COCO's metrics of a detector on a data set; arguments as for `detect`, and

    Args:
        voc: with VOC's numbers (`voc_metrics`) among those of the boxes.
        oriented: with those of oriented boxes (`oriented_metrics`) too; the targets have some.
        reach: of a detector that aggregates frames, neighbours on each side.
        found: called with the detections, on the main process.
        resample: with `resampled_AP` among them, the AP of so many draws of the images (`resampled_ap`).

    Returns `coco_metrics`' result with `images` and `seconds`, None on processes other than the main one.
    """
    start = time.perf_counter()
    if streams(model, dataset):
        predictions = detect_in_videos(model, dataset, accelerator, reach=reach, tick=tick)
    else:
        predictions = detect(model, dataset, accelerator, batch=batch, workers=workers, tick=tick)
    if predictions is None:
        return None
    if found is not None:
        found(predictions)
    targets = [_target(dataset, index) for index in range(len(dataset))]
    metrics = coco_metrics(predictions, targets, dataset.categories)
    more: list[dict[str, Any]] = []
    if voc:
        more.append(voc_metrics(predictions, targets, dataset.categories))
    if oriented:
        more.append(oriented_metrics(predictions, targets, dataset.categories))
    if targets and getattr(dataset, "videos", None):
        more.append(motion_metrics(predictions, dataset))
    boxes = metrics["bbox"]
    for numbers in more:
        for name, row in numbers.pop("per_class").items():
            boxes["per_class"][name] |= row
        boxes |= numbers
    if resample and targets:
        rounds = resampled_ap(predictions, targets, len(dataset.categories), resample)
        metrics["bbox"]["resampled_AP"] = [round(value, 4) for value in rounds]
    return {**metrics, "images": len(dataset), "seconds": round(time.perf_counter() - start, 2)}


def _proposed(target: dict[str, Any]) -> dict[str, Any]:
    """Of a target what a detector may see in evaluation: proposals, where it has no RPN, and no object."""
    if "proposals" not in target:
        return {}
    return {"boxes": target["boxes"][:0], "labels": target["labels"][:0], "proposals": target["proposals"]}


def _target(dataset: Any, index: int) -> dict[str, Any]:
    """The ground truth without reading the image, where the data set can."""
    return dataset.target(index) if hasattr(dataset, "target") else dataset[index][1]


def quiet_worker(_: int) -> None:
    """Ctrl-C reaches the whole process group: the training process answers it, the loader's workers do not.

    The thread through which a worker hands over its tensors may find that the training process hung up in the middle of
    that; it would print a traceback after the one line that the training process ends with.
    """
    import signal
    import sys

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    report = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if not isinstance(error, ConnectionError | EOFError):
            report(kind, error, traceback)

    sys.excepthook = hook
