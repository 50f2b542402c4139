"""From a tiling to the job that the kernels read: sizes, strides, and tables of offsets."""

from math import ceil, prod

import numpy as np

from .. import _driver, _isa
from ._lines import combined
from ._tiles import form
from ._tiling import block_groups, in_place, live, panel_step, workspace

WORTH_SKIPPING = 0.95  # of the products, where more are left it takes longer to find those with padding


class Tables(list):
    """Keeps the index tables alive whose addresses a job holds."""

    def __call__(self, values):
        self.append(np.ascontiguousarray(values, np.int64))
        return self[-1].ctypes.data


def job(geometry, layout, shape, tiling, tables):
    """The fields of `_job.Job`, and the elements of working memory that one thread needs."""
    convolution, kind = geometry.convolution, tiling.kind
    stage = tiling.stage(shape.lines)
    channels, taps, span = shape.chunk
    placed = in_place(shape, tiling)
    height, width = (line.kernel for line in shape.lines[1:])
    flush_rows = height
    if kind.shared and taps < span == height * width:  # a band sums all the chains of a plane at once
        flush_rows, taps = taps // width, span
    parts = workspace(shape, tiling, shape.lines[1].stride * shape.lines[1].x if placed else 0)
    # Where the operands of the taps lie in x itself, if the block is read there
    in_x = combined([range(line.kernel) for line in shape.lines], [line.dilation * line.x for line in shape.lines])
    axes = axes_fields(shape.lines, tiling.block, stage, tables)
    if kind.alternate:
        axes[2]["step"] = 1
    tiles = ceil(shape.o / tiling.channel_tile)
    channel_blocks = ceil(tiles / tiling.block_tiles)
    together = block_groups(shape, tiling)
    group_blocks = ceil(shape.groups / together)
    fields = job_of(layout) | dict(
        axis=axes,
        n=shape.n,
        groups=shape.groups,
        c=shape.c,
        o=shape.o,
        taps=shape.taps,
        chunk_channels=channels,
        chunk_taps=taps,
        span_taps=span,
        packed=kind.packed,
        pointwise=kind.pointwise,
        band=kind.row_wise,
        form=_form(shape, tiling),
        band_rows=tiling.image_rows,
        flush_rows=flush_rows,
        zero_border=kind.zero_border,
        channelwise=kind.channelwise,
        lanes_are_pixels=tiling.lanes_are_pixels,
        tile_rows=tiling.tile_rows,
        tile_lanes=tiling.tile_lanes,
        pixel_tile=tiling.pixel_tile,
        panel_pitch=tiling.panel_pitch,
        panel_step=panel_step(shape, tiling),
        channel_tile=tiling.channel_tile,
        channel_tiles=tiles,
        block_tiles=tiling.block_tiles,
        channel_blocks=channel_blocks,
        block_groups=together,
        group_blocks=group_blocks,
        in_place=placed,
        to_output=_to_output(layout, shape, tiling),
        skips=shape.skips and taps == shape.taps and live(shape, tiling) < WORTH_SKIPPING,
        x_last=last_element(geometry, layout.x),
        plane=stage.plane,
        run_start=tables(stage.run_starts),
        row=stage.row,
        staged_rows=tables(np.add.outer(np.arange(channels) * stage.plane, stage.offsets()).ravel()),
        placed_rows=tables(np.add.outer(np.arange(channels) * layout.x[1], in_x).ravel()),
        panel_rows=tables(np.arange(channels * taps) * tiling.panel_pitch),
        weight_rows=tables(np.arange(channels * taps) * tiling.channel_tile),
        panel_at=parts.staged,
        sums_at=parts.staged + parts.panel,
        activation=convolution.activation.code,
        padding_value=convolution.padding_value,
        items=shape.n * group_blocks * prod(axis["blocks"] for axis in axes) * channel_blocks,
    )
    return fields, parts.total


def _form(shape, tiling):
    """How a band takes its taps."""
    if tiling.kind.shared:
        return form(shape, tiling.channel_tile, shape.lines[1].stride).code
    return _isa.forward.ALTERNATE_FORM if tiling.kind.alternate else _isa.forward.PLAIN_FORM


def job_of(layout):
    """The fields of a job that does nothing yet with arrays in this layout."""
    add, bias = layout.add or (0, 0), layout.bias or (0,)
    return _driver.no_job() | dict(
        x_n=layout.x[0],
        x_c=layout.x[1],
        y_n=layout.out[0],
        y_o=layout.out[1],
        add_n=add[0],
        add_o=add[1],
        bias_o=bias[0],
    )


def axes_fields(lines, block, stage, tables):
    """The three `_job.Axis` of a job."""
    runs = stage.d, stage.h, stage.w
    return [_axis(*axis, tables) for axis in zip(lines, block, runs, strict=True)]


def _axis(line, block, run, tables):
    head, tail = line.map.head, line.map.tail
    return dict(
        size=line.size,
        out=line.out,
        kernel=line.kernel,
        stride=line.stride,
        step=line.stride,
        dilation=line.dilation,
        before=line.before,
        head=tables(head),
        tail=tables(tail),
        constant=head.max(initial=-1) < 0 and tail.max(initial=-1) < 0,
        block=block,
        blocks=ceil(line.out / block),
        runs=len(run.origins),
        run_origin=tables(run.origins),
        run_count=tables(run.counts),
        staged=run.staged,
        last_tap=line.last_tap,
        x=line.x,
        y=line.y,
        add=line.add or 0,
        bias=line.bias or 0,
        points=1,
        tile=1,
        across=0,
        phases=1,
        whole=line.out,
    )


def _to_output(layout, shape, tiling):
    """Whether whole tiles may be stored in the output, with nothing to add but a bias; image rows of one chain."""
    in_rows = tiling.kind.row_wise or tiling.kind.channelwise
    if (in_rows and shape.chains > 1) or layout.add or (layout.bias and any(layout.bias[1:])):
        return False
    return (shape.lines[2].y if tiling.lanes_are_pixels else shape.y_o) == 1


def last_element(geometry, strides):
    """Offset of the last element of x that may be read."""
    sizes = (geometry.n, geometry.groups * geometry.c, *geometry.size)
    return sum(max(0, (size - 1) * stride) for size, stride in zip(sizes, strides, strict=True))
