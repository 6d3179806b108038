"""The two ends of a run: the detector it began with and the one it has come to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from . import checkpoint
from .build import build_model
from .config import TrainConfig
from .errors import RunError
from .runfolder import RunFolder, load_weights
from .trained import rebuild


@dataclass(frozen=True)
class Stage:
    """A detector in evaluation mode on the CPU, its ``build_info``, the number of its categories, and where its weights
    are from, said in a few words."""

    model: nn.Module
    built: Mapping[str, Any]
    categories: int
    source: str


def last_stage(run: RunFolder, config: TrainConfig, categories: Callable[[], int]) -> Stage:
    """What a run has come to: model.safetensors, else the newest checkpoint.

    Args:
        categories: says the number of categories, asked where only a checkpoint is there, which does not know it.

    Raises:
        RunError: nothing has been trained yet, or the files are damaged or of another architecture.
    """
    if run.weights.is_file():
        model, weights = rebuild(run, config)
        return Stage(model, weights.built, len(weights.categories), "model.safetensors")
    state = checkpoint.load_newest(run.checkpoints, lambda line: print(line, file=sys.stderr))
    if state is None or state["step"] == 0:
        raise RunError(f"{run.path}: nothing has been trained yet (roikit train --resume {run.path})")
    return _of_checkpoint(run, config, state, categories())


def first_stage(run: RunFolder, config: TrainConfig, last: Stage) -> Stage:
    """What a run began with: its checkpoint of step 0 where it is kept, else built anew from the run's seed.

    Args:
        last: the run's `last_stage`.

    Raises:
        RunError: the checkpoint is damaged, or the published weights that the run began with cannot be fetched now.
    """
    categories, built = last.categories, last.built
    if 0 in checkpoint.steps(run.checkpoints):
        return _of_checkpoint(run, config, checkpoint.load(run.checkpoints, 0), categories)
    from accelerate.utils import set_seed

    set_seed(config.seed)  # as training does, right before it builds
    # what began from scratch then does so now, also where the published weights can be fetched by now
    try:
        model = build_model(config, categories, None if built["weights"] else built)
    except RunError as error:
        if not built["weights"]:
            raise
        raise RunError(
            f"{run.path}: began with weights ({built['weights']}) that cannot be had now, and its checkpoint of step 0 "
            f"was not kept ({error}); train with --keep_checkpoints 0 to keep it"
        ) from None
    return Stage(model.eval(), built, categories, f"built anew with seed {config.seed}")


def _of_checkpoint(run: RunFolder, config: TrainConfig, state: Mapping[str, Any], categories: int) -> Stage:
    model = build_model(config, categories, state["built"])
    load_weights(model, best_of(state), run.checkpoints)
    return Stage(model.eval(), state["built"], categories, f"checkpoint of step {state['step']}")


def best_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a checkpoint that are evaluated: the running average where there is one."""
    if state["ema"] is None:
        return state["model"]
    prefix = "module."
    return {name.removeprefix(prefix): v for name, v in state["ema"].items() if name.startswith(prefix)}
