"""Configuration files that build on others: `base: FILE` at the top of one, and only what differs below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from roikit.documents import load_yaml

from .errors import RunError


def read_config(path: Path, _above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The content of a YAML file laid over that of its base.

    `base` names a file, or a list of them of which later ones are laid over earlier ones; relative to the file that
    says it. Keys within keys are merged; an extractor of another class replaces the base's as a whole.

    Raises:
        RunError: a file cannot be read, is no YAML, holds no keys, or builds on itself.
    """
    import yaml

    text = read_text(path)
    try:
        content = load_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark is not None else ""
        raise RunError(f"{path}: is no valid YAML{place} ({getattr(error, 'problem', None) or error})") from None
    if not isinstance(content, dict):
        raise RunError(f"{path}: has no keys; roikit train --print_config shows what a configuration looks like")
    bases = content.pop("base", None)
    if bases is None:
        return content
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise RunError(f"{path}: base must name a configuration file, or a list of them, not {bases!r}")
    whole: dict[str, Any] = {}
    for base in bases:
        file = path.parent / base
        if file.resolve() in (*_above, path.resolve()):
            raise RunError(f"{path}: base {base} builds on this file itself")
        if not file.exists():
            raise RunError(f"{path}: base {base} does not exist ({file})")
        whole = merge(whole, read_config(file, (*_above, path.resolve())))
    return merge(whole, content)


def read_text(path: Path) -> str:
    """The text of a configuration file.

    Raises:
        RunError: it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise RunError(f"{path}: is no YAML file (it is not text)") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from None


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, key by key.

    Example:
        >>> merge({"optim": {"lr": 0.1, "steps": 9}, "seed": 1}, {"optim": {"lr": 0.2}})
        {'optim': {'lr': 0.2, 'steps': 9}, 'seed': 1}
    """
    whole = dict(below)
    for key, value in above.items():
        old = whole.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and old.get("class_path") == value.get("class_path"):
            value = merge(old, value)
        whole[key] = value
    return whole


def with_files(arguments: Sequence[str], content: Callable[[Path], dict[str, Any]]) -> list[str]:
    """The arguments, with what `content` makes of each FILE of `--config FILE` and `--config=FILE` in its place, YAML.

    Example:
        >>> with_files(["--config", "a.yaml", "--seed=3"], lambda path: {"out": path.stem})
        ['--config', 'out: a\\n', '--seed=3']
    """
    import yaml

    whole = list(arguments)
    for place, argument in enumerate(arguments):
        head, name = "", argument
        if argument.startswith("--config="):
            head, name = "--config=", argument.removeprefix("--config=")
        elif not place or arguments[place - 1] != "--config":
            continue
        whole[place] = head + yaml.safe_dump(content(Path(name)), sort_keys=False)
    return whole
