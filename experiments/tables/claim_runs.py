"""The runs behind a file of claims, and what is kept of them: a small JSON file a row, with every seed.

A row whose file holds a seed with the configuration of today is done, wherever it was trained: the file, not the run,
is the result, and lies in the repository.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roikit.train.checkpoint import write_atomically
from roikit.train.errors import RunError
from roikit.train.parse import changes, filled, parse
from roikit.train.runfolder import RunFolder

from .claims import Claims
from .comparing import Job, run
from .papertable import Row

_KEPT = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "resampled_AP")
# Flags of `roikit analyze NAME RUN --out FILE`, and the flags that its runs are trained with.
_FLAGS = {"divergence": ("--objects=60",), "invariance": ("--objects=100",), "diversity": ("--objects=100",)}
_TRAIN = {"divergence": ("--keep_checkpoints=0", "--save_every=150")}


@dataclass(frozen=True)
class Store:
    """The folder of results."""

    folder: Path

    def file(self, row: str) -> Path:
        return self.folder / f"{row.replace('/', '-')}.json"

    def read(self, row: str) -> dict[str, Any]:
        """`{"config": YAML, "seeds": {"0": numbers, …}}`; empty where there is none."""
        file = self.file(row)
        if not file.exists():
            return {"config": None, "seeds": {}}
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(f"{file}: is no JSON ({error}); remove it to train its row again") from None

    def results(self, rows: Iterable[str]) -> dict[str, dict[int, dict[str, Any]]]:
        return {row: {int(seed): found for seed, found in self.read(row)["seeds"].items()} for row in rows}

    def add(self, row: str, seed: int, config: str, numbers: dict[str, Any]) -> None:
        content = self.read(row)
        content["config"] = config
        content["seeds"] = dict(sorted((content["seeds"] | {str(seed): numbers}).items()))
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.file(row), (json.dumps(content, indent=1) + "\n").encode())


def train_claims(
    claims: Claims,
    store: Store,
    out: Path,
    *,
    seeds: int,
    rows: Iterable[str] | None,
    at_once: int,
    keep: bool,
    say: Callable[[str], None],
) -> None:
    """Train every row of the claims with every seed that the store does not hold yet, on one thread each.

    Args:
        claims, store: what to train, and where the results are kept.
        out: folder of the run folders.
        seeds: seeds 0, 1, …, one after the other, so that a stopped comparison has all rows of fewer seeds.
        rows: some of them; None: all.
        at_once: trainings side by side.
        keep: keep the run folders of rows whose results are in the store.
        say: gets lines.

    Raises:
        RunError: a result of another configuration, an unknown row, a training that ended with an error.
    """
    needed = claims.rows()
    for row in rows or ():
        if row not in needed:
            raise RunError(f"--rows: no claim of {claims.file} names {row!r}; rows are {', '.join(needed)}")
    arguments, texts, held = {}, {}, {}
    for row in needed if rows is None else rows:
        flags = [flag for name in sorted(needed[row]) for flag in _TRAIN.get(name, ())]
        arguments[row] = (f"--config={claims.config(row)}", *flags)
        texts[row] = _without_seed(parse(list(arguments[row]))[1])
        held[row] = _held(store, row, texts[row], needed[row])
    jobs = [
        Job(
            Row(row, row, {}),
            seed,
            RunFolder(out / f"{row.replace('/', '-')}-seed{seed}"),
            (*arguments[row], f"--seed={seed}"),
        )
        for seed in range(seeds)
        for row in texts
        if seed not in held[row]
    ]
    for job in jobs:
        job.check()

    def collect(job: Job) -> None:
        numbers = {name: job.metrics()["bbox"].get(name) for name in _KEPT}
        numbers |= {"train_seconds": job.metrics()["train_seconds"]}
        for name in sorted(needed[job.row.run]):
            numbers |= _analyse(name, job.folder.path)
        store.add(job.row.run, job.seed, texts[job.row.run], numbers)
        if not keep:
            shutil.rmtree(job.folder.path)

    run(jobs, say, at_once=at_once, threads=1, then=collect)


def _held(store: Store, row: str, text: str, analyses: Iterable[str]) -> set[int]:
    """The seeds of a row that the store has all numbers of.

    Raises:
        RunError: they were measured with another configuration than `text`.
    """
    kept = store.read(row)
    if not kept["seeds"]:
        return set()
    different = changes(_without_seed(filled(kept["config"])), text)
    if different:
        raise RunError(
            f"{store.file(row)}: was measured with other settings ({'; '.join(different[:3])}); remove it to train the "
            "row again"
        )
    return {
        int(seed)
        for seed, numbers in kept["seeds"].items()
        if all(any(key.startswith(f"{name}/") for key in numbers) for name in analyses)
    }


def _without_seed(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(("seed:", "out:")))


def _analyse(name: str, run: Path) -> dict[str, float]:
    """The numbers of an analysis, by names such as invariance/rotation."""
    file = run / f"{name}.json"
    out = file if name == "invariance" else file.with_suffix(".png")
    command = [sys.executable, "-m", "roikit", "analyze", name, str(run), "--out", str(out), *_FLAGS[name]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunError(f"{run}: roikit analyze {name} ended with: {done.stderr.strip().splitlines()[-1:]}")
    return _NUMBERS[name](json.loads(file.read_text(encoding="utf-8")))


def _divergence(content: Mapping[str, Any]) -> dict[str, float]:
    steps = sorted(content, key=int)
    return {
        f"divergence/{when}/{size}/{key}": found[key]
        for when, step in (("first", steps[0]), ("last", steps[-1]))
        for size, found in content[step].items()
        for key in ("parts", "mask")
    }


def _invariance(content: Mapping[str, Any]) -> dict[str, float]:
    return {f"invariance/{name}": found["cosine"] for name, found in content["runs"][0]["found"].items()}


def _diversity(content: Mapping[str, Any]) -> dict[str, float]:
    return {"diversity/below": content["runs"][0]["below"]}


_NUMBERS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, float]]] = {
    "divergence": _divergence,
    "invariance": _invariance,
    "diversity": _diversity,
}
