"""`roikit analyze invariance RUN ...`: features before and after their object is rotated, reflected, its box moved."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Sequence
from typing import Any

from roikit.train.checkpoint import write_atomically
from roikit.train.errors import RunError
from roikit.train.parse import Parser

from .trained_runs import add_data, add_runs, alike, open_runs, open_split, output, trained


def make_parser() -> Parser:
    parser = Parser(
        prog="roikit analyze invariance",
        description="Cosine similarity of a region's features before and after its object is rotated, reflected, or "
        "its box is scaled and panned (SRA's Table 11): for any extractor, several runs in one table.",
    )
    add_runs(parser)
    add_data(parser)
    parser.add_argument("--objects", type=int, default=200, help="Objects, taken evenly over the split.")
    parser.add_argument("--repeats", type=int, default=1, help="Rotations, and moved boxes, of each object.")
    parser.add_argument("--angle", type=float, default=180.0, help="Rotations are up to so many degrees, either way.")
    parser.add_argument("--scale", type=float, default=1.5, help="Sides of a box change by up to this factor.")
    parser.add_argument("--shift", type=float, default=0.25, help="A box moves by up to this share of its sides.")
    parser.add_argument("--seed", type=int, default=0, help="Of the random transforms: the same for every run.")
    parser.add_argument("--out", type=str | None, default=None, help="JSON file for the numbers.")
    return parser


def main(arguments: Sequence[str]) -> int:
    options = make_parser().parse_args(list(arguments))
    if options.objects < 1:
        raise RunError(f"--objects must be at least 1, not {options.objects}")

    from roikit.analysis.invariance import PAPER, Draws, invariance_features, summarise
    from roikit.train.progress import Progress

    try:
        draws = Draws(options.repeats, options.angle, options.scale, options.shift, options.seed)
    except ValueError as error:
        raise RunError(f"--{error}") from None
    out = None if options.out is None else output(options.out, ".json")
    runs = open_runs(options.runs)
    dataset, source = open_split(runs, options.data, options.split)
    rows: list[dict[str, Any]] = []
    for run, model in trained(runs, options.cpu):
        found = []
        objects = min(options.objects, sum(int((record.iscrowd == 0).sum()) for record in dataset.records))
        with Progress(run.name, objects, every=objects) as bar:
            try:
                for features in invariance_features(model, dataset, options.objects, draws):
                    found.append(features)
                    bar.update(1)
            except ValueError as error:
                raise RunError(f"{run.path}: {error}") from None
        rows.append({"run": run.name, "method": run.method, "found": summarise(found)})
    show(rows, alike(runs), source, draws)
    if out is not None:
        content = {"data": source, "draws": dataclasses.asdict(draws), "runs": rows, "paper": PAPER}
        write_atomically(out, (json.dumps(content, indent=1) + "\n").encode())
        print(f"wrote {out}")
    return 0


def show(rows: Sequence[dict[str, Any]], groups: Sequence[Sequence[int]], source: str, draws: Any) -> None:
    """The table; ``groups`` are the places of rows whose mean is shown too."""
    from rich.table import Table

    from roikit.analysis.invariance import PAPER, TRANSFORMS
    from roikit.train.screen import wide

    def used(name: str, key: str = "objects") -> str:
        counts = sorted({row["found"][name][key] for row in rows})
        return "-".join(map(str, counts if len(counts) < 3 else (counts[0], counts[-1])))

    table = Table(
        title=f"Cosine of a region's features before and after (SRA's Table 11); {source}",
        caption=f"Rotation by up to {draws.angle:g}°: {used('rotation')} objects, "
        f"{used('rotation', 'masks')} of them boxed by their rotated mask, the others by their rotated box. "
        f"Reflection: {used('reflection')} objects. Scaling of each side by up to {draws.scale:g} and "
        f"panning by up to {draws.shift:g} of it: {used('scaling and panning')} objects. "
        "±: standard error over the objects (of a mean of runs: over the runs). Different objects: two of them, "
        "nothing done to them; the floor of a cosine. Centred: the mean of all objects' features is taken away first. "
        "Paper: on COCO; it does not print how large its transforms are.",
        caption_justify="left",
    )
    table.add_column("run", overflow="fold")
    for name in (*TRANSFORMS, "different objects"):
        table.add_column(name.replace(" ", "\n", 1), justify="right", no_wrap=True)
    for key, word in (("cosine", ""), ("centred", "– centred")):
        error = "error" if key == "cosine" else "centred_error"
        for row in rows:
            found = row["found"]
            cells = [number(found[name][key], found[name][error]) for name in TRANSFORMS]
            floor = number(found["different objects"]["cosine"]) if key == "cosine" else ""
            table.add_row(f"{named(row)} {word}".strip(), *cells, floor)
        for several in ([rows[k] for k in group] for group in groups):
            cells = []
            for name in TRANSFORMS:
                values = [row["found"][name][key] for row in several if row["found"][name][key] is not None]
                spread = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
                cells.append(number(statistics.mean(values) if values else None, spread))
            table.add_row(f"{several[0]['method']}, mean of {len(several)} runs {word}".strip(), *cells, "")
        table.add_section()
    for method, printed in PAPER.items():
        table.add_row(f"paper: {method}", *(f"{printed[name]:.2f}" for name in TRANSFORMS), "")
    wide().print(table)


def named(row: dict[str, Any]) -> str:
    """The run, and its method where its name does not say it."""
    return row["run"] if row["run"] == row["method"] else f"{row['run']} ({row['method']})"


def number(value: float | None, error: float | None = None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if error is None else f"{value:.3f}±{error:.3f}"
