"""What a trained detector reads of one image, box by box."""

from __future__ import annotations

import base64
import dataclasses
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..analysis.inputs import as_floats
from ..analysis.reading import evaluating, own_level, pooling_of, read_maps
from ..boxes import Rois, scale_pair
from ..weights import RegionWeights
from ..weights.selection import Selection

CHANNELS = 3  # of a map, shown
MOST_PROPOSALS = 100  # listed


@dataclasses.dataclass(frozen=True)
class Reading:
    """What is read of one box.

    Args:
        level: its place among the levels.
        weights: float32 ``[K, H, W]``, the mean over the channels where they differ.
        values: float32 ``[channels, K]``, the parts' features in the channels that are shown, in the map's units.
    """

    level: int
    weights: np.ndarray
    values: np.ndarray


class Viewer:
    """A detector and an image, looked at once: its maps, what it found, and then the weights of any box.

    Args:
        model: a two-stage detector that pools its boxes with a ``roikit.MultiScale``; it is put into evaluation mode.
        image: uint8 ``Tensor[3, H, W]``.
        name, method: what the run and its extractor are called.
        categories: the names of the labels 1, 2, ...

    Raises:
        ValueError: a detector whose weights cannot be shown.
    """

    def __init__(self, model: nn.Module, image: Tensor, name: str, method: str, categories: Sequence[str]) -> None:
        self.name, self.method, self.model, self.image = name, method, model.eval(), image
        self.pool = pooling_of(model)
        self.extractors = [self.pool.extractor_at(level) for level in range(len(self.pool.featmap_names))]
        if any(extractor.groups > 1 for extractor in self.extractors):
            raise ValueError("it is position-sensitive, each part reads maps of its own")
        self.maps = read_maps(model, image)
        self.levels = [_Level.of(self.maps.maps[key][0]) for key in self.pool.featmap_names]
        self.detections, self.proposals = self._detect(categories)
        self._one = threading.Lock()  # requests come in threads of their own

    def stride(self, level: int) -> tuple[float, float]:
        """Pixels of the image given per cell, (y, x)."""
        y, x = scale_pair(self.pool.scales[level])
        return 1 / (y * self.maps.factor[0]), 1 / (x * self.maps.factor[1])

    def about(self) -> dict[str, Any]:
        """All that the page needs before a box is chosen."""
        levels = [{"stride": self.stride(k), **level.shown()} for k, level in enumerate(self.levels)]
        return {
            "name": self.name,
            "method": self.method,
            "grid": self.pool.output_size,
            "levels": levels,
            "detections": self.detections,
            "proposals": self.proposals,
        }

    def read(self, box: Sequence[float]) -> Reading:
        """The weights and values of one box, (x1, y1, x2, y2) in pixels of the image, on the level that suits it."""
        boxes = torch.tensor([list(box)], dtype=torch.float32)
        with self._one, evaluating(self.model):
            level = own_level(self.pool, self.maps, boxes[0])
            weights = self._weights(boxes, level)
            shown = _dense(weights, *self.levels[level].size).cpu().numpy()
            return Reading(level, shown, self._values(weights, level)[0])

    def line(self, box: Sequence[float], shifts: Sequence[float]) -> np.ndarray:
        """The values of a box moved to the right by some pixels each, ``[shifts, channels, K]``, all on the level of
        the box itself."""
        boxes = torch.tensor([[box[0] + d, box[1], box[2] + d, box[3]] for d in shifts], dtype=torch.float32)
        with self._one, evaluating(self.model):
            level = own_level(self.pool, self.maps, torch.tensor(list(box), dtype=torch.float32))
            return self._values(self._weights(boxes, level), level)

    def _weights(self, boxes: Tensor, level: int) -> RegionWeights:
        """The weights of boxes ``Tensor[N, 4]`` in pixels of the image, on one level."""
        features, extractor = self._features(level), self.extractors[level]
        fy, fx = self.maps.factor
        place = boxes.to(features.device) * torch.tensor([fx, fy, fx, fy], device=features.device)
        zeros = torch.zeros(len(boxes), dtype=torch.int64, device=features.device)
        extras = {"image_sizes": [self.maps.size]} if "image_sizes" in extractor.extras else {}
        weights = extractor.weights(features, Rois(place, zeros, zeros), self.pool.scales[level], **extras)
        return extractor.shown(weights, features)

    def _values(self, weights: RegionWeights, level: int) -> np.ndarray:
        chosen = self.levels[level]
        pooled = weights.pool(self._features(level))[:, chosen.channels].flatten(2).float().cpu().numpy()
        return (pooled - chosen.low[:, None]) / (chosen.high - chosen.low)[:, None]

    def _features(self, level: int) -> Tensor:
        return self.maps.maps[self.pool.featmap_names[level]]

    def _detect(self, categories: Sequence[str]) -> tuple[list[dict[str, Any]], list[list[float]]]:
        detector: Any = self.model
        pixels = as_floats(self.image, next(self.model.parameters()).device)
        with evaluating(self.model):
            found = detector([pixels])[0]
            images, _ = detector.transform([pixels])
            boxes = detector.rpn(images, self.maps.maps)[0][0][:MOST_PROPOSALS]
        boxes = boxes / boxes.new_tensor([self.maps.factor[1], self.maps.factor[0]] * 2)
        each = zip(found["boxes"].tolist(), found["labels"].tolist(), found["scores"].tolist(), strict=True)
        named = [
            {"box": [round(v, 2) for v in box], "name": categories[label - 1], "score": round(score, 3)}
            for box, label, score in each
        ]
        return named, [[round(v, 2) for v in box] for box in boxes.tolist()]


@dataclasses.dataclass(frozen=True)
class _Level:
    """The channels of a map that are shown: those that differ most from place to place, each on a scale of its own."""

    channels: list[int]
    low: np.ndarray
    high: np.ndarray
    cells: np.ndarray  # [channels, H, W]

    @classmethod
    def of(cls, features: Tensor) -> _Level:
        values = features.detach().float().cpu().numpy()
        channels = np.argsort(-values.var((1, 2)), kind="stable")[:CHANNELS]
        cells = values[channels]
        low, high = cells.min((1, 2)), cells.max((1, 2))  # nothing is cut: the page's own sums give the run's values
        return cls(channels.tolist(), low, np.maximum(high, low + 1e-6), cells)

    @property
    def size(self) -> tuple[int, int]:
        return self.cells.shape[1], self.cells.shape[2]

    def shown(self) -> dict[str, Any]:
        scaled = (self.cells - self.low[:, None, None]) / (self.high - self.low)[:, None, None]
        steps = np.round(scaled * 255).astype(np.uint8)
        height, width = self.size
        return {"height": height, "width": width, "channels": [encoded(channel) for channel in steps]}


def _dense(weights: RegionWeights, height: int, width: int) -> Tensor:
    """``Tensor[K, H, W]`` of one region; of a maximum the share of the channels that take a cell."""
    if not isinstance(weights, Selection):
        return weights.dense(height, width)[0].float().mean(0)
    index = weights.index[0].flatten(1).T.to(torch.int64)  # [K, C]; all channels written out would not fit
    out = torch.zeros(index.shape[0], height * width, device=index.device)
    out.scatter_add_(1, index.clamp(min=0), (index >= 0).float() / index.shape[1])
    return out.unflatten(1, (height, width))


def packed(reading: Reading) -> dict[str, Any]:
    """A reading for the page: 256 steps of weight, of the cells around which there is any."""
    weights = reading.weights
    peak = weights.max((1, 2))
    seen = weights.max(0) >= max(float(peak.max()), 1e-12) / 510
    rows, cols = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
    top, bottom, left, right = (rows[0], rows[-1] + 1, cols[0], cols[-1] + 1) if len(rows) else (0, 1, 0, 1)
    cut = weights[:, top:bottom, left:right] / np.maximum(peak, 1e-12)[:, None, None]
    return {
        "level": reading.level,
        "top": int(top),
        "left": int(left),
        "height": int(bottom - top),
        "width": int(right - left),
        "scale": peak.astype(float).tolist(),
        "steps": encoded(np.round(np.clip(cut, 0, 1) * 255).astype(np.uint8)),
        "values": reading.values.astype(float).round(5).tolist(),
    }


def encoded(steps: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(steps).tobytes()).decode()
