"""The rows of a table trained one after the other, each in a process of its own; what is done is not done again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from .errors import RunError
from .papertable import PaperTable, Row
from .parse import changes, normal, parse
from .runfolder import RunFolder


@dataclass(frozen=True)
class Job:
    """One training: a row with a seed.

    Attributes:
        row: of the table.
        seed: of the run.
        folder: the run folder.
        arguments: of `roikit train` for a new run, without the folder.
    """

    row: Row
    seed: int
    folder: RunFolder
    arguments: tuple[str, ...]

    @property
    def done(self) -> bool:
        return self.folder.metrics.exists()

    def check(self) -> None:
        """Raise a `RunError` where the folder holds a run with other settings, or something else."""
        _, text = parse(list(self.arguments))
        if not self.folder.config.exists():
            self.folder.check_new()
            return
        different = changes(normal(self.folder.config), text)
        if different:
            raise RunError(
                f"{self.folder.path}: was trained with other settings ({'; '.join(different[:3])}); choose another "
                "--out, or remove this folder to train the row again"
            )

    def command(self) -> list[str]:
        """The command that makes the run, or goes on with it."""
        head = [sys.executable, "-m", "roikit", "train"]
        if self.folder.config.exists():
            return [*head, "--resume", str(self.folder.path)]
        return [*head, *self.arguments, "--out", str(self.folder.path)]

    def metrics(self) -> dict[str, Any]:
        return json.loads(self.folder.metrics.read_text(encoding="utf-8"))


def plan(
    table: PaperTable, scale: str, out: Path, *, rows: Sequence[str] | None, seeds: int, further: Sequence[str]
) -> list[Job]:
    """The trainings of a table, seed after seed, so that a stopped comparison has whole tables of fewer seeds.

    Args:
        table, scale: what to train.
        out: the folder of the run folders.
        rows: names of rows; None: all.
        seeds: seeds 0, 1, …
        further: arguments of `roikit train` for every run.

    Raises:
        RunError: a row without a configuration, or a run folder that does not fit.
    """
    jobs = []
    for seed in range(seeds):
        for row in table.chosen(rows):
            arguments = ["--config", str(table.config(row, scale)), "--seed", str(seed), *further]
            name = row.run if seed == 0 else f"{row.run}-seed{seed}"
            jobs.append(Job(row, seed, RunFolder(out / name), tuple(arguments)))
    for job in jobs:
        job.check()
    return jobs


def run(jobs: Sequence[Job], say: Callable[[str], None]) -> None:
    """Train what is not done yet.

    Raises:
        RunError: a training ended with an error, which it printed.
        KeyboardInterrupt: Ctrl-C; the run goes on later.
    """
    for number, job in enumerate(jobs, 1):
        head = f"[{number}/{len(jobs)}] {job.row.label}" + (f", seed {job.seed}" if job.seed else "")
        if job.done:
            say(f"{head}: done, {job.folder.path}")
            continue
        say(f"{head}: {'goes on' if job.folder.config.exists() else 'starts'}, {job.folder.path}")
        process = subprocess.Popen(job.command())
        try:
            code = process.wait()
        except KeyboardInterrupt:  # the training has it too, and says how to go on
            process.wait()
            raise
        if code == 130:
            raise KeyboardInterrupt
        if code:
            raise RunError(f"the training of row {job.row.label!r} ended with exit code {code}; see above")


@dataclass(frozen=True)
class Result:
    """What the runs of a row came to: percent by column for each seed, training seconds."""

    row: Row
    ours: dict[str, list[float]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    def cell(self, column: str) -> str:
        """'43.8', or the mean and the standard deviation of several seeds, '43.8 ± 0.4'; '-' where there is none."""
        values = self.ours.get(column, [])
        if not values:
            return "-"
        spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
        return f"{mean(values):.1f}{spread}"


def results(table: PaperTable, jobs: Sequence[Job]) -> Iterator[Result]:
    """Rows that have ended runs, in the table's order."""
    for row in table.rows:
        own = [job.metrics() for job in jobs if job.row == row and job.done]
        if own:
            found = {column: [_measured(metrics, column) for metrics in own] for column in table.columns}
            ours = {column: [100 * value for value in values if value is not None] for column, values in found.items()}
            yield Result(row, ours, [m["train_seconds"] for m in own])


def _measured(metrics: dict[str, Any], column: str) -> float | None:
    """A column of METRICS in a run's metrics.json; None where it was not measured."""
    kind, name = ("segm", column.removeprefix("mask_")) if column.startswith("mask_") else ("bbox", column)
    return metrics.get(kind, {}).get(name)


def as_json(table: PaperTable, scale: str, found: Sequence[Result]) -> dict[str, Any]:
    """Everything, to keep."""
    rows = [
        {"label": r.row.label, "run": r.row.run, "paper": r.row.paper, "ours": r.ours, "train_seconds": r.seconds}
        for r in found
    ]
    return {"title": table.title, "scale": scale, "columns": list(table.columns), "rows": rows}


def as_markdown(table: PaperTable, scale: str, found: Sequence[Result]) -> str:
    """The table for a page: ours, then the paper's AP."""
    first = table.columns[0]
    lines = [
        f"{table.title}; ours on {scale}, in percent.",
        "",
        f"| | {' | '.join(table.columns)} | paper's {first} | training |",
        "|---|" + "---|" * (len(table.columns) + 2),
    ]
    for result in found:
        paper = f"{result.row.paper[first]:.1f}" if result.row.paper else "–"
        cells = [result.cell(column) for column in table.columns]
        lines.append(f"| {result.row.label} | {' | '.join(cells)} | {paper} | {mean(result.seconds):.0f} s |")
    return "\n".join(lines) + "\n"
