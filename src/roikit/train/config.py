"""What a training run is made of: typed fields that are at once the flags, the YAML keys and the help.

`roikit train --print_config` prints every field; `--config FILE` reads them; a flag such as `--optim.lr 0.02` changes
one. Lengths are in image pixels, lengths of training in steps of one batch, unless a field says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from roikit.extractors import RoIAlign
from roikit.extractors.base import RegionExtractor

from .errors import RunError
from .mimic import MimicConfig
from .video import VideoConfig


@dataclass
class DataConfig:
    """The data and how it is loaded."""

    path: str = "shapes:easy"
    """A folder or file of a data set (COCO, YOLO, VOC, LabelImg: docs/data.md), or "shapes:LEVEL" (drawn by this
    package on first use)."""

    classes: list[str] | None = None
    """Categories to train on and to evaluate alone; nothing takes all. Boxes of others are left out, images stay."""

    train_split: str = "train"
    """The split to train on; "train+val" is both."""

    eval_split: str = "val"
    """The split to evaluate on."""

    proposals: str | None = None
    """A file of proposals in COCO's result format (`roikit proposals` makes one) instead of an RPN; {split} in its name
    is replaced."""

    oriented: bool = False
    """Measure AP of oriented boxes too, of a detector of upright ones (model.oriented always does)."""

    batch: int = 8
    """Images per step over all processes."""

    workers: int = 0
    """Loader processes beside each training process; 0 loads in the training process."""

    flip: float = 0.5
    """Probability of a horizontal flip."""

    vertical_flip: float = 0.0
    """Probability of a vertical flip."""

    scale: tuple[float, float] = (1.0, 1.0)
    """Least and greatest factor by which a training image is resized at random; needs crop, since the detector
    resizes every image to model.min_size anyway."""

    crop: tuple[int, int] | None = None
    """Height and width in pixels of a random cut-out of the resized training image; smaller ones are padded, grey."""

    colour: float = 0.0
    """Brightness, contrast and saturation of training images change by up to this share, hue by a tenth; 0 is off."""

    @property
    def eval_batch(self) -> int:
        """Images per forward pass and process in evaluation."""
        return max(1, self.batch // 2)


@dataclass
class ModelConfig:
    """The detector."""

    backbone: str = "tf_efficientnet_lite0"
    """A timm model with `features_only`, such as resnet50."""

    neck: Literal["fpn", "c5", "dyhead"] = "fpn"
    """A feature pyramid, the last stage dilated to stride 16 (one map), or a pyramid with Dynamic Head's blocks."""

    channels: int = 64
    """Channels of the feature maps that regions are taken from."""

    aggregate: Literal["assign", "concat", "sum"] = "assign"
    """fpn: a region is read from the level that suits its size, or from all, side by side or added up."""

    extractor_per_level: bool = False
    """fpn: an extractor for each level, with layers of its own, instead of one that all share."""

    masks: bool = False
    """Predict masks too (Mask R-CNN); the data must have them."""

    cascade: bool = False
    """Three box heads one after another (Cascade R-CNN)."""

    oriented: bool = False
    """Find oriented boxes; the data must have them (DOTA) or masks. With extractor RoITransformer regions are turned
    before they are read."""

    fc_dim: int = 256
    """Width of the two fully connected layers of a box head (R-FCN has none)."""

    mask_channels: int = 64
    """Channels of the mask head's convolutions."""

    weights: str | None = "imagenet"
    """Pretrained: "imagenet" (of the backbone: an installed weights package, timm's hub or its cache), "coco"
    (torchvision's detector), or a path: a backbone's state dict, or a run's folder, of which backbone, neck and RPN
    are taken. null is from scratch."""

    deformable: list[str] = field(default_factory=list)
    """Stages of the backbone whose 3×3 convolutions are deformable, such as [layer2, layer3, layer4] of a ResNet."""

    modulated: bool = True
    """Deformable convolutions of the second version, which also fade what they read, or of the first."""

    norm: Literal["auto", "batch", "frozen"] = "auto"
    """Batch norm of the backbone: learning, frozen, or frozen with pretrained weights."""

    dilate_first: bool = False
    """c5: dilate the first block of the dilated stage too, as the original dilated ResNet does; timm leaves it out."""

    min_size: int | list[int] = 128
    """Images are resized so that the shorter side has this many pixels (of several, one is drawn for each training
    image, and the last one is for evaluation) ..."""

    max_size: int = 256
    """... and the longer side at most this many."""

    anchor_sizes: list[Any] | None = None
    """Sides of the anchors in pixels of the resized image; fpn: one (or a list) per level; nothing is 8 × stride."""

    aspect_ratios: list[float] = field(default_factory=lambda: [0.5, 1.0, 2.0])
    """Height / width of the anchors."""

    proposals_train: int = 300
    """Proposals kept per image in training."""

    proposals_test: int = 200
    """The same in evaluation."""

    candidates_train: int | None = None
    """Candidates per level of which non-maximum suppression makes the proposals, in training; nothing is as many as
    there are proposals, of which it leaves 70 to 90 of 300 on a single map."""

    candidates_test: int | None = None
    """The same in evaluation."""

    anchors_per_image: int = 128
    """Anchors sampled per image for the RPN's loss."""

    rois_per_image: int = 64
    """Proposals sampled per image for the loss of the heads."""

    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the detector, which is one of roikit.detection's, by name: trainable_layers, ..."""


@dataclass
class OptimConfig:
    """Optimiser, length and learning rate."""

    name: Literal["sgd", "adamw"] = "adamw"
    """The optimiser."""

    lr: float = 1e-3
    """Learning rate for the batch as given (it is not scaled by the batch size)."""

    momentum: float = 0.9
    """Of SGD."""

    weight_decay: float = 0.05
    """Decay of weights."""

    decay_norms: bool = False
    """Decay norms, biases and tables of positions (Swin) too."""

    factors: dict[str, float] = field(default_factory=dict)
    """Regular expression found in a parameter's name -> factor on its learning rate; 0 freezes it."""

    offset_factor: float | None = None
    """Factor on the rate of layers that decide where features are read; nothing is, for adamw, 0.01 where they move
    bins or a convolution's samples or begin as a grid of cells and 0.3 where they attend to cells, and for sgd 0.1 for
    the samples and 1."""

    offset_penalty: float = 0.0
    """Weight of the mean square of a deformable extractor's offsets in the loss; 0 is off."""

    oriented_loss: float = 0.0
    """Weight of RoITransformer's loss on the oriented boxes of objects, which are read from their masks; 0 is off."""

    clip: float = 10.0
    """Largest norm of the gradient over all parameters; 0 is off."""

    steps: int = 300
    """Length of the training in steps."""

    epochs: float | None = None
    """Length of the training in passes over the data; if given, it stands instead of steps."""

    warmup: int = 50
    """Steps over which the learning rate rises linearly."""

    schedule: Literal["steps", "cosine", "constant"] = "cosine"
    """After the warm-up: drops at the milestones, half a cosine down to 0, or nothing."""

    milestones: list[float] = field(default_factory=lambda: [0.7, 0.9])
    """For schedule=steps: where the rate drops, as fractions of the training."""

    gamma: float = 0.1
    """For schedule=steps: the factor of each drop."""

    ema: float = 0.0
    """Decay per step of a running average of the weights, which is then evaluated and saved; 0 is off."""

    @property
    def steering(self) -> dict[str, float]:
        """Factors by what layers steer: `offset_factor`, or what suits the optimiser. γ of deformable pooling makes the
        gradient small, and with it SGD's step (deformable convolution has no γ, but 0.1 in its paper); a step of AdamW
        has one size whatever the gradient's, and at the full rate the bins fly off, and attention falls on a single
        cell."""
        adamw = {"bins": 0.01, "cells": 0.3, "places": 0.01, "samples": 0.01}
        sgd = {"bins": 1.0, "cells": 1.0, "places": 1.0, "samples": 0.1}
        default = adamw if self.name == "adamw" else sgd
        return default if self.offset_factor is None else dict.fromkeys(default, self.offset_factor)


@dataclass
class TrainConfig:
    """The run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)

    extractor: RegionExtractor = field(default_factory=RoIAlign)
    """The region feature extractor of the boxes: a class name, its arguments as --extractor.NAME VALUE. A
    position-sensitive one makes the detector an R-FCN."""

    mask_extractor: RegionExtractor | Literal["shared"] | None = None
    """The region feature extractor of the masks; nothing means the detector's own choice, "shared" the layers of a
    deformable one of the boxes."""

    optim: OptimConfig = field(default_factory=OptimConfig)
    mimic: MimicConfig = field(default_factory=MimicConfig)
    video: VideoConfig = field(default_factory=VideoConfig)

    out: str | None = None
    """Run folder; must be new or empty. Nothing makes runs/DATA-1, runs/DATA-2, ..."""

    seed: int = 0
    """Of the initial weights, the order of the images, augmentation and sampling."""

    precision: Literal["no", "bf16", "fp16"] = "no"
    """Mixed precision."""

    cpu: bool = False
    """Stay on the CPU where there is a GPU."""

    channels_last: bool = True
    """Memory layout of the convolutions; faster on most devices."""

    log_every: int = 20
    """Steps between lines of the log."""

    save_every: int = 200
    """Steps between checkpoints (one is always written at the end)."""

    keep_checkpoints: int = 2
    """How many of the newest checkpoints are kept; 0 keeps all, and one of the untrained detector."""

    eval_every: int = 0
    """Steps between evaluations during training; 0 evaluates at the end only."""

    resample: int = 0
    """Also measure AP over so many draws of the evaluation images with replacement (a bootstrap, kept in
    metrics.json); 0 is off."""

    pictures: bool = True
    """Draw predictions.png and weights.png at the end."""


def validate(config: TrainConfig) -> None:
    """Raise a `RunError` that names the key of a value out of range."""
    data, optim = config.data, config.optim
    low, high = data.scale
    rules = [
        ("data.batch", data.batch >= 1, "at least 1"),
        ("data.workers", data.workers >= 0, "0 or more"),
        ("data.flip", 0 <= data.flip <= 1, "between 0 and 1"),
        ("data.vertical_flip", 0 <= data.vertical_flip <= 1, "between 0 and 1"),
        ("data.scale", 0 < low <= high, "two factors above 0, the smaller first"),
        ("data.crop", data.crop is None or min(data.crop) >= 1, "a height and a width in pixels"),
        ("data.crop", data.crop is not None or low == high, "given where data.scale varies (else scale has no effect)"),
        ("data.colour", data.colour >= 0, "0 or more"),
        ("model.channels", config.model.channels >= 1, "at least 1"),
        ("model.min_size", _sizes_fit(config.model), "at least 1 and at most max_size, one or a list of some"),
        ("model.candidates_train", _enough(config.model, "train"), "at least proposals_train"),
        ("model.candidates_test", _enough(config.model, "test"), "at least proposals_test"),
        ("optim.lr", optim.lr > 0, "above 0"),
        ("optim.weight_decay", optim.weight_decay >= 0, "0 or more"),
        ("optim.momentum", 0 <= optim.momentum < 1, "at least 0 and below 1"),
        ("optim.clip", optim.clip >= 0, "0 or more"),
        ("optim.offset_factor", optim.offset_factor is None or optim.offset_factor >= 0, "0 or more"),
        ("optim.offset_penalty", optim.offset_penalty >= 0, "0 or more"),
        ("optim.oriented_loss", optim.oriented_loss >= 0, "0 or more"),
        ("optim.steps", optim.steps >= 1, "at least 1"),
        ("optim.epochs", optim.epochs is None or optim.epochs > 0, "above 0"),
        ("optim.warmup", optim.warmup >= 0, "0 or more"),
        (
            "optim.milestones",
            all(0 < m <= 1 for m in optim.milestones),
            "fractions of the training, above 0 and up to 1",
        ),
        ("optim.ema", 0 <= optim.ema < 1, "at least 0 and below 1"),
        *config.mimic.rules(),
        *config.video.rules(),
        ("data.crop", data.crop is None or config.video.method == "none", "left out where frames are aggregated"),
        ("seed", config.seed >= 0, "0 or more"),
        ("log_every", config.log_every >= 1, "at least 1"),
        ("save_every", config.save_every >= 1, "at least 1"),
        ("keep_checkpoints", config.keep_checkpoints != 1 and config.keep_checkpoints >= 0, "0 or at least 2"),
        ("eval_every", config.eval_every >= 0, "0 or more"),
        ("resample", config.resample >= 0, "0 or more"),
    ]
    for key, fits, wanted in rules:
        if not fits:
            value = config
            for part in key.split("."):
                value = getattr(value, part)
            raise RunError(f"{key}: {value!r} does not fit; it must be {wanted}")


def _sizes_fit(model: ModelConfig) -> bool:
    sizes = model.min_size if isinstance(model.min_size, list) else [model.min_size]
    return bool(sizes) and all(1 <= size <= model.max_size for size in sizes)


def _enough(model: ModelConfig, when: Literal["train", "test"]) -> bool:
    candidates = getattr(model, f"candidates_{when}")
    return candidates is None or candidates >= getattr(model, f"proposals_{when}")


def total_steps(config: TrainConfig, images: int) -> int:
    """The length of the training in steps, for a training split of that many images."""
    if config.optim.epochs is None:
        return config.optim.steps
    return max(1, round(config.optim.epochs * images / config.data.batch))
