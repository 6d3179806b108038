"""The rows of a table trained one after the other, each in a process of its own; what is done is not done again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from roikit.train.errors import RunError
from roikit.train.parse import changes, normal, parse
from roikit.train.runfolder import RunFolder

from .paired import Difference, Measured, difference, pooled
from .papertable import PaperTable, Row


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


def run(
    jobs: Sequence[Job],
    say: Callable[[str], None],
    *,
    at_once: int = 1,
    threads: int | None = None,
    then: Callable[[Job], None] = lambda job: None,
) -> None:
    """Train what is not done yet.

    Args:
        jobs, say: what to train, and where to say so.
        at_once: trainings side by side; of several, what each prints goes to a file beside its folder.
        threads: of each training; None: as many as torch takes.
        then: called after each training, and for those that are done already, one call at a time.

    Raises:
        RunError: a training ended with an error, which it printed.
        KeyboardInterrupt: Ctrl-C; the runs go on later.
    """
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    waiting, running = deque(enumerate(jobs, 1)), dict[int, tuple[Job, str, subprocess.Popen]]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                number, job = waiting.popleft()
                head = f"[{number}/{len(jobs)}] {job.row.label}" + (f", seed {job.seed}" if job.seed else "")
                if job.done:
                    say(f"{head}: done, {job.folder.path}")
                    then(job)
                    continue
                say(f"{head}: {'goes on' if job.folder.config.exists() else 'starts'}, {job.folder.path}")
                running[number] = (job, head, _start(job, environment, quiet=at_once > 1))
            for number, (job, head, process) in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[number]
                if code == 130:
                    raise KeyboardInterrupt
                if code:
                    where = f"see {_output(job)}" if at_once > 1 else "see above"
                    raise RunError(f"the training of row {job.row.label!r} ended with exit code {code}; {where}")
                if at_once > 1:
                    say(f"{head}: ended")
                then(job)
            if running:
                time.sleep(0.2)
    finally:  # Ctrl-C: the trainings have it too, and say how to go on; after an error the others are stopped so
        for _, _, process in running.values():
            if process.poll() is None and at_once > 1:
                process.send_signal(signal.SIGINT)
            process.wait()


def _output(job: Job) -> Path:
    return job.folder.path.with_name(job.folder.path.name + ".txt")


def _start(job: Job, environment: Mapping[str, str], *, quiet: bool) -> subprocess.Popen:
    if not quiet:
        return subprocess.Popen(job.command(), env=environment)
    job.folder.path.parent.mkdir(parents=True, exist_ok=True)
    with _output(job).open("a", encoding="utf-8") as file:
        return subprocess.Popen(job.command(), env=environment, stdout=file, stderr=subprocess.STDOUT)


@dataclass(frozen=True)
class Result:
    """What the runs of a row came to: percent by column for each seed (None where it was not measured), training
    seconds, and the first column's difference from the table's first row, where both have a seed."""

    row: Row
    ours: dict[str, list[float | None]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    less: Difference | None = None
    interval: tuple[float, float] | None = None

    def cell(self, column: str) -> str:
        """'43.8', or the mean and the standard deviation of several seeds, '43.8 ± 0.4'; '-' where there is none."""
        values = [value for value in self.ours.get(column, []) if value is not None]
        if not values:
            return "-"
        spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
        return f"{mean(values):.1f}{spread}"

    def apart(self) -> str:
        """'+1.5 (+0.9 … +2.1)', the difference and its interval of 95%; '' for the first row and for one seed."""
        if self.less is None or self.interval is None:
            return ""
        return f"{self.less.mean:+.1f} ({self.interval[0]:+.1f} … {self.interval[1]:+.1f})"


def results(table: PaperTable, jobs: Sequence[Job]) -> Iterator[Result]:
    """Rows that have ended runs, in the table's order."""
    found = []
    for row in table.rows:
        own = {job.seed: job.metrics() for job in jobs if job.row == row and job.done}
        if own:
            ours = {column: [_percent(metrics, column) for metrics in own.values()] for column in table.columns}
            found.append(Result(row, ours, [m["train_seconds"] for m in own.values()], list(own)))
    first = table.columns[0]
    base = _measured(found[0], first) if found and found[0].row == table.rows[0] else {}
    apart = {r.row.run: d for r in found[1:] if (d := difference(_measured(r, first), base)) is not None}
    spread = pooled(apart.values())
    for result in found:
        less = apart.get(result.row.run)
        yield replace(result, less=less, interval=None if less is None else less.interval(spread))


def _measured(result: Result, column: str) -> dict[int, Measured]:
    pairs = zip(result.seeds, result.ours[column], strict=True)
    return {seed: Measured(value) for seed, value in pairs if value is not None}


def _percent(metrics: dict[str, Any], column: str) -> float | None:
    """A column of METRICS in a run's metrics.json; None where it was not measured."""
    kind, name = ("segm", column.removeprefix("mask_")) if column.startswith("mask_") else ("bbox", column)
    value = metrics.get(kind, {}).get(name)
    return None if value is None else 100 * value


def as_json(table: PaperTable, scale: str, found: Sequence[Result]) -> dict[str, Any]:
    """Everything, to keep."""
    rows = [
        {
            "label": r.row.label,
            "run": r.row.run,
            "paper": r.row.paper,
            "ours": r.ours,
            "seeds": r.seeds,
            "interval": r.interval,
            "train_seconds": r.seconds,
        }
        for r in found
    ]
    return {"title": table.title, "scale": scale, "columns": list(table.columns), "rows": rows}


def as_markdown(table: PaperTable, scale: str, found: Sequence[Result]) -> str:
    """The table for a page: ours, then how far from the first row (of several seeds), then the paper's AP."""
    first = table.columns[0]
    several = any(result.interval for result in found)
    more = [f"{first} less {found[0].row.label}, 95%"] if several else []
    lines = [
        f"{table.title}; ours on {scale}, in percent.",
        "",
        f"| | {' | '.join([*table.columns, *more])} | paper's {first} | training |",
        "|---|" + "---|" * (len(table.columns) + len(more) + 2),
    ]
    for result in found:
        paper = f"{result.row.paper[first]:.1f}" if result.row.paper else "–"
        cells = [*(result.cell(column) for column in table.columns), *([result.apart()] if several else [])]
        lines.append(f"| {result.row.label} | {' | '.join(cells)} | {paper} | {mean(result.seconds):.0f} s |")
    return "\n".join(lines) + "\n"
