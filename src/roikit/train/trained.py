"""A trained detector rebuilt from its run folder alone."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from .build import build_model
from .config import TrainConfig
from .parse import read
from .runfolder import RunFolder, Weights, load_weights


def load_trained(path: str | Path) -> tuple[nn.Module, list[str], TrainConfig]:
    """The detector (in evaluation mode, on the CPU), its categories and its configuration.

    Raises:
        RunError: no run, a run without weights, damaged weights, weights of another architecture.
    """
    run = RunFolder.open(path)
    config, _ = read(run.config)
    model, weights = rebuild(run, config)
    return model, weights.categories, config


def rebuild(run: RunFolder, config: TrainConfig) -> tuple[nn.Module, Weights]:
    """The detector of a run's weights (in evaluation mode, on the CPU), and what was written with them."""
    weights = run.read_weights()
    model = build_model(config, len(weights.categories), weights.built)
    load_weights(model, weights.tensors, run.weights)
    return model.eval(), weights


def pick_device(cpu: bool) -> str:
    """ "cuda" where there is one and `cpu` is false."""
    import torch

    return "cuda" if torch.cuda.is_available() and not cpu else "cpu"


def new_file(path: str | Path, flag: str) -> Path:
    """A path that may be written: absent, in a folder that exists.

    Raises:
        RunError: otherwise.
    """
    from .errors import RunError

    path = Path(path)
    if path.exists():
        raise RunError(f"{flag} {path}: exists already; nothing is overwritten, choose another name")
    if not path.parent.is_dir():
        raise RunError(f"{flag} {path}: the folder {path.parent} does not exist")
    return path
