"""The command: which cases are timed, what is shown, what is written."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from roikit.train.errors import RunError

from . import plot, promises, startup, table, targets
from .cases import SWEEPS, Case, standard, swept
from .machine import described, file_name, machine
from .operations import OPERATIONS, matching
from .peaks import with_peaks
from .peers import Peer, choose
from .rows import DIRECTIONS, Plan, Row, measure

QUICK = {"rois": 12, "channels": 16, "repeats": 3, "seconds": 0.0}
ABOUT = (
    "× is a contender's time over roikit's, NCHW and channels-last, in and out; ± is half of the range of the middle "
    "half. The copy is of the output (backward: of the maps, as large as their gradient) into memory allocated the "
    "same way."
)


@dataclasses.dataclass
class BenchConfig:
    """What is timed. Nothing else should be running.

    Args:
        rois: Regions per call, over all images.
        channels: Channels of the feature maps; position-sensitive ones have a multiple of 49, 490 for 256.
        batch: Images.
        dtype: Type of the maps.
        device: "cuda" times on the GPU, between events of its stream.
        threads: torch's threads; 0 keeps its own choice, with --targets on a CPU it means 2.
        repeats: Timed calls of each contender at most, in turns.
        seconds: No further turn of a case begins after so long, once there were three.
        directions: What is timed, of forward, backward and both (one after the other), with commas between.
        only: Time only operations whose name contains this.
        peers: Libraries to compare with, of torchvision, onnxruntime, openvino, mmcv, with commas between; nothing
            means all that can run here.
        sweep: Instead of every operation once, vary RoIAlign's (or that of --only) rois (10 to 10,000), channels
            (64 to 1024), batch (1 and 8) or dtypes, one at a time; names with commas between, or all.
        targets: Time every operation and what the targets need, and print the table of targets.
        memory: Also measure each contender's peak memory, in a process of its own (Linux, CUDA).
        gate: Show no ratio for an operation whose kernel does not give what its definition gives.
        quick: Small maps and few turns, to see that everything runs. Its times mean nothing.
        json: Also write the numbers to this file, or into this folder, named after the machine.
        markdown: Also write the tables to this file.
        plot: Draw sweeps over rois and channels into this PNG file; makes both where --sweep names neither.
    """

    rois: int = 1000
    channels: int = 256
    batch: int = 1
    dtype: Literal["float32", "float64", "bfloat16", "float16"] = "float32"
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = 0
    repeats: int = 9
    seconds: float = 1.0
    directions: str = "forward,backward"
    only: str = ""
    peers: str = ""
    sweep: str = ""
    targets: bool = False
    memory: bool = False
    gate: bool = True
    quick: bool = False
    json: Path | None = None
    markdown: Path | None = None
    plot: Path | None = None


def main(arguments: Sequence[str]) -> int:
    from roikit.train.parse import Parser

    parser = Parser(
        prog="roikit bench", description="Speed of the region poolings beside other libraries', in one run."
    )
    parser.add_class_arguments(BenchConfig)
    config = BenchConfig(**vars(parser.parse_args([_flag(a) for a in arguments])))
    if config.quick:
        for name, value in QUICK.items():
            if getattr(config, name) == getattr(BenchConfig, name):
                setattr(config, name, value)
    jobs = Jobs.of(config)
    threads = config.threads or (2 if config.targets and config.device == "cpu" else 0)
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        return run(config, jobs)
    finally:
        torch.set_num_threads(before)


def _flag(argument: str) -> str:
    """``--targets`` alone means ``--targets=true``, and so on."""
    flags = [f"--{f.name}" for f in dataclasses.fields(BenchConfig) if f.type == "bool"]
    return f"{argument}=true" if argument in flags else argument


@dataclasses.dataclass(frozen=True)
class Jobs:
    """What is done, checked before anything is timed.

    Args:
        base: the settings that cases share.
        cases: the directions in which each is timed.
        promised: the targets.
        peers, absent: who takes part, and why others do not.
    """

    base: Case
    cases: dict[Case, list[str]]
    promised: list[targets.Target]
    peers: dict[str, Peer]
    absent: dict[str, str]

    @staticmethod
    def of(config: BenchConfig) -> Jobs:
        """
        Raises:
            RunError: a value is out of range, a name unknown, a file cannot be written, a peer or GPU absent.
        """
        for name in ("rois", "channels", "batch", "repeats"):
            if getattr(config, name) < 1:
                raise RunError(f"--{name} must be at least 1, not {getattr(config, name)}")
        if config.device == "cuda" and not torch.cuda.is_available():
            raise RunError("--device cuda: torch finds no GPU here; `roikit info` says what there is")
        for name in ("json", "markdown", "plot"):
            path = getattr(config, name)
            if path is not None and not path.absolute().parent.is_dir():
                raise RunError(f"--{name}: the folder {path.absolute().parent} does not exist")
        directions = _names("directions", config.directions, DIRECTIONS)
        if not directions:
            raise RunError(f"--directions is empty: name some of {', '.join(DIRECTIONS)}")
        sweeps = _names("sweep", config.sweep, (*SWEEPS, "all"))
        if "all" in sweeps:
            sweeps = list(SWEEPS)
        if config.plot is not None and not {"rois", "channels"} & set(sweeps):
            sweeps += ["rois", "channels"]
        chosen = matching(config.only)
        if not chosen:
            raise RunError(f"--only: no operation's name contains {config.only!r}; they are {', '.join(OPERATIONS)}")
        try:
            peers, absent = choose([name for name in config.peers.split(",") if name], config.device)
        except ValueError as error:
            raise RunError(str(error)) from None
        base = Case("", "", config.rois, config.channels, config.batch, config.dtype, config.device, config.quick)
        cases: dict[Case, list[str]] = {}
        if config.targets or not sweeps:
            cases |= {case: list(directions) for case in standard(base, chosen)}
        cases |= {case: list(directions) for case in swept(base, chosen if config.only else ["roi_align"], sweeps)}
        promised = promises.promises(base) if config.targets else []
        for case, needed in targets.needed(promised).items():
            cases[case] = [d for d in DIRECTIONS if d in {*cases.get(case, []), *needed}]
        return Jobs(base, cases, promised, peers, absent)


def _names(flag: str, text: str, known: Sequence[str]) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise RunError(f"--{flag}: {name!r} is not one of {', '.join(known)}")
    return names


def run(config: BenchConfig, jobs: Jobs) -> int:
    """Time everything, show it, write it; 0, or 1 where a ratio had to be withheld."""
    from rich.console import Console

    console, facts = Console(), machine(config.device)
    rows: list[Row] = []
    checked: dict[tuple, str | None] = {}
    with console.status("") as status:
        for at, (case, directions) in enumerate(jobs.cases.items()):
            status.update(f"{at + 1} of {len(jobs.cases)}: {case.of.label}, {case.differs(jobs.base)}")
            plan = Plan(directions, config.repeats, config.seconds, config.gate)
            rows += measure(case, jobs.peers, plan, checked)
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
    grown = table.growth(rows)
    grids = [table.operations(rows, jobs.base)] + ([table.outcomes(outcomes)] if outcomes else [])
    title = f"{config.rois} RoIs, {config.channels} channels, 7×7 parts, batch {config.batch}, {config.dtype}; ms"
    if config.quick:
        title += " (quick: these times mean nothing)"
    below = f"{described(facts)}. At most {config.repeats} turns. {ABOUT}"
    table.show(console, grids[0], title)
    for line in [below, *_said(jobs, rows, grown)]:
        console.print(line, soft_wrap=True, highlight=False)
    if outcomes:
        table.show(console, grids[1], "Targets")
    if config.markdown is not None:
        config.markdown.write_text("\n".join([table.markdown(grids[0]), below, "", *map(table.markdown, grids[1:])]))
        console.print(f"written to {config.markdown}")
    if config.json is not None:
        name = f"{'targets' if config.targets else 'bench'}-{file_name(facts)}.json"
        path = config.json / name if config.json.is_dir() else config.json
        content = {
            "machine": facts,
            "config": _settings(config),
            "rows": [row.as_json() for row in rows],
            "growth": grown,
            "targets": [dataclasses.asdict(outcome) for outcome in outcomes],
            "startup": None if started is None else dataclasses.asdict(started),
        }
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        console.print(f"written to {path}")
    if config.plot is not None:
        where = f"{config.dtype}, 7×7 parts; {described(facts)}"
        plot.draw(rows, jobs.base, "Time of a region pooling", where, config.plot)
        console.print(f"written to {config.plot}")
    wrong = [v for row in rows for v in row.verdicts.values() if not v.agrees and not v.contradicts_itself]
    return 1 if wrong or any(row.refused for row in rows) else 0


def _said(jobs: Jobs, rows: Sequence[Row], grown: Sequence[dict[str, Any]]) -> list[str]:
    """Lines below the tables."""
    lines = [f"not timed: {name} ({why})" for name, why in jobs.absent.items()]
    for one in grown:
        lines.append(
            f"{OPERATIONS[one['operation']].label} {one['direction']} on {one['map']}: from {one['from']} RoIs on the "
            f"time of {table.NAMES[one['contender']]} grows as R^{one['exponent']:.2f}"
        )
    return lines + table.remarks(rows)


def _settings(config: BenchConfig) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(config).items() if not isinstance(value, Path | None)}
