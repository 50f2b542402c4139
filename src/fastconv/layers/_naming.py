"""Names of layers: Python formats that are filled with 1, 2, 3, … until a name is free; and errors with names."""

from collections import defaultdict
from itertools import count

MOST = 10_000  # numbers that are tried before a format is given up: some have few results, such as "{!s:.1}"

_NUMBERS = defaultdict(lambda: count(1))  # of layers that stand alone, by format


def name_format(name, layer):
    """`name` as a format, checked; None is the class's own, ``"conv2d_{}"`` for a `Conv2d`."""
    if name is None:
        return f"{type(layer).__name__.lower()}_{{}}"
    if not isinstance(name, str):
        raise TypeError(f"name={name!r} has type {type(name).__name__}; wanted a string or None")
    try:
        filled = name.format(1)
    except (LookupError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"name={name!r} is no format for one number: {error}") from None
    if not filled or "." in filled:
        raise ValueError(f"name={name!r} gives {filled!r}; wanted a name without a dot, which joins names")
    return name


def new_name(name_format):
    """A name for a layer that stands alone: numbers go on over all of them."""
    return name_format.format(1 if _is_fixed(name_format) else next(_NUMBERS[name_format]))


def unique_names(name_formats):
    """A name for each format, in order: names as they stand first, then formats by the lowest numbers that are free."""
    fixed = [name_format.format(1) for name_format in name_formats if _is_fixed(name_format)]
    for name in fixed:
        if fixed.count(name) > 1:
            raise ValueError(f"name={name!r} is the name of {fixed.count(name)} layers; wanted one")
    taken = set(fixed)
    return [
        name_format.format(1) if _is_fixed(name_format) else _free(name_format, taken) for name_format in name_formats
    ]


def _is_fixed(name_format):
    return name_format.format(1) == name_format.format(2)


def _free(name_format, taken):
    for number in range(1, MOST):
        name = name_format.format(number)
        if name not in taken:
            taken.add(name)
            return name
    raise ValueError(
        f"name={name_format!r} gives no name that is not taken; wanted a format with room for every number"
    )


class Named:
    """A context in which errors about arguments get the name of the layer in front."""

    def __init__(self, layer):
        self.layer = layer

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, (TypeError, ValueError)):
            error.args = (f"{self.layer.name}: {error}",)
