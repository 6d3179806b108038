"""Weights that are asked for: loaded when they are there, one warning when the network is not."""

import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model_weights
from torchvision.models._api import WeightsEnum
from torchvision.models.detection import fasterrcnn_resnet50_fpn, maskrcnn_resnet50_fpn
from torchvision.ops import FrozenBatchNorm2d

import roikit
from roikit.detection import faster_rcnn, mask_rcnn

SMALL = dict(num_classes=4, channels=16, fc_dim=32)
SIZES = dict(min_size=96, max_size=128, box_score_thresh=0.0, rpn_post_nms_top_n_test=100, box_detections_per_img=10)


def is_from_scratch(model):
    return (
        model.build_info["weights"] is None
        and not any(isinstance(m, FrozenBatchNorm2d) for m in model.modules())
        and all(p.requires_grad for p in model.parameters())
    )


def test_from_scratch_touches_no_network(no_network):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_from_scratch(faster_rcnn("resnet10t", **SMALL))


@pytest.mark.parametrize(
    ("build", "arguments"),
    [
        (faster_rcnn, dict(backbone="resnet10t", weights="imagenet", **SMALL)),
        (faster_rcnn, dict(backbone="resnet10t", weights="imagenet", norm="frozen", trainable_layers=2, **SMALL)),
        (mask_rcnn, dict(backbone="resnet50", weights="coco", num_classes=4)),
    ],
)
def test_without_a_network_one_warning_and_from_scratch(no_network, build, arguments):
    with pytest.warns(UserWarning, match="could not be fetched .*from scratch") as caught:
        model = build(**arguments)
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    assert caught[0].filename == __file__
    assert is_from_scratch(model)


def test_a_connection_that_breaks_later(monkeypatch):
    import timm

    create = timm.create_model

    def broken(name, **arguments):
        if arguments.get("pretrained"):
            raise ConnectionError("connection reset")
        return create(name, **arguments)

    monkeypatch.setattr(timm, "create_model", broken)
    monkeypatch.setattr("roikit.detection.pretrained._lookup_error", lambda host: None)
    with pytest.warns(UserWarning, match="connection reset"):
        assert is_from_scratch(faster_rcnn("resnet10t", weights="imagenet", **SMALL))


def test_cached_imagenet_weights_load_without_a_network(no_network, monkeypatch, tmp_path):
    import timm

    source = timm.create_model("resnet10t")
    file = tmp_path / "model.safetensors"
    save_file(source.state_dict(), file)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *args, **kwargs: str(file))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = faster_rcnn("resnet10t", weights="imagenet", **SMALL)
    expected = source.state_dict()
    for key, value in model.backbone.body.state_dict().items():
        torch.testing.assert_close(value, expected[key])
    assert model.build_info["weights"] == "imagenet"
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert not any(p.requires_grad for p in model.backbone.body["layer1"].parameters())

    # what build_info says builds it again, with neither weights nor network
    again = faster_rcnn("resnet10t", weights="imagenet", built=model.build_info, **SMALL)
    assert again.build_info == model.build_info
    again.load_state_dict(model.state_dict(), strict=True)
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in model.parameters()]


def test_cached_weights_of_a_swin(no_network, monkeypatch, tmp_path):
    """They load by the name alone, and mean what they meant: at 224 pixels, the size they were trained at, timm itself
    gives the same maps, but for the last stage, whose windows it does not shift there."""
    import timm

    name = "swin_tiny_patch4_window7_224"
    source = timm.create_model(name)
    for parameter in source.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    file = tmp_path / "model.safetensors"
    save_file(source.state_dict(), file)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *args, **kwargs: str(file))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = faster_rcnn(name, weights="imagenet", **SMALL).eval()
    assert model.build_info["weights"] == "imagenet" and model.build_info["trainable_layers"] == 3
    body = model.backbone.body
    assert not any(p.requires_grad for n in ("patch_embed", "layers_0") for p in body[n].parameters())
    assert all(p.requires_grad for p in body["layers_1"].parameters())
    image = torch.rand(1, 3, 224, 224)
    plain = timm.create_model(name, features_only=True, pretrained=True, pretrained_cfg_overlay={"file": str(file)})
    with torch.no_grad():
        mine, theirs = body(image), plain.eval()(image)
        for one, other in zip(mine[:3], theirs[:3], strict=True):
            torch.testing.assert_close(one, other)
        assert not torch.equal(mine[3], theirs[3])
        for block in body["layers_3"].blocks:
            block.shift_size = (0, 0)
        torch.testing.assert_close(body(image)[3], theirs[3])

    again = faster_rcnn(name, built=model.build_info, **SMALL)
    again.load_state_dict(model.state_dict(), strict=True)
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in model.parameters()]


@pytest.fixture(params=["faster", "mask"])
def published(request, monkeypatch):
    """torchvision's builder with 'published' weights: random ones, with statistics that show a wrong eps."""
    build = maskrcnn_resnet50_fpn if request.param == "mask" else fasterrcnn_resnet50_fpn
    state = build(weights=None, weights_backbone=None, num_classes=91).state_dict()
    for key, value in state.items():
        if key.endswith("running_var"):
            value.uniform_(5e-4, 2)
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *args, **kwargs: {k: v.clone() for k, v in state.items()})
    weights = get_model_weights(f"{request.param}rcnn_resnet50_fpn")["COCO_V1"]
    return (mask_rcnn if request.param == "mask" else faster_rcnn), build(weights=weights, **SIZES).eval(), state


def test_coco_weights_give_torchvisions_outputs(published):
    build, reference, state = published
    model = build(weights="coco", **SIZES).eval()
    pools = [module for module in model.modules() if isinstance(module, roikit.RoIAlign)]
    assert not any(pool.aligned for pool in pools)  # as these weights were trained
    image = [torch.rand(3, 96, 96)]
    with torch.no_grad():
        maps, expected = model.backbone(image[0][None]), reference.backbone(image[0][None])
        for name in expected:
            torch.testing.assert_close(maps[name], expected[name], atol=1e-4, rtol=1e-3)
        mine, theirs = model(image)[0], reference(image)[0]
    for key in theirs:
        torch.testing.assert_close(mine[key], theirs[key], atol=1e-2, rtol=1e-3)

    again = build(built=model.build_info, **SIZES)
    again.load_state_dict(model.state_dict(), strict=True)
    assert not any(module.aligned for module in again.modules() if isinstance(module, roikit.RoIAlign))

    other = build(weights="coco", num_classes=4).state_dict()
    same = [key for key in state if other[key].shape == state[key].shape and "running_var" not in key]
    assert all(torch.equal(other[key], state[key]) for key in same)
    assert {k.rsplit(".", 2)[-2] for k in state.keys() - set(same) if "running_var" not in k} <= {
        "cls_score",
        "bbox_pred",
        "mask_fcn_logits",
    }


@pytest.mark.parametrize("change", [dict(backbone="resnet18"), dict(neck="c5"), dict(channels=64), dict(fc_dim=512)])
def test_coco_weights_only_where_they_fit(no_network, change):
    with pytest.raises(ValueError, match=f"weights='coco' need {next(iter(change))}=.*available are"):
        faster_rcnn(**({"backbone": "resnet50", "weights": "coco"} | change))


def test_no_published_weights(no_network):
    import timm

    name = next(name for name in timm.list_models("resne*") if not timm.models.is_model_pretrained(name))
    with pytest.raises(ValueError, match=f"no published weights for backbone {name!r}"):
        faster_rcnn(name, weights="imagenet", **SMALL)
