"""coco128.py with Semantic RoI Align as the RoI layer of the box head, one set of layers for all levels."""

_base_ = "coco128.py"

model = dict(roi_head=dict(bbox_roi_extractor=dict(
    _delete_=True, type="MultiScaleRoIExtractor", roi_layer=dict(type="roikit.SemanticRoIAlign", channels=256),
    out_channels=256, featmap_strides=[4, 8, 16, 32])))  # fmt: skip
