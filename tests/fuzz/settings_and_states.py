"""State dicts and configurations that are not what they should be: read, or refused with the name of what is wrong."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from hypothesis import strategies as st

import roikit
from roikit.detection import state_dicts
from roikit.train import parse
from roikit.train.errors import RunError
from roikit.train.runfolder import load_weights

PLACE = Path(tempfile.mkdtemp(prefix="roikit-fuzz-"))
MODULE = roikit.DeformRoIPool(4, 2)
KEYS = sorted(MODULE.state_dict())
STRANGE = st.sampled_from(["gone", "surplus", "shape", "dtype", "not a tensor", "empty", "nan"])


@st.composite
def states(draw: Callable) -> tuple[tuple[tuple[str, str], ...], str, bytes]:
    """What is wrong with which tensors, how the file is wrapped, and bytes to put in its middle."""
    wrong = draw(st.lists(st.tuples(st.sampled_from(KEYS), STRANGE), max_size=2))
    return (
        tuple(wrong),
        draw(st.sampled_from(["plain", "model", "state_dict", "list", "module."])),
        draw(st.one_of(st.just(b""), st.just(b""), st.binary(max_size=8))),
    )


def check_state(given: tuple[tuple[tuple[str, str], ...], str, bytes]) -> None:
    """The tensors that were written, or an error that names the file or the tensor."""
    wrong, wrapping, damage = given
    state: dict[str, Any] = {key: value.clone() for key, value in MODULE.state_dict().items()}
    for key, how in wrong:
        value = MODULE.state_dict()[key]
        match how:
            case "gone":
                state.pop(key, None)
            case "surplus":
                state[f"{key}.more"] = value
            case "not a tensor":
                state[key] = [1, 2]
            case _:
                state[key] = {
                    "shape": value[None],
                    "dtype": value.long(),
                    "empty": value[:0],
                    "nan": value * float("nan"),
                }[how]
    content: Any = state
    match wrapping:
        case "model" | "state_dict":
            content = {wrapping: state}
        case "list":
            content = list(state.items())
        case "module.":
            content = {f"module.{key}": value for key, value in state.items()}
    file = PLACE / "weights.pth"
    torch.save(content, file)
    if damage:
        data = bytearray(file.read_bytes())
        data[len(data) // 2 : len(data) // 2 + len(damage)] = damage
        file.write_bytes(bytes(data))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = state_dicts.read(file)
        except ValueError as error:
            assert str(file) in str(error)
            return
        try:
            load_weights(roikit.DeformRoIPool(4, 2), found, file)
        except RunError as error:
            assert str(file) in str(error) and any(key in str(error) for key in KEYS)


SECTIONS = ("data", "model", "optim", "extractor", "mimic")
LEAVES = st.sampled_from(
    [
        None,
        True,
        0,
        1,
        -1,
        2.5,
        1e400,
        10**30,
        "",
        "x",
        "RoIPool",
        [],
        [1],
        {},
        {"class_path": "RoIPool"},
        "null",
        ".nan",
    ]
)


@st.composite
def configurations(draw: Callable) -> dict[str, Any]:
    """A configuration's own keys with values that may be none of theirs."""
    known = yaml.safe_load(_usual())
    places = [(key,) for key in known] + [
        (s, key) for s in SECTIONS if isinstance(known.get(s), dict) for key in known[s]
    ]
    given: dict[str, Any] = {}
    for place in draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        value = draw(LEAVES)
        if len(place) == 1:
            given[place[0]] = value
        else:
            section = given.get(place[0])
            given[place[0]] = {**(section if isinstance(section, dict) else {}), place[1]: value}
    if draw(st.integers(0, 9)) == 0:
        given[draw(st.sampled_from(["nonsense", "", "data.path", "1"]))] = draw(LEAVES)
    return given


def _usual() -> str:
    return parse.parse([])[1]


def check_configuration(given: dict[str, Any]) -> None:
    """A checked configuration, or a `RunError` that names the file."""
    file = PLACE / "config.yaml"
    file.write_text(yaml.safe_dump(given))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            parse.read(file)
        except RunError as error:
            assert str(file) in str(error) or any(key in str(error) for key in given), str(error)
