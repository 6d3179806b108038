"""Deformable attention against a loop; ViT-Adapter-T: its size, its plain transformer, its windows."""

from __future__ import annotations

from math import floor

import pytest
import timm
import torch

import roikit
from roikit.detection.backbones import build_body
from roikit.layers.ms_deform_attn import MSDeformAttn
from roikit.layers.vit_adapter import ViTAdapter, _block


def test_attention_against_a_loop(rng):
    sizes = [(4, 5), (2, 3)]
    attention = MSDeformAttn(6, levels=2, heads=2, points=3).double()
    for layer in (attention.sampling_offsets, attention.attention_weights):
        torch.nn.init.normal_(layer.weight)
    query = torch.rand(1, 3, 6, generator=rng, dtype=torch.float64)
    cells = torch.rand(1, 26, 6, generator=rng, dtype=torch.float64)
    reference = torch.rand(3, 2, 2, generator=rng, dtype=torch.float64)
    out = attention(query, reference, cells, sizes)

    value = attention.value_proj(cells)[0]
    offsets = attention.sampling_offsets(query)[0].view(3, 2, 2, 3, 2)
    weights = attention.attention_weights(query)[0].view(3, 2, 6).softmax(-1).view(3, 2, 2, 3)
    found = torch.zeros(3, 6, dtype=torch.float64)
    for q in range(3):
        for channel in range(6):
            head = channel // 3
            for level, (height, width) in enumerate(sizes):
                start = 20 * level
                for point in range(3):
                    u = float(reference[q, level, 0]) * width + float(offsets[q, head, level, point, 0]) - 0.5
                    v = float(reference[q, level, 1]) * height + float(offsets[q, head, level, point, 1]) - 0.5
                    for row in (floor(v), floor(v) + 1):
                        for column in (floor(u), floor(u) + 1):
                            if 0 <= row < height and 0 <= column < width:
                                share = (
                                    (1 - abs(v - row)) * (1 - abs(u - column)) * float(weights[q, head, level, point])
                                )
                                found[q, channel] += share * float(value[start + row * width + column, channel])
    torch.testing.assert_close(out[0], attention.output_proj(found))


def test_attention_starts_as_a_star():
    attention = MSDeformAttn(8, levels=1, heads=4, points=2)
    star = attention.sampling_offsets.bias.view(4, 2, 2)
    expected = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    torch.testing.assert_close(star[:, 0], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(star[:, 1], 2 * expected, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="channels=10 must be a multiple of heads=4"):
        MSDeformAttn(10, 1, 4)


def test_size():
    """Its README: a Mask R-CNN of 28M parameters."""
    body = build_body("vit_adapter_tiny")
    assert (body.channels, body.strides) == ((192,) * 4, (4, 8, 16, 32)) and not body.one_size
    model = roikit.detection.mask_rcnn("vit_adapter_tiny", num_classes=81)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(28, abs=0.6)


def vit(**options):
    return timm.create_model("deit_tiny_patch16_224", num_classes=0, embed_dim=48, depth=4, num_heads=3, **options)


def test_with_gamma_at_zero_the_tokens_are_the_plain_transformer_s(rng):
    """At 224 px a window is the whole map: timm's own blocks, without its class token and last norm."""
    torch.manual_seed(0)
    plain = vit().eval()
    adapter = ViTAdapter(plain, heads=3, groups=2).eval()
    images = torch.rand(1, 3, 224, 224, generator=rng)
    tokens = plain.patch_embed(images) + plain.pos_embed[:, 1:]
    torch.testing.assert_close(adapter.tokens(images, (14, 14)), tokens)
    for block in plain.blocks:
        tokens = block(tokens)
    seen = []
    hook = adapter.extractors[-1].feat_norm.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    adapter(images)
    hook.remove()
    torch.testing.assert_close(seen[0], tokens, rtol=1e-4, atol=1e-5)
    for injector in adapter.injectors:
        torch.nn.init.ones_(injector.gamma)
    before = seen[0]
    hook = adapter.extractors[-1].feat_norm.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    adapter(images)
    assert not torch.allclose(seen[1], before, atol=1e-3)
    hook.remove()


def test_windows_do_not_see_each_other(rng):
    block = vit().blocks[0].eval()
    tokens = torch.rand(1, 6 * 10, 48, generator=rng)
    whole = _block(block, tokens, (6, 10), 4)
    changed = tokens.clone().view(1, 6, 10, 48)
    changed[:, 5, 9] = torch.rand(48, generator=rng)
    differs = (_block(block, changed.flatten(1, 2), (6, 10), 4) - whole).abs().amax(2).view(6, 10) > 0
    assert differs[4:, 8:].all() and not differs[:4].any() and not differs[:, :8].any()
    torch.testing.assert_close(_block(block, tokens, (6, 10), None), block(tokens))


def test_a_detector_trains_on_it():
    torch.manual_seed(0)
    model = roikit.detection.faster_rcnn(
        "vit_adapter_tiny",
        num_classes=3,
        channels=16,
        fc_dim=16,
        min_size=64,
        max_size=64,
        extractor=roikit.SemanticRoIAlign,
    )
    target = {"boxes": torch.tensor([[10.0, 12.0, 50.0, 40.0]]), "labels": torch.tensor([1])}
    sum(model([torch.rand(3, 64, 64)], [target]).values()).backward()
    without = [name for name, p in model.backbone.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
    assert sorted(model.eval()([torch.rand(3, 64, 90)])[0]) == ["boxes", "labels", "scores"]
