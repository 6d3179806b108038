"""Published weights: what exists, where to fetch it, and what happens when it cannot be reached."""

from __future__ import annotations

import socket
import urllib.request
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from torch import Tensor, nn

from . import state_dicts

# Weights of torchvision trained on COCO that fit a detector of this package, by torchvision's name of the model.
COCO_DETECTORS = {
    "fasterrcnn_resnet50_fpn": "faster_rcnn(backbone='resnet50', neck='fpn')",
    "maskrcnn_resnet50_fpn": "mask_rcnn(backbone='resnet50', neck='fpn')",
}
# Layers whose size depends on the number of classes: left as initialised when it is not COCO's.
PREDICTORS = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.mask_fcn_logits.")
_TRAINED_WITH_EPS = 0.0  # torchvision trained these weights with eps = 0 in its frozen batch norm
_NETWORK_PACKAGES = {"httpx", "httpx2", "httpcore", "requests", "urllib3", "huggingface_hub"}


class Unreachable(RuntimeError):
    """Weights exist, but the place that holds them could not be reached."""


def warn_from_scratch(weights: str, backbone: str, reason: str) -> None:
    """One line: which weights are missing, why, what brings them, and what the model does instead."""
    hint = f"; {state_dicts.missing_package(backbone)}" if weights == "imagenet" else ""
    warnings.warn(
        f"weights={weights!r} for {backbone!r} could not be fetched ({reason}): the model starts from scratch, "
        f"with trainable batch norm and no frozen layer{hint}",
        UserWarning,
        stacklevel=5,  # the caller of faster_rcnn
    )


def is_network_error(error: BaseException) -> bool:
    """Whether an exception says that a host could not be reached (rather than that something is wrong here)."""
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in _NETWORK_PACKAGES


def reason_of(error: BaseException) -> str:
    """The first line of an exception's message."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def timm_source(name: str) -> tuple[dict[str, Any], str]:
    """Arguments for ``timm.create_model`` that make it load the published weights of ``name``, and where these are.

    An installed weights package comes first: it gives the same weights with and without a network. Then timm's hub and
    its cache. The hub's client waits for about a minute before it gives up on a host that has no address. So look the
    host up first; without an address, use the file in the local cache.

    Raises:
        ValueError: there are no published weights for this backbone.
        Unreachable: no network and nothing in the cache.
    """
    import timm

    package = state_dicts.package_of(name)
    path = package.path() if package else None
    if path is not None:
        state = state_dicts.of_backbone(state_dicts.read(path), name, path)
        return from_state(state), str(package)
    if not timm.models.is_model_pretrained(name):
        raise ValueError(f"weights='imagenet': timm has no published weights for backbone {name!r}; use weights=None")
    config = timm.models.get_pretrained_cfg(name)
    hub_id = config.hf_hub_id if config else None
    if hub_id is None:
        return {"pretrained": True}, "timm"
    import huggingface_hub

    endpoint = urlsplit(huggingface_hub.constants.ENDPOINT)
    lookup_error = None if urllib.request.getproxies() else _lookup_error(endpoint.hostname or endpoint.path)
    if lookup_error is None:
        return {"pretrained": True}, f"timm's hub, {hub_id}"
    for filename in ("model.safetensors", "pytorch_model.bin"):
        cached = huggingface_hub.try_to_load_from_cache(hub_id, filename)
        if isinstance(cached, str):
            return from_state(state_dicts.read(Path(cached))), f"the cache, {cached}"
    raise Unreachable(lookup_error)


def from_state(state: dict[str, Tensor]) -> dict[str, Any]:
    """Arguments for ``timm.create_model`` that make it load a state dict in timm's names."""
    return {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": state}}


def _lookup_error(host: str) -> str | None:
    try:
        socket.getaddrinfo(host, 443)
    except OSError as error:
        return f"{host}: {reason_of(error)}"
    return None


def coco_state_dict(masks: bool) -> dict[str, Tensor]:
    """The state dict of torchvision's Faster (or Mask) R-CNN ResNet-50 FPN, trained on COCO's 91 labels.

    torchvision runs these weights with ``eps = 0`` in its batch norm. Here ``eps`` stays at 1e-5 and the running
    variances are lowered by it, which is the same function and needs no setting beside the weights.

    Raises:
        Unreachable: the file is neither in torch's cache nor can it be fetched.
    """
    from torchvision.models import get_model_weights

    published = get_model_weights("maskrcnn_resnet50_fpn" if masks else "fasterrcnn_resnet50_fpn")["COCO_V1"]
    try:
        state = dict(published.get_state_dict(progress=False, check_hash=True))
    except Exception as error:
        if not is_network_error(error):
            raise
        raise Unreachable(reason_of(error)) from error
    for key in state:
        if key.endswith(".running_var"):
            state[key] = state[key] - (1e-5 - _TRAINED_WITH_EPS)
    return state


def load_coco(model: nn.Module, state: dict[str, Tensor], num_classes: int) -> None:
    """Load ``state`` (from :func:`coco_state_dict`) into ``model``; with other classes than COCO's 91, all but the
    layers that depend on their number.

    Raises:
        ValueError: the state dict does not fit the model.
    """
    if num_classes != 91:
        state = {key: value for key, value in state.items() if not key.startswith(PREDICTORS)}
    missing, unexpected = model.load_state_dict(state, strict=False)
    # Not in the file: counters of trainable batch norm, the extractors' own parameters, predictors left out above.
    fresh = ("roi_heads.box_roi_pool.", "roi_heads.mask_roi_pool.", *(PREDICTORS if num_classes != 91 else ()))
    missing = [key for key in missing if not key.endswith("num_batches_tracked") and not key.startswith(fresh)]
    if missing or unexpected:
        raise ValueError(f"weights='coco' do not fit this model: missing {missing[:4]}, unexpected {unexpected[:4]}")
