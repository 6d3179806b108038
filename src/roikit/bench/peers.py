"""What a peer is: another library that does the same work."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from .operations import Pool
from .scenes import Scene


@dataclasses.dataclass(frozen=True)
class Rival:
    """A peer's way to do the work of a case, with its inputs ready.

    Args:
        run: the forward; what it returns is read with ``read`` when nothing is timed.
        read: the result as ``Tensor[R, C, h, w]``.
        pool: the same as a function of maps, where torch can differentiate it.
        plain: it does the operation without offsets, and is compared with that.
    """

    run: Callable[[], Any]
    read: Callable[[Any], Tensor]
    pool: Pool | None = None
    plain: bool = False

    @staticmethod
    def of(pool: Pool, scene: Scene, plain: bool = False) -> Rival:
        """One that torch can differentiate."""
        return Rival(lambda: pool(scene.maps), lambda out: out, pool, plain)


@dataclasses.dataclass(frozen=True)
class Peer:
    """Another library.

    Args:
        label: as tables show it.
        modules: what must be importable.
        install: what to install.
        rival: makes its way to do an operation (a key of ``OPERATIONS``) on a scene, or says None where it has none.
        devices: what it is timed on.
    """

    label: str
    modules: tuple[str, ...]
    install: str
    rival: Callable[[str, Scene], Rival | None]
    devices: tuple[str, ...] = ("cpu",)

    def why_not(self, device: str) -> str | None:
        """Why it cannot be timed here, or None where it can."""
        if device not in self.devices:
            return f"it is timed on {' and '.join(self.devices)} only"
        for module in self.modules:
            try:
                importlib.import_module(module)
            except Exception as error:  # a build for another version of torch fails in its own ways
                return f"{type(error).__name__}: {error}"
        return None


def present(peers: Mapping[str, Peer], device: str) -> tuple[dict[str, Peer], dict[str, str]]:
    """The peers that can be timed here, and why each of the others cannot."""
    absent = {name: why for name, peer in peers.items() if (why := peer.why_not(device)) is not None}
    return {name: peer for name, peer in peers.items() if name not in absent}, absent
