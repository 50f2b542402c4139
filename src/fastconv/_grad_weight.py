"""The gradient of the weights, as the kernels compute it: cut into items of work, each owned by one thread.

An item owns some output channels × input channels of one group, and sums over blocks of output positions. Where that
gives too few items, the positions are split too, and the parts are added up at the end. How the work is cut depends on
shapes and layout, never on threads, so the bits do not either.
"""

from math import ceil, prod
from typing import NamedTuple

import numpy as np

from . import _driver, _isa
from ._algorithms._jobs import Tables, axis_fields, last_element
from ._algorithms._lines import VECTOR, Stage, balanced, combined, lines
from ._algorithms._tiled import SERIAL_FLOPS
from ._cache import Bounded
from ._layout import Layout
from ._threads import get_num_threads

STEPS = 64  # vectors of a block of positions: a chain of products in each lane
ROW_STEPS = 8  # vectors of a row, where the rows of a block share what they load
FLUSH = 32  # blocks whose sums are added one after the other
ITEMS = 16  # wanted at least, so that a few threads get even shares
STAGED_BYTES = 1 << 18  # of input that an item stages at a time
OUTPUT_CHANNELS = 64  # of an item
PARTS_BYTES = 1 << 21  # of parts that are added up
SLACK = 4 * VECTOR  # whole vectors are written behind what is staged

_TASKS = Bounded(64)


def grad_weight(geometry, x, grad_output):
    """The gradient of the weights of a forward convolution.

    Parameters
    ----------
    geometry : Geometry
        Of the forward convolution.
    x, grad_output : ndarray
        Of the computed type, with the shapes of `geometry`'s input and output.

    Returns
    -------
    ndarray
        ``(out_channels, in_channels // groups, *kernel)``.
    """
    convolution = geometry.convolution
    if not prod(geometry.out_shape):
        return np.zeros(convolution.weight_shape, convolution.dtype)
    threads = get_num_threads()
    key = (convolution, x.shape, x.strides, grad_output.strides, threads)
    found = _TASKS.get(key)
    if found is None:
        strides = [geometry.strides(array.strides, convolution.dtype.itemsize) for array in (x, grad_output)]
        if None in strides:  # batch axes that cannot be walked as one
            entry = convolution.at(x.shape[1:])
            return sum(grad_weight(entry, *arrays) for arrays in zip(x, grad_output, strict=True))
        found = _TASKS.put(key, _task(geometry, Layout(*strides, None, None), threads))
    task, splits = found
    parts = np.empty((splits, *convolution.weight_shape), convolution.dtype)
    task.run_grad_weight(x, grad_output, parts)
    total = parts[0] if splits == 1 else parts.sum(axis=0, dtype=np.float64).astype(convolution.dtype)
    if convolution.flip_kernel:
        total = np.ascontiguousarray(np.flip(total, tuple(range(2, total.ndim))))
    return total


class Cut(NamedTuple):
    """How the work is cut."""

    over_rows: bool  # sums are of rows × columns of the kernel, else of output channels × products
    rows: int
    taps: int
    block: tuple  # output positions on each axis
    o: int  # channels of an item
    c: int
    splits: int


def _cut(geometry, shape_lines):
    d, h, w = shape_lines
    g = geometry
    dtype = g.convolution.dtype
    lanes = _isa.kernels.LANES[dtype.name]
    over_rows = g.o < 3 <= h.kernel and h.stride == h.dilation == 1
    width = balanced(w.out, (ROW_STEPS if over_rows else STEPS) * lanes)
    block = (1, balanced(h.out, max(1, (96 if over_rows else STEPS) // ceil(width / lanes))), width)
    most, products = (h.kernel, w.kernel) if over_rows else (g.o, g.c * prod(g.kernel))
    rows = balanced(most, max(_isa.kernels.DOT_SIZES))
    taps = balanced(products, _isa.kernels.DOT_SIZES[rows])
    plane = Stage.of(shape_lines, block).plane
    o = balanced(g.o, OUTPUT_CHANNELS)
    c = balanced(g.c, max(1, STAGED_BYTES // (plane * dtype.itemsize)))
    items = g.groups * ceil(g.o / o) * ceil(g.c / c)
    positions = g.n * prod(ceil(line.out / part) for line, part in zip(shape_lines, block, strict=True))
    splits = min(positions, ceil(ITEMS / items))
    if splits * prod(g.convolution.weight_shape) * dtype.itemsize > PARTS_BYTES:
        splits = 1
        c = balanced(g.c, max(1, c * items // ITEMS))
    return Cut(over_rows, rows, taps, block, o, c, splits)


def _task(geometry, layout, threads):
    g = geometry
    dtype = g.convolution.dtype
    shape_lines = lines(g, layout)
    d, h, w = shape_lines
    cut = _cut(g, shape_lines)
    stage = Stage.of(shape_lines, cut.block)
    tables = Tables()
    taps = prod(g.kernel)
    in_x = combined([range(line.kernel) for line in shape_lines], [line.dilation * line.x for line in shape_lines])
    staged = _aligned(cut.c * stage.plane + SLACK)
    gradient = 0 if w.y == 1 else _aligned(cut.o * prod(cut.block))
    o_blocks, c_blocks = ceil(g.o / cut.o), ceil(g.c / cut.c)
    fields = _driver.no_job() | dict(
        axis=[axis_fields(*axis, tables) for axis in zip(shape_lines, cut.block, (stage.d, stage.h, stage.w), strict=True)],
        n=g.n,
        groups=g.groups,
        c=g.c,
        o=g.o,
        x_n=layout.x[0],
        x_c=layout.x[1],
        y_n=layout.out[0],
        y_o=layout.out[1],
        taps=taps,
        chunk_channels=cut.c,
        channel_blocks=c_blocks,
        o_block=cut.o,
        o_blocks=o_blocks,
        splits=cut.splits,
        flush=FLUSH,
        over_rows=cut.over_rows,
        dot_rows=cut.rows,
        dot_taps=cut.taps,
        in_place=w.stride == w.x == 1,
        x_last=last_element(g, layout.x),
        plane=stage.plane,
        run_start=tables(stage.run_starts),
        row=stage.row,
        staged_rows=tables(np.add.outer(np.arange(cut.c) * stage.plane, stage.offsets()).ravel()),
        placed_rows=tables(np.add.outer(np.arange(cut.c) * layout.x[1], in_x).ravel()),
        panel_at=staged,
        sums_at=staged + gradient,
        padding_value=g.convolution.padding_value,
        items=cut.splits * g.groups * o_blocks * c_blocks,
    )
    sums = (_isa.kernels.MOST_SUMS + 1) * _isa.kernels.LANES[dtype.name] + cut.o * cut.c * taps
    task = _driver.Task(
        _isa.kernels.GRAD_WEIGHT[dtype.name],
        fields,
        keep=tables,
        threads=threads if g.flops > SERIAL_FLOPS else 1,
        workspace_bytes=(staged + gradient + _aligned(sums)) * dtype.itemsize,
        flops=g.flops,
        packing=None,
        kernel="dots",
    )
    return task, cut.splits


def _aligned(elements):
    return ceil(elements / VECTOR) * VECTOR
