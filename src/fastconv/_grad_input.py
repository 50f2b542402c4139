"""grad_input: the gradient of a convolution with respect to its input, as forward convolutions.

With stride s and dilation d, padded position p of the input meets those taps k for which ``p - k * d`` is a multiple of
s, and there element ``(p - k * d) / s`` of grad_output. Positions that are equal modulo s, a phase, meet the same taps,
every ``s / gcd(s, d)``-th one, at elements that are ``d / gcd(s, d)`` apart: a phase is a forward convolution of
stride 1, with these taps from the last to the first and the two axes of channels exchanged. Its input is grad_output,
cut or padded with zeros, and its output is every s-th element of grad_input. Each axis has its own phases.
"""

from dataclasses import dataclass, replace
from itertools import product
from math import gcd, prod
from typing import NamedTuple

import numpy as np

from . import _activations
from ._blocks import LIMIT
from ._geometry import Convolution, Geometry
from ._tasks import Prepared, Tasks


@dataclass(frozen=True, slots=True)
class GradInput:
    """grad_input of `forward`, whose padding is constant, for inputs of the spatial shape `size`."""

    forward: Convolution
    size: tuple
    bias_shape = None

    @property
    def dtype(self):
        return self.forward.dtype

    def at(self, grad_output_shape):
        """The `GradInputGeometry` for a grad_output of this shape."""
        batch, _, _ = self.forward.split(grad_output_shape)
        x_shape = self.forward.join(batch, self.forward.in_channels, self.size)
        return GradInputGeometry.of(self, self.forward.at(x_shape))


class Phase(NamedTuple):
    """The forward convolution of one phase, and where it finds its arrays."""

    geometry: Geometry
    taps: tuple  # index into the canonical weight
    source: tuple  # index into grad_output
    target: tuple  # index into grad_input
    bias: tuple  # index into the bias

    @property
    def last_taps(self):
        """What tells the phase from the others of its convolution, whatever the shapes."""
        return tuple(part.start for part in self.taps[1:])

    def weight(self, convolution, weight):
        """The weight of the phase, (groups, in, out, d, h, w), of that of the `convolution`: a view."""
        return convolution.canonical(weight)[self.taps].swapaxes(1, 2)


@dataclass(frozen=True, slots=True, eq=False)
class GradInputGeometry:
    """grad_input at one shape of grad_output, which is its x; `forward` has the two shapes exchanged.

    `phases` are those that meet anything, and `complete` tells whether they make up all of the output.
    """

    convolution: object
    forward: Geometry
    phases: tuple
    complete: bool

    @classmethod
    def of(cls, convolution, forward):
        axes = [_axis_phases(forward, axis) for axis in range(3)]
        complete = all(
            sum(len(range(size)[phase.target]) for phase in phases) == size
            for phases, size in zip(axes, forward.size, strict=True)
        )
        phases = tuple(_phase(forward, convolution.bias_shape, along) for along in product(*axes))
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


class _AxisPhase(NamedTuple):
    """One phase along one axis."""

    taps: slice  # of the kernel, last to first
    kernel: int  # number of them
    dilation: int
    pads: tuple
    source: slice
    target: slice


def _axis_phases(forward, axis):
    """The phases along one axis that meet any element of grad_output, as a list of `_AxisPhase`."""
    # not the geometry's stride and dilation, which may be others where those are never used
    kernel, stride, dilation = (getattr(forward.convolution, name)[axis] for name in ("kernel", "stride", "dilation"))
    (before, _), size, out = forward.pads[axis], forward.size[axis], forward.out[axis]
    common = gcd(stride, dilation)
    period, dilation = stride // common, dilation // common
    phases = []
    for tap in range(min(kernel, period)):
        target = slice((tap * dilation * common - before) % stride, size, stride)
        positions = len(range(size)[target])
        last = tap + (kernel - 1 - tap) // period * period
        count = (last - tap) // period + 1
        # what the last tap has at the first position, and what follows on what the first tap has at the last position
        low = (target.start + before - last * dilation * common) // stride
        high = low + (count - 1) * dilation + positions
        source = slice(min(max(low, 0), out), max(min(high, out), 0))
        if positions and source.start < source.stop:
            taps = slice(last, tap - 1 if tap else None, -period)
            pads = source.start - low, high - source.stop
            phases.append(_AxisPhase(taps, count, dilation, pads, source, target))
    return phases


def _phase(forward, bias_shape, along):
    """The `Phase` of an `_AxisPhase` for each axis."""
    convolution = forward.convolution
    taps, kernel, dilation, pads, source, target = zip(*along, strict=True)
    public = slice(3 - convolution.rank, None)
    source, target = (convolution.join((), slice(None), where[public]) for where in (source, target))
    sizes = [where.stop - where.start for where in convolution.split(source)[2]]
    where = convolution.split(target)[2]
    own = replace(
        convolution,
        in_channels=convolution.out_channels,
        out_channels=convolution.in_channels,
        weight_shape=(convolution.in_channels, forward.o, *kernel[public]),
        bias_shape=_size_of(bias_shape, where),
        kernel=kernel,
        stride=(1, 1, 1),
        dilation=dilation,
        padding=pads,
        padding_mode="constant",
        padding_value=0.0,
        flip_kernel=False,
        outputs=None,
    )
    shape = own.join(forward.batch_shape, own.in_channels, tuple(sizes))
    bias = () if bias_shape is None else (slice(None), *where)[: len(bias_shape)]
    return Phase(own.at(shape), (..., *taps), source, target, bias)


def _size_of(bias_shape, where):
    """The shape of a bias at every position of a phase; a tied one is the same everywhere."""
    if bias_shape is None or len(bias_shape) == 1:
        return bias_shape
    return (bias_shape[0], *[len(range(size)[part]) for size, part in zip(bias_shape[1:], where, strict=True)])


class PreparedGradInput(NamedTuple):
    """What a `Prepared` is to a forward convolution."""

    task: object
    packing: tuple
    out_shape: tuple
    geometry: GradInputGeometry
    parts: tuple  # the `Prepared` of the phases

    @classmethod
    def of(cls, geometry, x_strides, add_strides, out_strides, bias_strides, threads):
        parts = [
            Prepared.of(
                phase.geometry,
                x_strides,
                add_strides and _steps(add_strides, phase.target),
                _steps(out_strides, phase.target),
                bias_strides and _steps(bias_strides, phase.bias),
                threads,
            )
            for phase in geometry.phases
        ]
        if None in parts:
            return None
        packing = tuple((phase.last_taps, part.packing) for phase, part in zip(geometry.phases, parts, strict=True))
        return cls(_Task(geometry, parts), packing, geometry.out_shape, geometry, tuple(parts))

    def pack(self, weight):
        convolution = self.geometry.forward.convolution
        return [
            part.pack(phase.weight(convolution, weight))
            for phase, part in zip(self.geometry.phases, self.parts, strict=True)
        ]


def _steps(strides, index):
    """Strides of a view at `index`, which stands for the last axes."""
    first = len(strides) - len(index)
    steps = (stride * (part.step or 1) for stride, part in zip(strides[first:], index, strict=True))
    return (*strides[:first], *steps)


class GradInputTasks(Tasks):
    """`Tasks` of a `GradInput`, or of another operation with such geometries."""

    prepared = PreparedGradInput


class _Task:
    """Runs the phases one after the other."""

    def __init__(self, geometry, parts):
        self.geometry = geometry
        self.parts = [
            (part.task, (..., *phase.source), (..., *phase.target), phase.bias)
            for phase, part in zip(geometry.phases, parts, strict=True)
        ]

    def run(self, x, packed, bias, add, out):
        if not self.geometry.complete:
            fill(self.geometry, bias, add, out)
        for (task, source, target, at), weight in zip(self.parts, packed, strict=True):
            task.run(
                x[source], weight, None if bias is None else bias[at], None if add is None else add[target], out[target]
            )


def fill(geometry, bias, add, out):
    """What stands in `out` where no phase does: the bias and the residual, and what the activation makes of them."""
    convolution = geometry.forward.convolution
    value = np.zeros(1, convolution.dtype) if bias is None else bias
    if value.ndim > 1:
        value = value if convolution.data_format == "channels_first" else np.moveaxis(value, 0, -1)
    elif convolution.data_format == "channels_first":
        value = value.reshape(-1, *[1] * convolution.rank)
    with np.errstate(all="ignore"):
        if add is not None:
            value = np.add(value, add, out=out)
        out[...] = convolution.activation.function(value)


def grad_input_tasks(geometry):
    """The `GradInputTasks` of a forward convolution: of its padded input, where its padding repeats the input."""
    convolution = geometry.convolution
    repeats = [_repeats(geometry, axis) for axis in range(3)]
    forward = replace(
        convolution,
        bias_shape=None,
        padding=tuple((0, 0) if again else pads for again, pads in zip(repeats, geometry.pads, strict=True)),
        padding_mode="constant",
        padding_value=0.0,
        activation=_activations.NONE,
        outputs=geometry.out,
    )
    size = tuple(
        max(axis.read, _first(axis) + axis.size) if again else axis.size
        for again, axis in zip(repeats, geometry.maps, strict=True)
    )
    return GradInputTasks(GradInput(forward, size[3 - convolution.rank :]), limit=4)


def grad_input(geometry, plan, grad_output):
    """The gradient with respect to the input of a forward convolution; `plan` is one of its `grad_input_tasks`."""
    result = np.empty(geometry.x_shape, geometry.convolution.dtype)
    if not any(_repeats(geometry, axis) for axis in range(3)):
        plan.fill(grad_output, None, result, True)
    elif geometry.batch_shape:
        _fold_into(geometry, plan, grad_output, result)
    else:
        _fold_into(geometry, plan, grad_output[None], result[None])
    return result


def _fold_into(geometry, plan, grad_output, result):
    """Some entries of the batch at a time, as many as keep the gradients of their padded inputs small."""
    if len(geometry.convolution.split(result.shape)[0]) > 1:
        for part, where in zip(grad_output, result, strict=True):
            _fold_into(geometry, plan, part, where)
        return
    padded_shape = plan.tasks.geometry(grad_output.shape[1:]).out_shape
    entry = max(1, prod(padded_shape)) * result.itemsize
    step = min(len(result), max(1, LIMIT // entry))
    behind = 4 if geometry.convolution.data_format == "channels_last" else 3
    padded = np.empty((step, *padded_shape), result.dtype)
    for first in range(0, len(result), step):
        part = slice(first, first + step)
        gradient = padded[: len(result[part])]
        plan.fill(grad_output[part], None, gradient, False)
        for axis in range(3):
            if _repeats(geometry, axis):
                gradient = _fold(gradient, geometry.maps[axis], axis - behind)
        result[part] = gradient


def _repeats(geometry, axis):
    """Whether an axis is padded with elements of the input."""
    return geometry.convolution.padding_mode != "constant" and geometry.maps[axis].border > 0


def _first(axis_map):
    """Where the input begins, or its place after all that is read, if only its padding is."""
    return min(axis_map.before, axis_map.read)


def _fold(padded, axis_map, axis):
    """Give what the border of an axis has got to the elements that were copied there; return the elements, a view."""
    axis += padded.ndim
    index = (slice(None),) * axis
    elements = padded[(*index, slice(_first(axis_map), _first(axis_map) + axis_map.size))]
    inverse = axis_map.inverse
    border = padded.take(inverse.positions, axis)
    for sums in inverse.sums:
        border = np.add.reduceat(border, sums, axis, dtype=np.float64)
    elements[(*index, inverse.elements)] += border
    return elements
