"""`roikit bench` with more: every library that is here, sweeps, memory, start-up, the targets of docs/performance.md.

python -m benchmarks.speed --targets --seconds 10 --json benchmarks/results/ --markdown tables.md
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from roikit import cli
from roikit.bench import table
from roikit.bench.cases import Case, standard
from roikit.bench.command import BenchConfig, Jobs, check, ended, names, parse, show, threads, timed, write
from roikit.bench.machine import described, machine
from roikit.bench.operations import OPERATIONS
from roikit.bench.rows import DIRECTIONS
from roikit.train.errors import RunError

from . import plot, promises, startup, targets
from .peaks import with_peaks
from .peers import NAMES, choose
from .sweeps import SWEEPS, growth, swept

PROGRAM = "python -m benchmarks.speed"


@dataclasses.dataclass
class SpeedConfig(BenchConfig):
    """What is timed. Nothing else should be running.

    Args:
        threads: torch's threads; 0 keeps its own choice, with --targets on a CPU it means 2.
        peers: Libraries to compare with, of torchvision, onnxruntime, openvino, mmcv, with commas between; nothing
            means all that can run here.
        sweep: Instead of every operation once, vary RoIAlign's (or that of --only) rois (10 to 10,000), channels
            (64 to 1024), batch (1 and 8) or dtypes, one at a time; names with commas between, or all.
        targets: Time every operation and what the targets need, and print the table of targets.
        memory: Also measure each contender's peak memory, in a process of its own (Linux, CUDA).
        markdown: Also write the tables to this file.
        plot: Draw sweeps over rois and channels into this PNG file; makes both where --sweep names neither.
    """

    peers: str = ""
    sweep: str = ""
    targets: bool = False
    memory: bool = False
    markdown: Path | None = None
    plot: Path | None = None


@dataclasses.dataclass(frozen=True)
class SpeedJobs(Jobs):
    """With the targets."""

    promised: list[targets.Target]

    @staticmethod
    def of(config: SpeedConfig) -> SpeedJobs:
        """
        Raises:
            RunError: as `check`, or a peer is absent.
        """
        base, chosen, directions = check(config)
        sweeps = names("sweep", config.sweep, (*SWEEPS, "all"))
        if "all" in sweeps:
            sweeps = list(SWEEPS)
        if config.plot is not None and not {"rois", "channels"} & set(sweeps):
            sweeps += ["rois", "channels"]
        try:
            peers, absent = choose([name for name in config.peers.split(",") if name], config.device)
        except ValueError as error:
            raise RunError(str(error)) from None
        cases: dict[Case, list[str]] = {}
        if config.targets or not sweeps:
            cases |= {case: directions for case in standard(base, chosen)}
        cases |= {case: directions for case in swept(base, chosen if config.only else ["roi_align"], sweeps)}
        promised = promises.promises(base) if config.targets else []
        for case, needed in targets.needed(promised).items():
            cases[case] = [d for d in DIRECTIONS if d in {*cases.get(case, []), *needed}]
        return SpeedJobs(base, cases, peers, absent, promised)


def main(arguments: Sequence[str]) -> int:
    about = "Speed of the region poolings beside other libraries', in one run."
    config = parse(SpeedConfig, arguments, PROGRAM, about)
    jobs = SpeedJobs.of(config)
    with threads(config.threads or (2 if config.targets and config.device == "cpu" else 0)):
        return run(config, jobs)


def run(config: SpeedConfig, jobs: SpeedJobs) -> int:
    """Time everything, show it, write it; 0, or 1 where a ratio had to be withheld."""
    from rich.console import Console

    console, facts = Console(), machine(config.device)
    with console.status("") as status:
        rows = timed(config, jobs, status.update)
        status.update("peak memory")
        if config.memory:
            rows = with_peaks(rows)
        elif jobs.promised:
            wanted = [t.case for t in jobs.promised if isinstance(t, targets.Memory)]
            measured = with_peaks([row for row in rows if row.case in wanted and row.direction == "forward"])
            by_place = {(row.case, row.direction): row for row in measured}
            rows = [by_place.get((row.case, row.direction), row) for row in rows]
        status.update("start-up")
        started = startup.measure(1 if config.quick else 5) if jobs.promised and config.device == "cpu" else None
    outcomes = [target.outcome(rows) for target in jobs.promised]
    if started is not None:
        outcomes += targets.started(started)
    grown = growth(rows)
    said = [
        f"{OPERATIONS[one['operation']].label} {one['direction']} on {one['map']}: from {one['from']} RoIs on the time "
        f"of {NAMES[one['contender']]} grows as R^{one['exponent']:.2f}"
        for one in grown
    ]
    grid, below = show(console, config, jobs, facts, rows, NAMES, said)
    grids = [targets.outcomes(outcomes)] if outcomes else []
    for each in grids:
        table.show(console, each, "Targets")
    if config.markdown is not None:
        config.markdown.write_text("\n".join([markdown(grid), below, "", *map(markdown, grids)]))
        console.print(f"written to {config.markdown}")
    found = {
        "growth": grown,
        "targets": [dataclasses.asdict(outcome) for outcome in outcomes],
        "startup": None if started is None else dataclasses.asdict(started),
    }
    write(console, config, "targets" if config.targets else "bench", facts, rows, found)
    if config.plot is not None:
        where = f"{config.dtype}, 7×7 parts; {described(facts)}"
        plot.draw(rows, jobs.base, "Time of a region pooling", where, config.plot)
        console.print(f"written to {config.plot}")
    return ended(rows)


def markdown(grid: table.Grid) -> str:
    """A table that a page can hold."""
    rows = [grid.head, ["---"] * len(grid.head), *grid.lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows) + "\n"


if __name__ == "__main__":
    sys.exit(cli.run(PROGRAM, lambda: main(sys.argv[1:])))
