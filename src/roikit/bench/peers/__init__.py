"""Other libraries that do the same work, one a file."""

from __future__ import annotations

from collections.abc import Sequence

from . import mmcv, onnxruntime, openvino, torchvision
from .base import Peer, Rival

PEERS = {
    "torchvision": torchvision.PEER,
    "onnxruntime": onnxruntime.PEER,
    "openvino": openvino.PEER,
    "mmcv": mmcv.PEER,
}

__all__ = ["PEERS", "Peer", "Rival", "choose"]


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
    found, absent = {}, {}
    for name, peer in PEERS.items():
        if names and name not in names:
            continue
        why = peer.why_not(device)
        if why is None:
            found[name] = peer
        elif names:
            raise ValueError(
                f"--peers: {name} cannot be timed here ({why}): `pip install {peer.install}`, or leave it out"
            )
        else:
            absent[name] = why
    return found, absent
