"""The two algorithms of the tiled kernel, which differ in how a tile's pixels are laid out.

``direct`` has tiles for few channels, whose vectors run along the rows of the image or along the channels: no operand
is copied for each tap. ``im2col`` (implicit GEMM) has the tiles for many channels; it packs the pixels of a tile into a
panel, flattened across rows, or reads them where that is cheaper: shifted, or each one's channels. Both give the same
bits.
"""

from functools import partial
from itertools import accumulate
from math import prod
from operator import mul

from .. import _driver, _isa
from .._layout import Layout
from .._threads import SERIAL
from ._jobs import Tables, job
from ._lines import lines
from ._tiling import SECONDS, Shape, chain_weights, cheapest, packs_itself

PACK_WEIGHT = 1.0  # packing one weight, in the unit of `_tiling`


class Tiled:
    def __init__(self, name):
        self.name = name

    def declines(self, geometry):
        return None

    def cost(self, geometry):
        """Of contiguous arrays."""
        return cheapest(shape_of(geometry, contiguous_layout(geometry), 1), self.name).cost

    def packing_cost(self, geometry):
        return prod(geometry.convolution.weight_shape) * PACK_WEIGHT * SECONDS

    def pack(self, convolution, weight, packing):
        groups, width, dtype, *later = packing
        weight = convolution.canonical(weight)
        if groups != len(weight):  # one output channel of each group: groups are taken for channels
            weight = weight.swapaxes(0, 1)
        return _driver.Packed(_isa.forward.PACK[dtype], weight, width, *later)

    def task(self, geometry, layout, threads, once=False):
        shape, tiling = shared(shape_of(geometry, layout, threads), partial(cheapest, algorithm=self.name))
        shape = shape.seen_as(tiling.kind)
        tables = Tables()
        fields, elements = job(geometry, layout, shape, tiling, tables)
        later = once and packs_itself(shape, tiling)
        packing = shape.groups, tiling.channel_tile, shape.dtype, later
        if later:
            fields["weights_at"] = elements
            elements += chain_weights(shape, tiling)
        return task_of(_isa.forward.FORWARD, geometry, shape.threads, fields, elements, tables, packing, tiling.name)


def shared(shape, cheapest):
    """The shape and its cheapest cut, for one thread if that does not take long."""
    alone = shape._replace(threads=1)
    cut = cheapest(alone)
    if shape.threads == 1 or cut.cost < SERIAL:
        return alone, cut
    return shape, cheapest(shape)


def task_of(functions, geometry, threads, fields, elements, tables, packing, kernel):
    """The task of a job; `functions` are the block functions by type."""
    dtype = geometry.convolution.dtype
    return _driver.Task(
        functions[dtype.name],
        fields,
        keep=tables,
        threads=threads,
        workspace_bytes=elements * dtype.itemsize,
        flops=geometry.flops,
        packing=packing,
        kernel=kernel,
    )


DIRECT = Tiled("direct")
IM2COL = Tiled("im2col")


def shape_of(geometry, layout, threads):
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
        zero_padding=pads_with_zeros(convolution),
        skips=skips_padding(convolution),
        phases=convolution.phases,
        threads=threads,
    )


def pads_with_zeros(convolution):
    return convolution.padding_mode == "constant" and convolution.padding_value == 0


def skips_padding(convolution):
    """Whether products with padding may be left out.

    Where all products of an element underflow, leaving some out can change the sign of its zero.
    """
    return convolution.precision == "default" and pads_with_zeros(convolution)


def contiguous_layout(geometry):
    """The layout of arrays in C order."""
    x, out = (
        geometry.strides(tuple(accumulate(reversed(shape[1:]), mul, initial=1))[::-1], 1)
        for shape in (geometry.x_shape, geometry.out_shape)
    )
    return Layout(x, out, None, None)
