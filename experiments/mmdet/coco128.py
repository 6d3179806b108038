"""mmdetection's Faster R-CNN R-50-FPN on coco128, 20 iterations on a CPU: that it trains and evaluates, not how well.

roikit data PATH/TO/coco128/object_detection --coco coco128
python -m roikit.integrations.openmmlab TOOLS/train.py experiments/mmdet/coco128.py
"""

_base_ = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"

model = dict(backbone=dict(init_cfg=None))  # no download: the weights are random
scale = dict(type="Resize", scale=(320, 256), keep_ratio=True)
load = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True), scale]
keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
train = dict(ann_file="coco128/instances_train.json", data_root="", data_prefix=dict(img=""))
val = dict(ann_file="coco128/instances_val.json", data_root="", data_prefix=dict(img=""))
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(
    **train, pipeline=[*load, dict(type="PackDetInputs")]))  # fmt: skip
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(
    **val, indices=16, pipeline=[*load, dict(type="PackDetInputs", meta_keys=keys)]))  # fmt: skip
test_dataloader = val_dataloader
val_evaluator = dict(ann_file="coco128/instances_val.json")
test_evaluator = val_evaluator

train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=20, val_interval=20)
param_scheduler = [dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=20)]
default_hooks = dict(logger=dict(interval=5), checkpoint=dict(by_epoch=False, interval=20))
log_processor = dict(by_epoch=False)
