"""Peers compute what this package computes, and say why where they cannot."""

from __future__ import annotations

import sys
import types

import pytest
import torch
import torchvision

from benchmarks.peers import PEERS, choose, mmcv
from roikit.bench import rows
from roikit.bench.operations import OPERATIONS
from roikit.bench.peers import Peer, Rival
from roikit.bench.rows import Plan, measure

pytestmark = pytest.mark.own_process

SAME = {
    "torchvision": {
        "roi_align", "roi_align_adaptive", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_roi_pool",
        "multiscale_roi_align",
    },
    "onnxruntime": {"roi_align", "roi_align_adaptive", "roi_pool"},
    "openvino": {"roi_align", "roi_align_adaptive", "roi_pool", "deform_ps_roi_pool"},
}  # fmt: skip


@pytest.mark.parametrize("name", list(SAME))
def test_a_peer_gives_the_same_values(name, small):
    peer = PEERS[name]
    if peer.why_not("cpu"):
        pytest.skip(f"{name}, a development dependency, is not installed")
    found = set()
    for operation in OPERATIONS:
        for batch in (1, 2):
            case = small(operation, OPERATIONS[operation].pyramids[-1], batch=batch, rois=30, channels=30)
            scene = case.scene()
            rival = peer.rival(operation, scene)
            if rival is None:
                continue
            found.add(operation)
            ours = OPERATIONS[operation].plain if rival.plain else OPERATIONS[operation].ours
            for _ in range(2):  # a runtime may write where it wrote before
                its = rival.read(rival.run())
            torch.testing.assert_close(its, ours(scene)(scene.maps), rtol=0, atol=2e-5)
            if rival.pool is not None:
                assert torch.equal(rival.pool(scene.maps), its)
    assert found == SAME[name]


@pytest.mark.parametrize("name", list(SAME))
def test_inputs_stay_alive_as_long_as_the_call(name, small):
    """Runtimes hold addresses: what lies there must not be freed with the scene and the rival."""
    if PEERS[name].why_not("cpu"):
        pytest.skip(f"{name}, a development dependency, is not installed")
    case = small(rois=200, channels=40)
    rival = PEERS[name].rival("roi_align", case.scene())
    run, read = rival.run, rival.read
    del rival
    rubbish = [torch.full((200, n), -1e9) for n in (1, 4, 5) for _ in range(20)]
    scene = case.scene()
    torch.testing.assert_close(read(run()), case.of.ours(scene)(scene.maps), rtol=0, atol=2e-5)
    del rubbish


def test_mmcvs_positional_arguments(monkeypatch, small):
    """Its functions, stood in for by torchvision's: the order of the arguments is mmcv's."""

    def roi_align(input, rois, output_size, spatial_scale, sampling_ratio, pool_mode, aligned):
        assert pool_mode == "avg" and output_size == (7, 7)
        return torchvision.ops.roi_align(input, rois, output_size, spatial_scale, sampling_ratio or -1, aligned)

    def deform_roi_pool(input, rois, offset, output_size, spatial_scale, sampling_ratio, gamma):
        from roikit import ops

        return ops.deform_roi_pool(input, rois, offset.flip(1), None, output_size, spatial_scale, sampling_ratio, gamma)

    fake = types.ModuleType("mmcv.ops")
    fake.roi_align, fake.deform_roi_pool = roi_align, deform_roi_pool
    fake.roi_pool = torchvision.ops.roi_pool
    package = types.ModuleType("mmcv")
    package.ops = fake
    monkeypatch.setitem(sys.modules, "mmcv", package)
    monkeypatch.setitem(sys.modules, "mmcv.ops", fake)
    assert mmcv.PEER.why_not("cpu") is None
    for operation in ("roi_align", "roi_align_adaptive", "roi_pool", "deform_roi_pool"):
        case = small(operation)
        scene = case.scene()
        rival = mmcv.rival(operation, scene)
        torch.testing.assert_close(rival.run(), case.of.ours(scene)(scene.maps), rtol=0, atol=2e-5)
    assert mmcv.rival("ps_roi_align", case.scene()) is None


def test_unknown_and_absent_peers(monkeypatch):
    with pytest.raises(ValueError, match="--peers: 'tensorrt' is no peer; peers are torchvision, onnxruntime"):
        choose(["tensorrt"], "cpu")
    monkeypatch.setitem(sys.modules, "mmcv.ops", None)  # as if it were not installed
    with pytest.raises(ValueError, match=r"mmcv cannot be timed here \(.*\): `pip install mmcv`, or leave it out"):
        choose(["mmcv"], "cpu")
    found, absent = choose([], "cpu")
    assert "torchvision" in found and "mmcv" in absent
    with pytest.raises(ValueError, match=r"openvino cannot be timed here \(it is timed on cpu only\)"):
        choose(["openvino"], "cuda")


def _peer(change, gradient=None):
    """A peer whose RoI Align is changed."""

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return gradient(grad)

    def rival(operation, scene):
        ours = OPERATIONS[operation].ours(scene)
        before = Wrong.apply if gradient else lambda x: x
        return Rival.of(lambda maps: change(ours([before(x) for x in maps])), scene)

    return Peer("another", (), "another", rival)


def test_a_disagreement_withholds_the_ratio(small):
    case, plan = small(), Plan(("forward", "backward"), 1, gated=False)
    forward, backward = measure(case, {"torchvision": _peer(lambda out: out)}, plan, {})
    assert forward.ratio("torchvision", "nchw") > 0 and backward.ratio("torchvision", "last") > 0
    for row in measure(case, {"torchvision": _peer(lambda out: out * 1.001)}, plan, {}):
        assert row.ratio("torchvision", "nchw") is None
        assert "disagree by" in row.withheld("torchvision") and not row.verdicts["torchvision"].contradicts_itself
    for row in measure(case, {"torchvision": _peer(lambda out: out * float("nan"))}, plan, {}):
        assert row.ratio("torchvision", "nchw") is None


def test_a_peer_whose_gradient_is_not_that_of_its_output_is_named(small):
    """As torchvision's ps_roi_pool on a CPU, which loses the gradient of the map's last row and column."""

    def lose(grad):
        grad = grad.clone()
        grad[..., -3:, :] = 0
        return grad

    peers = {"torchvision": _peer(lambda out: out, lose)}
    forward, backward = measure(small(), peers, Plan(("forward", "backward"), 1, gated=False), {})
    assert forward.ratio("torchvision", "nchw") > 0
    assert backward.verdicts["torchvision"].contradicts_itself
    assert backward.withheld("torchvision") == "its gradient is not that of its output"


def test_a_peer_that_fails_is_left_out_with_its_reason(small):
    def rival(operation, scene):
        raise RuntimeError("not built for this\nand more")

    peers = {"torchvision": Peer("another", (), "another", rival)}
    for row in measure(small(), peers, Plan(("forward", "backward"), 1, gated=False), {}):
        assert row.notes == {"torchvision": "RuntimeError: not built for this"}
        assert row.ratio("torchvision", "nchw") is None


@pytest.mark.parametrize("direction", rows.DIRECTIONS)
def test_contenders_compute_what_they_say(direction, small):
    case = small(channels=7)
    scene = case.scene()
    rival = PEERS["torchvision"].rival("roi_align", scene)
    with torch.set_grad_enabled(direction != "forward"):
        calls = rows.contenders(case, scene, {"torchvision": rival}, direction)
        values = {name: call() for name, call in calls.items() if name != "copy"}
    found = {name: v if direction == "forward" else v[0] for name, v in values.items()}
    torch.testing.assert_close(found["nchw"], found["torchvision"], rtol=0, atol=1e-5)
    torch.testing.assert_close(found["last"], found["torchvision"], rtol=0, atol=1e-5)
    assert found["nchw"].is_contiguous()
    assert found["last"].is_contiguous(memory_format=torch.channels_last)
    if direction != "both":
        copy = calls["copy"]()
        copy = copy if direction == "forward" else copy[0]
        assert copy.shape == found["nchw"].shape
