"""The command: which cases, the table, the JSON file."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

TOLERANCE = 1e-4  # relative to the largest output: float32 positions on a wide map round differently


@dataclasses.dataclass
class BenchConfig:
    """What is timed. Nothing else should be running.

    Args:
        rois: regions per call.
        channels: channels of the feature map.
        threads: torch's threads; 0 keeps its own choice.
        repeats: timed calls of each contender.
        only: time only operations whose name contains this.
        json: also write the numbers to this file.
    """

    rois: int = 1000
    channels: int = 256
    threads: int = 0
    repeats: int = 9
    only: str = ""
    json: Path | None = None


def main(arguments: Sequence[str]) -> int:
    from roikit.train.errors import RunError
    from roikit.train.parse import Parser

    parser = Parser(prog="roikit bench", description="Speed of the region poolings beside torchvision's, in one run.")
    parser.add_class_arguments(BenchConfig)
    config = BenchConfig(**vars(parser.parse_args(list(arguments))))
    for name in ("rois", "channels", "repeats"):
        if getattr(config, name) < 1:
            raise RunError(f"--{name} must be at least 1, not {getattr(config, name)}")
    if config.json is not None and not config.json.absolute().parent.is_dir():
        raise RunError(f"--json: the folder {config.json.absolute().parent} does not exist")
    if config.threads > 0:
        torch.set_num_threads(config.threads)
    rows = run(config)
    if config.json is not None:
        config.json.write_text(json.dumps({"machine": machine(), "config": settings(config), "rows": rows}, indent=1))
        print(f"written to {config.json}")
    return 0 if all(row["agrees"] for row in rows) else 1


def run(config: BenchConfig) -> list[dict[str, Any]]:
    """Time all cases and print the table."""
    from rich.console import Console
    from rich.table import Table

    from . import measure
    from .cases import cases

    console = Console()
    facts = machine()
    table = Table(
        title=f"{config.rois} RoIs, {config.channels} channels, 7×7, float32, {torch.get_num_threads()} threads, "
        f"median of {config.repeats} (ms, and the range of the middle half)",
        caption=f"{facts['cpu']}; torch {facts['torch']}, torchvision {facts['torchvision']}. NCHW and channels-last: "
        "in and out. × is torchvision's time over roikit's. The copy is of the output (backward: of the features' "
        "gradient) into memory allocated the same way.",
    )
    for column in ("operation", "map", "", "torchvision", "roikit NCHW", "×", "roikit channels-last", "×", "copy"):
        table.add_column(column, justify="left" if column in ("operation", "map", "") else "right", no_wrap=True)
    rows: list[dict[str, Any]] = []
    with console.status("") as status:
        for case in cases(config.rois, config.channels):
            if config.only.lower() not in case.name.lower():
                continue
            status.update(f"{case.name} on {case.map}")
            agrees = case.peer is None or measure.disagreement(case) < TOLERANCE
            for direction, timed in (("forward", measure.forward), ("backward", measure.backward)):
                times = timed(case, config.repeats)
                row = {"operation": case.name, "map": case.map, "direction": direction, "agrees": agrees}
                rows.append({**row, **{name: dataclasses.asdict(t) for name, t in times.items()}})
                table.add_row(case.name, case.map, direction, *cells(times, agrees))
    console.print(table)
    if not all(row["agrees"] for row in rows):
        console.print("roikit and torchvision disagree on an operation: its ratios are withheld. Please report this.")
    return rows


def cells(times: dict[str, Any], agrees: bool) -> list[str]:
    """One row's numbers; no ratio is shown for an operation whose output is wrong."""

    def show(name: str) -> str:
        if name not in times:
            return "–"
        t = times[name]
        return f"{t.median:.1f} ({t.low:.1f}–{t.high:.1f})"

    def ratio(name: str) -> str:
        if "torchvision" not in times:
            return "–"
        return f"{times['torchvision'].median / times[name].median:.1f}" if agrees else "withheld"

    return [show("torchvision"), show("nchw"), ratio("nchw"), show("last"), ratio("last"), show("copy")]


def settings(config: BenchConfig) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(config).items() if key != "json"}


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    import torchvision

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
    }
