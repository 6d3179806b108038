"""`roikit info --detectors`: the detectors, and the parts of them that have names of their own here."""

from __future__ import annotations

from collections.abc import Iterator

TABLE: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "detectors (roikit.detection)",
        (
            ("faster_rcnn", "by default", "Ren et al., Faster R-CNN, 2015"),
            ("mask_rcnn", "--model.masks true", "He et al., Mask R-CNN, 2017"),
            ("cascade_rcnn", "--model.cascade true", "Cai & Vasconcelos, Cascade R-CNN, 2018"),
            ("oriented_rcnn", "--model.oriented true", "Xia et al., DOTA, 2018; Ding et al., RoI Transformer, 2019"),
            ("rfcn", "a position-sensitive --extractor", "Dai et al., R-FCN, 2016"),
            ("fgfa", "--video fgfa", "Zhu et al., Flow-Guided Feature Aggregation, 2017"),
        ),
    ),
    (
        "necks",
        (
            ("fpn", "--model.neck fpn", "Lin et al., Feature Pyramid Networks, 2017"),
            ("c5", "--model.neck c5", "conv5 dilated, one map: Dai et al., R-FCN, 2016"),
            ("dyhead", "--model.neck dyhead", "Dai et al., Dynamic Head, 2021"),
        ),
    ),
    (
        "backbones beside timm's",
        (
            ("internimage_tiny", "--model.backbone internimage_tiny", "Wang et al., InternImage, 2023"),
            ("vit_adapter_tiny", "--model.backbone vit_adapter_tiny", "Chen et al., ViT-Adapter, 2023"),
        ),
    ),
)


def listing() -> Iterator[str]:
    """The lines: for each kind a heading, then each name with the flag that asks for it and its paper."""
    for place, (heading, rows) in enumerate(TABLE):
        if place:
            yield ""
        yield heading
        for name, flag, paper in rows:
            yield f"  {name:18} {flag:36} {paper}"
