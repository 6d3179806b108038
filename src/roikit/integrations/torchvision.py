"""One line to change the RoI layer of a torchvision detector."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from ..extractors import RegionExtractor
from ..multiscale import MultiScale

Model = TypeVar("Model", bound=nn.Module)


def replace_roi(
    model: Model,
    extractor: RegionExtractor,
    *,
    mask: RegionExtractor | None = None,
    keypoint: RegionExtractor | None = None,
    strides: dict[str, float | tuple[float, float]] | None = None,
) -> Model:
    """Replace the RoI pooling of torchvision's Faster, Mask or Keypoint R-CNN, in place; the heads stay.

    Args:
        model: ``torchvision.models.detection``'s FasterRCNN, MaskRCNN or KeypointRCNN (any with ``roi_heads``).
        extractor: for the box head.
        mask: for the mask head; ``None`` leaves it as it is.
        keypoint: for the keypoint head; ``None`` leaves it as it is.
        strides: image pixels per feature cell of each feature map, by name. ``None`` finds them by sending one blank
            image through the backbone, in evaluation mode and without gradients.

    Returns:
        ``model``.

    Raises:
        ValueError: not such a model, a head that the model does not have, or an extractor whose number of parts the
            head was not built for. Nothing is changed then.

    With ``RoIAlign(7, sampling_ratio=2, aligned=False)`` the box head's outputs do not change.

    Example:
        >>> import roikit
        >>> from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn
        >>> model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None)
        >>> model = roikit.replace_roi(model, roikit.PrRoIPool(7))
        >>> model.roi_heads.box_roi_pool.extractor
        PrRoIPool(output_size=(7, 7))
    """
    heads = getattr(model, "roi_heads", None)
    if heads is None or not hasattr(heads, "box_roi_pool"):
        raise ValueError(
            f"{type(model).__name__} has no roi_heads.box_roi_pool: replace_roi takes torchvision's two-stage detectors"
        )
    wanted = {"box_roi_pool": extractor, "mask_roi_pool": mask, "keypoint_roi_pool": keypoint}
    chosen = {name: one for name, one in wanted.items() if one is not None}
    for name, one in chosen.items():
        old = getattr(heads, name, None)
        if old is None:
            raise ValueError(f"the model has no {name.split('_')[0]} head, so it cannot take {one!r} there")
        if not isinstance(one, RegionExtractor):
            raise ValueError(f"{one!r} is not a RegionExtractor such as roikit.RoIAlign()")
        size = tuple(old.output_size)
        if one.output_size != size:
            raise ValueError(
                f"the {name.split('_')[0]} head was built for {size[0]}×{size[1]} parts and {type(one).__name__} gives "
                f"{one.output_size[0]}×{one.output_size[1]}: construct it with output_size={size}"
            )
    found = strides if strides is not None else _probe_strides(model)
    new = {}
    for name, one in chosen.items():
        old = getattr(heads, name)
        names = list(old.featmap_names)
        if strides is None:  # torchvision's layer may list more maps than there are, and reads those it finds
            names = [n for n in names if n in found] or names
        missing = [n for n in names if n not in found]
        if missing:
            raise ValueError(f"strides has no entry for the feature map {missing[0]!r}: it has {list(found)}")
        scale, level = float(getattr(old, "canonical_scale", 224)), float(getattr(old, "canonical_level", 4))
        new[name] = MultiScale(one, names, [found[n] for n in names], canonical_scale=scale, canonical_level=level)
    parameter = next(model.parameters())
    for name, layer in new.items():
        setattr(heads, name, layer.to(parameter.device).train(model.training))
    return model


def _probe_strides(model: nn.Module, side: int = 256) -> dict[str, float | tuple[float, float]]:
    """The stride of every feature map, from the sizes that one blank image gives."""
    backbone = model.get_submodule("backbone")
    training = {module: module.training for module in backbone.modules()}
    parameter = next(backbone.parameters())
    backbone.eval()
    try:
        with torch.no_grad():
            maps = backbone(torch.zeros(1, 3, side, side, dtype=parameter.dtype, device=parameter.device))
    except RuntimeError as error:
        raise ValueError(
            f"the backbone does not take a blank {side}×{side} colour image to find its strides with ({error}): "
            'give them, strides={"0": 4, …}'
        ) from error
    finally:
        for module, mode in training.items():
            module.training = mode
    if isinstance(maps, Tensor):
        maps = {"0": maps}
    found: dict[str, float | tuple[float, float]] = {}
    for name, x in maps.items():
        pair = tuple(float(2 ** round(torch.log2(torch.tensor(side / n)).item())) for n in x.shape[-2:])
        found[name] = pair[0] if pair[0] == pair[1] else (pair[0], pair[1])
    return found
