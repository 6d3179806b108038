"""Libraries that do the same work: torchvision, as `roikit bench` has it, and others, one a file."""

from __future__ import annotations

from collections.abc import Sequence

from roikit.bench import torchvision
from roikit.bench.peers import Peer, present
from roikit.bench.table import names as shown

from . import mmcv, onnxruntime, openvino

PEERS = {
    "torchvision": torchvision.PEER,
    "onnxruntime": onnxruntime.PEER,
    "openvino": openvino.PEER,
    "mmcv": mmcv.PEER,
}
NAMES = shown(PEERS)


def choose(names: Sequence[str], device: str) -> tuple[dict[str, Peer], dict[str, str]]:
    """The peers that are timed, and why each of the others is not.

    Args:
        names: as the user gave them; none means every peer that can run here.

    Raises:
        ValueError: one of ``names`` is no peer, or cannot run here.
    """
    for name in names:
        if name not in PEERS:
            raise ValueError(f"--peers: {name!r} is no peer; peers are {', '.join(PEERS)}")
    found, absent = present({name: peer for name, peer in PEERS.items() if name in names or not names}, device)
    for name in names:
        if name in absent:
            raise ValueError(
                f"--peers: {name} cannot be timed here ({absent[name]}): `pip install {PEERS[name].install}`, or leave "
                "it out"
            )
    return found, absent
