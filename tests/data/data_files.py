"""Small data sets written to disk, right and wrong."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
from PIL import Image


def save_image(path, width=64, height=48, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def truncate(path, share=0.5):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def coco_data():
    """Three images of 64x48; category ids with gaps, out of order."""
    return {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 64, "height": 48} for n in (7, 3, 12)],
        "annotations": [
            annotation(1, 3, 9, [10, 5, 20, 10]),
            annotation(2, 3, 2, [0, 0, 64, 48]),
            annotation(3, 7, 40, [1.5, 2.25, 3.5, 4.5]),
        ],
        "categories": [{"id": 9, "name": "nine"}, {"id": 40, "name": "forty"}, {"id": 2, "name": "two"}],
    }


def annotation(number, image, category, bbox, **more):
    x, y, w, h = bbox
    polygon = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": bbox,
        "area": w * h,
        "iscrowd": 0,
        "segmentation": polygon,
    } | more


def write_coco(folder, data, file="annotations/instances_train.json", images="images/train"):
    for number, image in enumerate(data["images"]):
        save_image(folder / images / image["file_name"], image.get("width", 64), image.get("height", 48), number)
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def write_voc(folder, files, split="train", width=64, height=48):
    """files: {stem: [(name, (xmin, ymin, xmax, ymax), difficult), ...]}"""
    for number, (stem, objects) in enumerate(files.items()):
        save_image(folder / "JPEGImages" / f"{stem}.jpg", width, height, number)
        root = ElementTree.Element("annotation")
        ElementTree.SubElement(root, "filename").text = f"{stem}.jpg"
        size = ElementTree.SubElement(root, "size")
        ElementTree.SubElement(size, "width").text = str(width)
        ElementTree.SubElement(size, "height").text = str(height)
        for name, box, difficult in objects:
            element = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(element, "name").text = name
            ElementTree.SubElement(element, "difficult").text = str(difficult)
            bndbox = ElementTree.SubElement(element, "bndbox")
            for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
                ElementTree.SubElement(bndbox, key).text = str(value)
        (folder / "Annotations").mkdir(parents=True, exist_ok=True)
        ElementTree.ElementTree(root).write(folder / "Annotations" / f"{stem}.xml")
    sets = folder / "ImageSets" / "Main"
    sets.mkdir(parents=True, exist_ok=True)
    (sets / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in files))
    return folder


YOLO_YAML = "path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n"


def write_yolo(
    folder, text=YOLO_YAML, file="data.yaml", splits=("train", "val"), images="images/{}", labels="labels/{}"
):
    """Two images a split: one with two boxes, one without a label file."""
    folder.mkdir(parents=True, exist_ok=True)
    if text is not None:
        (folder / file).write_text(text)
    for split in splits:
        save_image(folder / images.format(split) / f"a-{split}.jpg", 64, 48)
        save_image(folder / images.format(split) / f"b-{split}.jpg", 64, 48, 1)
        (folder / labels.format(split)).mkdir(parents=True, exist_ok=True)
        (folder / labels.format(split) / f"a-{split}.txt").write_text("1 0.5 0.5 0.25 0.5\n0 0.125 0.25 0.25 0.5\n")
    return folder


def boxes_of(dataset, index=0):
    """(category, x1, y1, x2, y2) of each."""
    record = dataset.records[index]
    return {
        (dataset.categories[label - 1], *row) for label, row in zip(record.labels, record.boxes.tolist(), strict=True)
    }
