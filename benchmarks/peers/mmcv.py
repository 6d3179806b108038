"""mmcv's compiled operators."""

from __future__ import annotations

from roikit.bench.peers import Peer, Rival
from roikit.bench.scenes import PARTS, Scene


def rival(operation: str, scene: Scene) -> Rival | None:
    from mmcv import ops

    boxes, size, scale = scene.boxes.to(scene.maps[0].dtype), (PARTS, PARTS), scene.scale
    match operation:  # its functions take no names
        case "roi_align":
            return Rival.of(lambda maps: ops.roi_align(maps[0], boxes, size, scale, 2, "avg", False), scene)
        case "roi_align_adaptive":
            return Rival.of(lambda maps: ops.roi_align(maps[0], boxes, size, scale, 0, "avg", False), scene)
        case "roi_pool":
            return Rival.of(lambda maps: ops.roi_pool(maps[0], boxes, size, scale), scene)
        case "prroi_pool":
            return Rival.of(lambda maps: ops.prroi_pool(maps[0], boxes, size, scale), scene)
        case "deform_roi_pool":
            offset = scene.offset.flip(1).contiguous().to(boxes.dtype)  # its offsets are (x, y)
            return Rival.of(lambda maps: ops.deform_roi_pool(maps[0], boxes, offset, size, scale, 2, 0.1), scene)
    return None


PEER = Peer("mmcv", ("mmcv.ops",), "mmcv", rival, ("cpu", "cuda"))
