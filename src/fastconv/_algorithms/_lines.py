"""Spatial axes as the kernels walk them: merged where that is possible, cut into blocks, staged in runs."""

from functools import lru_cache
from math import ceil
from typing import NamedTuple

import numpy as np

from .._padding import AxisMap

VECTOR = 16  # elements of the widest vector


class Line(NamedTuple):
    """One spatial axis: its geometry, and the strides in elements of each array along it (None: no such array)."""

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
    reach: int = 0  # positions that a block stages behind the last tap's, `dilation` apart

    @property
    def map(self):
        return AxisMap(self.mode, self.before, self.size, self.read)

    @property
    def steps(self):
        return self.x, self.y, self.add, self.bias

    @property
    def pointwise(self):
        """Whether output position i reads input position i and nothing else."""
        return self.kernel == self.stride == 1 and self.size == self.out and self.before == 0

    @property
    def last_tap(self):
        return (self.kernel - 1) * self.dilation

    def blocks_inside(self, block):
        """Of blocks of so many outputs, the part that reads nothing but input."""
        first = ceil(self.before / (block * self.stride))
        room = self.size + self.before - self.last_tap - 1 - (block - 1) * self.stride
        inside = max(0, room // (block * self.stride) - first + 1)
        return min(1.0, inside / ceil(self.out / block))

    def resized(self, size):
        return self._replace(size=size, out=size, read=size)


def lines(geometry, layout):
    """The three spatial axes; neighbours that are pointwise and even in every array become one: lanes fill."""
    g = geometry
    nothing = (None,) * 3
    arrays = (
        layout.x[2:],
        layout.out[2:],
        layout.add[2:] if layout.add else nothing,
        layout.bias[1:] if layout.bias else nothing,
    )
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
    even = all(a is None or a == b * inner.size for a, b in zip(outer.steps, inner.steps, strict=True))
    return even and outer.pointwise and inner.pointwise


def balanced(total, most):
    """The size of the parts that `total` is cut into evenly, none larger than `most`."""
    return ceil(total / ceil(total / most))


def reads_one_position(axes):
    """Whether each output reads one position of the input, and none of the padding."""
    return all(line.kernel == 1 and line.before == 0 and line.read <= line.size for line in axes)


class Runs(NamedTuple):
    """Padded positions that a block of outputs reads on an axis, as runs of step `stride`, relative to its first one.

    Taps at distances that differ by a multiple of the stride read the same positions, shifted; they share a run unless
    they are further apart than the block is long.
    """

    origins: np.ndarray  # first position of each run
    counts: np.ndarray  # number of positions of each run
    run: np.ndarray  # for each tap: its run,
    shift: np.ndarray  # and where in the run its first operand is

    @property
    def staged(self):
        """Number of positions."""
        return int(self.counts.sum())

    @property
    def slots(self):
        """For each tap: where its first operand is, with the runs one after the other."""
        return (np.cumsum(self.counts) - self.counts)[self.run] + self.shift


@lru_cache(16)  # few, for those of a million taps hold 16 MB
def runs(kernel, dilation, stride, block, reach=0):
    """Those of the taps, and of `reach` more."""
    positions = np.arange(kernel + reach) * dilation
    order = np.argsort(positions % stride, kind="stable")  # by phase, then by position
    phase, step = positions[order] % stride, positions[order] // stride
    begins = np.ones(len(order), bool)
    begins[1:] = (phase[1:] != phase[:-1]) | (step[1:] - step[:-1] > block)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(order)) - 1
    run, shift = np.empty((2, len(order)), np.int64)
    run[order] = np.cumsum(begins) - 1
    shift[order] = step - step[first][run[order]]
    return Runs(positions[order][first], step[last] - step[first] + block, run[:kernel], shift[:kernel])


class Stage(NamedTuple):
    """How a block is staged: (channels, runs of columns, d, h, columns of the longest run), so that rows are dense.

    Where `aligned`, rows begin at whole vectors, and so do, in each run, the columns that are copied of the input.
    """

    d: Runs
    h: Runs
    w: Runs
    leads: np.ndarray  # elements before the first column of each run
    row: int  # elements from one row to the next

    @classmethod
    @lru_cache(8)  # the estimates ask for a few of them over and over
    def of(cls, lines, block, aligned=False, alternate=False):
        d, h, w = (
            runs(line.kernel, line.dilation, line.stride, part, line.reach)
            for line, part in zip(lines, block, strict=True)
        )
        line, step = lines[2], lines[2].stride
        if alternate:  # columns as they lie
            step = 1
            w = runs(line.kernel, line.dilation, 1, (block[2] - 1) * line.stride + 1)
        if not aligned:
            return cls(d, h, w, np.zeros_like(w.counts), int(w.counts.max()))
        leads = (w.origins - line.before) // step % VECTOR
        return cls(d, h, w, leads, ceil((leads + w.counts).max() / VECTOR) * VECTOR)

    @property
    def rows(self):
        return self.d.staged * self.h.staged

    @property
    def run_plane(self):
        """Elements of one run of columns, with room for a vector that is written too much."""
        return self.rows * self.row + VECTOR

    @property
    def run_starts(self):
        return np.arange(len(self.leads)) * self.run_plane + self.leads

    @property
    def plane(self):
        """Elements of one channel."""
        return len(self.w.counts) * self.run_plane

    def offsets(self):
        """Where the operand of each tap, in the weight's order, is for the block's first pixel."""
        columns = self.run_starts[self.w.run] + self.w.shift
        return combined((self.d.slots, self.h.slots, columns), (self.h.staged * self.row, self.row, 1))


def combined(positions, strides):
    """Offset of every tap, in the weight's order, from its positions on the three axes."""
    d, h, w = (np.asarray(position, np.int64) * stride for position, stride in zip(positions, strides, strict=True))
    return (d[:, None, None] + h[:, None] + w).ravel()
