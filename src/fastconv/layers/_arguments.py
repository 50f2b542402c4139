"""Signatures in which what is shared stands once, and arguments as they are written in code."""

from inspect import Parameter as Argument
from inspect import signature

import numpy as np


def spelled_out(inherited):
    """Show the keyword-only arguments of `inherited` where the decorated function says ``**shared``."""

    def decorate(function):
        own = signature(function)
        *first, last = own.parameters.values()
        assert last.kind is Argument.VAR_KEYWORD, "**shared stands last"
        shared = [given for given in signature(inherited).parameters.values() if given.kind is Argument.KEYWORD_ONLY]
        function.__signature__ = own.replace(parameters=first + shared)
        return function

    return decorate


def literal(value):
    """How `value` is written in code, or the nearest thing: functions by their names."""
    if isinstance(value, np.ndarray):
        value = tuple(value.tolist())
    if isinstance(value, (list, tuple)):
        brackets = "[]" if isinstance(value, list) else "()"
        comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
        return f"{brackets[0]}{', '.join(map(literal, value))}{comma}{brackets[1]}"
    if isinstance(value, (np.generic, np.dtype)):
        return repr(value.item() if isinstance(value, np.generic) else value.name)
    return getattr(value, "__name__", None) or repr(value)
