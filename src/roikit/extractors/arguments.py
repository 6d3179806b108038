"""Arguments of the types that a constructor or function states, or an error that names the one that is not."""

from __future__ import annotations

import functools
import inspect
import numbers
import types
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from torch import Tensor

from .. import modes

Called = TypeVar("Called", bound=Callable[..., Any])
OWN = ("output_size", "input", "boxes", "spatial_scale")  # arguments whose reader says what is wrong with them


def checked(called: Called) -> Called:
    """A constructor or function with a `TypeError` for an argument of another type than its annotation. What has a
    message of its own is left to it: words to choose from, a number where there are several, and ``OWN``."""

    @functools.wraps(called)
    def checking(*arguments: Any, **named: Any) -> Any:
        if modes.compiling():  # which has no use for a message, and does not know signatures
            return called(*arguments, **named)
        who = type(arguments[0]).__name__ if called.__name__ == "__init__" else called.__name__
        signature, hints = _asked(called)
        try:
            given = signature.bind(*arguments, **named).arguments
        except TypeError as error:
            raise TypeError(f"{who}: {error}") from None
        for name, value in given.items():
            kind = hints.get(name, Any)
            if name not in OWN and not _fits(value, kind):
                wanted = kind.__name__ if isinstance(kind, type) else str(kind).replace("collections.abc.", "")
                raise TypeError(f"{who}: {name} must be {wanted}, not {value!r}")
        return called(*arguments, **named)

    return checking  # type: ignore[return-value]  # its signature is that of ``called``


@functools.cache
def _asked(called: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    """Its parameters and their annotations, asked when it is called: not everything that they name is there before."""
    try:
        hints = get_type_hints(called)
    except NameError:  # for type checkers alone
        hints = {}
    return inspect.signature(called), hints


def _fits(value: Any, kind: Any) -> bool:
    origin, inner = get_origin(kind), get_args(kind)
    if kind in (int, float):
        wanted = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, wanted) and not isinstance(value, bool)
    if kind is bool or kind is Tensor:
        return isinstance(value, kind)
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Sequence and isinstance(value, Sequence):
        return not isinstance(value, str) and all(_fits(one, inner[0]) for one in value)
    if origin is Literal:
        return value in inner or isinstance(value, str)  # the constructor's own message lists the words
    return value is None if kind is type(None) else True
