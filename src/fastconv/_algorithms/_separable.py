"""Kernels of low rank: one pass along depth and height and one along the row, for each outer product.

The weights of a channel, taken as a matrix (taps along d and h, taps along w), are a sum of `terms` outer products. A
block of the input is gathered into cache, borders included; both passes over it are valid convolutions by `direct`,
which the second one finishes. Only a plan knows the values of its weights: it finds the number of terms once.
"""

from dataclasses import replace
from functools import lru_cache
from itertools import product
from math import inf, prod

import numpy as np

from .. import _activations
from .._layout import Layout
from ._batches import fill, in_threads, lengths, parts, pieces
from ._lines import balanced
from ._tiled import DIRECT

LEAST_TAPS = 25  # smaller kernels are not worth two passes
# What the sum of all left over may be, over the largest weight, beside as much of each weight itself: a part of the
# bound on errors, so that the rest is left to rounding
TOLERANCE = {"float32": 2e-6, "float64": 2e-14}
PANEL = 1 << 17  # elements of a block that is gathered
WIDTH = 1 << 12  # outputs of a row in it

# Costs, in seconds, at one thread of an AVX-512 core
ELEMENT = 0.5e-9  # gathering an element
BLOCK = 40e-6  # the calls that a block takes
SERIAL = 1e-3  # a convolution below which starting threads costs more than they save
WORTH = 1.1  # the cost of direct sums over that of separate passes, from which on they are chosen


def terms_of(convolution, weight):
    """How many outer products make the weights of every channel, or None where it makes no difference."""
    if _unfit(convolution):
        return None
    matrices = _matrices(convolution, weight)
    rank = min(matrices.shape[-2:])
    if not np.isfinite(matrices).all():
        return rank
    matrices, _ = _scaled(matrices)
    tolerance = TOLERANCE[convolution.dtype.name]
    values = np.linalg.svd(matrices, compute_uv=False)
    # those that are larger cannot be left over
    least = int((values > 2 * tolerance * rank**0.5 * values[..., :1]).sum(-1).max())
    size = abs(matrices)
    most = tolerance * size.max((-2, -1))
    for terms in range(max(1, least), rank):
        first, second = _factors(matrices, terms)
        rest = abs(matrices - first @ second)
        if (np.maximum(rest - tolerance * size, 0).sum((-2, -1)) <= most).all():
            return terms
    return rank


def _scaled(matrices):
    """Each channel's largest weight near 1, so that no square of one leaves the range, and what it was divided by."""
    _, exponents = np.frexp(abs(matrices).max((-2, -1), keepdims=True))
    size = np.ldexp(1.0, exponents - 1)
    return matrices / size, size


def _factors(matrices, terms):
    """The closest (…, rows, terms) times (…, terms, columns).

    What LAPACK finds is as far off for small weights as for large ones. Made from the matrices again, each row and
    column is precise for its own size.
    """
    _, _, second = np.linalg.svd(matrices, full_matrices=False)
    first = matrices @ np.swapaxes(second[..., :terms, :], -2, -1)
    return first, np.linalg.pinv(first) @ matrices


def _matrices(convolution, weight):
    """(groups, out, taps along d and h, taps along w), in float64."""
    weight = convolution.canonical(weight).astype(np.float64)
    return weight.reshape(*weight.shape[:2], -1, weight.shape[-1])


def _unfit(convolution):
    """Why no values of the weights would do, or None."""
    if convolution.precision == "strict":
        return "precision='strict' wants products summed directly"
    if convolution.in_channels != convolution.groups:
        return "it takes one input channel in each group"
    if 1 in (prod(convolution.kernel[:2]), convolution.kernel[2]):
        return "a kernel along one axis is no product of two"
    if prod(convolution.kernel) < LEAST_TAPS:
        return f"a kernel of fewer than {LEAST_TAPS} taps has nothing to save"
    return None


class Separable:
    name = "separable"
    sums_directly = False

    def declines(self, geometry):
        convolution = geometry.convolution
        why = _unfit(convolution)
        if why is not None:
            return why
        if convolution.terms is None:
            return "it is for plans, which know the values of their weights"
        *_, columns = convolution.kernel
        rows = prod(convolution.kernel[:2])
        if convolution.terms * (rows + columns) >= rows * columns:
            return f"weights of rank {convolution.terms} have nothing to save"
        return None

    def cost(self, geometry, threads):
        """Rounding errors count for something, too."""
        return _cost(geometry) * WORTH

    def packing_cost(self, geometry):
        return inf  # never for one call

    def pack(self, convolution, weight, packing):
        """For each group and term the weights of both passes."""
        matrices, size = _scaled(_matrices(convolution, weight))
        first, second = _factors(matrices, packing)
        # the first pass sums with weights as large as those of the kernel: it overflows where the kernel does
        scale = abs(second).max(-1)
        scale[scale == 0] = 1
        factors = np.swapaxes(first * scale[..., None, :] * size, -2, -1), second / scale[..., None]
        return [
            [tuple(np.ascontiguousarray(factor[group, :, term], weight.dtype) for factor in factors) for term in terms]
            for group, terms in product(range(convolution.groups), [range(packing)])
        ]

    def task(self, geometry, layout, threads):
        return Task(geometry, layout, threads)


SEPARABLE = Separable()


class Task:
    """Blocks of one image and group: gathered, and passed over twice for each term."""

    def __init__(self, geometry, layout, threads):
        self.geometry = geometry
        self.layout = layout
        self.block = _block(geometry)
        self.threads = threads if _cost(geometry) > SERIAL else 1
        self.packing = geometry.convolution.terms
        self.kernel = f"rank {self.packing}"
        reads = tuple(map(_read, geometry.stride, geometry.kernel, geometry.dilation, self.block))
        self.elements = prod(reads) + geometry.o * prod(self.block[:2]) * reads[2]
        totals = 2 * geometry.o * prod(self.block) if self.packing > 1 else 0
        self.workspace_bytes = (self.elements + totals) * geometry.convolution.dtype.itemsize

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
            n, group, *block = batch
            try:
                memory = idle.pop()
            except IndexError:
                memory = np.empty(self.elements, x.dtype)
            where = (n, group, slice(None), *block)
            bias_of, add_of = (None if array is None else array[where] for array in (bias, add))
            self.run_block(memory, block, x[n, group], packed[group], bias_of, add_of, out[where])
            idle.append(memory)

        blocks = list(product(range(g.n), range(g.groups), *map(parts, g.out, self.block)))
        for _ in in_threads(work, blocks, self.threads):
            pass

    def view(self, array, strides, channels, spatial):
        """`array` as (n, groups, channels, d, h, w)."""
        g = self.geometry
        n, c, *rest = (stride * array.itemsize for stride in strides)
        return np.lib.stride_tricks.as_strided(
            array, (g.n, g.groups, channels, *spatial), (n, c * channels, c, *rest), writeable=array.flags.writeable
        )

    def run_block(self, memory, block, x, packed, bias, add, out):
        g = self.geometry
        counts = lengths(*block)
        reads = tuple(map(_read, g.stride, g.kernel, g.dilation, counts))
        starts = [part.start * stride for part, stride in zip(block, g.stride, strict=True)]
        places = [pieces(along, start, start + read) for along, start, read in zip(g.maps, starts, reads, strict=True)]
        panel, rest = memory[: prod(reads)].reshape(1, *reads), memory[prod(reads) :]
        rows = rest[: g.o * prod(counts[:2]) * reads[2]].reshape(g.o, *counts[:2], reads[2])
        fill(panel, x, places, g.convolution.padding_value)
        for term, (first, second) in enumerate(packed):
            last = term == len(packed) - 1
            _pass(g.convolution, 0, panel, first, None, None, rows)
            total = out if last else np.empty((g.o, *counts), x.dtype)
            _pass(g.convolution, 2 if last else 1, rows, second, bias if last else None, add, total)
            add = total


def _pass(convolution, which, x, weight, bias, add, out):
    """One pass over arrays (channels, d, h, w): along d and h (0), along w (1), along w with what comes after (2)."""
    steps = [
        None if array is None else tuple(stride // array.itemsize for stride in array.strides)
        for array in (x, out, add, bias)
    ]
    task, own = _task(convolution, which, x.shape, *steps)
    task.run(x, _packed(own, weight, task.packing), bias, add, out)


def _packed(convolution, weight, packing):
    return DIRECT.pack(convolution, weight.reshape(convolution.weight_shape), packing)


@lru_cache(256)
def _task(convolution, which, shape, x, out, add, bias):
    """The task of a pass over contiguous rows, and its convolution."""
    at = slice(0, 2) if which == 0 else slice(2, 3)

    def along(values, other):
        return tuple(value if axis in range(*at.indices(3)) else other for axis, value in enumerate(values))

    channels = convolution.out_channels // convolution.groups
    kernel = along(convolution.kernel, 1)
    own = replace(
        convolution,
        rank=3,
        in_channels=shape[0],
        out_channels=channels,
        groups=1 if which == 0 else channels,
        weight_shape=(channels, 1, *kernel),
        bias_shape=None,
        kernel=kernel,
        stride=along(convolution.stride, 1),
        dilation=along(convolution.dilation, 1),
        padding=((0, 0),) * 3,
        padding_mode="constant",
        padding_value=0.0,
        flip_kernel=False,
        activation=convolution.activation if which == 2 else _activations.NONE,
        data_format="channels_first",
        algorithm=DIRECT.name,
        outputs=None,
        terms=None,
    )
    layout = Layout((0, *x), (0, *out), None if add is None else (0, *add), bias)
    return DIRECT.task(own.at(shape), layout, 1), own


def _read(stride, kernel, dilation, outputs):
    """Positions that so many outputs of an axis read."""
    return (outputs - 1) * stride + (kernel - 1) * dilation + 1 if outputs else 0


def _block(geometry):
    """Outputs of a block on each axis: as many rows as fit, at least those that are read beside them."""
    g = geometry
    width = balanced(max(1, g.out[2]), WIDTH)
    row = _read(g.stride[2], g.kernel[2], g.dilation[2], width)
    planes = _read(g.stride[0], g.kernel[0], g.dilation[0], 1)
    beside = (g.kernel[1] - 1) * g.dilation[1] // g.stride[1]
    height = balanced(max(1, g.out[1]), max(1, beside, PANEL // (row * planes) - beside))
    depth = balanced(max(1, g.out[0]), max(1, PANEL // (row * planes * height)))
    return depth, height, width


@lru_cache(256)
def _pass_cost(convolution, which, shape):
    _, own = _task(convolution, which, shape, *_contiguous(shape, shape), None, None)
    return DIRECT.cost(own.at(shape), 1)


def _contiguous(*shapes):
    return [(prod(shape[1:]), prod(shape[2:]), shape[3], 1) for shape in shapes]


def _cost(geometry):
    g = geometry
    block = _block(g)
    reads = tuple(map(_read, g.stride, g.kernel, g.dilation, block))
    passes = (0, (1, *reads)), (2, (g.o, *block[:2], reads[2]))
    terms = g.convolution.terms * sum(_pass_cost(g.convolution, *one) for one in passes)
    blocks = g.n * g.groups * prod(-(-out // part) for out, part in zip(g.out, block, strict=True))
    return blocks * (terms + prod(reads) * ELEMENT + BLOCK * (1 + g.convolution.terms))
