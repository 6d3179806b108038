"""`roikit analyze divergence RUN`: KL between parts and KL of the mask, over the checkpoints of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from roikit.train import checkpoint
from roikit.train.errors import RunError
from roikit.train.parse import Parser, read
from roikit.train.runfolder import RunFolder, load_weights
from roikit.train.stages import best_of

from .trained_runs import add_data, output


def make_parser() -> Parser:
    parser = Parser(
        prog="roikit analyze divergence",
        description="How much the parts of a region look at different places, and how much at the object: at every "
        "checkpoint of a run. Train with --keep_checkpoints=0 to have all of them.",
    )
    parser.add_argument("run", type=str, help="Run folder of roikit train.")
    add_data(parser)
    parser.add_argument("--objects", type=int, default=100, help="Objects, taken evenly over the split.")
    parser.add_argument(
        "--out", type=str | None, default=None, help="PNG file, with a JSON file beside it; RUN/divergence.png."
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    options = make_parser().parse_args(list(arguments))
    if options.objects < 1:
        raise RunError(f"--objects must be at least 1, not {options.objects}")
    run = RunFolder.open(options.run)
    picture = output(options.out or str(run.path / "divergence.png"), ".png")
    config, _ = read(run.config)

    from roikit.analysis.divergence import by_size, divergences, draw_divergence
    from roikit.data import open_dataset
    from roikit.detection.pooling import show as named
    from roikit.train.build import build_model
    from roikit.train.datasets import show_progress
    from roikit.train.progress import Progress
    from roikit.train.trained import pick_device

    path, split = options.data or config.data.path, options.split or config.data.eval_split
    dataset = open_dataset(path, split, True, progress=show_progress)
    if not any(len(record.boxes) for record in dataset.records):
        raise RunError(f"{path}: its {split} split has no object")
    steps: dict[int, Any] = {}
    model = None
    for step, tensors, built, where in stages(run):
        if model is None:
            model = build_model(config, len(dataset.categories), built).eval().to(pick_device(options.cpu))
        load_weights(model, tensors, where)
        with Progress(f"step {step}", options.objects, every=options.objects) as bar:
            found = []
            for divergence in divergences(model, dataset, options.objects):
                found.append(divergence)
                bar.update(1)
        steps[step] = by_size(found)
    if not steps:
        raise RunError(f"{run.path}: has no checkpoint yet")
    show(steps)
    draw_divergence(picture, steps, title=f"{named(config.extractor)}, {path}, {split} split")
    numbers = picture.with_suffix(".json")
    checkpoint.write_atomically(numbers, (json.dumps(steps, indent=1) + "\n").encode())
    print(f"wrote {picture}, {numbers}")
    return 0


def stages(run: RunFolder) -> Iterator[tuple[int, dict[str, Any], dict[str, Any], Path]]:
    """(step, tensors, build_info, file) of every checkpoint, oldest first; the running average where there is one."""
    for step in reversed(checkpoint.steps(run.checkpoints)):
        state = checkpoint.load(run.checkpoints, step)
        yield step, best_of(state), state["built"], run.checkpoints


def show(steps: dict[int, Any]) -> None:
    from rich.table import Table

    from roikit.train.screen import wide

    table = Table(title="KL between parts (mean over ordered pairs), and KL of the mask from the largest weights")
    sizes = [size for size in ("all", "small", "medium", "large") if any(size in found for found in steps.values())]
    table.add_column("step", justify="right")
    for key in ("parts", "mask"):
        for size in sizes:
            table.add_column(f"{key}, {size}", justify="right")
    for step, found in sorted(steps.items()):
        values = [found.get(size, {}).get(key) for key in ("parts", "mask") for size in sizes]
        table.add_row(str(step), *("–" if value is None else f"{value:.3f}" for value in values))
    wide().print(table)
