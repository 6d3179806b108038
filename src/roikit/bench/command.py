"""The command: which cases are timed, what is shown, what is written. `python -m benchmarks.speed` extends it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from roikit.train.errors import RunError

from . import table, torchvision
from .cases import Case, standard
from .machine import described, file_name, machine
from .operations import OPERATIONS, matching
from .peers import Peer, present
from .rows import DIRECTIONS, Plan, Row, measure

PEERS = {"torchvision": torchvision.PEER}
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
        threads: torch's threads; 0 keeps its own choice.
        repeats: Timed calls of each contender at most, in turns.
        seconds: No further turn of a case begins after so long, once there were three.
        directions: What is timed, of forward, backward and both (one after the other), with commas between.
        only: Time only operations whose name contains this.
        gate: Show no ratio for an operation whose kernel does not give what its definition gives.
        quick: Small maps and few turns, to see that everything runs. Its times mean nothing.
        json: Also write the numbers to this file, or into this folder, named after the machine.
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
    gate: bool = True
    quick: bool = False
    json: Path | None = None


Config = TypeVar("Config", bound=BenchConfig)


def main(arguments: Sequence[str]) -> int:
    about = "Speed of the region poolings beside torchvision's, in one run. `python -m benchmarks.speed` has more."
    config = parse(BenchConfig, arguments, "roikit bench", about)
    base, operations, directions = check(config)
    jobs = Jobs(base, {case: directions for case in standard(base, operations)}, *present(PEERS, config.device))
    with threads(config.threads):
        return run(config, jobs)


def parse(kind: type[Config], arguments: Sequence[str], program: str, about: str) -> Config:
    """The configuration; ``--quick`` alone means ``--quick=true``, and so on."""
    from roikit.train.parse import Parser

    parser = Parser(prog=program, description=about)
    parser.add_class_arguments(kind)
    flags = [f"--{field.name}" for field in dataclasses.fields(kind) if field.type == "bool"]
    config = kind(**vars(parser.parse_args([f"{a}=true" if a in flags else a for a in arguments])))
    if config.quick:
        for name, value in QUICK.items():
            if getattr(config, name) == getattr(BenchConfig, name):
                setattr(config, name, value)
    return config


@dataclasses.dataclass(frozen=True)
class Jobs:
    """What is done, checked before anything is timed.

    Args:
        base: the settings that cases share.
        cases: the directions in which each is timed.
        peers, absent: who takes part, and why others do not.
    """

    base: Case
    cases: Mapping[Case, Sequence[str]]
    peers: Mapping[str, Peer]
    absent: Mapping[str, str]


def check(config: BenchConfig) -> tuple[Case, list[str], list[str]]:
    """The settings that cases share, the operations and the directions.

    Raises:
        RunError: a value is out of range, a name unknown, a file cannot be written, a GPU absent.
    """
    for name in ("rois", "channels", "batch", "repeats"):
        if getattr(config, name) < 1:
            raise RunError(f"--{name} must be at least 1, not {getattr(config, name)}")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise RunError("--device cuda: torch finds no GPU here; `roikit info` says what there is")
    for name, path in vars(config).items():
        if isinstance(path, Path) and not path.absolute().parent.is_dir():
            raise RunError(f"--{name}: the folder {path.absolute().parent} does not exist")
    directions = names("directions", config.directions, DIRECTIONS)
    if not directions:
        raise RunError(f"--directions is empty: name some of {', '.join(DIRECTIONS)}")
    chosen = matching(config.only)
    if not chosen:
        raise RunError(f"--only: no operation's name contains {config.only!r}; they are {', '.join(OPERATIONS)}")
    base = Case("", "", config.rois, config.channels, config.batch, config.dtype, config.device, config.quick)
    return base, chosen, directions


def names(flag: str, text: str, known: Sequence[str]) -> list[str]:
    """Those in the text of a flag, with commas between."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    for name in found:
        if name not in known:
            raise RunError(f"--{flag}: {name!r} is not one of {', '.join(known)}")
    return found


@contextlib.contextmanager
def threads(wanted: int) -> Iterator[None]:
    """torch's threads, put back at the end; 0 keeps them."""
    before = torch.get_num_threads()
    if wanted:
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run(config: BenchConfig, jobs: Jobs) -> int:
    """Time everything, show it, write it; 0, or 1 where a ratio had to be withheld."""
    from rich.console import Console

    console, facts = Console(), machine(config.device)
    with console.status("") as status:
        rows = timed(config, jobs, status.update)
    show(console, config, jobs, facts, rows, table.names(PEERS))
    write(console, config, "bench", facts, rows, {})
    return ended(rows)


def timed(config: BenchConfig, jobs: Jobs, say: Callable[[str], None]) -> list[Row]:
    """The rows of every case."""
    rows: list[Row] = []
    checked: dict[tuple, str | None] = {}
    for at, (case, directions) in enumerate(jobs.cases.items()):
        say(f"{at + 1} of {len(jobs.cases)}: {case.of.label}, {case.differs(jobs.base)}")
        plan = Plan(directions, config.repeats, config.seconds, config.gate)
        rows += measure(case, jobs.peers, plan, checked)
    return rows


def show(
    console: Any,
    config: BenchConfig,
    jobs: Jobs,
    facts: dict[str, Any],
    rows: Sequence[Row],
    shown: Mapping[str, str],
    more: Sequence[str] = (),
) -> tuple[table.Grid, str]:
    """The table of operations on the screen and the lines below it; the result is the table and the first of these.

    Args:
        shown: the contenders' names.
        more: further lines.
    """
    title = f"{config.rois} RoIs, {config.channels} channels, 7×7 parts, batch {config.batch}, {config.dtype}; ms"
    if config.quick:
        title += " (quick: these times mean nothing)"
    below = f"{described(facts)}. At most {config.repeats} turns. {ABOUT}"
    absent = [f"not timed: {name} ({why})" for name, why in jobs.absent.items()]
    grid = table.operations(rows, jobs.base, shown)
    table.show(console, grid, title)
    for line in [below, *absent, *more, *table.remarks(rows, shown)]:
        console.print(line, soft_wrap=True, highlight=False)
    return grid, below


def write(
    console: Any,
    config: BenchConfig,
    kind: str,
    facts: dict[str, Any],
    rows: Sequence[Row],
    more: Mapping[str, Any],
) -> None:
    """The JSON file, where one is wanted; in a folder it is named after its kind and the machine."""
    if config.json is None:
        return
    path = config.json / f"{kind}-{file_name(facts)}.json" if config.json.is_dir() else config.json
    settings = {key: value for key, value in vars(config).items() if not isinstance(value, Path | None)}
    content = {"machine": facts, "config": settings, "rows": [row.as_json() for row in rows], **more}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    console.print(f"written to {path}")


def ended(rows: Sequence[Row]) -> int:
    """The exit code: 1 where a ratio had to be withheld."""
    wrong = [v for row in rows for v in row.verdicts.values() if not v.agrees and not v.contradicts_itself]
    return 1 if wrong or any(row.refused for row in rows) else 0
