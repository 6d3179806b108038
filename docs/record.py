"""Record what the explorer cannot compute in a browser: `python docs/record.py SEMANTIC LEARNED`.

The two arguments are run folders of `roikit train --extractor SemanticRoIAlign` and `LearnedRegionFeatures`. Their
weights for regions of one picture, and the picture's feature maps, go to `src/roikit/explore/page/recorded.js`.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from roikit.analysis.reading import own_level, pooling_of, read_maps
from roikit.analysis.regions import region_weights_of
from roikit.data.shapes import CLASSES, LEVELS, Figure, draw
from roikit.train.trained import load_trained

FILE = Path(__file__).parents[1] / "src" / "roikit" / "explore" / "page" / "recorded.js"
# twice the size that the detectors are trained on, so that a detector's strides 4, 8, 16 are 8, 16, 32 pixels here
LEVEL = dataclasses.replace(
    LEVELS["easy"], width=384, height=256, figures=(4, 5), size=(84, 150), clutter=(4, 8), grain=4
)
NUMBER = 5
MOVES = [(0, 0, 1), (0.15, 0, 1), (-0.15, 0, 1), (0, 0.15, 1), (0, -0.15, 1), (0, 0, 0.8), (0, 0, 1.25)]  # dx, dy, zoom
CHANNELS = 3  # of each feature map


def main(semantic: str, learned: str) -> None:
    image, figures = draw(LEVEL, "val", NUMBER)
    recorded = {
        "image": {"url": picture(image, "JPEG"), "height": image.shape[0], "width": image.shape[1]},
        "objects": [{"box": list(figure.box), "name": CLASSES[figure.label - 1]} for figure in figures],
        "levels": levels_of(semantic, image, figures),
        "runs": {
            name: run_of(run, image, figures)
            for name, run in {"SemanticRoIAlign": semantic, "LearnedRegionFeatures": learned}.items()
        },
    }
    text = json.dumps(recorded, separators=(",", ":"))
    FILE.write_text(f"// Written by docs/record.py.\n(globalThis.roikit ??= {{}}).recorded = {text};\n")
    print(f"wrote {FILE}, {FILE.stat().st_size / 1000:.0f} kB")


def moved(box: tuple[int, ...], dx: float, dy: float, zoom: float) -> list[int]:
    """The box shifted by shares of its sides and enlarged about its centre, inside the picture."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    cx, cy = (x1 + x2) / 2 + dx * width, (y1 + y2) / 2 + dy * height
    corners = (cx - width * zoom / 2, cy - height * zoom / 2, cx + width * zoom / 2, cy + height * zoom / 2)
    most = (LEVEL.width, LEVEL.height) * 2
    return [round(min(max(v, 0), limit)) for v, limit in zip(corners, most, strict=True)]


def levels_of(run: str, image: np.ndarray, figures: list[Figure]) -> list[dict[str, object]]:
    """A detector's maps of the picture, a few channels each."""
    model, _, _ = load_trained(run)
    maps = read_maps(model, tensor(image))
    pool = pooling_of(model)
    return [
        level(maps.maps[name][0].numpy(), pool.strides[k] / maps.factor[0], figures)
        for k, name in enumerate(pool.featmap_names[:3])
    ]


def level(features: np.ndarray, stride: float, figures: list[Figure]) -> dict[str, object]:
    """The channels that tell objects from the background best, each from 0 to 1 in 256 steps."""
    seen = torch.from_numpy(np.any([figure.mask for figure in figures], 0).astype(np.float32))[None, None]
    inside = torch.nn.functional.adaptive_avg_pool2d(seen, features.shape[1:])[0, 0].numpy()
    means = [(features * share).sum((1, 2)) / share.sum() for share in (inside, 1 - inside)]
    chosen = features[np.argsort(-(means[0] - means[1]) / features.std((1, 2)))[:CHANNELS]]
    low, high = (np.quantile(chosen, share, (1, 2), keepdims=True) for share in (0.01, 0.99))
    steps = np.round(np.clip((chosen - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return {
        "stride": stride,
        "height": steps.shape[1],
        "width": steps.shape[2],
        "channels": [base64.b64encode(channel.tobytes()).decode() for channel in steps],
    }


def run_of(run: str, image: np.ndarray, figures: list[Figure]) -> dict[str, object]:
    """A run's weights of the figures' boxes, also moved, and the map that they read."""
    boxes = [moved(figure.box, *move) for figure in figures for move in MOVES]
    model, _, config = load_trained(run)
    maps = read_maps(model, tensor(image))
    pool = pooling_of(model)
    used = {own_level(pool, maps, torch.tensor(box).float()) for box in boxes}
    if len(used) > 1:
        raise SystemExit(f"{run}: reads these boxes from several levels; the page has one map for each run")
    name, stride = pool.featmap_names[used.pop()], 0.0
    entries = []
    for box in boxes:
        view = region_weights_of(model, tensor(image), torch.tensor(box).float(), whole=True)
        stride = view.stride[0]
        entries.append({"box": box, **mosaic(view.mean.numpy(), view.grid)})
    return {"steps": config.optim.steps, "map": level(maps.maps[name][0].numpy(), stride, figures), "boxes": entries}


def mosaic(weights: np.ndarray, grid: tuple[int, int]) -> dict[str, object]:
    """``[K, H, W]`` as a grey picture: in a grid, the cells of each part around which there is any weight."""
    seen = weights.max(0) >= weights.max() / 510
    rows, cols = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, cols[0], cols[-1] + 1
    cut = weights[:, top:bottom, left:right]
    peak = cut.max((1, 2), keepdims=True)
    steps = np.round(cut / np.maximum(peak, 1e-12) * 255).astype(np.uint8)
    height, width = steps.shape[1:]
    tiles = steps.reshape(*grid, height, width).swapaxes(1, 2).reshape(grid[0] * height, grid[1] * width)
    sums = steps.sum((1, 2), dtype=np.float64) / 255  # weights add up to what they do, whatever the steps
    scale = weights.sum((1, 2)) / np.maximum(sums, 1e-12)
    return {
        "top": int(top),
        "left": int(left),
        "height": int(height),
        "width": int(width),
        "scale": [float(f"{v:.4g}") for v in scale],
        "url": picture(tiles, "PNG"),
    }


def picture(pixels: np.ndarray, form: str) -> str:
    """As a data URL: a script of a page from a file may not read pixels of another file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form, quality=88, optimize=True)
    return f"data:image/{form.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1).contiguous()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
