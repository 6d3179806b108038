"""What this package promises: the targets of `python -m benchmarks.speed --targets`."""

from __future__ import annotations

from collections.abc import Callable

from roikit.bench.cases import Case
from roikit.bench.rows import LAYOUTS

from .peers import PEERS
from .targets import BETTER, LAYOUT_NAMES, Deterministic, Memory, Speed, Target


def promises(base: Case) -> list[Target]:
    """Those for the device of ``base``; its sizes are the targets' own unless it is quick."""
    return _on_cuda(base) if base.device == "cuda" else _on_cpu(base)


def _on_cpu(base: Case) -> list[Target]:
    case = _maker(base)
    found: list[Target] = []
    for layout, bounds in (("nchw", (8, 12)), ("last", (14, 22))):
        for pyramid, bound in zip(("coarse", "fine"), bounds, strict=True):
            one = case("roi_align", pyramid)
            work = f"RoIAlign forward, {one.maps.label}, {LAYOUT_NAMES[layout]}"
            found.append(Speed(work, "torchvision", one, "forward", layout, "torchvision", bound))
    for peer in ("torchvision", "openvino", "onnxruntime"):
        for pyramid, bound in (("coarse", 14), ("fine", 20)):
            one = case("roi_align_adaptive", pyramid)
            work = f"RoIAlign forward, adaptive, {one.maps.label}"
            found.append(Speed(work, PEERS[peer].label, one, "forward", BETTER, peer, bound))
    for rois, bound in ((1, 3), (10, 12), (100, 15)):
        one = case("roi_align", "coarse", rois=rois)
        work = f"RoIAlign forward, {one.maps.label}, R = {rois}"
        found.append(Speed(work, "torchvision", one, "forward", BETTER, "torchvision", bound))
    for pyramid, bound in (("coarse", 12), ("fine", 10)):
        one = case("roi_align", pyramid)
        work = f"RoIAlign backward, {one.maps.label}"
        found.append(Speed(work, "torchvision", one, "backward", BETTER, "torchvision", bound))
    one = case("multiscale_roi_align", "fpn")
    work = f"full FPN forward, {one.maps.image[0]}×{one.maps.image[1]}"
    found.append(Speed(work, "MultiScaleRoIAlign", one, "forward", BETTER, "torchvision", 12))
    for operation, bound in (("roi_pool", 8), ("ps_roi_align", 4), ("ps_roi_pool", 4)):
        for pyramid in case(operation, "coarse").of.pyramids:
            one = case(operation, pyramid)
            work = f"{one.of.label.split(', 2')[0]} forward, {one.maps.label}"
            found.append(Speed(work, "torchvision", one, "forward", BETTER, "torchvision", bound))
    one = case("deform_roi_pool", "coarse")
    work = f"deformable forward, {one.maps.label}"
    found.append(Speed(work, "torchvision's plain roi_align", one, "forward", BETTER, "torchvision", 6))
    for pyramid in ("coarse", "fine"):
        one = case("roi_align", pyramid)
        work = f"RoIAlign forward, {one.maps.label}, channels-last"
        found.append(Speed(work, "a copy of its output", one, "forward", "last", "copy", 2, over=True))
    for pyramid in ("coarse", "fine"):
        for layout in LAYOUTS:
            one = case("prroi_pool", pyramid)
            work = f"PrRoIPool forward, {one.maps.label}, {LAYOUT_NAMES[layout]}"
            other = case("roi_align", pyramid)
            found.append(Speed(work, "RoIAlign of this package", one, "forward", layout, "", 1.5, True, other))
    for layout in LAYOUTS:
        for pyramid in ("coarse", "fine"):
            one = case("roi_align", pyramid)
            work = f"RoIAlign forward, peak memory, {one.maps.label}, {LAYOUT_NAMES[layout]}"
            found.append(Memory(work, one, layout, 1.5))
    return found


def _on_cuda(base: Case) -> list[Target]:
    case = _maker(base)
    found: list[Target] = []
    for direction in ("forward", "backward"):
        for pyramid in ("coarse", "fine"):
            one = case("roi_align", pyramid)
            work = f"RoIAlign {direction}, {one.maps.label}, "
            found.append(Speed(f"{work}float32", "torchvision", one, direction, BETTER, "torchvision", 2))
            low, half = (case("roi_align", pyramid, dtype=dtype) for dtype in ("bfloat16", "float16"))
            other = (low, direction, BETTER, "torchvision", 3, False, half)
            found.append(Speed(f"{work}bfloat16", "torchvision's float16", *other))
    one = case("multiscale_roi_align", "fpn")
    work = f"full FPN forward, {one.maps.image[0]}×{one.maps.image[1]}"
    found.append(Speed(work, "MultiScaleRoIAlign", one, "forward", BETTER, "torchvision", 4))
    for pyramid in ("coarse", "fine"):
        one = case("roi_align", pyramid)
        work = f"RoIAlign backward, deterministic, {one.maps.label}"
        found.append(Deterministic(work, one, 3))
    return found


def _maker(base: Case) -> Callable[..., Case]:
    def case(operation: str, pyramid: str, **changes: object) -> Case:
        fields: dict = {"device": base.device, "quick": base.quick, **changes}
        if base.quick:  # sizes of a test
            fields = {"rois": base.rois, "channels": base.channels, **fields}
        return Case(operation, pyramid, **fields)

    return case
