"""Detection in videos: its configuration, and the detector and the data for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .errors import RunError


@dataclass
class VideoConfig:
    """Detection in videos."""

    method: Literal["none", "fgfa"] = "none"
    """none looks at each frame alone, fgfa at its neighbours too (Flow-Guided Feature Aggregation). --video says it."""

    frames: int = 2
    """Neighbours of a training image."""

    reach: int = 9
    """How many frames before and after a neighbour may be, in training and in evaluation, where all of them are."""

    flow_width: int = 16
    """Width of the flow network, FlowNet-S; 64 is the paper's."""

    flow_weights: str | None = None
    """A file of weights of the flow network (its state dict, .safetensors or .pth); nothing is from scratch."""

    flow_loss: float = 0.1
    """Weight of the flow's error in pixels in the loss, where the data knows the flow (shapes:moving)."""

    def rules(self) -> list[tuple[str, bool, str]]:
        """Of each key whether its value fits, and what does."""
        return [
            ("video.frames", self.frames >= 1, "at least 1"),
            ("video.reach", self.reach >= 1, "at least 1"),
            ("video.flow_width", self.flow_width >= 1, "at least 1"),
            ("video.flow_loss", self.flow_loss >= 0, "0 or more"),
        ]


def take_videos(detector: Any, config: VideoConfig, fetch: bool) -> None:
    """Let a detector aggregate frames as a configuration asks for, in place.

    Args:
        detector: of `roikit.detection`.
        config: what is asked for.
        fetch: load the weights of the flow network; not of a detector whose own weights follow.

    Raises:
        RunError: a detector that cannot, or weights of another network.
    """
    if config.method == "none":
        return
    from roikit.detection import fgfa
    from roikit.detection.state_dicts import read
    from roikit.layers import FlowNetS

    flow = FlowNetS(config.flow_width)
    try:
        fgfa(detector, flow=flow, flow_weight=config.flow_loss)
    except ValueError as error:
        raise RunError(f"video.method: {error}") from None
    if config.flow_weights is not None and fetch:
        try:
            flow.load_state_dict(read(Path(config.flow_weights)))
        except (OSError, ValueError, RuntimeError) as error:
            raise RunError(f"video.flow_weights: {str(error).splitlines()[0]}") from None


def with_neighbours(dataset: Any, transform: Callable, config: VideoConfig) -> Callable:
    """The transform of training images, with neighbours where the method takes some.

    Raises:
        DataError: images that are no frames of videos.
    """
    if config.method == "none":
        return transform
    from roikit.data.video import WithNeighbours

    return WithNeighbours(dataset, transform, count=config.frames, reach=config.reach, flow=config.flow_loss > 0)
