"""A detector over a data set, on every process: image by image, or video by video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from .metrics import encode_masks
from .stream import collate, quiet_worker, to_device


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
    reach: int = 9,
    tick: Callable[[int], None] | None = None,
) -> list[dict[str, Any]] | None:
    """Detections of every image of the data set, in its order.

    Args:
        model: a torchvision-like detector; set to evaluation mode and put back. One that aggregates frames, on data
            with videos, reads them whole.
        dataset: `(image uint8 [3, H, W], target)` by index.
        accelerator: accelerate's; each process does its share.
        batch: images per forward pass and process.
        workers: loader processes.
        reach: of a detector that aggregates frames, neighbours on each side.
        tick: called with the number of images done in this process.

    Returns:
        On the main process one dict per image: `boxes` [N, 4] (pixels of the data set's image), `labels`, `scores` on
        the CPU, `masks` as run-length codes and `oriented_boxes` where the model predicts some. None on the others.
    """
    from accelerate.utils import gather_object

    in_videos = _aggregates(model) and bool(getattr(dataset, "videos", None))
    was_training = model.training
    model.eval()
    found: list[tuple[int, dict[str, Any]]] = []
    try:
        with accelerator.autocast():
            outputs = (
                _by_video(model, dataset, accelerator, reach)
                if in_videos
                else _by_image(model, dataset, accelerator, batch, workers)
            )
            for index, output in outputs:
                found.append((index, record_of(output)))
                if tick is not None:
                    tick(1)
    finally:
        model.train(was_training)
    everything = gather_object(found) if accelerator.num_processes > 1 else found
    if not accelerator.is_main_process:
        return None
    return [record for _, record in sorted(everything, key=lambda pair: pair[0])]


Outputs = Iterator[tuple[int, dict[str, Tensor]]]  # of a process' own images: their place in the data set, detections


def _by_image(model: nn.Module, dataset: Any, accelerator, batch: int, workers: int) -> Outputs:
    own = list(chunks(len(dataset), batch, accelerator.process_index, accelerator.num_processes))
    loader = DataLoader(
        _Indexed(dataset),
        batch_sampler=own,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=quiet_worker,
        generator=torch.Generator(),  # the loader would otherwise draw from the training's random numbers
    )
    for indices, images, targets in loader:
        inputs, given = to_device(images, [_proposed(one) for one in targets], accelerator.device)
        yield from zip(indices, model(inputs, given) if any(given) else model(inputs), strict=True)


def _by_video(model: Any, dataset: Any, accelerator, reach: int) -> Outputs:
    """A process has whole videos."""
    from roikit.data import read_image
    from roikit.data.video import require_videos, videos_of
    from roikit.detection import detect_in_video

    require_videos(dataset)
    for number, (video, indices) in enumerate(videos_of(dataset).items()):
        if number % accelerator.num_processes != accelerator.process_index:
            continue
        wanted = {dataset.records[index].frame: index for index in indices}
        upright = dataset.records[indices[0]].upright
        frames = (read_image(path, upright=upright) for path in dataset.videos[video])
        images = (frame.to(accelerator.device).float().div_(255) for frame in frames)
        for place, output in enumerate(detect_in_video(model, images, reach)):
            if place in wanted:
                yield wanted[place], output


def _aggregates(model: nn.Module) -> bool:
    from roikit.detection.fgfa import FrameAggregation

    return isinstance(getattr(model, "backbone", None), FrameAggregation)


def record_of(output: dict[str, Tensor]) -> dict[str, Any]:
    """What is kept of an image's detections, on the CPU."""
    record: dict[str, Any] = {k: output[k].float().cpu() for k in ("boxes", "scores", "oriented_boxes") if k in output}
    record["labels"] = output["labels"].cpu()
    if "masks" in output:
        record["masks"] = encode_masks(output["masks"][:, 0] >= 0.5)
    return record


def _proposed(target: dict[str, Any]) -> dict[str, Any]:
    """Of a target what a detector may see in evaluation: proposals, where it has no RPN, and no object."""
    if "proposals" not in target:
        return {}
    return {"boxes": target["boxes"][:0], "labels": target["labels"][:0], "proposals": target["proposals"]}
