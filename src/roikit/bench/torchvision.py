"""torchvision's operators."""

from __future__ import annotations

from .peers import Peer, Rival
from .scenes import PARTS, Scene


def rival(operation: str, scene: Scene) -> Rival | None:
    from torchvision import ops

    boxes, scale = scene.boxes.to(scene.maps[0].dtype), scene.scale
    match operation:
        case "roi_align":
            return Rival.of(lambda maps: ops.roi_align(maps[0], boxes, PARTS, scale, 2), scene)
        case "roi_align_adaptive":
            return Rival.of(lambda maps: ops.roi_align(maps[0], boxes, PARTS, scale, -1), scene)
        case "roi_pool":
            return Rival.of(lambda maps: ops.roi_pool(maps[0], boxes, PARTS, scale), scene)
        case "ps_roi_align":
            return Rival.of(lambda maps: ops.ps_roi_align(maps[0], boxes, PARTS, scale, 2), scene)
        case "ps_roi_pool":
            return Rival.of(lambda maps: ops.ps_roi_pool(maps[0], boxes, PARTS, scale), scene)
        case "deform_roi_pool":  # it has none: its plain RoIAlign is how fast sampling can be without offsets
            return Rival.of(lambda maps: ops.roi_align(maps[0], boxes, PARTS, scale, 2, True), scene, plain=True)
        case "multiscale_roi_align":
            layer = ops.MultiScaleRoIAlign(scene.names, PARTS, 2)
            each, images = [one.to(scene.maps[0].dtype) for one in scene.per_image], scene.images
            return Rival.of(lambda maps: layer(dict(zip(scene.names, maps, strict=True)), each, images), scene)
    return None


PEER = Peer("torchvision", ("torchvision.ops",), "torchvision", rival, ("cpu", "cuda"))
