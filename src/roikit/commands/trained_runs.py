"""What commands on trained runs share: the runs, the data they are looked at on, the files that are written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from roikit.train.config import TrainConfig
from roikit.train.errors import RunError
from roikit.train.parse import Parser, changes, read
from roikit.train.runfolder import RunFolder


@dataclasses.dataclass(frozen=True)
class OneRun:
    """A run by its name (the folder's, or the path where several share it) and its method."""

    name: str
    method: str
    path: str
    config: TrainConfig
    text: str  # of the configuration


def add_runs(parser: Parser) -> None:
    parser.add_argument("runs", nargs="+", type=str, help="Run folders of roikit train.")


def add_data(parser: Parser, split: str = "eval_split") -> None:
    """The data set, its split (`data.SPLIT` of the run where it is not given) and the device."""
    parser.add_argument("--data", type=str | None, default=None, help="Data set; nothing takes the one trained on.")
    parser.add_argument("--split", type=str | None, default=None, help=f"Split; nothing takes data.{split}.")
    parser.add_argument("--cpu", type=bool, default=False, help="Stay on the CPU where there is a GPU.")


def check_format(form: str) -> None:
    """Raise a `RunError` for a --format that detections are not written in."""
    from roikit.data.results import FORMATS

    if form not in FORMATS:
        raise RunError(f"--format must be one of {', '.join(FORMATS)}, not {form!r}")


def open_runs(paths: Sequence[str]) -> list[OneRun]:
    """The runs, all checked to be some with weights before anything is computed.

    Raises:
        RunError: no run, a run without weights, one that is given twice.
    """
    from roikit.detection.pooling import show

    found = []
    names = [Path(path).resolve().name for path in paths]
    for path, name in zip(paths, names, strict=True):
        run = RunFolder.open(path)
        config, text = read(run.config)
        if not run.weights.is_file():
            run.read_weights()  # says what is missing
        if [Path(p).resolve() for p in paths].count(run.path.resolve()) > 1:
            raise RunError(f"{path}: is given twice")
        shown = name if names.count(name) == 1 else str(Path(path))
        found.append(OneRun(shown, show(config.extractor), path, config, text))
    return found


def open_split(runs: Sequence[OneRun], data: str | None, split: str | None) -> tuple[Any, str]:
    """The data set of all the runs, with masks where it has them, and what it is called.

    Raises:
        RunError: runs of different data where none is named, a split without an object.
        DataError: data that cannot be used.
    """
    from roikit.data import DataError, only, open_dataset
    from roikit.train.datasets import show_progress

    first = runs[0]
    for run in runs[1:]:
        for given, flag, key in ((data, "--data", "path"), (split, "--split", "eval_split")):
            here, there = getattr(first.config.data, key), getattr(run.config.data, key)
            if given is None and here != there:
                raise RunError(f"{first.path} has data.{key} {here}, {run.path} {there}: say which with {flag}")
    path, split = data or first.config.data.path, split or first.config.data.eval_split
    try:
        dataset = open_dataset(path, split, True, progress=show_progress)
    except DataError:  # it may only be the masks that are missing
        dataset = open_dataset(path, split, False, progress=show_progress)
    if first.config.data.classes is not None:
        dataset = only(dataset, first.config.data.classes)
    if not any((record.iscrowd == 0).any() for record in dataset.records):
        raise RunError(f"{path}: its {split} split has no object")
    return dataset, f"{path}, {split} split"


def trained(runs: Sequence[OneRun], cpu: bool) -> Iterator[tuple[OneRun, Any]]:
    """Each run with its detector, one in memory at a time."""
    from roikit.train.trained import load_trained, pick_device

    for run in runs:
        model, _, _ = load_trained(run.path)
        yield run, model.to(pick_device(cpu))


def output(path: str, ending: str) -> Path:
    """A file to write, replaced where it exists.

    Raises:
        RunError: another ending, a folder that does not exist.
    """
    found = Path(path)
    if found.suffix.lower() != ending or not found.absolute().parent.is_dir() or found.is_dir():
        raise RunError(f"--out {path}: must be a {ending} file in a folder that exists")
    return found


def alike(runs: Sequence[OneRun]) -> list[list[int]]:
    """The places of runs that differ in nothing but their seed, several to a group; runs of their own are left out."""
    groups: list[list[int]] = []
    for place, run in enumerate(runs):
        for group in groups:
            if all(change.startswith("seed was ") for change in changes(runs[group[0]].text, run.text)):
                group.append(place)
                break
        else:
            groups.append([place])
    return [group for group in groups if len(group) > 1]


def headings(runs: Sequence[OneRun]) -> list[str]:
    """What each run is called in a picture: its method, and the run where several share one."""
    methods = [run.method for run in runs]
    return [run.method if methods.count(run.method) == 1 else f"{run.method} ({run.name})" for run in runs]
