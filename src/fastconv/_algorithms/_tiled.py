"""The two algorithms of the tiled kernel, which differ in how a tile's pixels are laid out.

``direct`` reads the vectors of a tile along the rows of the image, staged in cache: no operand is copied for each tap,
and the lanes between two rows are lost. ``im2col`` (implicit GEMM) packs the pixels of a tile into a panel, flattened across
rows: every lane counts, and the copies pay where many output channels share them.
"""

from itertools import accumulate
from math import prod
from operator import mul

import numpy as np

from .. import _driver, _isa
from .._layout import Layout
from ._lines import Stage, combined, lines
from ._tiling import BAND, CHANNELWISE, PACKED, SHARED, SHIFTED, STRIP, Shape, cheapest, workspace


class Tiled:
    def __init__(self, name, *kinds):
        self.name = name
        self.kinds = kinds

    def declines(self, geometry):
        return None

    def cost(self, geometry, threads):
        """Of contiguous arrays."""
        return self.tiling(_shape(geometry, _contiguous(geometry), threads)).cost

    def tiling(self, shape):
        return cheapest(shape, self.kinds)

    def pack(self, convolution, weight, packing):
        """`Packed` as (groups, tiles, products, channels of a tile), the last tile filled up with zeros."""
        groups, channels, width = packing
        weight = convolution.canonical(weight).reshape(groups, channels, -1)
        tiles = -(-channels // width)
        packed = _aligned_zeros((groups, tiles, weight.shape[2], width), weight.dtype)
        for tile in range(tiles):
            part = weight[:, tile * width : (tile + 1) * width]
            packed[:, tile, :, : part.shape[1]] = part.swapaxes(1, 2)
        return _driver.Packed(packed, bool(np.isfinite(weight).all()))

    def task(self, geometry, layout, threads):
        shape = _shape(geometry, layout, threads)
        tiling = self.tiling(shape)
        tables = Tables()
        job = _job(geometry, layout, shape, tiling, tables)
        itemsize = geometry.convolution.dtype.itemsize
        return _driver.Task(
            _isa.kernels.FORWARD[shape.dtype],
            job,
            keep=tables,
            threads=threads if geometry.flops > SERIAL_FLOPS else 1,
            workspace_bytes=job.pop("workspace") * itemsize,
            flops=geometry.flops,
            packing=(job["groups"], job["o"], tiling.channel_tile),
            kernel=tiling.name,
        )


DIRECT = Tiled("direct", STRIP, BAND, SHARED, CHANNELWISE)
IM2COL = Tiled("im2col", PACKED, SHIFTED)

SERIAL_FLOPS = 500_000  # below, waking other threads costs more than they save


class Tables(list):
    """Keeps the index tables alive whose addresses a job holds."""

    def __call__(self, values):
        self.append(np.ascontiguousarray(values, np.int64))
        return self[-1].ctypes.data


def _shape(geometry, layout, threads):
    convolution = geometry.convolution
    return Shape(
        lines=lines(geometry, layout),
        n=geometry.n,
        groups=geometry.groups,
        c=geometry.c,
        o=geometry.o,
        x_c=layout.x[1],
        y_o=layout.out[1],
        dtype=convolution.dtype.name,
        skips=convolution.padding_value == 0 and convolution.padding_mode == "constant",
        threads=threads,
    )


def _contiguous(geometry):
    """The layout of arrays in C order."""
    x, out = (geometry.strides(_steps(shape), 1) for shape in (geometry.x_shape, geometry.out_shape))
    return Layout(x, out, None, None)


def _steps(shape):
    return tuple(accumulate(reversed(shape[1:]), mul, initial=1))[::-1]


def _job(geometry, layout, shape, tiling, tables):
    shape = shape.seen_as(tiling.kind)
    channels, taps = shape.chunk
    stage = Stage.of(shape.lines, tiling.block, tiling.row_wise)
    # Where the operands of the taps lie in x itself, if the block is read there
    in_x = combined([range(line.kernel) for line in shape.lines], [line.dilation * line.x for line in shape.lines])
    d, h, w = shape.lines
    placed_row = h.stride * h.x
    in_place = (
        w.stride == 1 and w.x == 1 and min(layout.x[1], d.x, h.x) >= 0
        and (tiling.kind not in (SHIFTED, STRIP) or tiling.block[1] == 1 or w.out <= placed_row <= 1.25 * w.out)
    )
    parts = workspace(shape, tiling, placed_row if in_place else 0)
    tiles = -(-shape.o // tiling.channel_tile)
    axes = [_axis(line, block, run, tables) for line, block, run in zip(shape.lines, tiling.block, stage[:3], strict=True)]
    channel_blocks = -(-tiles // tiling.block_tiles)
    items = shape.n * shape.groups * prod(axis["blocks"] for axis in axes) * channel_blocks
    return dict(
        axis=axes,
        n=shape.n,
        groups=shape.groups,
        c=shape.c,
        o=shape.o,
        x_n=layout.x[0],
        x_c=layout.x[1],
        y_n=layout.out[0],
        y_o=layout.out[1],
        add_n=layout.add[0] if layout.add else 0,
        add_o=layout.add[1] if layout.add else 0,
        bias_o=layout.bias[0] if layout.bias else 0,
        taps=shape.taps,
        chunk_channels=channels,
        chunk_taps=taps,
        packed=tiling.kind == PACKED,
        band=tiling.row_wise,
        channelwise=tiling.kind == CHANNELWISE,
        shared=tiling.kind == SHARED,
        lanes_are_pixels=tiling.lanes_are_pixels,
        tile_rows=tiling.tile_rows,
        tile_lanes=tiling.tile_lanes,
        pixel_tile=tiling.pixel_tile,
        channel_tile=tiling.channel_tile,
        channel_tiles=tiles,
        block_tiles=tiling.block_tiles,
        channel_blocks=channel_blocks,
        in_place=in_place,
        to_output=(
            (w.y == 1 if tiling.lanes_are_pixels else tiling.kind == CHANNELWISE and shape.y_o == 1) and channels >= shape.c and taps == shape.taps and not layout.add
            and not (layout.bias and any(layout.bias[1:]))
        ),
        skips=shape.skips and not tiling.row_wise and taps == shape.taps and any(line.map.border for line in shape.lines),
        x_last=_last_element(geometry, layout.x),
        plane=stage.plane,
        run_start=tables(stage.run_starts),
        row=stage.row,
        staged_rows=tables(np.add.outer(np.arange(channels) * stage.plane, stage.offsets()).ravel()),
        placed_rows=tables(np.add.outer(np.arange(channels) * layout.x[1], in_x).ravel()),
        panel_rows=tables(np.arange(channels * taps) * tiling.pixel_tile),
        weight_rows=tables(np.arange(channels * taps) * tiling.channel_tile),
        panel_at=parts.staged,
        sums_at=parts.staged + parts.panel,
        activation=geometry.convolution.activation.code,
        padding_value=geometry.convolution.padding_value,
        items=items,
        x=0, weight=0, bias=0, add=0, y=0,
        workspace=parts.total,
    )


def _axis(line, block, run, tables):
    axis = line.map
    return dict(
        size=line.size,
        out=line.out,
        kernel=line.kernel,
        dilation=line.dilation,
        stride=line.stride,
        before=line.before,
        head=tables(axis.head),
        tail=tables(axis.tail),
        constant=axis.head.max(initial=-1) < 0 and axis.tail.max(initial=-1) < 0,
        block=block,
        blocks=-(-line.out // block),
        runs=len(run.origins),
        run_origin=tables(run.origins),
        run_count=tables(run.counts),
        staged=run.staged,
        last_tap=line.last_tap,
        x=line.x,
        y=line.y,
        add=line.add or 0,
        bias=line.bias or 0,
    )


def _last_element(geometry, strides):
    """Offset of the last element of x that may be read."""
    sizes = (geometry.n, geometry.groups * geometry.c, *geometry.size)
    return sum(max(0, (size - 1) * stride) for size, stride in zip(sizes, strides, strict=True))


def _aligned_zeros(shape, dtype):
    """Zeros that begin at a cache line."""
    size = prod(shape) * dtype.itemsize
    memory = np.zeros(size + _driver.ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _driver.ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
