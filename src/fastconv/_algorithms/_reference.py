"""The reference: NumPy, naive, and obviously right.

It copies the padded input and adds one product after the other, in chains of at most 128, in the type that is computed
in. The tests hold every other algorithm against it.
"""

from itertools import product
from math import inf, prod

import numpy as np

CHAIN = 128  # products that are added one after the other; longer chains lose too much in float32


class Reference:
    name = "reference"

    def declines(self, geometry):
        return None

    def cost(self, geometry, threads):
        return inf

    def pack(self, convolution, weight, packing):
        return convolution.canonical(weight)

    def task(self, geometry, layout, threads):
        return Task(geometry, layout)


class Task:
    packing = ()
    kernel = "numpy"

    def __init__(self, geometry, layout):
        self.geometry = geometry
        self.layout = layout

    @property
    def workspace_bytes(self):
        g = self.geometry
        padded = g.n * g.groups * g.c * prod(axis.read for axis in g.maps)
        return (padded + 3 * prod(g.out_shape)) * g.convolution.dtype.itemsize

    def run(self, x, packed, bias, add, out):
        g = self.geometry
        out = self.view(out, self.layout.out, g.o, g.out)
        with np.errstate(all="ignore"):  # overflow and NaN are values here, as in the kernels
            total = self.sums(self.padded(self.view(x, self.layout.x, g.c, g.size)), packed)
            if bias is not None:
                total += self.view(bias, (0, *self.layout.bias), g.o, g.out)
            if add is not None:
                total += self.view(add, self.layout.add, g.o, g.out)
            out[...] = g.convolution.activation.function(total)

    def sums(self, x, weight):
        """The sum over channels and taps, (n, groups, o, d, h, w)."""
        g = self.geometry
        total = np.zeros((g.n, g.groups, g.o, *g.out), x.dtype)
        taps = list(product(range(g.c), *map(range, g.kernel)))
        for first in range(0, len(taps), CHAIN):
            part = np.zeros_like(total)
            for channel, *tap in taps[first : first + CHAIN]:
                window = tuple(
                    slice(k * dilation, k * dilation + (out - 1) * stride + 1, stride)
                    for k, dilation, out, stride in zip(tap, g.dilation, g.out, g.stride, strict=True)
                )
                part += weight[:, :, channel, *tap, None, None, None] * x[:, :, None, channel, *window]
            total += part
        return total

    def padded(self, x):
        """The positions that are read of (n, groups, c, d, h, w), gathered one axis after the other."""
        for axis, axis_map in enumerate(self.geometry.maps, start=3):
            source = axis_map.source(0, axis_map.read)
            constant = np.expand_dims(source < 0, [*range(axis), *range(axis + 1, 6)])
            if x.shape[axis] == 0:  # nothing to take from
                x = np.zeros((*x.shape[:axis], 1, *x.shape[axis + 1 :]), x.dtype)
            x = np.where(constant, x.dtype.type(self.geometry.convolution.padding_value), x.take(source, axis))
        return x

    def view(self, array, strides, channels, spatial):
        """`array` as (n, groups, channels, d, h, w)."""
        n, c, *rest = (stride * array.itemsize for stride in strides)
        g = self.geometry
        return np.lib.stride_tricks.as_strided(
            array, (g.n, g.groups, channels, *spatial), (n, c * channels, c, *rest), writeable=array.flags.writeable
        )


REFERENCE = Reference()
