"""grad_input of a forward convolution, back through its padding.

Where padding repeats the input, the gradient of the padded input is computed for a few images at a time; then, axis by
axis, each border position gives its part to the element that it was copied from.
"""

from dataclasses import replace
from math import prod

import numpy as np

from . import _activations
from ._arrays import LIMIT
from ._driver import empty
from ._geometry import CHANNELS_LAST
from ._phases import GradInput, PhaseTasks


def grad_input_tasks(geometry):
    """The `PhaseTasks` of a forward convolution: for its padded input, where padding repeats the input."""
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
    # with room for the elements that are not read
    size = tuple(
        max(axis.read, len(axis.head) + axis.size) if again else axis.size
        for again, axis in zip(repeats, geometry.maps, strict=True)
    )
    return PhaseTasks(GradInput(forward, size[3 - convolution.rank :]))


def grad_input(geometry, plan, grad_output):
    """A new array of the computed type; `plan` is one of the convolution's `grad_input_tasks`."""
    result = empty(geometry.x_shape, geometry.convolution.dtype)
    if not repeats(geometry):
        plan.fill(grad_output, None, result, True)
    elif geometry.batch_shape:
        _fill(geometry, plan, grad_output, result)
    else:
        _fill(geometry, plan, grad_output[None], result[None])
    return result


def _fill(geometry, plan, grad_output, result):
    """Some images at a time, as many as keep the gradients of their padded inputs small."""
    rank = geometry.convolution.rank
    if result.ndim > rank + 2:
        for part, target in zip(grad_output, result, strict=True):
            _fill(geometry, plan, part, target)
        return
    image_shape = plan.tasks.geometry(grad_output.shape[1:]).out_shape
    step = min(len(result), max(1, LIMIT // (prod(image_shape) * result.itemsize)))
    padded = empty((step, *image_shape), result.dtype)
    spatial = 1 if CHANNELS_LAST[geometry.convolution.data_format] else 2  # the first of these axes
    for first in range(0, len(result), step):
        target = result[first : first + step]
        gradient = padded[: len(target)]
        plan.fill(grad_output[first : first + step], None, gradient, False)
        for axis in range(3):
            if _repeats(geometry, axis):
                gradient = _folded(gradient, geometry.maps[axis], axis - 3 + rank + spatial)
        target[...] = gradient


def repeats(geometry):
    """Whether padding repeats the input anywhere."""
    return any(_repeats(geometry, axis) for axis in range(3))


def _repeats(geometry, axis):
    """Whether an axis has a border of elements of the input."""
    return geometry.convolution.padding_mode != "constant" and geometry.maps[axis].border > 0


def _folded(padded, axis_map, axis):
    """Give what the border of an axis has got to the elements it was copied from; return the elements, a view."""
    first = len(axis_map.head)
    before = (slice(None),) * axis
    elements = padded[(*before, slice(first, first + axis_map.size))]
    inverse = axis_map.inverse
    border = padded.take(inverse.positions, axis)
    with np.errstate(all="ignore"):
        for sums in inverse.sums:
            border = np.add.reduceat(border, sums, axis, dtype=np.float64)
        elements[(*before, inverse.elements)] += border
    return elements
