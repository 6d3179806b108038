"""One line to change the RoI layer of a torchvision detector."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..detection.pooling import Extractors, check_extractor, groups_of, is_listed, make_all, show
from ..multiscale import MultiScale

Model = TypeVar("Model", bound=nn.Module)
Strides = dict[str, float | tuple[float, float]]


def replace_roi(
    model: Model,
    extractor: Extractors | None,
    *,
    mask: Extractors | None = None,
    keypoint: Extractors | None = None,
    strides: Strides | None = None,
) -> Model:
    """Replace the RoI pooling of torchvision's Faster, Mask or Keypoint R-CNN, in place; the heads stay.

    Args:
        model: ``torchvision.models.detection``'s FasterRCNN, MaskRCNN or KeypointRCNN (any with ``roi_heads``), or one
            of ``roikit.detection``. An R-FCN takes position-sensitive extractors, the others take the rest.
        extractor: for the box head: an extractor, one for each level in a list, or what makes one, such as the class
            ``roikit.DeformRoIPool`` or ``functools.partial`` of it, which is given the maps' ``channels``. ``None``
            leaves it as it is, where ``mask`` or ``keypoint`` is given.
        mask: for the mask head; ``None`` leaves it as it is.
        keypoint: for the keypoint head; ``None`` leaves it as it is.
        strides: image pixels per feature cell of each feature map, by name. ``None`` finds them by sending a blank
            image or two through the backbone, in evaluation mode and without gradients. Of the names that the model's
            layer lists those are read that the backbone gives; where it takes no such image, those that ``strides``
            has.

    Returns:
        ``model``.

    Raises:
        ValueError: not such a model, nothing to replace, a head that the model does not have, strides of other maps, an
            extractor made for other channels than the maps have, or one whose parts or channels the head was not built
            for; or blank images that do not tell the strides. Nothing is changed then.

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
    if not chosen:
        raise ValueError("nothing to replace: give an extractor for the box head, or mask= or keypoint=")
    for name in chosen:
        if getattr(heads, name, None) is None:
            head = name.split("_")[0]
            raise ValueError(f"the model has no {head} head, so {head}= can take nothing")
    channels: dict[str, int] | None = None
    if strides is None:
        strides, channels = _probe(model)
    else:
        try:  # only to learn which maps there are: a backbone may take other images, or more than one argument
            channels = _probe(model)[1]
        except Exception:
            channels = None
    new = {}
    for name, one in chosen.items():
        new[name] = _pool_like(getattr(heads, name), name.split("_")[0], one, model, strides, channels)
    parameter = next(model.parameters())
    for name, layer in new.items():
        setattr(heads, name, layer.to(parameter.device).train(model.training))
    return model


def _pool_like(
    old: Any, head: str, given: Extractors, model: nn.Module, strides: Strides, found: dict[str, int] | None
) -> MultiScale:
    """The pooling layer that stands for ``old``; ``found``: the channels of the maps, where a probe has shown them."""
    names = list(old.featmap_names)
    unknown = [n for n in strides if n not in names and n not in (found or strides)]
    if unknown:
        raise ValueError(
            f"strides has an entry for {unknown[0]!r}, but the feature maps are {list(found or names)}: "
            "correct its name"
        )
    # torchvision's layer may list more maps than there are, and reads those it finds
    names = [n for n in names if n in (strides if found is None else found)] or names
    missing = [n for n in names if n not in strides]
    if missing:
        raise ValueError(f"strides has no entry for the feature map {missing[0]!r}: it has {list(strides)}")
    if found is not None and names[0] in found:
        channels: int | None = found[names[0]]
    else:  # torchvision's detectors ask their backbones to say it
        channels = getattr(model.get_submodule("backbone"), "out_channels", None)
    size, groups = tuple(old.output_size), old.extractor_at(0).groups if isinstance(old, MultiScale) else 1
    if groups_of(given) != groups:
        builder = "rfcn" if groups_of(given) > 1 else "faster_rcnn"
        raise ValueError(
            f"the {head} head was built for pooling that makes a channel of {groups} map{'s'[: groups > 1]}, and "
            f"{show(given)} makes one of {groups_of(given)}: roikit.detection.{builder} builds detectors for it"
        )
    each = make_all(given, head, channels)
    for one in each:
        check_extractor(one, head, channels)
        if one.output_size != size:
            if "output_size" in inspect.signature(type(one)).parameters:
                advice = f"construct it with output_size={size}"
            elif hasattr(one, "max_cells"):
                advice = f"construct it with masks={size[0] * size[1]}"
            else:
                advice = (
                    f"construct it so that it gives {size[0]}×{size[1]} parts or, where it cannot, build the detector "
                    "for it with roikit.detection.faster_rcnn"
                )
            raise ValueError(
                f"the {head} head was built for {size[0]}×{size[1]} parts and {type(one).__name__} gives "
                f"{one.output_size[0]}×{one.output_size[1]}: {advice}"
            )
    return MultiScale(
        each if is_listed(given) else each[0],
        names,
        [strides[n] for n in names],
        aggregate=getattr(old, "aggregate", "assign"),
        canonical_scale=float(getattr(old, "canonical_scale", 224)),
        canonical_level=float(getattr(old, "canonical_level", 4)),
    )


def _probe(model: nn.Module, side: int = 256) -> tuple[Strides, dict[str, int]]:
    """The strides and channels of every feature map, from what blank images give: one where its sides are halved some
    times, else one of twice the size too."""
    backbone = model.get_submodule("backbone")
    sizes, channels = _maps_of(backbone, side)
    strides: Strides = {}
    larger: dict[str, tuple[int, int]] | None = None
    for name, size in sizes.items():
        found = [_halved(side, n) for n in size]
        if None in found:
            larger = larger or _maps_of(backbone, 2 * side)[0]
            found = [_told(side, n, more) for n, more in zip(size, larger[name], strict=True)]
        if None in found:
            raise ValueError(
                f"a blank image of {side}×{side} pixels becomes {size[0]}×{size[1]} cells of the feature map {name!r}, "
                f"one of twice the size {'×'.join(map(str, (larger or sizes)[name]))}, which does not tell its "
                f"stride: {_GIVE}"
            )
        y, x = (float(stride) for stride in found if stride is not None)
        strides[name] = y if y == x else (y, x)
    return strides, channels


_GIVE = 'give them, strides={"0": 4, …}'


def _maps_of(backbone: nn.Module, side: int) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """Cells and channels of the maps of a blank image."""
    training = {module: module.training for module in backbone.modules()}
    parameter = next(backbone.parameters())
    backbone.eval()
    try:
        with torch.no_grad():
            maps = backbone(torch.zeros(1, 3, side, side, dtype=parameter.dtype, device=parameter.device))
    except Exception as error:
        raise ValueError(
            f"the backbone does not take a blank {side}×{side} colour image to find its strides with ({error}): {_GIVE}"
        ) from error
    finally:
        for module, mode in training.items():
            module.training = mode
    maps = {"0": maps} if isinstance(maps, Tensor) else maps
    return {name: tuple(x.shape[-2:]) for name, x in maps.items()}, {name: x.shape[1] for name, x in maps.items()}


def _halved(side: int, cells: int) -> int | None:
    """The stride, where halving some times makes ``cells`` of ``side`` pixels."""
    stride, rest = divmod(side, cells)
    return stride if rest == 0 and stride & (stride - 1) == 0 else None


def _told(side: int, cells: int, more: int) -> int | None:
    """The stride that makes ``cells`` of ``side`` pixels and ``more`` of twice as many, whether a last cell that is not
    whole counts or not; None where there is not one alone."""
    if more > cells and side % (more - cells) == 0:  # so many cells more for so many pixels more
        return side // (more - cells)
    counts = ((side, cells), (2 * side, more))
    fits = {
        stride
        for stride in range(1, side + 1)
        for beyond in (0, stride - 1)
        if 210**8 % stride == 0  # a product of 2, 3, 5 and 7, as steps of layers make
        and all((pixels + beyond) // stride == n for pixels, n in counts)
    }
    return fits.pop() if len(fits) == 1 else None
