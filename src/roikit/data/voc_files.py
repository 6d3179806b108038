"""What the files of PASCAL VOC's layout say: image sets, and annotations as tools write them."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from pathlib import Path

from roikit.data.checks import Box, Progress, counted
from roikit.data.errors import DataError, Problems
from roikit.data.images import SUFFIXES
from roikit.data.text import is_litter, read_text

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = {"": 0, "0": 0, "false": 0, "no": 0, "unspecified": 0, "1": 1, "true": 1, "yes": 1}


def image_set(file: Path, exists: Callable[[str], bool]) -> list[str]:
    """The names that an image set lists, one a line, each of them once.

    A line is a name, which may hold spaces and folders, be quoted, or end in an image's suffix; a class's set has a
    last column of -1, 0 or 1; some tools write the paths of the image and of its annotation.

    Args:
        file: the set.
        exists: whether there is an annotation of that name; the first reading of a line that has one is taken, and
            otherwise the line as it stands.

    Raises:
        DataError: no text, nothing in it, a name twice.
    """
    names = []
    for line in read_text(file).splitlines():
        if line.strip():
            readings = _readings(line.strip())
            names.append(next((name for name in readings if exists(name)), readings[0]))
    if not names:
        raise DataError(f"{file}: the image set is empty")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"{file}: listed more than once: {', '.join(twice[:5])}")
    return names


def _readings(line: str) -> list[str]:
    """What a line may mean, the likely first."""
    words = line.split()
    several = [line]
    if len(words) > 1 and words[-1] in ("-1", "0", "1"):
        several.append(line[: -len(words[-1])].strip())
    if len(words) == 2 and words[1].lower().endswith(".xml"):
        several.append(words[1])
    found = []
    for one in several:
        name = one.strip("\"'").replace("\\", "/")
        name = name.removeprefix("./")
        found += [name, _stem(name)]
        for folder in ("JPEGImages/", "Annotations/", "images/", "annotations/"):
            if folder in name:
                found.append(_stem(name.rpartition(folder)[2]))
    return list(dict.fromkeys(found))


def _stem(name: str) -> str:
    ending = Path(name).suffix
    return name[: -len(ending)] if ending.lower() in (*SUFFIXES, ".xml") else name


def parse_all(folder: Path, problems: Problems, progress: Progress | None = None) -> dict[str, ElementTree.Element]:
    """Every annotation below a folder by its path in it without the ending, such as `cam1/0001`."""
    trees = {}
    files = [file for file in sorted(folder.rglob("*.xml")) if not is_litter(file)]
    for file in counted(files, "reading annotations", progress):
        try:
            trees[file.relative_to(folder).with_suffix("").as_posix()] = parse(file)
        except DataError as error:
            problems.add(file, error.message)
    return trees


def parse(file: Path) -> ElementTree.Element:
    """An annotation, with tags in small letters and without namespaces.

    Raises:
        DataError: broken XML, or a file that cannot be read.
    """
    try:
        root = ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        raise DataError(f"broken XML ({error})") from None
    except (OSError, ValueError, LookupError) as error:
        raise DataError(f"cannot be read ({error})") from None
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2].lower()
    return root


def objects_of(root: ElementTree.Element) -> list[ElementTree.Element]:
    """The objects of an annotation, wherever they stand in it.

    Raises:
        DataError: it is no annotation, or has boxes that are no object's.
    """
    objects = list(root.iter("object"))
    if root.tag != "annotation" and not objects and root.find("filename") is None:
        raise DataError(f"no VOC annotation: its root is <{root.tag}>, without an <object>")
    inside = {id(box) for element in objects for box in element.iter("bndbox")}
    strange = [box for box in root.iter("bndbox") if id(box) not in inside]
    if strange:
        raise DataError(f"{len(strange)} <bndbox> stand outside of any <object>")
    return objects


def names_of(trees: dict[str, ElementTree.Element]) -> list[str]:
    """The sorted names of all objects."""
    objects = (element for root in trees.values() for element in root.iter("object"))
    return sorted({name for element in objects if (name := (element.findtext("name") or "").strip())})


def size_of(root: ElementTree.Element, file: Path, problems: Problems) -> tuple[int, int] | None:
    """(width, height) as annotated; None where it is not said."""
    texts = [root.findtext(f"size/{key}") for key in ("width", "height")]
    if None in texts:
        return None
    try:
        width, height = (int(float(text or "")) for text in texts)
    except (ValueError, OverflowError):
        problems.add(file, f"size is {texts[0]!r} x {texts[1]!r}, not two numbers")
        return None
    return (width, height) if width and height else None  # some tools write 0 for "not known"


def box_of(element: ElementTree.Element, where: str, categories: Sequence[str]) -> Box:
    """The box of an object; see `read_voc` for its pixels.

    Raises:
        DataError: something is missing in it, or is not what it should be.
    """
    name = (element.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{where}: missing key 'name'")
    if name not in categories:
        raise DataError(f"{where}: unknown category {name!r}; known: {', '.join(categories)}")
    xmin, ymin, xmax, ymax = corners_of(element, f"{where} ({name})")
    return Box(
        xyxy=(xmin - 1, ymin - 1, xmax, ymax),
        label=categories.index(name) + 1,
        where=f"{where}, {name}",
        iscrowd=_flag(element.findtext("difficult") or "", f"{where} ({name}): difficult"),
        degenerate=xmax <= xmin or ymax <= ymin,
    )


def corners_of(element: ElementTree.Element, where: str) -> list[float]:
    """xmin, ymin, xmax and ymax of an object, as the file states them.

    Raises:
        DataError: one is missing, or is no number.
    """
    corners = []
    for key in _CORNERS:
        text = element.findtext(f"bndbox/{key}")
        if text is None:
            raise DataError(f"{where}: missing key 'bndbox/{key}'")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not -1e12 < value < 1e12:  # also true for NaN
            raise DataError(f"{where}: bndbox/{key} is {text.strip()!r}, not a number")
        corners.append(value)
    return corners


def _flag(text: str, where: str) -> int:
    word = text.strip().lower()
    if word in _FLAGS:
        return _FLAGS[word]
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if number not in (0, 1):
        raise DataError(f"{where} is {text.strip()!r}, neither yes (1, true) nor no (0, false)")
    return int(number)
