"""The reference: NumPy, naive, and obviously right.

It copies the padded input and adds one product after the other, in chains of at most 128, in the type that is computed
in. The tests hold every other algorithm against it.
"""

from itertools import product
from math import inf, prod

import numpy as np

from .._sums import CHAIN


class Reference:
    name = "reference"

    def declines(self, geometry):
        return None

    def cost(self, geometry):
        return inf

    def packing_cost(self, geometry):
        return 0.0

    def pack(self, convolution, weight, packing):
        return convolution.canonical(weight)

    def task(self, geometry, layout, threads, once=False):
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
            total = self.sums(padded(g, self.view(x, self.layout.x, g.c, g.size)), packed)
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
                part += weight[:, :, channel, *tap, None, None, None] * x[:, :, None, channel, *window(g, tap)]
            total += part
        return total

    def view(self, array, strides, channels, spatial):
        """`array` as (n, groups, channels, d, h, w)."""
        n, c, *rest = (stride * array.itemsize for stride in strides)
        g = self.geometry
        return np.lib.stride_tricks.as_strided(
            array, (g.n, g.groups, channels, *spatial), (n, c * channels, c, *rest), writeable=array.flags.writeable
        )


REFERENCE = Reference()


def grad_weight(geometry, x, grad_output):
    """The gradient with respect to the weight: for every tap, grad_output times what the tap reads.

    The arrays have the shapes of the geometry and its computed type; the result has the shape of the weight.
    """
    g = geometry
    x = padded(g, _channels_first(g, x, g.c, g.size))
    grad_output = _channels_first(g, grad_output, g.o, g.out)
    gradient = np.zeros(g.convolution.weight_shape, x.dtype)
    with np.errstate(all="ignore"):
        for tap in product(*map(range, g.kernel)):
            # a view of the result, turned round as the weight is
            g.convolution.canonical(gradient)[..., *tap] = np.einsum(
                "ngodhw,ngcdhw->goc", grad_output, x[..., *window(g, tap)], optimize=True
            )
    return gradient


def _channels_first(geometry, array, channels, spatial):
    """A public array as (n, groups, channels, d, h, w)."""
    if geometry.convolution.data_format == "channels_last":
        array = np.moveaxis(array, -1, -geometry.convolution.rank - 1)
    return array.reshape(geometry.n, geometry.groups, channels, *spatial)


def padded(geometry, x):
    """The positions that are read of (n, groups, c, d, h, w), gathered one axis after the other."""
    for axis, axis_map in enumerate(geometry.maps, start=3):
        source = axis_map.source(0, axis_map.read)
        constant = np.expand_dims(source < 0, [*range(axis), *range(axis + 1, 6)])
        if x.shape[axis] == 0:  # nothing to take from
            x = np.zeros((*x.shape[:axis], 1, *x.shape[axis + 1 :]), x.dtype)
        x = np.where(constant, x.dtype.type(geometry.convolution.padding_value), x.take(source, axis))
    return x


def window(geometry, tap):
    """What one tap reads of the padded positions: slices of the three axes."""
    return tuple(
        slice(k * dilation, k * dilation + (out - 1) * stride + 1, stride)
        for k, dilation, out, stride in zip(tap, geometry.dilation, geometry.out, geometry.stride, strict=True)
    )
