"""Flags and YAML to a `TrainConfig` and back: one parser for the command line, `--config` and a run's config.yaml."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from .config import TrainConfig, validate
from .errors import RunError

set_parsing_settings(docstring_parse_attribute_docstrings=True)


class Parser(ArgumentParser):
    """Errors are one line, with exit code 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise RunError(_one_line(message)) from None


def _one_line(message: str) -> str:
    text = " ".join(part.strip() for part in message.splitlines() if part.strip())
    if "Expected a dot import path" in text:
        text += f" is no known class; known: {', '.join(extractor_names())}"
    return text


def extractor_names() -> list[str]:
    """The names that `--extractor` takes."""
    from roikit.extractors import EXTRACTORS

    return [extractor.__name__ for extractor in EXTRACTORS]


def make_parser(prog: str = "roikit train", description: str | None = None) -> Parser:
    """A parser with every field of `TrainConfig`, and `--config`."""
    parser = Parser(prog=prog, description=description)
    parser.add_argument(
        "--config", action="config", help="YAML file with any of the keys below (--print_config shows them)."
    )
    parser.add_class_arguments(TrainConfig)
    parser.set_defaults({"extractor": {"class_path": "roikit.extractors.RoIAlign"}})
    return parser


def build(parser: Parser, parsed: Namespace) -> TrainConfig:
    """The checked configuration, the extractors built."""
    fields = {name: getattr(parser.instantiate(parsed), name) for name in TrainConfig.__dataclass_fields__}
    config = TrainConfig(**fields)
    validate(config)
    return config


def parse(arguments: Sequence[str]) -> tuple[TrainConfig, str]:
    """Command-line arguments to the configuration and its YAML text.

    Raises:
        RunError: an unknown key, a value of the wrong type or out of range, a file that is absent or no YAML.
    """
    parser = make_parser()
    parsed = parser.parse_args(list(arguments))
    if os.path.exists(parsed.data.path):
        parsed.data.path = os.path.abspath(parsed.data.path)  # a run is continued from any folder
    return build(parser, parsed), dump(parser, parsed)


def dump(parser: Parser, parsed: Namespace) -> str:
    """Every key with its value, as YAML."""
    return parser.dump(parsed, skip_none=False)


def read(path: Path) -> tuple[TrainConfig, str]:
    """A run's config.yaml to the configuration and its text.

    Raises:
        RunError: the file is absent, no YAML, or holds what this version does not know.
    """
    parser = make_parser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    try:
        return build(parser, parser.parse_string(text)), text
    except RunError as error:
        raise RunError(f"{path}: {error}") from None
