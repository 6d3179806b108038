"""`roikit predict RUN IMAGE|FOLDER ... --out DIR`: pictures with boxes, and predictions.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roikit.train.checkpoint import write_atomically
from roikit.train.errors import RunError
from roikit.train.parse import Parser
from roikit.train.trained import load_trained, pick_device


def make_parser() -> Parser:
    parser = Parser(prog="roikit predict", description="Find objects in images; nothing that exists is overwritten.")
    parser.add_argument("run", type=str, help="Run folder of roikit train.")
    parser.add_argument("images", nargs="+", type=str, help="Images, and folders whose images are taken.")
    parser.add_argument(
        "--out", type=str, required=True, help="Folder for pictures and predictions.json; new or empty."
    )
    parser.add_argument(
        "--ids",
        type=str | None,
        default=None,
        help="COCO JSON file with these images (such as image_info_test-dev2017.json): predictions.json has its image "
        "and category ids, as COCO's server wants them.",
    )
    parser.add_argument(
        "--score", type=float, default=0.5, help="Least score of a box that is drawn (all are in the JSON)."
    )
    parser.add_argument("--cpu", type=bool, default=False, help="Stay on the CPU where there is a GPU.")
    return parser


def find_images(sources: Sequence[str]) -> list[Path]:
    """The files, each checked to be a whole image.

    Raises:
        RunError: no such file or folder, a folder without images, files that are no images (all are named).
    """
    from roikit.data import images_in
    from roikit.data.checks import inspect_images

    paths: list[Path] = []
    for source in map(Path, sources):
        if not source.exists():
            raise RunError(f"{source}: no such file or folder")
        found = list(images_in(source)) if source.is_dir() else [source]
        if not found:
            raise RunError(f"{source}: the folder has no images")
        paths += found
    bad = [f"{path}: {seen}" for path, seen in zip(paths, inspect_images(paths), strict=True) if isinstance(seen, str)]
    if bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise RunError(f"{bad[0]}{more}; nothing was predicted")
    return paths


def picture_names(paths: Sequence[Path]) -> list[str]:
    """A name for each picture: the image's own, with a number where two images share one."""
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        name, number = path.stem, 2
        while name.lower() in taken:
            name, number = f"{path.stem}-{number}", number + 1
        taken.add(name.lower())
        names.append(f"{name}.png")
    return names


def main(arguments: Sequence[str]) -> int:
    options = make_parser().parse_args(list(arguments))
    out = Path(options.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"--out {out}: is not a new or empty folder; nothing is overwritten, choose another")
    paths = find_images(options.images)
    model, categories, config = load_trained(options.run)
    if config.data.proposals is not None:
        raise RunError(
            f"{options.run}: has no RPN, it reads proposals from a file: roikit eval takes it, with its data"
        )
    image_ids, category_ids = read_ids(Path(options.ids), paths, categories) if options.ids else (None, None)

    import torch

    from roikit.data import read_image
    from roikit.train.progress import Progress

    device = pick_device(options.cpu)
    model = model.to(device)
    out.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    drawn = 0
    with Progress("predict", len(paths), every=max(1, len(paths) // 10)) as bar, torch.no_grad():
        for number, (path, name) in enumerate(zip(paths, picture_names(paths), strict=True), start=1):
            image = read_image(path)
            found = {k: v.cpu() for k, v in model([image.to(device).float() / 255])[0].items()}
            image_id = number if image_ids is None else image_ids[number - 1]
            results += records(found, image_id, path, categories, category_ids)
            keep = found["scores"] >= options.score
            drawn += int(keep.sum())
            draw(image, {k: v[keep] for k, v in found.items()}, categories, out / name)
            bar.update(1)
    target = out / "predictions.json"
    write_atomically(target, (json.dumps(results, indent=1) + "\n").encode())
    print(f"{len(paths)} images, {len(results)} detections, {drawn} drawn (score ≥ {options.score:g}); wrote {target}")
    return 0


def read_ids(file: Path, paths: Sequence[Path], categories: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """A COCO file's id of each image, by its name, and of each category, by its name.

    Raises:
        RunError: no COCO file, or an image or a category that is not in it (or twice).
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        images = [(Path(image["file_name"]).name, image["id"]) for image in content["images"]]
        names = [(category["name"], category["id"]) for category in content["categories"]]
    except OSError as error:
        raise RunError(f"--ids {file}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"--ids {file}: is no COCO file with images and categories ({error!r})") from None
    found = []
    for what, given, wanted in (("image", images, [path.name for path in paths]), ("category", names, categories)):
        ids: dict[str, list[Any]] = {}
        for name, id_ in given:
            ids.setdefault(name, []).append(id_)
        for name in wanted:
            if len(ids.get(name, ())) != 1:
                raise RunError(f"--ids {file}: has {'no' if name not in ids else 'more than one'} {what} {name!r}")
        found.append([ids[name][0] for name in wanted])
    return found[0], found[1]


def records(
    found: dict[str, Any],
    image_id: Any,
    path: Path,
    categories: Sequence[str],
    category_ids: Sequence[Any] | None = None,
) -> list[dict[str, Any]]:
    """COCO's result format (bbox is x, y, width, height in pixels of the image) with the names of file and category.

    Args:
        category_ids: of `categories`; None: 1, 2, …
    """
    from roikit.train.metrics import encode_masks

    codes = encode_masks(found["masks"][:, 0] >= 0.5) if "masks" in found else None
    rows = []
    for i in range(len(found["boxes"])):
        x1, y1, x2, y2 = (round(float(v), 2) for v in found["boxes"][i])
        label = int(found["labels"][i])
        row: dict[str, Any] = {
            "image_id": image_id,
            "file_name": str(path),
            "category_id": label if category_ids is None else category_ids[label - 1],
            "category": categories[label - 1],
            "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
            "score": round(float(found["scores"][i]), 5),
        }
        if codes is not None:
            row["segmentation"] = {"size": list(codes[i]["size"]), "counts": codes[i]["counts"].decode("ascii")}
        rows.append(row)
    return rows


def draw(image: Any, found: dict[str, Any], categories: Sequence[str], path: Path) -> None:
    """The image with the detections' boxes, names, scores, and masks where there are any."""
    from torchvision.transforms.functional import to_pil_image
    from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

    palette = [
        "#e6194b",
        "#3cb44b",
        "#4363d8",
        "#f58231",
        "#911eb4",
        "#008080",
        "#9a6324",
        "#808000",
        "#f032e6",
        "#46f0f0",
    ]
    labels = [int(v) for v in found["labels"]]
    if labels:
        colours = [palette[(label - 1) % len(palette)] for label in labels]
        if "masks" in found:
            image = draw_segmentation_masks(image, found["masks"][:, 0] >= 0.5, alpha=0.4, colors=colours)
        texts = [f"{categories[n - 1]} {float(s):.2f}" for n, s in zip(labels, found["scores"], strict=True)]
        image = draw_bounding_boxes(image, found["boxes"], texts, colours, width=2)
    to_pil_image(image).save(path)
