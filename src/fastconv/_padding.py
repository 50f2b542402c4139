"""Padding modes: how positions outside the input get their value.

A mode is an index map: it takes a position on an axis (0 is the first element of the input, positions before it are
negative) to the element that stands there, or to -1 for the constant. Nothing else in the package knows a mode by name.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ._errors import one_of
from ._sums import CHAIN


def _constant(position, size):
    return np.where((position >= 0) & (position < size), position, -1)


def _replicate(position, size):
    return np.clip(position, 0, size - 1)


def _symmetric(position, size):
    position = position % (2 * size)
    return np.minimum(position, 2 * size - 1 - position)


def _reflect(position, size):
    period = max(1, 2 * (size - 1))  # an axis of one element repeats it
    position = position % period
    return np.minimum(position, period - position) if size > 1 else position


def _circular(position, size):
    return position % size


MODES = {
    "constant": _constant,
    "replicate": _replicate,
    "symmetric": _symmetric,
    "reflect": _reflect,
    "circular": _circular,
}

ALIASES = {
    "zeros": "constant",
    "edge": "replicate",
    "nearest": "replicate",
    "symmetric-include-edge": "symmetric",
    "symmetric-exclude-edge": "reflect",
    "mirror": "reflect",
    "wrap": "circular",
}

_NAMES = {name: name for name in MODES} | ALIASES


def canonical_mode(name, padding_value=0.0):
    """The entry of `MODES` that `name` means; only ``"constant"`` has a use for a padding value."""
    mode = one_of("padding_mode", name, _NAMES)
    if name != "constant" and padding_value != 0:
        raise ValueError(f"padding_value={padding_value!r} with padding_mode={name!r}; wanted padding_mode='constant'")
    return mode


@dataclass(frozen=True, eq=False)
class AxisMap:
    """Where the padded positions of one axis come from, cut to the positions that are read.

    Attributes
    ----------
    before : int
        Padded positions in front of the input; position ``p`` of the interior is element ``p - before``.
    size : int
        Elements of the input.
    read : int
        Padded positions that any output reads: ``0 .. read - 1``.
    head, tail : ndarray of int64
        The element (-1: the constant) at positions ``0 .. before - 1`` and ``before + size .. read - 1``.
    """

    mode: str
    before: int
    size: int
    read: int

    @property
    def border(self):
        """Number of positions in `head` and `tail`."""
        return min(self.before, self.read) + max(0, self.read - self.before - self.size)

    @cached_property
    def head(self):
        return self.source(0, min(self.before, self.read))

    @cached_property
    def tail(self):
        return self.source(self.before + self.size, self.read)

    @cached_property
    def inverse(self):
        """The `Inverse` of the border."""
        tail = self.before + self.size
        positions = np.append(np.arange(len(self.head)), np.arange(tail, tail + len(self.tail)))
        return Inverse.of(positions, np.append(self.head, self.tail))

    def source(self, start, stop):
        """The element (-1: the constant) at each of the padded positions ``start .. stop - 1``."""
        position = np.arange(start, max(start, stop), dtype=np.int64) - self.before
        # an empty axis has elements for no mode; the geometry refuses it where a value would be needed
        source = MODES[self.mode](position, self.size) if position.size else position
        source.flags.writeable = False  # shared by every thread
        return source


class Inverse(NamedTuple):
    """Where the border's positions go back to, so that each element is the sum of neighbours.

    `sums` are what ``numpy.add.reduceat`` takes one after the other, until there is one sum for each element.
    """

    positions: np.ndarray
    sums: tuple
    elements: np.ndarray

    @classmethod
    def of(cls, positions, elements):
        order = np.argsort(elements, kind="stable")
        positions, elements = positions[order], elements[order]
        sums = []
        while True:
            new = np.append(True, elements[1:] != elements[:-1])[: len(elements)]
            first = np.flatnonzero(new)
            if len(first) == len(elements):
                return cls(positions, tuple(sums), elements)
            within = np.arange(len(elements)) - first[np.cumsum(new) - 1]
            sums.append(np.flatnonzero(within % CHAIN == 0))
            elements = elements[sums[-1]]
