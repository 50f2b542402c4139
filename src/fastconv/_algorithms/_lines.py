"""Spatial axes as the kernels walk them: merged where that is possible, cut into blocks, staged in runs."""

from math import ceil
from typing import NamedTuple

from .._padding import AxisMap


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
    slots: tuple  # for each tap: where its first operand is staged

    @property
    def staged(self):
        return sum(self.counts)


def runs(line, block):
    by_phase = sorted(range(line.kernel), key=lambda tap: (tap * line.dilation % line.stride, tap))
    origins, counts, slots = [], [], [0] * line.kernel
    phase = shift = None
    for tap in by_phase:
        position = tap * line.dilation
        if phase != position % line.stride or position // line.stride - shift > block:
            origins.append(position)
            counts.append(block)
        phase, shift = position % line.stride, position // line.stride
        first = (shift - origins[-1] // line.stride)
        counts[-1] = first + block
        slots[tap] = sum(counts[:-1]) + first
    return Runs(tuple(origins), tuple(counts), tuple(slots))
