"""Checks of single arguments that several modules share, and their messages."""

from math import inf, isfinite

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


def number(name, value, least=None, below=None):
    """`value` as a finite Python float of at least `least` and less than `below`; bools do not count."""
    wanted = "a finite number" + ("" if least is None else f" of at least {least}")
    wanted += "" if below is None else f", less than {below}"
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}={value!r} has type {type(value).__name__}; wanted {wanted}")
    try:
        result = float(value)
    except OverflowError:  # an integer of hundreds of digits
        result = inf
    if not isfinite(result) or (least is not None and result < least) or (below is not None and result >= below):
        raise ValueError(f"{name}={value!r}; wanted {wanted}")
    return result


class Number:
    """An attribute that holds a `number`, checked whenever it is set."""

    def __init__(self, least=None, below=None):
        self.least, self.below = least, below

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, instance, owner=None):
        return self if instance is None else instance.__dict__[self.name]

    def __set__(self, instance, value):
        instance.__dict__[self.name] = number(self.name, value, self.least, self.below)


def flag(name, value):
    """`value` as True or False; nothing else counts."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}={value!r} has type {type(value).__name__}; wanted True or False")
    return bool(value)


def sequence(value):
    """`value` as a list where it is a sequence of entries, else None."""
    if isinstance(value, np.ndarray) and value.ndim:
        return value.tolist()
    return list(value) if isinstance(value, (list, tuple)) else None
