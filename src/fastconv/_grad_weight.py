"""The gradient of the weights, as the kernels compute it.

How the work is cut depends on shapes and layout, never on threads, so the bits do not either.
"""

from dataclasses import replace
from itertools import accumulate
from math import ceil, prod

import numpy as np

from . import _driver, _isa
from ._algorithms._cuts import cheapest_cut, items, pitch_of, skips_columns
from ._algorithms._jobs import Tables, axes_fields, job_of, last_element
from ._algorithms._lines import VECTOR, Stage, balanced, combined, lines, reads_one_position
from ._algorithms._tiled import skips_padding
from ._cache import Bounded
from ._layout import Layout
from ._sums import CHAIN
from ._tasks import is_large
from ._threads import SERIAL_FLOPS, get_num_threads

SLACK = 4 * VECTOR  # whole vectors are written behind what is staged

_TASKS = Bounded(64)
_LARGE = Bounded(4)  # with long index tables


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
    found = prepare(geometry, x, grad_output)
    if found is None:  # batch axes that cannot be walked as one: the shortest, one entry after the other
        axis = geometry.batch_shape.index(min(geometry.batch_shape))
        x, grad_output = np.moveaxis(x, axis, 0), np.moveaxis(grad_output, axis, 0)
        entry = convolution.at(x.shape[1:])
        sums = (grad_weight(entry, *arrays) for arrays in zip(x, grad_output, strict=True))
        return _total(sums, convolution.dtype)
    return run(convolution, found, x, grad_output)


def prepare(geometry, x, grad_output):
    """What `run` wants for arrays like these: None where batch axes cannot be walked as one."""
    convolution = geometry.convolution
    threads = get_num_threads()
    tasks = _LARGE if is_large(geometry) else _TASKS
    key = (convolution, x.shape, x.strides, grad_output.strides, threads)
    found = tasks.get(key)
    if found is None:
        strides = [geometry.strides(array.strides, convolution.dtype.itemsize) for array in (x, grad_output)]
        if None in strides:
            return None
        found = tasks.put(key, _task(geometry, Layout(*strides, None, None), threads))
    return found


def run(convolution, found, x, grad_output):
    """`grad_weight`, prepared."""
    task, splits, rounds, exchanged = found
    if exchanged:
        x, grad_output = grad_output, x
    if splits == rounds == 1:
        total = _driver.empty(convolution.weight_shape, convolution.dtype)
        task.run_grad_weight(x, grad_output, total, 0)
    else:
        parts = _driver.empty((splits, *convolution.weight_shape), convolution.dtype)
        sums = _rounds(task, x, grad_output, parts, rounds)
        total = next(sums) if rounds == 1 else _total(sums, convolution.dtype)
    if task.kernel == "winograd" and not np.isfinite(total).all():  # transforms spread what is not finite
        return grad_weight(replace(convolution, precision="strict").at(x.shape), x, grad_output)
    if convolution.flip_kernel:
        total = np.ascontiguousarray(np.flip(total, tuple(range(2, total.ndim))))
    return total


def _rounds(task, x, grad_output, parts, rounds):
    """The sum of the parts of each round."""
    for at in range(rounds):
        task.run_grad_weight(x, grad_output, parts, at)
        yield _driver.sum_of_parts(parts)


def _total(sums, dtype):
    """Added in float64 and in chains, if there are several: there may be many."""
    with np.errstate(all="ignore"):
        total, chain = 0.0, next(sums)
        for count, part in enumerate(sums, 1):
            if count % CHAIN:
                chain = np.add(chain, part, dtype=np.float64)
            else:
                total, chain = total + chain, part
        return (total + chain).astype(dtype, copy=False)


def _task(geometry, layout, threads):
    """The task, the number of parts and of rounds in which it computes them, and whether arrays change places."""
    g, axes = geometry, lines(geometry, layout)
    cut = cheapest_cut(g, axes)
    exchanged = False
    if reads_one_position(axes):
        other, other_layout = _exchanged(g, layout)
        other_axes = lines(other, other_layout)
        other_cut = cheapest_cut(other, other_axes)
        if other_cut.form == "outer products" and other_cut.cost <= cut.cost:  # if the same, the sums lie better
            exchanged, g, layout, axes, cut = True, other, other_layout, other_axes, other_cut
    tables = Tables()
    own, elements = _FIELDS[cut.form](g, layout, axes, cut, tables)
    fields_of_axes = axes_fields(axes, cut.block, cut.stage or Stage.of(axes, cut.block), tables)
    for axis, (positions, points) in zip(fields_of_axes[1:], cut.transforms or ((1, 1),) * 2, strict=True):
        axis |= dict(tile=positions, points=points)
    fields = job_of(layout) | dict(
        axis=fields_of_axes,
        n=g.n,
        groups=g.groups,
        c=g.c,
        o=g.o,
        taps=prod(g.kernel),
        result_o=1 if exchanged else g.c * prod(g.kernel),
        result_c=g.o if exchanged else prod(g.kernel),
        padding_value=g.convolution.padding_value,
        splits=cut.splits,
        rounds=cut.rounds,
        flush=cut.flush,
        items=cut.splits * items(g, cut),
    )
    dtype = g.convolution.dtype
    task = _driver.Task(
        _isa.backward.GRAD_WEIGHT[dtype.name],
        fields | own,
        keep=tables,
        threads=threads if g.flops > SERIAL_FLOPS else 1,
        workspace_bytes=elements * dtype.itemsize,
        flops=ceil(g.flops / cut.rounds),
        packing=None,
        kernel=cut.form,
    )
    return task, cut.splits, cut.rounds, exchanged


def _exchanged(geometry, layout):
    """Geometry and layout where input and gradient change places, so that vectors run along input channels.

    Those lie side by side in the gradient of the weights: nothing need be turned round on the way there.
    """
    g = geometry
    n, channels, *positions = layout.x
    read = n, channels, *(step * stride for step, stride in zip(positions, g.stride, strict=True))
    maps = tuple(replace(axis, before=0, size=size, read=size) for axis, size in zip(g.maps, g.out, strict=True))
    ones = (1,) * len(g.out)
    g = replace(g, c=g.o, o=g.c, size=g.out, stride=ones, dilation=ones, maps=maps)
    return g, Layout(layout.out, read, None, None)


def _staged(geometry, layout, axes, cut, tables):
    """What dots and outer products have in common: how input and gradient are staged."""
    stage, w = cut.stage, axes[2]
    in_x = combined([range(line.kernel) for line in axes], [line.dilation * line.x for line in axes])
    ahead = cut.rows - 1 if cut.over_rows else 0
    staged = _aligned(cut.c * stage.plane + SLACK)
    gradient = 0
    if w.y != 1 and cut.form == "dots":
        gradient = _aligned(cut.o * (prod(cut.block) + ahead * cut.block[2]) + SLACK)
    fields = dict(
        chunk_channels=cut.c,
        channel_blocks=ceil(geometry.c / cut.c),
        o_block=cut.o,
        o_blocks=ceil(geometry.o / cut.o),
        rows_ahead=ahead,
        in_place=w.stride == w.x == 1,
        x_last=last_element(geometry, layout.x),
        plane=stage.plane,
        run_start=tables(stage.run_starts),
        row=stage.row,
        staged_rows=tables(np.add.outer(np.arange(cut.c) * stage.plane, stage.offsets()).ravel()),
        placed_rows=tables(np.add.outer(np.arange(cut.c) * layout.x[1], in_x).ravel()),
        gradient_at=staged,
    )
    return fields, staged + gradient


def _dots(geometry, layout, axes, cut, tables):
    fields, sums_at = _staged(geometry, layout, axes, cut, tables)
    lanes = _isa.backward.LANES[geometry.convolution.dtype.name]
    sums = (_isa.backward.MOST_SUMS + 1) * lanes + cut.o * cut.c * prod(geometry.kernel)
    fields |= dict(over_rows=cut.over_rows, dot_rows=cut.rows, dot_taps=cut.taps, sums_at=sums_at)
    return fields, sums_at + _aligned(sums)


def _outer(geometry, layout, axes, cut, tables):
    fields, columns_at = _staged(geometry, layout, axes, cut, tables)
    rows, positions = cut.rows, prod(cut.block)
    width = 2 * _isa.backward.LANES[geometry.convolution.dtype.name]
    wide = ceil(cut.o / width) * width
    x_columns = _aligned(cut.stage.plane * rows.pitch + SLACK)
    sums_at = columns_at + x_columns + _aligned(positions * wide + SLACK)
    fields |= dict(
        in_place=fields["in_place"] and prod(geometry.kernel) == 1,
        skips=skips_padding(geometry.convolution),
        by_columns=skips_columns(geometry, axes, rows),
        chunk_taps=balanced(positions, _isa.backward.LONGEST_CHAIN),
        row_tiles=len(rows.sizes),
        tile_sizes=tables(rows.sizes),
        tile_factors=tables(rows.factors),
        tile_kernel_rows=tables(rows.kernel_rows),
        tile_kernel_columns=tables(rows.kernel_columns),
        rows_kept=rows.kept,
        row_of=tables(rows.row_of),
        pitch=rows.pitch,
        columns_at=columns_at,
        g_columns_at=x_columns,
        sums_at=sums_at,
    )
    return fields, sums_at + _aligned(rows.kept * wide)


def _channelwise(geometry, layout, axes, cut, tables):
    d, h, w = axes
    rows = (cut.block[1] - 1) * h.stride + h.last_tap + 1
    columns = [range(d.kernel), *(range(0, line.last_tap + 1, line.dilation) for line in (h, w))]
    taps = combined(columns, (rows * w.read, w.read, 1))
    x_columns = _aligned(d.kernel * rows * w.read * cut.channels)
    sums_at = x_columns + _aligned(prod(cut.block) * cut.channels)
    fields = dict(
        channelwise=True,
        row=w.read,
        pitch=cut.channels,
        staged_rows=tables(taps * cut.channels),
        dot_taps=cut.taps,
        g_columns_at=x_columns,
        sums_at=sums_at,
    )
    return fields, sums_at + 2 * prod(geometry.kernel) * cut.channels


def _winograd(geometry, layout, axes, cut, tables):
    fields, columns_at = _staged(geometry, layout, axes, cut, tables)
    lanes = _isa.backward.LANES[geometry.convolution.dtype.name]
    pitch = pitch_of(cut.c, lanes)
    wide = ceil(cut.o / (2 * lanes)) * 2 * lanes
    (tall, h_points), (long, w_points) = cut.transforms
    _, height, width = cut.block
    points, depth, taps = h_points * w_points, geometry.kernel[0], prod(geometry.kernel)
    tiles = height // tall * (width // long)
    x_plane, g_plane, kept_plane = (size + VECTOR for size in (tiles * pitch, tiles * 2 * lanes, cut.c * 2 * lanes))
    sizes = (
        _aligned(cut.stage.plane * pitch + SLACK),
        _aligned(height * width * wide + SLACK),
        _aligned(depth * points * x_plane + SLACK),
        _aligned(points * g_plane * (wide // (2 * lanes)) + SLACK),
        _aligned((cut.c * taps + lanes) * 2 * lanes),
    )
    _, g_columns_at, values_at, products_at, outputs_at, end = accumulate(sizes, initial=0)
    fields |= dict(
        in_place=False,
        row_tiles=1,
        tile_rows=cut.rows,
        row_of=tables(np.arange(cut.c * taps)),
        pitch=pitch,
        value_pitch=x_plane,
        value_panel=g_plane,
        row_pitch=kept_plane,
        columns_at=columns_at,
        g_columns_at=g_columns_at,
        values_at=values_at,
        products_at=products_at,
        outputs_at=outputs_at,
        sums_at=columns_at + end,
    )
    return fields, columns_at + end + _aligned(depth * points * kept_plane * (wide // (2 * lanes)))


_FIELDS = {"dots": _dots, "outer products": _outer, "channelwise": _channelwise, "winograd": _winograd}


def _aligned(elements):
    return ceil(elements / VECTOR) * VECTOR
