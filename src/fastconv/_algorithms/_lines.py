"""Spatial axes as the kernels walk them: merged where that is possible, cut into blocks, staged in runs."""

from math import ceil
from typing import NamedTuple

import numpy as np

from .._padding import AxisMap


VECTOR = 16  # elements of the widest vector


class Line(NamedTuple):
    """One spatial axis: its geometry, and the strides in elements with which each array walks it (None: no such array)."""

    size: int
    out: int
    kernel: int
    stride: int
    dilation: int
    mode: str
    before: int
    read: int
    x: int
    y: int
    add: int | None
    bias: int | None

    @property
    def map(self):
        return AxisMap(self.mode, self.before, self.size, self.read)

    @property
    def pointwise(self):
        """Whether output position i reads input position i and nothing else."""
        return self.kernel == self.stride == 1 and self.size == self.out and self.before == 0

    @property
    def last_tap(self):
        return (self.kernel - 1) * self.dilation

    def resized(self, size):
        return self._replace(size=size, out=size, read=size)


def lines(geometry, layout):
    """The three spatial axes; neighbours that are pointwise and lie evenly in every array become one, so that lanes fill."""
    g = geometry
    arrays = (layout.x[2:], layout.out[2:], layout.add[2:] if layout.add else (None,) * 3, layout.bias[1:] if layout.bias else (None,) * 3)
    d, h, w = (
        Line(size, out, kernel, stride, dilation, axis.mode, axis.before, axis.read, *steps)
        for size, out, kernel, stride, dilation, axis, *steps in zip(
            g.size, g.out, g.kernel, g.stride, g.dilation, g.maps, *arrays, strict=True
        )
    )
    if _mergeable(h, w):
        h, w = h.resized(1), w.resized(h.size * w.size)
        if _mergeable(d, w):
            d, w = d.resized(1), w.resized(d.size * w.size)
    return d, h, w


def _mergeable(outer, inner):
    even = all(a is None or a == b * inner.size for a, b in zip(outer[-4:], inner[-4:], strict=True))
    return even and outer.pointwise and inner.pointwise


def balanced(total, most):
    """The size of the parts that `total` is cut into evenly, none larger than `most`."""
    return ceil(total / ceil(total / most))


class Runs(NamedTuple):
    """Padded positions that a block of outputs reads on an axis, as runs with step `stride`, relative to the block's first.

    Taps at distances that differ by a multiple of the stride read the same positions, shifted; they share a run unless
    they are further apart than the block is long.
    """

    origins: tuple  # first position of each run
    counts: tuple  # number of positions of each run
    taps: tuple  # for each tap: (its run, where in the run its first operand is)

    @property
    def staged(self):
        """Number of positions."""
        return sum(self.counts)

    @property
    def slots(self):
        """For each tap: where its first operand is, with the runs one after the other."""
        return tuple(sum(self.counts[:run]) + shift for run, shift in self.taps)


def runs(line, block):
    origins, counts, taps = [], [], [None] * line.kernel
    phase = shift = None
    for tap in sorted(range(line.kernel), key=lambda tap: (tap * line.dilation % line.stride, tap)):
        position = tap * line.dilation
        if phase != position % line.stride or position // line.stride - shift > block:
            origins.append(position)
            counts.append(block)
        phase, shift = position % line.stride, position // line.stride
        first = shift - origins[-1] // line.stride
        counts[-1] = first + block
        taps[tap] = len(origins) - 1, first
    return Runs(tuple(origins), tuple(counts), tuple(taps))


class Stage(NamedTuple):
    """How a block is staged: (channels, runs of columns, d, h, columns of the longest run), so that rows are dense.

    Where `aligned`, rows begin at whole vectors, and so do, in each run, the columns that are copied of the input.
    """

    d: Runs
    h: Runs
    w: Runs
    leads: tuple  # elements before the first column of each run
    row: int  # elements from one row to the next

    @classmethod
    def of(cls, lines, block, aligned):
        d, h, w = map(runs, lines, block)
        if not aligned:
            return cls(d, h, w, (0,) * len(w.counts), max(w.counts))
        leads = tuple(-ceil((lines[2].before - origin) / lines[2].stride) % VECTOR for origin in w.origins)
        longest = max(lead + count for lead, count in zip(leads, w.counts, strict=True))
        return cls(d, h, w, leads, ceil(longest / VECTOR) * VECTOR)

    @property
    def rows(self):
        return self.d.staged * self.h.staged

    @property
    def run_plane(self):
        """Elements of one run of columns, with room for a vector that is written too much."""
        return self.rows * self.row + VECTOR

    @property
    def run_starts(self):
        return [run * self.run_plane + lead for run, lead in enumerate(self.leads)]

    @property
    def plane(self):
        """Elements of one channel."""
        return len(self.w.counts) * self.run_plane

    def offsets(self):
        """Where the operand of each tap, in the weight's order, is for the block's first pixel."""
        starts = self.run_starts
        columns = tuple(starts[run] + shift for run, shift in self.w.taps)
        return combined((self.d.slots, self.h.slots, columns), (self.h.staged * self.row, self.row, 1))


def combined(positions, strides):
    """Offset of every tap, in the weight's order, from its positions on the three axes."""
    d, h, w = (np.asarray(position, np.int64) * stride for position, stride in zip(positions, strides, strict=True))
    return (d[:, None, None] + h[:, None] + w).ravel()
