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
from ._algorithms._tiled import SERIAL_FLOPS, skips_padding
from ._algorithms._tiles import even_rows
from ._cache import Bounded
from ._layout import Layout
from ._threads import get_num_threads

FLUSH = 32  # blocks of positions whose sums are added one after the other
ITEMS = 16  # of work, wanted at least: a few threads get even shares
STAGED_BYTES = 1 << 18  # of input that an item stages at a time
KEPT_BYTES = 1 << 18  # of sums that it keeps
PARTS_BYTES = 1 << 21  # of parts that are added up
SLACK = 4 * VECTOR  # whole vectors are written behind what is staged

# Costs, in cycles
DOTS = 1.4  # one vector multiply-add of two loaded operands
REDUCE = 3.0  # adding up the lanes of one sum
TURN = 0.7  # transposing one element
OUTER = 1.1  # one vector multiply-add of an outer product

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
    total = parts[0] if splits == 1 else parts.sum(axis=0)
    if convolution.flip_kernel:
        total = np.ascontiguousarray(np.flip(total, tuple(range(2, total.ndim))))
    return total


class Rows(NamedTuple):
    """Tiles of outer products: their rows are (column of the kernel, input channel), in runs that lie side by side."""

    sizes: list
    factors: list  # where the first row's factor is, for the first position
    kernel_rows: list  # which row of the kernel it belongs to, counted over its planes
    kept: int
    row_of: list  # for each (channel, tap): its row
    pitch: int

    @classmethod
    def of(cls, offsets, kernel_width, channels, lanes):
        """`offsets`: of each tap's operand among the staged positions."""
        pitch = channels if channels <= lanes else ceil(channels / lanes) * lanes
        runs = []
        for tap in sorted(range(len(offsets)), key=offsets.__getitem__):
            beside = runs and tap // kernel_width == runs[-1][-1] // kernel_width
            if beside and pitch == channels and offsets[tap] == offsets[runs[-1][-1]] + 1:
                runs[-1].append(tap)
            else:
                runs.append([tap])
        sizes, factors, kernel_rows, first_row, kept = [], [], [], {}, 0
        for run in runs:
            length = len(run) * channels
            first_row.update({tap: kept + at * channels for at, tap in enumerate(run)})
            size = even_rows(length, _isa.kernels.TILE_ROWS)
            for first in range(0, length, size):
                sizes.append(min(size, length - first))
                factors.append(offsets[run[0]] * pitch + first)
                kernel_rows.append(run[0] // kernel_width)
            kept += length
        row_of = [first_row[tap] + channel for channel in range(channels) for tap in range(len(offsets))]
        return cls(sizes, factors, kernel_rows, kept, row_of, pitch)


class Cut(NamedTuple):
    """How the work is cut."""

    block: tuple  # output positions on each axis
    o: int  # channels of an item
    c: int
    stage: Stage
    dots: tuple = (0, 0)  # rows × taps that are summed at once;
    over_rows: bool = False  # the rows are those of the kernel, else output channels
    rows: Rows | None = None  # outer products instead of dots
    splits: int = 1


def _dots(geometry, axes):
    """Vectors along the rows of the image: for few channels. The cut, and what it costs."""
    g, (_, h, w) = geometry, axes
    kernels, dtype = _isa.kernels, geometry.convolution.dtype
    lanes = kernels.LANES[dtype.name]
    over_rows = g.o < 3 <= h.kernel and h.stride == h.dilation == 1
    width, steps = (8, 96) if over_rows else (64, 64)  # vectors of a row, and of a block
    width = balanced(w.out, width * lanes)
    block = (1, balanced(h.out, max(1, steps // ceil(width / lanes))), width)
    products = g.c * prod(g.kernel)
    most_rows, most_taps = (h.kernel, w.kernel) if over_rows else (g.o, products)
    rows = balanced(most_rows, max(kernels.DOT_SIZES))
    taps = balanced(most_taps, kernels.DOT_SIZES[rows])
    stage = Stage.of(axes, block)
    cut = Cut(
        block=block,
        o=balanced(g.o, 64),
        c=balanced(g.c, max(1, STAGED_BYTES // (stage.plane * dtype.itemsize))),
        stage=stage,
        dots=(rows, taps),
        over_rows=over_rows,
    )
    steps = block[1] * (width // lanes + (1.5 if width % lanes else 0))
    return cut, _blocks(g, axes, block) * g.groups * g.o * products * (steps * DOTS + REDUCE)


def _outer(geometry, axes):
    """Vectors along the output channels: for many of them. The cut, and what it costs."""
    g, (_, h, w) = geometry, axes
    kernels, dtype = _isa.kernels, geometry.convolution.dtype
    lanes, taps = kernels.LANES[dtype.name], prod(g.kernel)
    o = balanced(g.o, (8 if taps == 1 else 4) * lanes)
    width = balanced(w.out, kernels.LONGEST_CHAIN)
    block = (1, balanced(h.out, max(1, 2 * kernels.LONGEST_CHAIN // width)), width)
    stage = Stage.of(axes, block)
    wide = ceil(o / (2 * lanes)) * 2 * lanes
    most = min(KEPT_BYTES // (taps * wide * dtype.itemsize), STAGED_BYTES // (stage.plane * dtype.itemsize))
    c = balanced(g.c, max(1, most))
    if c > lanes:
        c = min(g.c, ceil(c / lanes) * lanes)
    rows = Rows.of(stage.offsets().tolist(), w.kernel, c, lanes)
    cut = Cut(block=block, o=o, c=c, stage=stage, rows=rows)
    positions = block[1] * block[2]
    tiles = sum(max(2 * size, 4 + size / 2) * positions + 4 * size + 20 for size in rows.sizes)
    items = g.groups * ceil(g.o / o) * ceil(g.c / c)
    turned = stage.plane * c + positions * wide
    return cut, _blocks(g, axes, block) * items * (tiles * ceil(o / (2 * lanes)) * OUTER + turned * TURN)


def _blocks(geometry, axes, block):
    return geometry.n * prod(ceil(line.out / part) for line, part in zip(axes, block, strict=True))


def _split(geometry, axes, cut):
    """Split the positions where there are few items, unless parts would take much memory."""
    g = geometry
    items = g.groups * ceil(g.o / cut.o) * ceil(g.c / cut.c)
    part = prod(g.convolution.weight_shape) * g.convolution.dtype.itemsize
    splits = min(_blocks(g, axes, cut.block), ceil(ITEMS / items), max(1, PARTS_BYTES // part))
    return cut._replace(splits=splits)


def _task(geometry, layout, threads):
    g, axes = geometry, lines(geometry, layout)
    kernels, dtype = _isa.kernels, geometry.convolution.dtype
    lanes, taps, w = kernels.LANES[dtype.name], prod(g.kernel), axes[2]
    cut = _split(g, axes, min((candidate(g, axes) for candidate in (_dots, _outer)), key=lambda found: found[1])[0])
    stage, rows = cut.stage, cut.rows
    tables = Tables()
    o_blocks, c_blocks = ceil(g.o / cut.o), ceil(g.c / cut.c)
    in_x = combined([range(line.kernel) for line in axes], [line.dilation * line.x for line in axes])
    positions = prod(cut.block)
    staged = _aligned(cut.c * stage.plane + SLACK)
    ahead = cut.dots[0] - 1 if cut.over_rows else 0
    gradient = 0 if w.y == 1 else _aligned(cut.o * (positions + ahead * cut.block[2]) + SLACK)
    fields = dict(
        axis=[axis_fields(*axis, tables) for axis in zip(axes, cut.block, (stage.d, stage.h, stage.w), strict=True)],
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
        in_place=w.stride == w.x == 1,
        x_last=last_element(g, layout.x),
        skips=skips_padding(g.convolution),
        plane=stage.plane,
        run_start=tables(stage.run_starts),
        row=stage.row,
        staged_rows=tables(np.add.outer(np.arange(cut.c) * stage.plane, stage.offsets()).ravel()),
        placed_rows=tables(np.add.outer(np.arange(cut.c) * layout.x[1], in_x).ravel()),
        padding_value=g.convolution.padding_value,
        items=cut.splits * g.groups * o_blocks * c_blocks,
        gradient_at=staged,
        columns_at=staged + gradient,
    )
    if rows:
        wide = ceil(cut.o / (2 * lanes)) * 2 * lanes
        x_columns = _aligned(stage.plane * rows.pitch + SLACK)
        columns = x_columns + _aligned(positions * wide + SLACK)
        sums = rows.kept * wide
        fields |= dict(
            in_place=fields["in_place"] and taps == 1,
            chunk_taps=balanced(positions, kernels.LONGEST_CHAIN),
            row_tiles=len(rows.sizes),
            tile_sizes=tables(rows.sizes),
            tile_factors=tables(rows.factors),
            tile_kernel_rows=tables(rows.kernel_rows),
            rows_kept=rows.kept,
            row_of=tables(rows.row_of),
            pitch=rows.pitch,
            g_columns_at=x_columns,
        )
    else:
        columns = 0
        sums = (kernels.MOST_SUMS + 1) * lanes + cut.o * cut.c * taps
        fields |= dict(over_rows=cut.over_rows, dot_rows=cut.dots[0], dot_taps=cut.dots[1], rows_ahead=ahead)
    fields["sums_at"] = staged + gradient + columns
    task = _driver.Task(
        kernels.GRAD_WEIGHT[dtype.name],
        _driver.no_job() | fields,
        keep=tables,
        threads=threads if g.flops > SERIAL_FLOPS else 1,
        workspace_bytes=(staged + gradient + columns + _aligned(sums)) * dtype.itemsize,
        flops=g.flops,
        packing=None,
        kernel="outer products" if rows else "dots",
    )
    return task, cut.splits


def _aligned(elements):
    return ceil(elements / VECTOR) * VECTOR
