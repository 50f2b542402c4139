"""How the arrays of a call lie in memory."""

from typing import NamedTuple


class Layout(NamedTuple):
    """Strides in elements: x, out and add as (n, channels, d, h, w), bias as (channels, d, h, w)."""

    x: tuple
    out: tuple
    add: tuple | None
    bias: tuple | None
