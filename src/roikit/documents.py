"""JSON and YAML from anywhere: read without executing anything, and without growing beyond what their text holds."""

from __future__ import annotations

import json
from typing import Any

_UNFOLDED = 100_000  # values of a YAML file whose aliases are written out; configurations have hundreds


def load_json(text: str) -> Any:
    """The content of a JSON text.

    Raises:
        ValueError: broken, nested too deeply, or a number of thousands of digits; one line says what and where.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:  # Python's limit on the digits of an integer
        raise ValueError("a number with thousands of digits") from None


def load_yaml(text: str) -> Any:
    """The content of a YAML text, by the safe loader. Aliases count as what they stand for: ten lines of them can
    stand for a billion values, which whatever walks over the content would visit.

    Raises:
        yaml.YAMLError: it is broken, nested too deeply, or unfolds to too many values.
    """
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _unfolded(node, {})
        return None if node is None else loader.construct_document(node)
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None
    except (ValueError, OverflowError, AttributeError) as error:  # a date or number that its constructor cannot make
        raise yaml.YAMLError(str(error)) from None


def _unfolded(node: Any, known: dict[int, int | None]) -> int:
    """How many values a node stands for."""
    import yaml

    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise yaml.constructor.ConstructorError(None, None, "an alias within what it stands for", node.start_mark)
        return size
    known[id(node)] = None
    below: list[Any] = []
    if isinstance(node, yaml.SequenceNode):
        below = node.value
    elif isinstance(node, yaml.MappingNode):
        below = [part for pair in node.value for part in pair]
    size = 1 + sum(_unfolded(part, known) for part in below)
    if size > _UNFOLDED:
        problem = f"aliases that stand for more than {_UNFOLDED} values"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    known[id(node)] = size
    return size
