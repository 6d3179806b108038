"""Annotation files and pictures that look right and are not, and what must come of them.

A data set whose boxes lie in their images, or one `DataError` that names a file. Nothing else.
"""

from __future__ import annotations

import copy
import io
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from roikit.data import DataError, open_dataset, read_image
from roikit.data.images import inspect_image

PLACE = Path(tempfile.mkdtemp(prefix="roikit-fuzz-"))
WIDTH, HEIGHT = 12, 9
VALUES = st.sampled_from(
    [
        None,
        True,
        0,
        1,
        -1,
        2,
        3.5,
        1e400,
        -1e308,
        10**30,
        float("nan"),
        "",
        "a",
        "1",
        "../../etc/passwd",
        "a\0b",
        "é" * 300,
    ]
)
TREES = st.sampled_from(
    [[], [1], [[1, 2]], {}, {"id": 1}, {"size": [9, 12], "counts": "b'x"}, "b'\\x'", [[0, 0, 1e30, 5, 5, 5]]]
)


def coco() -> dict[str, Any]:
    polygon = [[1, 1, 8, 1, 8, 6, 1, 6]]
    box = {"bbox": [1, 1, 7, 5], "area": 35, "iscrowd": 0, "segmentation": polygon}
    return {
        "images": [{"id": n, "file_name": f"{n}.png", "width": WIDTH, "height": HEIGHT} for n in (1, 2)],
        "annotations": [{"id": n, "image_id": n, "category_id": n, **copy.deepcopy(box)} for n in (1, 2)],
        "categories": [{"id": n, "name": f"kind {n}", "supercategory": "thing"} for n in (1, 2)],
    }


def _places(tree: Any, path: tuple = ()) -> list[tuple]:
    """Every place in a tree of lists and objects."""
    found = [path] if path else []
    below = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return found + [place for key, value in below for place in _places(value, (*path, key))]


def _changed(tree: Any, place: tuple, how: str, value: Any) -> None:
    """One thing in the tree is another, is gone, or is there twice."""
    for key in place[:-1]:
        tree = tree[key]
    last = place[-1]
    if how == "gone":
        del tree[last]
    elif how == "twice" and isinstance(tree, list):
        tree.append(copy.deepcopy(tree[last]))
    else:
        tree[last] = copy.deepcopy(value)  # which a next change may be made in


@st.composite
def _coco(draw: Callable) -> tuple[str, dict[str, bytes], bool]:
    tree = coco()
    for _ in range(draw(st.integers(0, 3))):
        places = _places(tree)
        if places:
            place, how = draw(st.sampled_from(places)), draw(st.sampled_from(["other", "other", "gone", "twice"]))
            _changed(tree, place, how, draw(st.one_of(VALUES, TREES)))
    return "coco", {"annotations/instances_train.json": json.dumps(tree).encode()}, draw(st.booleans())


NUMBERS = ["1", "6", "0", "-3", "nan", "inf", "1e999", "", "x", "12", "9" * 400, "0x10", "٣", "1_0"]


@st.composite
def _voc(draw: Callable) -> tuple[str, dict[str, bytes], bool]:
    def number(usual: int) -> str:
        return draw(st.sampled_from(NUMBERS)) if draw(st.integers(0, 9)) == 0 else str(usual)

    corners = {"xmin": 2, "ymin": 2, "xmax": 9, "ymax": 7}
    box = "".join(f"<{key}>{number(value)}</{key}>" for key, value in corners.items())
    name = draw(st.sampled_from(["cat", "cat", "dog", "", "&lt;", "é"]))
    flag = draw(st.sampled_from(["", "<difficult>1</difficult>", "<difficult>maybe</difficult>"]))
    thing = f"<object><name>{name}</name>{flag}<bndbox>{box}</bndbox></object>"
    things = thing * draw(st.integers(0, 2))
    size = f"<size><width>{number(WIDTH)}</width><height>{number(HEIGHT)}</height></size>"
    picture = draw(st.sampled_from(["1.png", "../1.png", "/etc/passwd", ""]))
    text = f"<annotation><filename>{picture}</filename>{size}{things}</annotation>"
    listed = draw(st.sampled_from(["1\n", "1 1\n", "1\n1\n", "", "9\n", "../1\n", "1.xml\n"]))
    return "voc", {"Annotations/1.xml": text.encode(), "ImageSets/Main/train.txt": listed.encode()}, False


@st.composite
def _yolo(draw: Callable) -> tuple[str, dict[str, bytes], bool]:
    words = st.sampled_from(["0", "1", "0.5", "0.25", "2", "-0.5", "nan", "inf", "1e400", "x", "0.1"])
    usual = st.just(["0", "0.5", "0.5", "0.4", "0.4"])
    lines = draw(st.lists(st.one_of(usual, st.lists(words, min_size=1, max_size=9)), max_size=3))
    labels = "\n".join(" ".join(line) for line in lines)
    names = draw(
        st.sampled_from(["[a, b]", "{0: a, 1: b}", "{a: b}", "[]", "5", "{1.5: a}", "[[a], [b]]", "&n [*n]", "null"])
    )
    split = draw(
        st.sampled_from(["images", "images", "train.txt", "../images", "/etc", "[images, images]", "{a: 1}", "7"])
    )
    tail = draw(st.sampled_from(["", "nc: 2\n", "nc: 3\n", "path: .\n", "path: /nowhere\n", "path: [1]\n", "nc: x\n"]))
    listed = draw(st.sampled_from(["images/1.png\n", "1.png\n", "../../x.png\n", "\n", "images/1.png\nimages/1.png\n"]))
    data = f"names: {names}\ntrain: {split}\n{tail}"
    files = {"data.yaml": data, "labels/1.txt": labels, "train.txt": listed}
    return "yolo", {name: text.encode() for name, text in files.items()}, draw(st.booleans())


@st.composite
def data_sets(draw: Callable) -> tuple[str, dict[str, bytes], bool]:
    """(layout, files, whether masks are asked for); now and then some bytes of a file are others."""
    layout, files, masks = draw(st.one_of(_coco(), _voc(), _yolo()))
    if draw(st.integers(0, 4)) == 0:
        name = draw(st.sampled_from(sorted(files)))
        files = {**files, name: draw(_damaged(files[name]))}
    return layout, files, masks


@st.composite
def _damaged(draw: Callable, content: bytes) -> bytes:
    """Bytes changed, cut off, or put in."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at, byte = draw(st.integers(0, max(0, len(data) - 1))), draw(st.integers(0, 255))
        match draw(st.integers(0, 3)):
            case 0 if data:
                data[at] = byte
            case 1:
                del data[at:]
            case 2:
                data[at:at] = bytes([byte]) * draw(st.sampled_from([1, 2, 300]))
            case 3:
                del data[at : at + 3]
    return bytes(data)


def _pictures() -> dict[str, bytes]:
    pixels = np.arange(WIDTH * HEIGHT * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3)
    found = {}
    for form in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, form)
        found[form] = buffer.getvalue()
    return found


PICTURES = _pictures()


@st.composite
def pictures(draw: Callable) -> tuple[str, bytes]:
    form = draw(st.sampled_from(sorted(PICTURES)))
    return form, draw(_damaged(PICTURES[form]))


def check(given: tuple[str, dict[str, bytes], bool]) -> None:
    """Boxes within their images, or a `DataError` that names a file of the data."""
    layout, files, masks = given
    folder = PLACE / layout
    shutil.rmtree(folder, ignore_errors=True)
    images = {"coco": "images", "voc": "JPEGImages", "yolo": "images"}[layout]
    for name, content in {**files, f"{images}/1.png": PICTURES["PNG"], f"{images}/2.png": PICTURES["PNG"]}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            data = open_dataset(folder, "train", masks)
            items = [data[n] for n in range(len(data))]
        except DataError as error:
            assert str(folder) in str(error), f"it names no file: {error}"
            return
    for image, target in items:
        boxes = target["boxes"]
        assert image.shape == (3, HEIGHT, WIDTH) and boxes.isfinite().all()
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= WIDTH).all() and (boxes[:, 3] <= HEIGHT).all()
        assert (boxes[:, :2] < boxes[:, 2:]).all() and len(boxes) == len(target["labels"])
        assert not masks or target["masks"].shape == (len(boxes), HEIGHT, WIDTH)
        assert all(1 <= label <= len(data.categories) for label in target["labels"].tolist())


def check_picture(given: tuple[str, bytes]) -> None:
    """A picture, or a `DataError` that names the file; whole enough for a look is whole enough to be read, or said."""
    form, content = given
    file = PLACE / f"picture.{form.lower()}"
    file.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of tags in damaged files
        warnings.simplefilter("error", RuntimeWarning)  # NumPy's
        for read in (read_image, inspect_image, lambda path: inspect_image(path, ends=True)):
            try:
                read(file)
            except DataError as error:
                assert str(file) in str(error)
