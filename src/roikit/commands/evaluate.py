"""`roikit eval RUN`: COCO's, and for VOC data also VOC's, metrics of a trained detector."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from roikit.train.checkpoint import write_atomically
from roikit.train.errors import RunError
from roikit.train.parse import Parser
from roikit.train.trained import load_trained, new_file

from .trained_runs import add_data, check_format


def make_parser() -> Parser:
    parser = Parser(prog="roikit eval", description="COCO's and VOC's metrics of a trained detector on a data set.")
    parser.add_argument("run", type=str, help="Run folder of roikit train.")
    add_data(parser)
    parser.add_argument(
        "--batch", type=int | None, default=None, help="Images per forward pass; nothing: as in training."
    )
    parser.add_argument(
        "--voc", type=bool | None, default=None, help="PASCAL VOC's AP50 too; nothing: where the data is a VOC folder."
    )
    parser.add_argument(
        "--oriented",
        type=bool | None,
        default=None,
        help="AP of oriented boxes too, upright ones at an angle of 0; nothing: as in training.",
    )
    parser.add_argument(
        "--proposals", type=str | None, default=None, help="File of proposals; nothing takes the run's, of this split."
    )
    parser.add_argument("--workers", type=int, default=0, help="Loader processes.")
    parser.add_argument("--out", type=str | None, default=None, help="JSON file for the metrics; must not exist.")
    parser.add_argument(
        "--predictions",
        type=str | None,
        default=None,
        help="New folder for the detections, with the data set's ids of images and categories.",
    )
    parser.add_argument("--format", type=str, default="coco", help="Of --predictions: coco, voc, yolo or dota.")
    return parser


def main(arguments: Sequence[str]) -> int:
    options = make_parser().parse_args(list(arguments))
    if (options.batch is not None and options.batch < 1) or options.workers < 0:
        raise RunError("--batch must be at least 1 and --workers 0 or more")
    out = new_file(options.out, "--out") if options.out else None
    predictions = new_file(options.predictions, "--predictions") if options.predictions else None
    check_format(options.format)
    model, categories, config = load_trained(options.run)

    from roikit.data import only, open_dataset, with_proposals
    from roikit.train.datasets import is_voc, show_progress
    from roikit.train.devices import make_accelerator
    from roikit.train.evaluation import evaluate
    from roikit.train.progress import Progress
    from roikit.train.table import print_metrics

    path, split = options.data or config.data.path, options.split or config.data.eval_split
    accelerator = make_accelerator(options.cpu)
    trained = config.model.oriented or config.data.oriented
    oriented = trained if options.oriented is None else options.oriented
    with accelerator.main_process_first():
        dataset = open_dataset(path, split, config.model.masks, oriented=oriented, progress=show_progress)
    if config.data.classes is not None and set(categories) <= set(dataset.categories):
        dataset = only(dataset, categories)
    if dataset.categories != categories:
        theirs, ours = ", ".join(dataset.categories), ", ".join(categories)
        raise RunError(f"{path}: has categories {theirs}; {options.run} was trained on {ours}")
    if config.data.proposals is not None or options.proposals is not None:
        if config.data.proposals is None:
            raise RunError(f"--proposals: the detector of {options.run} has an RPN of its own")
        dataset = with_proposals(dataset, (options.proposals or config.data.proposals).replace("{split}", split))
    model = model.to(accelerator.device)
    share = -(-len(dataset) // accelerator.num_processes)
    with Progress("eval", share, every=max(1, share // 4), silent=not accelerator.is_main_process) as bar:
        metrics = evaluate(
            model,
            dataset,
            accelerator,
            batch=options.batch or config.data.eval_batch,
            workers=options.workers,
            tick=bar.update,
            voc=is_voc(path) if options.voc is None else options.voc,
            oriented=oriented,
            reach=config.video.reach,
            found=partial(keep, dataset, predictions, options.format) if predictions else None,
        )
    if metrics is not None:
        print_metrics(metrics, title=f"{path}, {split} split: ")
        if out is not None:
            write_atomically(out, (json.dumps(metrics, indent=2) + "\n").encode())
            print(f"wrote {out}")
    return 0


def keep(dataset: Any, folder: Path, form: str, every: Sequence[dict[str, Any]]) -> None:
    """Write the detections of all images into a new folder."""
    from roikit.data.results import Found, Results, distinct_names

    folder.mkdir()
    names = distinct_names([record.path for record in dataset.records])
    with Results(folder, form, dataset.categories, dataset.category_ids) as results:
        for record, name, found in zip(dataset.records, names, every, strict=True):
            results.add(Found(record.image_id, record.path, (record.width, record.height), found), name)
    print(f"wrote {results.target}")
