"""Checkpoints that are whole or absent: written beside, flushed to the disk, renamed; old ones are removed."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .errors import RunError

KEPT = 2
_NAME = re.compile(r"step_(\d{8})\.pt")


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Errors of the system name the file that is written in here, which that of a full disk does not."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def write_atomically(path: Path, content: bytes) -> None:
    """`content` under `path`, all or nothing: a kill or a power cut leaves the old file or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with named(path), open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        with contextlib.suppress(OSError):  # of a folder that has become read-only
            beside.unlink(missing_ok=True)
    if os.name == "posix":  # the rename itself
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def random_state() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's random numbers in this process."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 (the global one, which others may use)
    numpy_state["state"]["key"] = numpy_state["state"]["key"].tolist()  # plain numbers: loadable without pickle
    return {
        "python": random.getstate(),
        "numpy": numpy_state,
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Undo of `random_state`."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    numpy_state = {**state["numpy"], "state": {**state["numpy"]["state"]}}
    numpy_state["state"]["key"] = np.array(numpy_state["state"]["key"], dtype=np.uint32)
    np.random.set_state(numpy_state)  # noqa: NPY002 (the same)
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in the folder, newest first."""
    if not folder.is_dir():
        return []
    matches = (_NAME.fullmatch(entry.name) for entry in folder.iterdir())
    return sorted((int(m.group(1)) for m in matches if m), reverse=True)


def save(folder: Path, step: int, state: dict[str, Any], kept: int = KEPT) -> None:
    """Write the checkpoint of `step`, then remove all but the newest `kept` (0: none) and what a kill left behind."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save({"step": step, **state}, buffer)
    write_atomically(folder / f"step_{step:08d}.pt", buffer.getvalue())
    for old in steps(folder)[kept:] if kept else []:
        (folder / f"step_{old:08d}.pt").unlink(missing_ok=True)
    for part in folder.glob(".step_*.tmp"):
        part.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:  # torch.load does not compare the checksums
        bad = archive.testzip()
    if bad is not None:
        raise OSError(f"checksum of {bad} differs")
    return torch.load(path, map_location="cpu", weights_only=True)


def load(folder: Path, step: int) -> dict[str, Any]:
    """The checkpoint of one step.

    Raises:
        RunError: it cannot be read.
    """
    path = folder / f"step_{step:08d}.pt"
    try:
        return _read(path)
    except Exception as error:  # a damaged file can fail in any way inside zip and pickle readers
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"{path}: cannot be read ({reason})") from None


def load_newest(folder: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, or None where there is none yet.

    A damaged one is named through `say`, left as it is, and the one before it is taken.

    Raises:
        RunError: there are checkpoints but none can be read.
    """
    found = steps(folder)
    for step in found:
        path = folder / f"step_{step:08d}.pt"
        try:
            state = _read(path)
            if state.get("step") != step:
                raise ValueError("it is no checkpoint of this program")
            return state
        except Exception as error:  # a damaged file can fail in any way inside zip and pickle readers
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            say(f"checkpoint {path} is damaged ({reason}); trying the one before it")
    if found:
        raise RunError(
            f"{folder}: none of the {len(found)} checkpoints can be read; start the run again in a new folder"
        )
    return None
