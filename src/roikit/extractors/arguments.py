"""Arguments of the types that an extractor's constructor states, or an error that names the one that is not."""

from __future__ import annotations

import functools
import inspect
import numbers
import types
from collections.abc import Callable, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .. import modes


def checked(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor with a `TypeError` for an argument of another type than its annotation. What has a message of its
    own is left to it: words to choose from, a number where there are several, and the size of the output."""

    @functools.wraps(init)
    def checking(self: Any, *arguments: Any, **named: Any) -> None:
        if modes.compiling():  # which has no use for a message, and does not know signatures
            init(self, *arguments, **named)
            return
        signature, hints = _asked(init)
        try:
            given = signature.bind(self, *arguments, **named).arguments
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}: {error}") from None
        for name, value in given.items():
            kind = hints.get(name, Any)
            if name != "output_size" and not _fits(value, kind):
                wanted = kind.__name__ if isinstance(kind, type) else str(kind).replace("collections.abc.", "")
                raise TypeError(f"{type(self).__name__}: {name} must be {wanted}, not {value!r}")
        init(self, *arguments, **named)

    return checking


@functools.cache
def _asked(init: Callable[..., None]) -> tuple[inspect.Signature, dict[str, Any]]:
    """Its parameters and their annotations, asked when it is called: not everything that they name is there before."""
    try:
        hints = get_type_hints(init)
    except NameError:  # for type checkers alone
        hints = {}
    return inspect.signature(init), hints


def _fits(value: Any, kind: Any) -> bool:
    origin, inner = get_origin(kind), get_args(kind)
    if kind in (int, float):
        wanted = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, wanted) and not isinstance(value, bool)
    if kind is bool:
        return isinstance(value, bool)
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Sequence and isinstance(value, Sequence):
        return not isinstance(value, str) and all(_fits(one, inner[0]) for one in value)
    if origin is Literal:
        return value in inner or isinstance(value, str)  # the constructor's own message lists the words
    return value is None if kind is type(None) else True
