"""Separable kernels in two passes over blocks in cache.

The first pass, along d and h, leaves a block of whole rows in cache, which the second one, along w with its padding,
takes from there and finishes; both are convolutions by `direct`. The first reads the input where it is, but for blocks
at its borders, which are gathered.
"""

from dataclasses import replace
from functools import lru_cache
from itertools import product
from math import ceil, prod
from typing import NamedTuple

import numpy as np

from .. import _activations, _isa
from .._driver import empty
from .._layout import Layout
from ._batches import fill, in_threads, parts, pieces
from ._lines import balanced
from ._tiled import DIRECT

PANEL = 1 << 17  # elements of a block between the passes, for each thread that shares in them
WIDTH = 1 << 14  # outputs of a row in it

# Costs, in seconds, at one thread of an AVX-512 core
ELEMENT = 0.5e-9  # gathering an element
BLOCK = 20e-6  # the calls that a block takes
SERIAL = 1e-3  # a convolution below which starting threads costs more than they save
SHARED = 1 << 14  # outputs of a block from which on threads share out its passes, and not the blocks


class Task:
    """Blocks of one image and group, passed over twice for each term."""

    def __init__(self, geometry, layout, threads):
        g = geometry
        self.geometry = geometry
        self.layout = layout
        self.packing = geometry.convolution.terms
        self.kernel = f"rank {self.packing}"
        threads = threads if seconds(geometry) > SERIAL else 1
        self.threads_of_pass, self.threads = (threads, 1) if prod(_block(geometry)) >= SHARED else (1, threads)
        block = _block(geometry, self.threads_of_pass)
        gathered, rows = map(prod, _sizes(geometry, block))
        totals = 2 * geometry.o * prod(block) if self.packing > 1 else 0
        self.elements = gathered + rows
        self.workspace_bytes = (self.elements + totals) * geometry.convolution.dtype.itemsize
        # of each axis, the parts of the output and what they read
        self.parts = [
            [(part, _places(along, part, *steps)) for part in parts(out, most)]
            for along, out, most, *steps in zip(g.maps, g.out, block, g.stride, g.kernel, g.dilation, strict=True)
        ]
        if _whole_rows(geometry):
            whole = slice(0, g.size[2])
            self.parts[2] = [(part, [(whole, whole)]) for part, _ in self.parts[2]]
        self.passes = {}  # those that are prepared

    def run(self, x, packed, bias, add, out):
        g = self.geometry
        bias_strides = (0, *(self.layout.bias or ()))
        x, bias, add, out = (
            None if array is None else self.view(array, strides, channels, spatial)
            for array, strides, channels, spatial in (
                (x, self.layout.x, g.c, g.size),
                (bias, bias_strides, g.o, g.out),
                (add, self.layout.add, g.o, g.out),
                (out, self.layout.out, g.o, g.out),
            )
        )

        idle = []  # memory that a thread takes up where another left it: new one would be mapped anew for each block

        def work(batch):
            n, group, *axes = batch
            try:
                memory = idle.pop()
            except IndexError:
                memory = empty((self.elements,), x.dtype)
            block, places = zip(*axes, strict=True)
            where = (n, group, slice(None), *block)
            bias_of, add_of = (None if array is None else array[where] for array in (bias, add))
            self.run_block(memory, places, x[n, group], packed[group], bias_of, add_of, out[where])
            idle.append(memory)

        blocks = list(product(range(g.n), range(g.groups), *self.parts))
        for _ in in_threads(work, blocks, self.threads):
            pass

    def view(self, array, strides, channels, spatial):
        """`array` as (n, groups, channels, d, h, w)."""
        g = self.geometry
        n, c, *rest = (stride * array.itemsize for stride in strides)
        return np.lib.stride_tricks.as_strided(
            array, (g.n, g.groups, channels, *spatial), (n, c * channels, c, *rest), writeable=array.flags.writeable
        )

    def run_block(self, memory, places, x, factors, bias, add, out):
        panel, memory = self.panel(memory, places, x)
        shape = (*out.shape[:3], panel.shape[3])
        rows = memory[: prod(shape)].reshape(shape)
        along = _along(self.geometry)
        for term, (first, second) in enumerate(factors):
            last = term == len(factors) - 1
            self.run_pass(DOWN, panel, first, None, None, rows)
            total = out if last else empty(out.shape, x.dtype)
            self.run_pass(along._replace(finishes=last), rows, second, bias if last else None, add, total)
            add = total

    def panel(self, memory, places, x):
        """What a block reads, (1, d, h, w), whole rows or padded ones; and the memory that is left."""
        if all(len(place) == 1 and isinstance(place[0][1], slice) for place in places):
            return x[(slice(None), *(place[0][1] for place in places))], memory
        reads = [max((target.stop for target, _ in place), default=0) for place in places]
        panel = memory[: prod(reads)].reshape(1, *reads)
        fill(panel, x, places, self.geometry.convolution.padding_value)
        return panel, memory[prod(reads) :]

    def run_pass(self, one, x, factor, bias, add, out):
        """One pass over arrays (channels, d, h, w)."""
        key = one, x.shape, *(None if array is None else array.strides for array in (x, out, add, bias))
        try:
            own, task = self.passes[key]
        except KeyError:
            own = _convolution(self.geometry.convolution, one, x.shape)
            steps = [strides and tuple(stride // x.itemsize for stride in strides) for strides in key[2:]]
            self.passes[key] = own, task = own, _task(own, x.shape, self.threads_of_pass, *steps)
        task.run(x, factor.packed(own, task.packing), bias, add, out)


class Factor:
    """The weights of one pass, (channels, taps), and how tasks want them: kept, once they are packed."""

    def __init__(self, weight):
        self.weight = weight
        self.by_packing = {}

    def packed(self, convolution, packing):
        found = self.by_packing.get(packing)
        if found is None:
            weight = np.ascontiguousarray(self.weight).reshape(convolution.weight_shape)
            found = self.by_packing[packing] = DIRECT.pack(convolution, weight, packing)
        return found


class Pass(NamedTuple):
    """One of the passes: the axes of its taps, along w (pads, outputs), and whether what comes after is done in it."""

    axes: tuple
    w: tuple
    finishes: bool = False


DOWN = Pass((0, 1), ((0, 0), None))


def _along(geometry):
    """The second pass."""
    return Pass((2,), (geometry.pads[2], geometry.out[2]) if _whole_rows(geometry) else ((0, 0), None))


def _whole_rows(geometry):
    """Whether the second pass pads the rows: zeros along w are still zeros after the first one, other constants not."""
    convolution = geometry.convolution
    return geometry.out[2] <= WIDTH and (convolution.padding_mode != "constant" or convolution.padding_value == 0)


def _convolution(convolution, one, shape):
    """What a pass is, over arrays of this shape."""

    def along(values, other):
        return tuple(value if axis in one.axes else other for axis, value in enumerate(values))

    pads, outputs = one.w
    channels = convolution.out_channels // convolution.groups
    kernel = along(convolution.kernel, 1)
    return replace(
        convolution,
        rank=3,
        in_channels=shape[0],
        out_channels=channels,
        groups=shape[0],
        weight_shape=(channels, 1, *kernel),
        bias_shape=None,
        kernel=kernel,
        stride=along(convolution.stride, 1),
        dilation=along(convolution.dilation, 1),
        padding=((0, 0), (0, 0), pads),
        flip_kernel=False,
        activation=convolution.activation if one.finishes else _activations.NONE,
        data_format="channels_first",
        algorithm=DIRECT.name,
        outputs=outputs and (*shape[1:3], outputs),
        terms=None,
    )


def _task(own, shape, threads, x, out, add, bias):
    layout = Layout((0, *x), (0, *out), None if add is None else (0, *add), bias)
    return DIRECT.task(own.at(shape), layout, threads)


def _places(along, part, stride, kernel, dilation):
    """What outputs read, of one axis."""
    start = part.start * stride
    return pieces(along, start, start + _read(stride, kernel, dilation, part.stop - part.start))


def _read(stride, kernel, dilation, outputs):
    """Positions that so many outputs of an axis read."""
    return (outputs - 1) * stride + (kernel - 1) * dilation + 1 if outputs else 0


def _block(geometry, threads=1):
    """Outputs of a block on each axis: as many rows as fit, whole bands of them."""
    g, most = geometry, PANEL * threads
    width = balanced(max(1, g.out[2]), WIDTH)
    row = g.o * (g.size[2] if _whole_rows(g) else _read(g.stride[2], g.kernel[2], g.dilation[2], width))
    band = _isa.forward.ROWS_OF_BAND
    height = min(g.out[1], ceil(balanced(max(1, g.out[1]), max(1, most // row)) / band) * band)
    depth = balanced(max(1, g.out[0]), max(1, most // (row * max(1, height))))
    return depth, height, width


def _sizes(geometry, block):
    """(d, h, w) that a block of so many outputs reads, and (channels, d, h, w) between the passes."""
    g = geometry
    reads = [*map(_read, g.stride, g.kernel, g.dilation, block)]
    if _whole_rows(g):
        reads[2] = g.size[2]
    return reads, (g.o, *block[:2], reads[2])


@lru_cache(256)
def _pass_cost(convolution, one, shape):
    return DIRECT.cost(_convolution(convolution, one, shape).at(shape))


def seconds(geometry):
    """What it costs."""
    g = geometry
    block = _block(g)
    reads, rows = _sizes(g, block)
    passes = (DOWN, (1, *reads)), (_along(g), rows)
    terms = g.convolution.terms * sum(_pass_cost(g.convolution, *one) for one in passes)
    blocks = g.n * g.groups * prod(ceil(out / part) for out, part in zip(g.out, block, strict=True))
    gathered = blocks * prod(reads) if not _whole_rows(g) else 0
    return blocks * (terms + BLOCK * (1 + g.convolution.terms)) + gathered * ELEMENT
