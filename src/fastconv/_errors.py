"""Checks of single arguments that several modules share, and their messages."""

import numpy as np


def one_of(name, value, allowed):
    """``allowed[value]``, or an error that lists the names."""
    if not isinstance(value, str):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}; wanted one of {', '.join(map(repr, allowed))}")
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is unknown; wanted one of {', '.join(map(repr, allowed))}")
    return allowed[value]


def integer(name, value, least):
    """`value` as a Python integer of at least `least`; floats and bools do not count."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}={value!r} has type {type(value).__name__}; wanted an integer of at least {least}")
    if value < least:
        raise ValueError(f"{name}={value!r} is too small; wanted an integer of at least {least}")
    return int(value)


def sequence(value):
    """`value` as a list where it is a sequence of entries, else None."""
    if isinstance(value, np.ndarray) and value.ndim:
        return value.tolist()
    return list(value) if isinstance(value, (list, tuple)) else None
