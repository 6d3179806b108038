"""A run's folder: config.yaml, log.jsonl, tensorboard/, checkpoints/, model.safetensors, metrics.json, pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoint import write_atomically
from .errors import RunError


@dataclass(frozen=True)
class Weights:
    """What model.safetensors holds: tensors by name, the names of the categories, the detector's `build_info`, and the
    ids that the categories have in the data set."""

    tensors: dict[str, Tensor]
    categories: list[str]
    built: dict[str, Any]
    category_ids: list[Any]


class RunFolder:
    """The paths of a run and the files that are neither checkpoint nor picture."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.log = self.path / "log.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.weights = self.path / "model.safetensors"
        self.metrics = self.path / "metrics.json"

    def check_new(self) -> None:
        """Raise a `RunError` where a new run would meet something: the folder must be absent or empty."""
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path}: is a file; the run folder (--out) must be new or an empty folder")
        # a run that was killed while it wrote its first file has not begun
        unfinished = f".{self.config.name}.*.tmp"
        if self.path.is_dir() and not all(entry.match(unfinished) for entry in self.path.iterdir()):
            resume = f"continue it with: roikit train --resume {self.path}"
            hint = resume if self.config.is_file() else "nothing is overwritten"
            raise RunError(f"{self.path}: is not empty; choose another folder with --out ({hint})")

    def create(self, config_text: str) -> None:
        """Begin a new run: make the folder and write config.yaml.

        Raises:
            RunError: it holds something already, is a file, or cannot be made.
        """
        self.check_new()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for unfinished in self.path.iterdir():
                unfinished.unlink()
            write_atomically(self.config, config_text.encode())
        except OSError as error:
            raise RunError(f"{self.path}: the run folder cannot be written ({error.strerror})") from None

    def tidy(self) -> None:
        """Remove what a kill left half-written beside the files."""
        for unfinished in self.path.glob(".*.tmp"):
            unfinished.unlink(missing_ok=True)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """A run that exists.

        Raises:
            RunError: no such folder, or no run in it.
        """
        run = cls(path)
        if not run.path.exists():
            raise RunError(f"{run.path}: no such run folder")
        if not run.config.is_file():
            raise RunError(f"{run.path}: is no run folder (it has no config.yaml)")
        return run

    def truncate_log(self, step: int, *, last: bool = False) -> None:
        """Drop what was logged after `step`: a resumed run will log it again. A half-written last line goes too.

        Args:
            last: it is the run's last step, whose evaluation is logged after its checkpoint is written.
        """
        if not self.log.exists():
            return
        kept = []
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            if not isinstance(record, dict) or (last and record.get("kind") == "eval" and record.get("step") == step):
                continue
            if record.get("step", 0) <= step:
                kept.append(line + "\n")
        write_atomically(self.log, "".join(kept).encode())

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        write_atomically(self.metrics, (json.dumps(metrics, indent=2) + "\n").encode())

    def write_weights(
        self, model: nn.Module, categories: Sequence[str], config_text: str, category_ids: Sequence[Any]
    ) -> None:
        """The model's weights with what is needed to use them: categories, configuration, what was really built."""
        from safetensors.torch import save

        from roikit import __version__

        tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        tensors = _unshared(tensors)
        metadata = {
            "format": "pt",
            "roikit": __version__,
            "categories": json.dumps(list(categories)),
            "category_ids": json.dumps(list(category_ids)),
            "config": config_text,
            "built": json.dumps(model.build_info),
        }
        write_atomically(self.weights, save(tensors, metadata))

    def read_weights(self) -> Weights:
        """The weights and what was written with them.

        Raises:
            RunError: there are none yet, or the file is damaged or from elsewhere.
        """
        from safetensors import SafetensorError, safe_open

        if not self.weights.is_file():
            raise RunError(
                f"{self.path}: has no model.safetensors: its training has not ended (roikit train --resume {self.path})"
            )
        try:
            with safe_open(self.weights, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (SafetensorError, OSError) as error:
            raise RunError(f"{self.weights}: is damaged or no safetensors file ({error})") from None
        try:
            categories = json.loads(metadata["categories"])
            ids = json.loads(metadata.get("category_ids", "null")) or list(range(1, len(categories) + 1))
            return Weights(tensors, categories, json.loads(metadata["built"]), ids)
        except (KeyError, json.JSONDecodeError):
            raise RunError(f"{self.weights}: was not written by roikit train (it names no categories)") from None


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """safetensors refuses names that share memory: later ones become copies."""
    seen: set[int] = set()
    for name, value in tensors.items():
        if value.data_ptr() in seen and value.numel():
            tensors[name] = value.clone()
        seen.add(value.data_ptr())
    return tensors


def next_folder(data_path: str, root: Path = Path("runs")) -> Path:
    """runs/NAME-1, or the first number that is free; NAME says what is trained on."""
    name = data_path.replace(":", "-") if data_path.startswith("shapes") else Path(os.path.abspath(data_path)).stem
    number = 1
    while (root / f"{name}-{number}").exists():
        number += 1
    return root / f"{name}-{number}"


def load_weights(model: nn.Module, tensors: dict[str, Tensor], where: str | Path) -> None:
    """Weights into a model of the same architecture.

    Raises:
        RunError: names or shapes differ; says how many and which first.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in tensors]
    surplus = [name for name in tensors if name not in own]
    shapes = [name for name in own if name in tensors and own[name].shape != tensors[name].shape]
    problems = []
    if missing:
        problems.append(f"{len(missing)} tensors of the model are absent (first {missing[0]})")
    if surplus:
        problems.append(f"{len(surplus)} tensors have no place in the model (first {surplus[0]})")
    if shapes:
        name = shapes[0]
        problems.append(
            f"{len(shapes)} tensors have another shape (first {name}: {tuple(tensors[name].shape)}, "
            f"the model wants {tuple(own[name].shape)})"
        )
    if problems:
        raise RunError(f"{where}: the weights are of another architecture than config.yaml: {'; '.join(problems)}")
    with torch.no_grad():
        model.load_state_dict(tensors)
