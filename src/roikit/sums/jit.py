"""One way to compile a CPU kernel: serial, without the interpreter's lock, cached on disk where that is possible.

Importing this module imports Numba, so only the ``cpu.py`` modules do it, on first use.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import numba

_lock = threading.Lock()
_PACKAGE = Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "rules", _PACKAGE / "sums")  # what kernels are made of


def _imported(path: Path) -> Iterator[Path]:
    """The files of rules and sums that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            places = [folder, *(folder / name.name for name in node.names)]
            for found in (place.with_suffix(".py") for place in places):
                if found.is_file() and any(folder in found.parents for folder in _FOLDERS):
                    yield found


def sources() -> list[Path]:
    """The files that kernels are made of: those that hold one, and what these import, rules among it."""
    waiting = [path for path in _FOLDERS[1].rglob("*.py") if "\n@jit.kernel\n" in path.read_text(encoding="utf-8")]
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path)
    return sorted(found)


def _cache_folder() -> str:
    """A folder named after what kernels are made of: Numba itself does not notice a helper changed in another file."""
    made_of = hashlib.sha256()
    for path in sources():
        made_of.update(path.read_bytes())
    root = os.environ.get("ROIKIT_CACHE") or os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return str(Path(root) / "roikit" / "kernels" / made_of.hexdigest()[:16])


_FOLDER = _cache_folder()


_STRICT: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
# Sums over channels may be reordered. Sums over cells keep their order (and fuse where they say so: ``vector.fused``),
# so that two kernels that sum alike give the same bits. Geometry rounds as written: one bit decides which cell a RoI
# starts in.
_FAST: dict[str, Any] = {**_STRICT, "fastmath": {"contract", "reassoc", "nsz"}}


def helper(function: Callable) -> Callable:
    """Compile a function that only kernels call (geometry: every operation rounds as written)."""
    return numba.njit(**_STRICT)(function)


def inner(function: Callable) -> Callable:
    """Compile an inner loop whose channels are independent (vectorised)."""
    return numba.njit(**_STRICT)(function)


def reduction(function: Callable) -> Callable:
    """Compile a sum over channels (vectorised: in any order)."""
    return numba.njit(**_FAST)(function)


def kernel(function: Callable) -> Callable:
    """Compile a kernel, cached on disk; without a writable folder it is compiled anew in each process."""
    with _lock:
        config: Any = numba.config
        before = config.CACHE_DIR
        config.CACHE_DIR = _FOLDER
        try:
            found = numba.njit(cache=True, **_STRICT)(function)
            kept = f"kept in {_FOLDER}"
        except RuntimeError:  # "no locator available": a read-only home
            found = numba.njit(**_STRICT)(function)
            kept = "not kept: no cache folder is writable, ROIKIT_CACHE names another"
        finally:
            config.CACHE_DIR = before
    return _saying(found, f"roikit: compiling its CPU kernels, some seconds each ({kept})")


PATIENCE = 2.0  # seconds of compiling after which a line says so
_said = threading.Event()


@contextlib.contextmanager
def _alone(function: Callable, signature: Any) -> Iterator[None]:
    """Of several processes that want the same kernel one compiles, the others wait and read what it kept."""
    name = hashlib.sha256(f"{function.__module__}.{function.__qualname__} {signature}".encode()).hexdigest()[:16]
    lock = filelock.FileLock(os.path.join(_FOLDER, f"{name}.lock"))
    try:
        os.makedirs(_FOLDER, exist_ok=True)
        lock.acquire()
    except OSError:  # nothing is kept there
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _saying(dispatcher: Any, line: str) -> Callable:
    """A kernel that says, once per process and on standard error, why its first call takes long."""
    compile_ = dispatcher.compile

    def say() -> None:
        if not _said.is_set():
            _said.set()
            print(line, file=sys.stderr, flush=True)

    def timed(signature: Any) -> Any:
        timer = threading.Timer(PATIENCE, say)
        timer.daemon = True
        timer.start()
        try:
            with _alone(dispatcher.py_func, signature):
                return compile_(signature)
        finally:
            timer.cancel()

    dispatcher.compile = timed
    return dispatcher
