"""Flags and YAML to a `TrainConfig` and back: one parser for the command line, `--config` and a run's config.yaml."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args, get_type_hints

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from roikit.documents import load_yaml
from roikit.extractors import RegionExtractor

from .bases import read_config, read_text, with_files
from .config import TrainConfig, validate
from .errors import RunError


def limit_imports() -> None:
    """Classes that a configuration names come from this package, or from modules that the user names in
    ``ROIKIT_MODULES`` (separated by commas): to import any other would run its code, and a configuration may come from
    anywhere."""
    named = [name.strip() for name in os.environ.get("ROIKIT_MODULES", "").split(",")]
    set_parsing_settings(
        docstring_parse_attribute_docstrings=True,
        instantiate_subclass_spec_in_any=False,
        import_path_denylist=["*"],
        import_path_allowlist=["roikit", *filter(None, named)],
    )


limit_imports()


class Parser(ArgumentParser):
    """Errors are one line, with exit code 2; the channels of an extractor with layers may be left out."""

    def add_class_arguments(self, class_type: type, *args: Any, **kwargs: Any) -> list[str]:
        """jsonargparse calls this for the class of a value, too: the one that `--extractor` names."""
        if not (inspect.isclass(class_type) and issubclass(class_type, RegionExtractor)):
            return super().add_class_arguments(class_type, *args, **kwargs)
        parameter = inspect.signature(class_type).parameters.get("channels")
        if parameter is None or parameter.default is not inspect.Parameter.empty:
            return super().add_class_arguments(class_type, *args, **kwargs)
        skip = {*(kwargs.pop("skip", None) or ()), "channels"}
        added = super().add_class_arguments(class_type, *args, skip=skip, **kwargs)
        self.add_argument("--channels", type=int | None, default=None, help="Of its maps; nothing: as the detector's.")
        return [*added, "channels"]

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise RunError(_one_line(message)) from None


def _one_line(message: str) -> str:
    text = " ".join(part.strip() for part in message.splitlines() if part.strip())
    text = re.sub(r'^Parser key "([^"]*)":', r"\1:", text)
    # of several types that a value may have, the class of an extractor is the one that was meant
    text = re.sub(r"Does not validate against any .*RegionExtractor.* Errors: - (.*?) - Expected a .*", r"\1", text)
    denied = re.search(r"Importing '([^']*)' is not allowed, denied by .*", text)
    if denied:
        module = denied[1].rpartition(".")[0]
        text = text[: denied.start()] + (
            f"{denied[1]} is no class of roikit's, and a configuration may name no others: the environment variable "
            f"ROIKIT_MODULES={module} allows a module of yours"
        )
    if "Expected a dot import path" in text:
        text = text.replace("Expected a dot import path string: ", "")
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


@functools.cache
def _parser() -> Parser:
    """One for all configurations of a process: to make it costs ten times what it parses."""
    return make_parser()


def build(parser: Parser, parsed: Namespace) -> TrainConfig:
    """The checked configuration; extractors are what makes them, since the detector decides their channels."""
    try:
        built = parser.instantiate(parsed, instantiators=[(_maker, RegionExtractor, True)])
        for made in (built.extractor, built.mask_extractor):
            _try_out(made)
    except (ValueError, TypeError) as error:  # an extractor that refuses its arguments
        raise RunError(f"configuration: {error}") from None
    fields = {name: getattr(built, name) for name in TrainConfig.__dataclass_fields__}
    config = TrainConfig(**fields)
    _no_nulls(config)
    validate(config)
    return config


def _no_nulls(config: Any, section: str = "") -> None:
    """A `RunError` where a key that needs a value is null, which the parser takes for one that is not given."""
    for name, kind in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            _no_nulls(value, f"{section}{name}.")
        elif value is None and kind is not Any and type(None) not in get_args(kind):
            raise RunError(f"{section}{name}: is null, and needs a value; leave it out to have the default")


def _maker(extractor: type[RegionExtractor], **arguments: Any) -> Any:
    """What makes the extractor; an absent number of channels is the detector's to say."""
    if arguments.get("channels", 0) is None:
        del arguments["channels"]
    return functools.partial(extractor, **arguments)


def _try_out(make: Any) -> None:
    """Make one without layers at once, so that a wrong argument is known before the data is read."""
    if callable(make) and "channels" not in inspect.signature(make).parameters:
        make()


def parse(arguments: Sequence[str]) -> tuple[TrainConfig, str]:
    """Command-line arguments to the configuration and its YAML text.

    Raises:
        RunError: an unknown key, a value of the wrong type or out of range, a file that is absent or no YAML.
    """
    parser = _parser()
    parsed = parser.parse_args(checked(arguments))
    for section, key in (("data", "path"), ("model", "weights")):  # a run is continued from any folder
        value = parsed[section][key]
        if value is not None and os.path.exists(value):
            parsed[section][key] = os.path.abspath(value)
    return build(parser, parsed), dump(parser, parsed)


def check_file(path: Path) -> dict[str, Any]:
    """The content of a configuration file, with its bases below it.

    Raises:
        RunError: it is no YAML, or has a key or value that does not fit; the file is named.
    """
    content = read_config(path)
    try:
        _parser().parse_object(content)
    except RunError as error:
        raise RunError(f"{path}: {error}") from None
    return content


def checked(arguments: Sequence[str]) -> list[str]:
    """The arguments with the checked content of every `--config FILE` in its place."""
    return with_files(arguments, check_file)


def dump(parser: Parser, parsed: Namespace) -> str:
    """Every key with its value, as YAML."""
    return parser.dump(parsed, skip_unset=False)


# what may differ between the parts of a run: where things are and how often something is written
_FREE = (
    "data.path",
    "data.workers",
    "out",
    "cpu",
    "log_every",
    "save_every",
    "keep_checkpoints",
    "eval_every",
    "pictures",
)


def changes(before: str, now: str) -> list[str]:
    """What keeps a run from going on as it began: "optim.lr was 0.1, is 0.2" for each key that differs."""
    old, new = _flat(load_yaml(before)), _flat(load_yaml(now))
    keys = [key for key in {**old, **new} if key not in _FREE and old.get(key) != new.get(key)]
    return [f"{key} was {old.get(key)}, is {new.get(key)}" for key in keys]


def _flat(tree: dict, prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def read(path: Path) -> tuple[TrainConfig, str]:
    """A run's config.yaml to the configuration and its text.

    Raises:
        RunError: the file is absent, no YAML, or holds what this version does not know.
    """
    check_file(path)
    parser, text = _parser(), read_text(path)
    try:
        return build(parser, parser.parse_string(text)), text
    except RunError as error:
        raise RunError(f"{path}: {error}") from None


def normal(path: Path) -> str:
    """A configuration file as `dump` writes it today: keys that came later have their default.

    Raises:
        RunError: as `read`.
    """
    check_file(path)
    return filled(read_text(path))


def filled(text: str) -> str:
    """A configuration as `dump` wrote it once, as it writes it today: keys that came later have their default."""
    parser = _parser()
    return dump(parser, parser.parse_string(text))
