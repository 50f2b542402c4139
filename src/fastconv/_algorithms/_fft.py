"""FFT for long kernels: transforms along one axis, sums of products in the frequency domain for everything else.

Rows are cut into tiles of `points` positions that overlap by the kernel's reach (overlap-save), transformed by
``scipy.fft``, multiplied by the transformed rows of the kernel and summed, over channels and over the kernel's other
two axes, by a compiled kernel; what comes back are the rows of the output. Summing along those axes takes less time
than transforming them: the compiled sums run at ten times the speed of a transform, stride and dilation cost nothing
there, and no tiles overlap. Images with a result that is not finite are computed once more by `direct`.
"""

from bisect import bisect_left
from functools import lru_cache
from itertools import product
from math import ceil, inf, log2, prod
from typing import NamedTuple

import numpy as np

from .. import _driver, _isa
from .._elementwise import activate
from ._batches import fill, in_threads, lengths, parts, pieces
from ._jobs import Tables
from ._lines import balanced
from ._tiled import DIRECT
from ._tiling import SECONDS

MOST_SPECTRA = 64 << 20  # bytes of the transformed kernel
MOST_WORKSPACE = 16 << 20  # bytes
EVEN = 8  # tiles: a multiple of the rows that are transformed at once
BATCH = 1 << 18  # elements that are transformed at once, if one row of the output does not need more
LENGTHS = [part << power for power in range(5, 25) for part in (2, 3)]  # of tiles that are worth a try
FAST = sorted(
    2**a * 3**b * 5**c for a in range(1, 26) for b in range(12) for c in range(8) if 2**a * 3**b * 5**c <= 1 << 25
)  # even lengths of fast real transforms

# Costs, in seconds, at one thread of an AVX-512 core
POINT = {"float32": 0.25e-9, "float64": 0.48e-9}  # transforming an element: so much for each halving of the length,
HALVINGS = 2  # and for as many more,
LINES = {"float32": 4, "float64": 2}  # where so many rows are transformed at once;
ALONE = 3  # one of the rest takes as long as so many
ELEMENT = 1e-9  # copying an element into a batch, or checking and storing one,
BATCHES = 120e-6  # and the calls that a batch takes
PRODUCT = 1.7  # a product of two vectors of real numbers, over one in registers
SERIAL = 2e-3  # a convolution below which starting threads costs more than they save
TRANSFORM_WEIGHT = 12e-9  # one element of a transformed row of the kernel
WORTH = 1.35  # the cost of direct sums over that of FFT, from which on it is chosen: threads hardly help it


class Shape(NamedTuple):
    """What the cut depends on."""

    n: int
    groups: int
    c: int
    o: int
    out: tuple
    kernel: tuple
    stride: tuple
    dilation: tuple
    dtype: str

    def reach(self, axis):
        return (self.kernel[axis] - 1) * self.dilation[axis] + 1

    def read(self, axis, outputs):
        """Padded positions that so many outputs read."""
        return (outputs - 1) * self.stride[axis] + self.reach(axis)


class Cut(NamedTuple):
    """Batches of rows: so many images, groups, tiles of a row, and outputs along the other two axes."""

    axis: int  # of the transforms
    points: int
    step: int  # outputs of a tile
    images: int
    groups: int
    tiles: int
    block: tuple
    cost: float = inf
    workspace_bytes: int = 0

    @property
    def others(self):
        return tuple(axis for axis in range(3) if axis != self.axis)


class Fft:
    name = "fft"

    def declines(self, geometry):
        if geometry.convolution.precision == "strict":
            return "precision='strict' wants products summed directly"
        shape = shape_of(geometry)
        if _spectra_bytes(shape, _axis(shape), shape.reach(_axis(shape))) > MOST_SPECTRA:
            return f"the transformed kernel takes more than {MOST_SPECTRA >> 20} MiB"
        if best(shape) is None:
            return f"a row of outputs takes more than {MOST_WORKSPACE >> 20} MiB of working memory"
        return None

    def cost(self, geometry):
        """Rounding errors count for something, too."""
        return best(shape_of(geometry)).cost * WORTH

    def packing_cost(self, geometry):
        shape = shape_of(geometry)
        cut = best(shape)
        return shape.groups * shape.o * _products(shape, cut.axis) * cut.points * TRANSFORM_WEIGHT

    def pack(self, convolution, weight, packing):
        return Spectra(weight, _transformed(convolution, convolution.canonical(weight), *packing))

    def task(self, geometry, layout, threads, once=False):
        return Task(geometry, layout, threads)


FFT = Fft()


class Spectra(NamedTuple):
    """The weight, and what the kernel of `_spectra.pxi` multiplies by."""

    weight: np.ndarray
    factors: np.ndarray


def _transformed(convolution, weight, axis, points):
    """Of (groups, out, in, d, h, w): (groups, vectors, out, products, 2, lanes), conjugated: not turned round."""
    import scipy.fft

    lanes = _isa.forward.LANES[convolution.dtype.name]
    rows = np.moveaxis(weight, axis + 3, -1)
    apart = np.zeros((*rows.shape[:-1], (rows.shape[-1] - 1) * convolution.dilation[axis] + 1))
    apart[..., :: convolution.dilation[axis]] = rows
    with np.errstate(all="ignore"):
        spectra = scipy.fft.rfft(apart, points).reshape(*rows.shape[:2], -1, points // 2 + 1)
        vectors = ceil(2 * spectra.shape[-1] / lanes)
        factors = np.zeros((*spectra.shape[:-1], 2, vectors * lanes // 2, 2), convolution.dtype)
        factors[..., 0, : spectra.shape[-1], :] = spectra.real[..., None]
        factors[..., 1, : spectra.shape[-1], 0] = -spectra.imag
        factors[..., 1, : spectra.shape[-1], 1] = spectra.imag
    factors = factors.reshape(*spectra.shape[:-1], 2, vectors, lanes)
    return np.ascontiguousarray(np.moveaxis(factors, -2, 1))


class Task:
    """Batches of rows: staged, transformed, summed, transformed back and stored."""

    def __init__(self, geometry, layout, threads):
        self.geometry = geometry
        self.layout = layout
        self.shape = shape_of(geometry)
        cut = best(self.shape)
        self.threads = threads if cut.cost > SERIAL else 1
        self.cut = _shared(cut, self.shape, self.threads)
        self.packing = cut.axis, cut.points
        sizes = dict(zip(cut.others, cut.block, strict=True)) | {cut.axis: cut.points}
        own = range(3 - geometry.convolution.rank, 3)
        self.kernel = f"{'x'.join(str(sizes[axis]) for axis in own)} tiles along {'dhw'[cut.axis]}"
        self.workspace_bytes = cut.workspace_bytes

    def run(self, x, packed, bias, add, out):
        g = self.geometry
        arrays = [
            None if array is None else self.view(array, strides, channels, spatial)
            for array, strides, channels, spatial in (
                (x, self.layout.x, g.c, g.size),
                (bias, (0, *(self.layout.bias or ())), g.o, g.out),
                (add, self.layout.add, g.o, g.out),
                (out, self.layout.out, g.o, g.out),
            )
        ]
        finite = np.ones(g.n, bool)
        batches = list(self.batches())
        for (_, images, *_), found in zip(batches, self.results(batches, packed.factors, arrays), strict=True):
            finite[images] &= found
        for image in np.flatnonzero(~finite):
            x, _, add, out = (None if array is None else array[:, :, image] for array in arrays)
            self.run_directly(packed.weight, bias, x, add, out)

    def results(self, batches, factors, arrays):
        """`run_batch` of each, in one thread from its first step to the last: its arrays stay in one cache."""

        def work(batch):
            with np.errstate(all="ignore"):  # overflow and NaN are values here, as in the kernels
                return self.run_batch(batch, factors, *arrays)

        return in_threads(work, batches, self.threads)

    def view(self, array, strides, channels, spatial):
        """`array` as (groups, channels, n, two axes, the axis of the transforms)."""
        g, order = self.geometry, (*self.cut.others, self.cut.axis)
        n, c, *rest = (stride * array.itemsize for stride in strides)
        return np.lib.stride_tricks.as_strided(
            array,
            (g.groups, channels, g.n, *(spatial[axis] for axis in order)),
            (c * channels, c, n, *(rest[axis] for axis in order)),
            writeable=array.flags.writeable,
        )

    def batches(self):
        """Slices of groups, images, outputs along two axes, and tiles."""
        g, cut = self.geometry, self.cut
        sizes = g.groups, g.n, *(g.out[axis] for axis in cut.others), ceil(g.out[cut.axis] / cut.step)
        return product(*map(parts, sizes, (cut.groups, cut.images, *cut.block, cut.tiles)))

    def run_batch(self, batch, factors, x, bias, add, out):
        """Fill the batch's part of `out`; return for each image whether it is finite."""
        import scipy.fft

        cut, shape = self.cut, self.shape
        groups, images, *block, tiles = batch
        where = groups, slice(None), images
        counts = lengths(groups, images, tiles, *block)
        staged = self.staged(x[where], block, tiles)
        spectra = scipy.fft.rfft(staged, overwrite_x=True)
        del staged
        sums = np.empty((counts[0], shape.o, *counts[1:], spectra.shape[-1]), spectra.dtype)
        _sums(shape, cut, counts).run_spectra(spectra, factors[groups], sums)
        del spectra
        result = scipy.fft.irfft(sums, cut.points, overwrite_x=True)
        del sums
        stride = shape.stride[cut.axis]
        result = result[..., : (cut.step - 1) * stride + 1 : stride]
        finite = np.isfinite(result).all((0, 1, 3, 4, 5, 6))
        activation = self.geometry.convolution.activation
        for own, first, length in _runs(tiles, cut.step, shape.out[cut.axis]):
            y = result[:, :, :, own, ..., :length]
            at = first, cut.step, y.shape[3], length
            for more in (bias, add):
                if more is not None:
                    y += _tiled(more[(*where, *block)], *at)
            if activation.code:
                y = activate(activation, np.ascontiguousarray(y))
            _tiled(out[(*where, *block)], *at)[...] = y
        return finite

    def staged(self, x, block, tiles):
        """The positions that a batch reads, as (groups, c, images, tiles, two axes, points)."""
        cut, shape, maps = self.cut, self.shape, self.geometry.maps
        value = self.geometry.convolution.padding_value
        starts = [part.start * shape.stride[axis] for axis, part in zip(cut.others, block, strict=True)]
        reads = [shape.read(axis, part.stop - part.start) for axis, part in zip(cut.others, block, strict=True)]
        rows = [
            pieces(maps[axis], start, start + read)
            for axis, start, read in zip(cut.others, starts, reads, strict=True)
        ]
        staged = np.empty((*x.shape[:3], tiles.stop - tiles.start, *reads, cut.points), x.dtype)
        line, step = maps[cut.axis], cut.step * shape.stride[cut.axis]
        # tiles that read nothing but input are windows of it
        low = min(max(ceil(line.before / step), tiles.start), tiles.stop)
        high = min(max((line.before + line.size - cut.points) // step + 1, low), tiles.stop)
        if low < high:
            windows = _tiled(x, low * step - line.before, step, high - low, cut.points)
            fill(staged[:, :, :, low - tiles.start : high - tiles.start], windows, [*rows, _WHOLE], value)
        for tile in (*range(tiles.start, low), *range(high, tiles.stop)):
            target = staged[:, :, :, tile - tiles.start]
            start, stop = tile * step, min(tile * step + cut.points, line.read)
            fill(target, x, [*rows, pieces(line, start, stop)], value)
            if stop - start < cut.points:
                target[..., stop - start :] = 0
        return staged

    def run_directly(self, weight, bias, x, add, out):
        """One image once more, its products summed as they are."""
        g = self.geometry
        own = g.convolution.at(g.convolution.join((), g.groups * g.c, g.size[3 - g.convolution.rank :]))
        task = DIRECT.task(own, self.layout, self.threads)
        task.run(x, DIRECT.pack(g.convolution, weight, task.packing), bias, add, out)


_WHOLE = [(slice(None), slice(None))]


def _shared(cut, shape, threads):
    """Smaller batches, where there are fewer than threads; a row is transformed in the same way in any of them."""
    sizes = {"tiles": ceil(shape.out[cut.axis] / cut.step), "groups": shape.groups, "images": shape.n}
    blocks = prod(ceil(shape.out[axis] / count) for axis, count in zip(cut.others, cut.block, strict=True))
    for name in sizes:
        shares = ceil(threads / (blocks * prod(ceil(sizes[other] / getattr(cut, other)) for other in sizes)))
        cut = cut._replace(**{name: balanced(getattr(cut, name), max(1, getattr(cut, name) // shares))})
    return cut


def _tiled(view, first, step, tiles, length):
    """(…, two axes, positions) as (…, tiles, two axes, positions of a tile): a view, from position `first` on."""
    view = view[..., first:]
    *front, outer, inner, along = view.strides
    return np.lib.stride_tricks.as_strided(
        view, (*view.shape[:-3], tiles, *view.shape[-3:-1], length), (*front, step * along, outer, inner, along)
    )


def _runs(tiles, step, size):
    """Tiles that are whole, and the one that is not: which of these, their first output, and outputs of each."""
    whole = min(tiles.stop, size // step)
    if tiles.start < whole:
        yield slice(0, whole - tiles.start), tiles.start * step, step
    if whole < tiles.stop:
        yield slice(tiles.stop - 1 - tiles.start, None), (tiles.stop - 1) * step, size - (tiles.stop - 1) * step


@lru_cache(64)
def _sums(shape, cut, counts):
    """The compiled sums of a batch of so many groups, images, tiles and outputs along two axes."""
    groups, images, tiles, *outputs = counts
    reads = [shape.read(axis, count) for axis, count in zip(cut.others, outputs, strict=True)]
    row = 2 * (cut.points // 2 + 1)
    tables = Tables()
    places = [np.arange(count) * shape.stride[axis] for axis, count in zip(cut.others, outputs, strict=True)]
    taps = [np.arange(shape.kernel[axis]) * shape.dilation[axis] for axis in cut.others]
    lines = images * tiles
    rows = _offsets([np.arange(lines), *places], reads)
    products = _offsets([np.arange(shape.c) * lines, *taps], reads)
    vectors = ceil(row / _isa.forward.LANES[shape.dtype])
    fields = dict(
        n=rows.size,
        o=shape.o,
        plane=shape.c * lines * prod(reads),
        row=row,
        products=products.size,
        staged_rows=tables(rows),
        panel_rows=tables(products),
        items=groups * vectors,
    )
    itemsize = np.dtype(shape.dtype).itemsize
    return _driver.Task(
        _isa.forward.SPECTRAL_SUMS[shape.dtype],
        _driver.no_job() | fields,
        keep=tables,
        threads=1,
        workspace_bytes=fields["plane"] * _isa.forward.LANES[shape.dtype] * itemsize,
        flops=4 * groups * shape.o * rows.size * products.size * row,
        packing=None,
        kernel="spectra",
    )


def _offsets(axes, sizes):
    """Row numbers of (…, two axes) of these sizes."""
    outer, first, second = axes
    return ((outer[:, None, None] * sizes[0] + first[:, None]) * sizes[1] + second).ravel()


def shape_of(geometry):
    """Of one output at least: where there is none, nothing runs, but it can be explained."""
    g = geometry
    out = tuple(max(1, size) for size in g.out)
    return Shape(max(1, g.n), g.groups, g.c, g.o, out, g.kernel, g.stride, g.dilation, g.convolution.dtype.name)


def _axis(shape):
    """The axis of the transforms: that of the most taps."""
    return max(range(3), key=lambda axis: (shape.kernel[axis], axis))


def _products(shape, axis):
    """Of one frequency of one output."""
    return shape.c * prod(shape.kernel) // shape.kernel[axis]


def _spectra_bytes(shape, axis, points):
    return 2 * shape.groups * shape.o * _products(shape, axis) * (points + 2) * np.dtype(shape.dtype).itemsize


@lru_cache(256)
def best(shape):
    """The cheapest `Cut`, or None."""
    return min(_cuts(shape), key=lambda cut: cut.cost, default=None)


def _cuts(shape):
    axis = _axis(shape)
    outer, inner = (other for other in range(3) if other != axis)
    reach, out, stride = shape.reach(axis), shape.out[axis], shape.stride[axis]
    sizes = [most for most in LENGTHS if reach < most] or [reach]
    counts = {ceil(out / ((most - reach) // stride + 1)) for most in sizes}
    for tiles in sorted(counts | {ceil(count / EVEN) * EVEN for count in counts}):
        step = ceil(out / tiles)
        points = FAST[bisect_left(FAST, (step - 1) * stride + reach)]
        if _spectra_bytes(shape, axis, points) > MOST_SPECTRA:
            continue
        most = BATCH // points  # rows
        for depth in sorted({balanced(shape.out[outer], 2**power) for power in range(shape.out[outer].bit_length())}):
            planes = shape.c * shape.read(outer, depth)
            height = min((most // planes - shape.reach(inner)) // shape.stride[inner] + 1, most // (shape.o * depth))
            block = depth, balanced(shape.out[inner], max(1, height))
            yield from _cut(shape, Cut(axis, points, step, 1, 1, 1, block))


def _cut(shape, cut):
    """The `Cut` with as many tiles, groups and images to a batch as fit, if one fits; with its cost."""
    itemsize = np.dtype(shape.dtype).itemsize
    reads = [shape.read(axis, count) for axis, count in zip(cut.others, cut.block, strict=True)]
    rows_in, rows_out = shape.c * prod(reads), shape.o * prod(cut.block)
    tiles = ceil(shape.out[cut.axis] / cut.step)
    room = max(1, BATCH // (cut.points * max(rows_in, rows_out)))
    cut = cut._replace(tiles=balanced(tiles, room))
    cut = cut._replace(groups=balanced(shape.groups, max(1, room // cut.tiles)))
    cut = cut._replace(images=balanced(shape.n, max(1, room // (cut.tiles * cut.groups))))
    together = cut.tiles * cut.groups * cut.images
    panel = rows_in * cut.tiles * cut.images * _isa.forward.LANES[shape.dtype]
    elements = together * (cut.points + 2) * max(2 * rows_in, rows_in + rows_out + panel // cut.points, 2 * rows_out)
    if elements * itemsize > MOST_WORKSPACE:
        return
    blocks = prod(ceil(shape.out[axis] / count) for axis, count in zip(cut.others, cut.block, strict=True))
    units = shape.n * shape.groups * tiles * blocks  # from here on, all
    batches = (
        blocks * ceil(tiles / cut.tiles) * ceil(shape.groups / cut.groups) * ceil(shape.n / cut.images)
    )
    transformed = sum(
        rows + (ALONE - 1) * (rows * together % LINES[shape.dtype]) / together for rows in (rows_in, rows_out)
    )
    transforms = transformed * cut.points * POINT[shape.dtype] * (log2(cut.points) + HALVINGS)
    copies = (rows_in + rows_out) * cut.points * ELEMENT
    vectors = ceil((cut.points + 2) / _isa.forward.LANES[shape.dtype])
    sums = vectors * (rows_out * _products(shape, cut.axis) * 2 * PRODUCT + rows_in) * SECONDS
    cost = units * (transforms + copies + sums) + batches * BATCHES
    yield cut._replace(cost=cost, workspace_bytes=elements * itemsize)
