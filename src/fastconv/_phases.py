"""grad_input as forward convolutions: one for each phase of the stride.

With stride s and dilation d, padded position p of the input meets those taps k for which ``p - k * d`` is a multiple of
s, and there element ``(p - k * d) / s`` of grad_output. Positions that are equal modulo s, a phase, meet the same taps:
every ``s / gcd(s, d)``-th one, at elements that are ``d / gcd(s, d)`` apart. So a phase is a forward convolution of
stride 1, with these taps from the last to the first and the two axes of channels exchanged; its input is grad_output,
cut or padded with zeros, and its output is every s-th element of grad_input. Each axis has its own phases.

Where grad_input has one channel, phases that lie side by side in its rows and read the same elements are one
convolution with a channel for each of them.
"""

from dataclasses import dataclass, replace
from itertools import groupby, product
from math import gcd
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from . import _driver
from ._geometry import CHANNELS_LAST, Convolution, Geometry
from ._interleaved import interleaved
from ._tasks import Prepared, Tasks


@dataclass(frozen=True, slots=True)
class GradInput:
    """grad_input of `forward`, whose padding is zeros, for inputs of the spatial shape `size`."""

    forward: Convolution
    size: tuple
    bias_shape = None

    @property
    def dtype(self):
        return self.forward.dtype

    def at(self, grad_output_shape):
        """The `Phases` for a grad_output of this shape."""
        batch, _, _ = self.forward.split(grad_output_shape)
        x_shape = self.forward.join(batch, self.forward.in_channels, self.size)
        return Phases.of(self, self.forward.at(x_shape))


class Phase(NamedTuple):
    """The forward convolution of one phase, or of several as its channels, and where it finds its arrays."""

    geometry: Geometry
    neighbours: int  # phases that it computes, from the one that the indices are of to the right
    taps: tuple  # index of the canonical weight
    source: tuple  # index of grad_output,
    target: tuple  # of grad_input
    bias: tuple  # and of its bias

    @property
    def key(self):
        """What its weights depend on, whatever the shapes: how many taps there are follows from the last one."""
        return self.neighbours, *(along.start for along in self.taps[1:])

    def weight(self, convolution, weight):
        """The weight of the phase, (groups, in, out, d, h, w), a view of that of the `convolution`."""
        weight = convolution.canonical(weight)
        if self.neighbours == 1:
            return weight[self.taps].swapaxes(1, 2)
        return np.moveaxis(sliding_window_view(weight[:, :, 0], self.neighbours, -1)[(*self.taps, slice(None))], -1, 1)

    def part(self, array):
        """Its part of grad_input, or of an array added to that: a view."""
        part = array[(..., *self.target)]
        if self.neighbours == 1:
            return part
        return as_strided(part, self.geometry.out_shape, self.part_strides(array.strides))

    def part_strides(self, strides):
        """The strides of `part`, of an array that has these."""
        steps = list(_steps(strides, self.target))
        if self.neighbours > 1:
            _, channels, spatial = self.geometry.convolution.split(range(len(strides)))
            steps[channels] = strides[spatial[-1]]
        return tuple(steps)

    def bias_part(self, bias):
        """Its part of the bias: a view."""
        part = bias[self.bias]
        if self.neighbours == 1:
            return part
        return as_strided(part, self.geometry.convolution.bias_shape, self.bias_strides(bias.strides))

    def bias_strides(self, strides):
        """The strides of `bias_part`, of a bias that has these."""
        steps = _steps(strides, self.bias)
        if self.neighbours == 1:
            return steps
        return (strides[-1] if len(strides) > 1 else 0, *steps[1:])


@dataclass(frozen=True, slots=True, eq=False)
class Phases:
    """What a `Geometry` is to a forward convolution: grad_input at one shape of grad_output, which is its x.

    `convolution` is the `GradInput`, or another operation that is one; `forward` has the two shapes exchanged. Phases
    that meet nothing are left out; `complete` tells whether there are none such.
    """

    convolution: object
    forward: Geometry
    phases: tuple
    complete: bool

    @classmethod
    def of(cls, convolution, forward):
        axes = [_along(forward, axis) for axis in range(3)]
        complete = all(
            sum(phase.neighbours * _length(phase.target) for phase in phases) == size
            for phases, size in zip(axes, forward.size, strict=True)
        )
        phases = list(product(*axes))
        phases = tuple(_phase(forward, convolution.bias_shape, len(phases), *phase) for phase in phases)
        return cls(convolution, forward, phases, complete)

    @property
    def x_shape(self):
        return self.forward.out_shape

    @property
    def out_shape(self):
        return self.forward.x_shape

    @property
    def batch_shape(self):
        return self.forward.batch_shape

    @property
    def size(self):
        return self.forward.out

    @property
    def flops(self):
        return self.forward.flops

    @property
    def indices(self):
        return sum(phase.geometry.indices for phase in self.phases)

    def fill(self, bias, add, out):
        """What stands where no phase does: bias and residual, and what the activation makes of them."""
        convolution = self.forward.convolution
        activation = convolution.activation
        value = np.zeros(1, convolution.dtype) if bias is None else bias
        if value.ndim == 1:
            value = value.reshape(-1, *[1] * convolution.rank)
        if CHANNELS_LAST[convolution.data_format]:
            value = np.moveaxis(value, 0, -1)
        with np.errstate(all="ignore"):
            if add is None:
                value = activation.function(value)
                if value.any() or not _driver.clear(out):
                    out[...] = value
            else:
                np.add(value, add, out=out, dtype=convolution.dtype, casting="same_kind")
                if activation.code:
                    out[...] = activation.function(out)


class _Along(NamedTuple):
    """One phase along one axis, or the first of several side by side."""

    neighbours: int
    taps: slice  # last to first
    kernel: int  # their number
    dilation: int
    pads: tuple
    source: slice
    target: slice


def _along(forward, axis):
    """The phases along one axis that meet any element of grad_output."""
    # not the geometry's stride and dilation, which may be others where none is needed
    kernel, stride, dilation = (getattr(forward.convolution, name)[axis] for name in ("kernel", "stride", "dilation"))
    (before, _), size, out = forward.pads[axis], forward.size[axis], forward.out[axis]
    period, step = stride // gcd(stride, dilation), dilation // gcd(stride, dilation)
    phases = []
    for tap in range(min(kernel, period)):
        first = (tap * dilation - before) % stride  # position
        positions = len(range(first, size, stride))
        count = len(range(tap, kernel, period))
        last = tap + (count - 1) * period
        # elements from that of the last tap at the first position to that of the first tap at the last position
        start = (first + before - last * dilation) // stride
        stop = start + (count - 1) * step + positions
        source = slice(min(max(start, 0), out), max(min(stop, out), 0))
        if positions and source.start < source.stop:
            phases.append(
                _Along(
                    neighbours=1,
                    taps=slice(last, tap - 1 if tap else None, -period),
                    kernel=count,
                    dilation=step,
                    pads=(source.start - start, stop - source.stop),
                    source=source,
                    target=slice(first, size, stride) if positions > 1 else slice(first, first + 1, 1),
                )
            )
    return _joined(phases) if axis == 2 and dilation == 1 and forward.groups == forward.c == 1 else phases


def _joined(phases):
    """One for those that differ only by neighbouring taps and targets."""

    def common(numbered):
        at, phase = numbered
        starts = phase.taps.start - at, phase.target.start - at
        return phase.kernel, phase.pads, phase.source, _length(phase.target), starts

    runs = [[phase for _, phase in run] for _, run in groupby(enumerate(phases), common)]
    return [run[0]._replace(neighbours=len(run)) for run in runs]


def _phase(forward, bias_shape, phases, *along):
    """The `Phase` of an `_Along` for each axis."""
    convolution = forward.convolution
    neighbours, taps, kernel, dilation, pads, source, target = zip(*along, strict=True)
    source, target = source[3 - convolution.rank :], target[3 - convolution.rank :]
    own = replace(
        convolution,
        in_channels=convolution.out_channels,
        out_channels=convolution.in_channels * neighbours[2],
        weight_shape=(convolution.in_channels * neighbours[2], forward.o, *kernel[3 - convolution.rank :]),
        bias_shape=bias_shape and (bias_shape[0] * neighbours[2], *map(_length, target))[: len(bias_shape)],
        kernel=kernel,
        stride=(1, 1, 1),
        dilation=dilation,
        padding=pads,
        flip_kernel=False,
        outputs=None,
        phases=phases,
    )
    shape = own.join(forward.batch_shape, own.in_channels, tuple(map(_length, source)))
    return Phase(
        own.at(shape),
        neighbours=neighbours[2],
        taps=(..., *taps),
        source=own.join((), slice(None), source),
        target=own.join((), slice(None), target),
        bias=bias_shape and (slice(None), *target)[: len(bias_shape)],
    )


def _length(part):
    return len(range(part.start, part.stop, part.step or 1))


class PreparedPhases(NamedTuple):
    """What a `Prepared` is to a forward convolution."""

    task: object
    packing: tuple
    out_shape: tuple
    geometry: Phases
    parts: tuple  # the `Prepared` of the phases

    @classmethod
    def of(cls, geometry, x_strides, add_strides, out_strides, bias_strides, threads, outcomes):
        parts = []
        for phase in geometry.phases:
            add, out = (strides and phase.part_strides(strides) for strides in (add_strides, out_strides))
            bias = bias_strides and phase.bias_strides(bias_strides)
            parts.append(Prepared.of(phase.geometry, x_strides, add, out, bias, threads, outcomes))
        if None in parts:
            return None
        packing = tuple((phase.key, part.packing) for phase, part in zip(geometry.phases, parts, strict=True))
        task = _Task(geometry, parts)
        if parts and all(isinstance(own, _driver.Task) for own in task.tasks):
            steps = x_strides, bias_strides, add_strides, out_strides
            places = [
                tuple(map(_start, steps, (phase.source, phase.bias, phase.target, phase.target)))
                for phase in geometry.phases
            ]
            task.together = _driver.Together(task.tasks, places)
            if geometry.complete:
                task = task.together
        return cls(task, packing, geometry.out_shape, geometry, tuple(parts))

    def pack(self, weight):
        convolution = self.geometry.forward.convolution
        return [
            part.pack(phase.weight(convolution, weight))
            for phase, part in zip(self.geometry.phases, self.parts, strict=True)
        ]


def _steps(strides, index):
    """The strides of a view at `index`, which is of the last axes."""
    first = len(strides) - len(index)
    return (*strides[:first], *(stride * (part.step or 1) for stride, part in zip(strides[first:], index, strict=True)))


def _start(strides, index):
    """Where a view at `index`, which is of the last axes, begins, in bytes."""
    if not strides:
        return 0
    last = strides[len(strides) - len(index) :]
    return sum(stride * (part.start or 0) for stride, part in zip(last, index, strict=True))


class _Task:
    """Fills what belongs to no phase and runs the phases: `together` where they are compiled."""

    together = None

    def __init__(self, geometry, parts):
        self.geometry = geometry
        self.tasks = [part.task for part in parts]

    def run(self, x, packed, bias, add, out):
        if not self.geometry.complete:
            self.geometry.fill(bias, add, out)
        if self.together:
            self.together.run(x, packed, bias, add, out)
            return
        for task, phase, weight in zip(self.tasks, self.geometry.phases, packed, strict=True):
            task.run(
                x[(..., *phase.source)],
                weight,
                None if bias is None else phase.bias_part(bias),
                None if add is None else phase.part(add),
                phase.part(out),
            )


class PhaseTasks(Tasks):
    """The `Tasks` of a `GradInput`, or of another operation whose geometries are `Phases`."""

    def prepared(self, *arguments):
        return interleaved(*arguments[:-1]) or PreparedPhases.of(*arguments)
