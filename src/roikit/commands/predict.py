"""`roikit predict RUN IMAGE|FOLDER ... --out DIR`: pictures with boxes, and the detections in a common format."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roikit.train.errors import RunError
from roikit.train.parse import Parser, read
from roikit.train.runfolder import RunFolder
from roikit.train.trained import pick_device, rebuild

from .trained_runs import check_format


def make_parser() -> Parser:
    parser = Parser(
        prog="roikit predict",
        description="Find objects in images; nothing that exists is overwritten. Detections have the ids of the data "
        "set's categories, and with --data those of its images.",
    )
    parser.add_argument("run", type=str, help="Run folder of roikit train.")
    parser.add_argument("images", nargs="*", type=str, help="Images, and folders whose images are taken.")
    parser.add_argument(
        "--data",
        type=str | None,
        default=None,
        help="A data set instead of images, which needs no annotations (image_info_test-dev2017.json).",
    )
    parser.add_argument("--split", type=str | None, default=None, help="Of --data; nothing takes data.eval_split.")
    parser.add_argument("--out", type=str, required=True, help="Folder for pictures and results; new or empty.")
    parser.add_argument(
        "--format", type=str, default="coco", help="coco (predictions.json), voc, yolo or dota (text files)."
    )
    parser.add_argument(
        "--score", type=float, default=0.5, help="Least score of a box that is drawn (all are in the results)."
    )
    parser.add_argument("--pictures", type=bool, default=True, help="Draw a picture of each image.")
    parser.add_argument("--cpu", type=bool, default=False, help="Stay on the CPU where there is a GPU.")
    return parser


@dataclass(frozen=True)
class Source:
    """An image to look at: the id it has in the results, its file, and whether to turn it as EXIF says."""

    image_id: Any
    path: Path
    upright: bool = True


def main(arguments: Sequence[str]) -> int:
    options = make_parser().parse_args(list(arguments))
    check_format(options.format)
    if bool(options.images) == (options.data is not None):
        raise RunError("give either images and folders, or --data")
    out = Path(options.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"--out {out}: is not a new or empty folder; nothing is overwritten, choose another")
    paths = [] if options.data else find_images(options.images)
    run = RunFolder.open(options.run)
    config, _ = read(run.config)
    if config.data.proposals is not None:
        raise RunError(
            f"{options.run}: has no RPN, it reads proposals from a file: roikit eval takes it, with its data"
        )
    model, weights = rebuild(run, config)
    categories = weights.categories
    if options.data:
        sources, ids = of_data(options.data, options.split or config.data.eval_split, categories)
    else:
        sources, ids = [Source(number, path) for number, path in enumerate(paths, 1)], weights.category_ids
    from roikit.data.results import Results

    out.mkdir(parents=True, exist_ok=True)
    with Results(out, options.format, categories, ids) as results:
        drawn, failed = look(model.to(pick_device(options.cpu)), sources, categories, results, options)
    for path, reason in failed:
        print(f"{path}: {reason}", file=sys.stderr)
    done = len(sources) - len(failed)
    shown = f", {drawn} drawn (score ≥ {options.score:g})" if options.pictures else ""
    print(f"{done} images, {results.count} detections{shown}; wrote {results.target}")
    if failed:
        print(f"{len(failed)} of {len(sources)} images could not be used; they are named above", file=sys.stderr)
    return 1 if failed else 0


def find_images(sources: Sequence[str]) -> list[Path]:
    """The files of the images and folders named.

    Raises:
        RunError: no such file or folder, a folder without images.
    """
    from roikit.data import images_in

    paths: list[Path] = []
    for source in map(Path, sources):
        if not source.exists():
            raise RunError(f"{source}: no such file or folder")
        paths += images_in(source) if source.is_dir() else [source]
    return paths


def of_data(path: str, split: str, categories: Sequence[str]) -> tuple[list[Source], list[Any]]:
    """The images of a data set, and its ids of the detector's categories.

    Raises:
        RunError: it has other categories.
        DataError: it cannot be read.
    """
    from roikit.data import open_dataset
    from roikit.train.datasets import show_progress

    dataset = open_dataset(path, split, unlabelled=True, progress=show_progress)
    ids = dict(zip(dataset.categories, dataset.category_ids, strict=True))
    missing = [name for name in categories if name not in ids]
    if missing:
        raise RunError(f"{path}: has no category {missing[0]!r}, which the detector finds; it has {', '.join(ids)}")
    return [Source(r.image_id, r.path, r.upright) for r in dataset.records], [ids[name] for name in categories]


def look(
    model: Any, sources: Sequence[Source], categories: Sequence[str], results: Any, options: Any
) -> tuple[int, list[tuple[Path, str]]]:
    """Detect, write and draw, image after image. An image that fails is named and left out.

    Returns:
        how many boxes were drawn, and the images that failed, with the reason.
    """
    import torch

    from roikit.data import read_image
    from roikit.data.results import Found, distinct_names
    from roikit.train.metrics import encode_masks
    from roikit.train.progress import Progress

    device = next(model.parameters()).device
    drawn, failed = 0, []
    names = distinct_names([source.path for source in sources])
    with Progress("predict", len(sources), every=max(1, len(sources) // 10)) as bar, torch.no_grad():
        for source, name in zip(sources, names, strict=True):
            bar.update(1)
            try:
                image = read_image(source.path, upright=source.upright)
                found = {k: v.cpu() for k, v in model([image.to(device).float() / 255])[0].items()}
            except Exception as error:  # whatever one image does to a library, the others are looked at
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                failed.append((source.path, reason.removeprefix(f"{source.path}: ")))
                continue
            coded = {**found, "masks": encode_masks(found["masks"][:, 0] >= 0.5)} if "masks" in found else found
            results.add(Found(source.image_id, source.path, (image.shape[2], image.shape[1]), coded), name)
            if options.pictures:
                from roikit.analysis.detection_picture import draw_detections

                kept = found["scores"] >= options.score
                drawn += int(kept.sum())
                picture = results.folder / f"{name}.png"
                draw_detections(image, {k: v[kept] for k, v in found.items()}, categories, picture)
    return drawn, failed
