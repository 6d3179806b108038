"""The pictures at the end of a run, drawn by `roikit.analysis.pictures`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from roikit.train.config import TrainConfig
from roikit.train.runfolder import RunFolder


def draw(run: RunFolder, config: TrainConfig, dataset: Any) -> list[Path]:
    """predictions.png and weights.png; the run is complete without them, so a failure is one line, not an error."""
    try:
        from roikit.analysis.pictures import picture_predictions, picture_weights
    except ImportError as error:
        print(f"no pictures: {error}", file=sys.stderr)
        return []
    from roikit.train.trained import load_trained

    model, _, _ = load_trained(run.path)
    files = []
    for name, function in (("predictions.png", picture_predictions), ("weights.png", picture_weights)):
        path = run.path / name
        try:
            function(model, dataset, path)
            files.append(path)
        except Exception as error:
            print(f"{path}: could not be drawn: {error}", file=sys.stderr)
    return files
