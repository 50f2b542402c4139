"""Calls whose arrays are not as the kernels want them: converted block by block, so that the copies stay small.

A block is some entries of the batch, or some output positions of one image with the input that they read; of a
transposed convolution, those of one phase. Where products are summed directly, the bits are those of the undivided
call; a block of other tiles than the whole has may round otherwise by Winograd.
"""

from dataclasses import replace
from itertools import product
from math import prod

import numpy as np

from ._arrays import LIMIT, cast, is_plain
from ._geometry import unit_axes
from ._grad_weight import grad_weight
from ._phases import Phases


def convert(plan, x, add, out):
    """Compute `out`, of any type and alignment, with a plan that wants its own type."""
    geometry = plan.tasks.geometry(x.shape)
    dtype = geometry.convolution.dtype
    copied = _copied(dtype, x, add, out)
    if copied <= LIMIT:
        _whole(plan, x, add, out, dtype)
    elif geometry.batch_shape:
        step = max(1, LIMIT * len(x) // copied)
        for first in range(0, len(x), step):
            entries = slice(first, first + step) if step > 1 else first
            convert(plan, x[entries], None if add is None else add[entries], out[entries])
    elif isinstance(geometry, Phases):
        plan.fill_between(geometry, add, out)
        for phase in geometry.phases:
            residual = None if add is None else phase.part(add)
            convert(plan.phase(phase, geometry), x[(..., *phase.source)], residual, phase.part(out))
    else:
        _image(plan, geometry, x, add, out)


def grad_weight_in_blocks(geometry, x, grad_output):
    """grad_weight of arrays of any type and alignment."""
    dtype = geometry.convolution.dtype
    if _copied(dtype, x, grad_output) <= LIMIT:
        return grad_weight(geometry, cast(x, dtype), cast(grad_output, dtype))
    total = np.zeros(geometry.convolution.weight_shape)  # float64: there may be many blocks
    with np.errstate(all="ignore"):
        for block, part, gradient in _pairs(geometry, x, grad_output):
            total += grad_weight_in_blocks(block, part, gradient)
        return total.astype(dtype)


def _pairs(geometry, x, grad_output):
    """The blocks of a forward convolution and its gradient: the geometry of each, what it reads, and its outputs."""
    convolution = geometry.convolution
    if geometry.batch_shape:
        step = max(1, LIMIT * len(x) // _copied(convolution.dtype, x, grad_output))
        for first in range(0, len(x), step):
            entries = slice(first, first + step) if step > 1 else first
            yield convolution.at(x[entries].shape), x[entries], grad_output[entries]
    else:
        for padding, where, sources in _cut(geometry, _extent(geometry, 1)):
            part = _take(x, convolution, sources)
            gradient = cast(grad_output[convolution.join((), slice(None), where)], convolution.dtype)
            outputs = unit_axes([along.stop - along.start for along in where])
            block = replace(convolution, bias_shape=None, padding=padding, outputs=outputs)
            yield block.at(part.shape), part, gradient


def _copied(dtype, *arrays):
    """Bytes of the copies that arrays of other types make."""
    return sum(array.size for array in arrays if array is not None and not is_plain(array, dtype)) * dtype.itemsize


def _whole(plan, x, add, out, dtype):
    x = cast(x, dtype)
    add = None if add is None else cast(add, dtype)
    target = out if is_plain(out, dtype) else np.empty(out.shape, dtype)
    plan.compute(x, add, target, target is not out)
    if target is not out:
        with np.errstate(all="ignore"):
            out[...] = target


def _image(plan, geometry, x, add, out):
    """One image, in blocks of output positions; axes that are divided get their padding with the block."""
    convolution = geometry.convolution
    extent = _extent(geometry, 1 if add is None else 2)
    for padding, where, sources in _cut(geometry, extent):
        block = convolution.join((), slice(None), where)
        part = plan.part(padding, where)
        taken = _take(x, convolution, sources)
        _whole(part, taken, None if add is None else add[block], out[block], convolution.dtype)


def _cut(geometry, extent):
    """Blocks of output positions: the padding of each, its spatial slices, and what it reads of each axis."""
    divided = [size < whole for size, whole in zip(extent, geometry.out, strict=True)]
    padding = tuple((0, 0) if cut else pads for cut, pads in zip(divided, geometry.pads, strict=True))
    for corner in product(*map(range, (0, 0, 0), geometry.out, extent)):
        where, sources = [], []
        for axis, first in enumerate(corner):
            last = min(first + extent[axis], geometry.out[axis])
            where.append(slice(first, last))
            sources.append(_read(geometry, axis, first, last) if divided[axis] else None)
        yield padding, tuple(where[3 - geometry.convolution.rank :]), sources


def _extent(geometry, outputs):
    """Output positions of a block along each axis: as many as keep a block and its `outputs` within the limit."""
    extent = list(geometry.out)
    for axis in range(3):
        while extent[axis] > 1 and _bytes(geometry, extent, outputs) > LIMIT:
            extent[axis] = -(-extent[axis] // 2)
    return extent


def _bytes(geometry, extent, outputs):
    reads = [
        size if positions == whole else (positions - 1) * stride + dilation * (kernel - 1) + 1
        for size, positions, whole, stride, dilation, kernel in zip(
            geometry.size, extent, geometry.out, geometry.stride, geometry.dilation, geometry.kernel, strict=True
        )
    ]
    elements = geometry.c * prod(reads) + outputs * geometry.o * prod(extent)
    return geometry.groups * elements * geometry.convolution.dtype.itemsize


def _read(geometry, axis, first, last):
    """The elements (-1: the constant) that output positions ``first .. last - 1`` read."""
    stride, axis_map = geometry.stride[axis], geometry.maps[axis]
    return axis_map.source(first * stride, (last - 1) * stride + axis_map.read - (geometry.out[axis] - 1) * stride)


def _take(x, convolution, sources):
    """The part of an image at these elements of each spatial axis (None: the whole axis), in the computed type."""
    spatial = convolution.split(x.shape)[2]
    sources = [
        np.arange(size) if source is None else source
        for size, source in zip(spatial, sources[3 - convolution.rank :], strict=True)
    ]
    sizes = convolution.join((), convolution.in_channels, tuple(map(len, sources)))
    block = np.full(sizes, convolution.padding_value, convolution.dtype)
    inside = [source >= 0 for source in sources]
    if all(map(np.any, inside)):
        to = np.ix_(*[np.flatnonzero(known) for known in inside])
        at = np.ix_(*[source[known] for source, known in zip(sources, inside, strict=True)])
        with np.errstate(all="ignore"):
            block[convolution.join((), slice(None), to)] = x[convolution.join((), slice(None), at)]
    return block
