"""Files by the names that annotations give them, which other systems have written."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote


def _key(name: str) -> str:
    """What names have in common that differ by `\\`, `%20`, the form of an umlaut or letter case."""
    return unicodedata.normalize("NFC", unquote(name.replace("\\", "/"))).casefold().lstrip("./")


class Finder:
    """Looks files up below some folders; a name that is not there to the letter is looked for by what it means.

    A stand-in for a symbolic link (a small file that holds a path, which git writes where links are not supported)
    counts as the folder that it names.

    Args:
        folders: where names start, the likely ones first.
        root: the folder of the data. What a name means lies in it, or in the folder where the name starts: `../..`
            and paths from the root of the file system lead nowhere else.
        walked: those of them whose files may be listed to find what a name means; None: all.

    Attributes:
        repaired: how many names were found by what they mean, by how they differ.
    """

    def __init__(self, folders: Sequence[Path], root: Path, walked: Sequence[Path] | None = None) -> None:
        self.folders = [followed(folder) for folder in folders]
        self.root = root
        self._walked = self.folders if walked is None else [followed(folder) for folder in walked]
        self.repaired: Counter[str] = Counter()
        self._listed: dict[str, list[Path]] | None = None
        self._by_end: dict[str, list[Path]] = {}

    def find(self, name: str) -> Path | None:
        """The file of that name, None where there is none, or several that it may mean."""
        for folder in self.folders:
            file = folder / name
            if (within(file, folder) or within(file, self.root)) and is_file(file):
                return file
        found = self._listing().get(_key(name), [])
        if len(found) != 1:
            return None
        self.repaired[_difference(name, found[0])] += 1
        return found[0]

    def hint(self, name: str) -> str:
        """For a message: what is there instead, or ''."""
        if not any(within(folder / name, folder) or within(folder / name, self.root) for folder in self.folders):
            return f"; the name leads out of {self.root}, the folder of the data, and nothing is read there"
        listing = self._listing()
        found = listing.get(_key(name)) or self._by_end.get(PurePosixPath(_key(name)).name, [])
        if not found:
            stem = PurePosixPath(_key(name)).stem
            found = [files[0] for end, files in self._by_end.items() if PurePosixPath(end).stem == stem]
        return f"; there is {' and '.join(str(file) for file in found[:2])}" if found else ""

    def notes(self) -> list[str]:
        """Lines for a report."""
        return [f"{count} names differ from their files' by {how}" for how, count in sorted(self.repaired.items())]

    def _listing(self) -> dict[str, list[Path]]:
        if self._listed is None:
            self._listed = {}
            for folder in dict.fromkeys(self._walked):
                for file in _walk(folder):
                    places = self._listed.setdefault(_key(file.relative_to(folder).as_posix()), [])
                    if file not in places:
                        places.append(file)
            for key, files in self._listed.items():
                self._by_end.setdefault(PurePosixPath(key).name, []).extend(files)
        return self._listed


def within(path: Path, folder: Path) -> bool:
    """Whether a path, its `..` taken, lies in a folder. Links count by their names."""
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


def followed(path: Path) -> Path:
    """The path, with stand-ins for symbolic links in it followed."""
    for parent in (path, *path.parents):
        if is_dir(parent):
            return path
        if is_file(parent) and parent.stat().st_size < 1024:
            try:
                target = (parent.parent / parent.read_text(encoding="utf-8").strip()).resolve()
            except (OSError, ValueError):
                return path
            return target / path.relative_to(parent) if is_dir(target) else path
    return path


def is_file(path: Path) -> bool:
    """Whether there is such a file; no error for a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, a zero byte
        return False


def is_dir(path: Path) -> bool:
    """Whether there is such a folder; no error for a name that no folder can have."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _walk(folder: Path) -> Iterator[Path]:
    for root, _, files in os.walk(folder):
        for name in sorted(files):
            yield Path(root) / name


def _difference(name: str, file: Path) -> str:
    end = file.as_posix()
    for how, changed in (
        ("\\ for /", name.replace("\\", "/")),
        ("%20 and the like", unquote(name)),
        ("the form of accents", unicodedata.normalize("NFC", name)),
        ("the form of accents", unicodedata.normalize("NFD", name)),
    ):
        if changed != name and end.endswith(changed.lstrip("./")):
            return how
    return "letter case" if end.casefold().endswith(name.casefold().lstrip("./")) else "how they are written"
