"""Peak memory of contenders, each in a process of its own.

One helper imports everything and forks for each contender. It runs no kernel and no thread before, so that the children
start alike and nothing that an earlier call left behind hides what a call needs.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from roikit.bench.cases import Case
from roikit.bench.rows import LAYOUTS, Row, ready

from . import resident
from .peers import PEERS

ROOT = Path(__file__).parent.parent


def with_peaks(rows: Sequence[Row]) -> list[Row]:
    """The rows with the peaks of their contenders, MB; "both" has none."""
    jobs: list[dict[str, Any]] = [
        {"case": dataclasses.asdict(row.case), "direction": row.direction, "contender": name}
        for row in rows
        for name in row.times
        if row.direction != "both" and name not in ("copy", "deterministic")
    ]
    found: list[float | None] = []
    if jobs and jobs[0]["case"]["device"] == "cuda":
        found = [_on_cuda(job) for job in jobs]
    elif jobs and resident.available():
        found = _on_cpu(jobs)
    peaks: dict[tuple[Case, str], dict[str, float]] = {}
    for job, megabytes in zip(jobs, found, strict=False):  # none where they cannot be read
        if megabytes is not None:
            peaks.setdefault((Case(**job["case"]), job["direction"]), {})[job["contender"]] = megabytes
    return [dataclasses.replace(row, peaks=peaks.get((row.case, row.direction), {})) for row in rows]


def _on_cpu(jobs: Sequence[dict[str, Any]]) -> list[float | None]:
    command = [sys.executable, "-m", "benchmarks.peaks"]
    given = json.dumps({"threads": torch.get_num_threads(), "jobs": jobs})
    done = subprocess.run(command, input=given, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return json.loads(done.stdout)


def _on_cuda(job: dict[str, Any]) -> float:
    _prepared(job, quick=True)()
    call = _prepared(job)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    out = call()
    torch.cuda.synchronize()
    del out
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def _prepared(job: dict[str, Any], quick: bool = False) -> Any:
    """The call of a contender; quick: on small maps, which loads libraries, kernels and threads."""
    case = Case(**job["case"])
    if quick:
        case = dataclasses.replace(case, quick=True, rois=8)
    scene, name, direction = case.scene(), job["contender"], job["direction"]
    rival = None if name in LAYOUTS else PEERS[name].rival(case.operation, scene)
    with torch.set_grad_enabled(direction != "forward"):
        ready_call = ready(case, scene, name, rival, direction)

    def call() -> object:
        with torch.set_grad_enabled(direction != "forward"):
            return ready_call()

    return call


def _in_a_child(job: dict[str, Any], threads: int) -> float | None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            torch.set_num_threads(threads)
            _prepared(job, quick=True)()
            os.write(writing, repr(resident.peak(_prepared(job))).encode())
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return float(said) if said else None


def main() -> None:
    import importlib

    for module in ("torchvision.ops", "numba"):
        try:
            importlib.import_module(module)
        except ImportError:
            continue
    given = json.load(sys.stdin)
    json.dump([_in_a_child(job, given["threads"]) for job in given["jobs"]], sys.stdout)


if __name__ == "__main__":
    main()
