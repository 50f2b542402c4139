"""How the sum over positions in the gradient of the weights is cut: four forms of it, chosen by counted cost.

An item of work owns some output channels × input channels of one group, or some channels of a depthwise convolution,
and sums over blocks of output positions. Where that gives too few items, the positions are split too, and what is long
is done in several rounds.
"""

from math import ceil, inf, prod
from typing import NamedTuple

from .. import _isa
from ._lines import Stage, balanced
from ._tiled import skips_padding
from ._tiles import even_rows
from ._tiling import live_taps

# In float32, sums that are each rounded by half a unit 168 times may leave the bounds: a chain of 128 products, and
FLUSH = 24  # chains that are added one after the other,
FLUSHES = 8  # the sums of those, likewise, and the parts, added in two chains
ITEM_FLOPS = 2_000_000_000  # nobody looks for signals in the midst of an item
ITEMS = 16  # of work, wanted at least: a few threads get even shares
STAGED_BYTES = 1 << 18  # of input that an item stages at a time
KEPT_BYTES = 1 << 18  # of sums that it keeps
KEPT_VALUES = 1 << 19  # or of transformed ones
PARTS_BYTES = 1 << 21  # of parts that are added up

WORTH_SKIPPING = 0.96  # of the products, which then go down the columns: where more are left, rows are quicker
OUTER_VECTORS = (4, 8, 16, 32)  # of output channels that an item may have
MOST_TILES = 64  # of a block
TRANSFORMS = {1: (1, 1), 3: (4, 6)}  # taps → positions of a tile, and points that it is transformed into

# Costs, in cycles
DOTS = 1.4  # one vector multiply-add of two loaded operands
REDUCE = 3.0  # adding up the lanes of one sum
TURN = 0.6  # transposing one element
OUTER = 1.1  # one vector multiply-add of an outer product
STAGE_ROW = 15.0  # finding a row of input, and its borders
STAGE_ELEMENT = 0.16  # copying one element of it, of every `stride`-th one
GATHER = 2.0  # copying one element that does not lie beside its neighbour
POINT = 8.0  # transforming a vector of one point
WORTH = 1.1  # what sums of transformed tiles must save
ITEM = 600.0  # what a block costs beside
ADD = 1.7  # adding one element of a part to the others'


def pitch_of(channels, lanes):
    """Elements from one position's channels to the next's: an odd number of vectors, so that all of a cache is used."""
    return (ceil(channels / lanes) | 1) * lanes


class Rows(NamedTuple):
    """Tiles of outer products: their rows are (column of the kernel, input channel), in runs that lie side by side."""

    sizes: list
    factors: list  # where the first row's factor is, for the first position
    kernel_rows: list  # which row of the kernel it belongs to, counted over its planes,
    kernel_columns: list  # and which column; -1: several
    kept: int
    row_of: list  # for each (channel, tap): its row
    pitch: int

    @classmethod
    def of(cls, offsets, kernel_width, channels, lanes):
        """`offsets`: of each tap's operand among the staged positions."""
        pitch = channels if channels <= lanes else pitch_of(channels, lanes)
        runs = []
        for tap in sorted(range(len(offsets)), key=offsets.__getitem__):
            beside = runs and tap // kernel_width == runs[-1][-1] // kernel_width
            if beside and pitch == channels and offsets[tap] == offsets[runs[-1][-1]] + 1:
                runs[-1].append(tap)
            else:
                runs.append([tap])
        sizes, factors, kernel_rows, kernel_columns, first_row, kept = [], [], [], [], {}, 0
        for run in runs:
            length = len(run) * channels
            first_row.update({tap: kept + at * channels for at, tap in enumerate(run)})
            size = even_rows(length, _isa.backward.TILE_ROWS)
            for first in range(0, length, size):
                sizes.append(min(size, length - first))
                factors.append(offsets[run[0]] * pitch + first)
                kernel_rows.append(run[0] // kernel_width)
                kernel_columns.append(run[0] % kernel_width if len(run) == 1 else -1)
            kept += length
        row_of = [first_row[tap] + channel for channel in range(channels) for tap in range(len(offsets))]
        return cls(sizes, factors, kernel_rows, kernel_columns, kept, row_of, pitch)


class Cut(NamedTuple):
    """How the work is cut."""

    form: str
    block: tuple  # output positions on each axis
    stage: Stage | None
    o: int  # channels of an item, within a group
    c: int
    rows: object  # of a tile of sums: their number, or `Rows`
    transforms: tuple = ()  # (positions, points) of a tile along h and w
    taps: int = 0  # that are summed at once
    over_rows: bool = False  # the rows are those of the kernel, else output channels
    channels: int = 1  # of a depthwise convolution that an item has
    chains: int = 1  # of the positions of a block
    cost: float = inf
    flush: int = 1  # blocks whose sums are kept together
    splits: int = 1
    rounds: int = 1


def _dots(geometry, axes):
    """Vectors along the rows of the image: for few channels."""
    g, (_, h, w) = geometry, axes
    kernels, dtype = _isa.backward, geometry.convolution.dtype
    lanes = kernels.LANES[dtype.name]
    over_rows = g.o < 3 <= h.kernel and h.stride == h.dilation == 1
    width, steps = (8, 96) if over_rows else (64, 64)  # vectors of a row, and of a block
    width = balanced(w.out, width * lanes)
    block = (1, balanced(h.out, max(1, steps // ceil(width / lanes))), width)
    block, stage = _staged(axes, block, dtype)
    products = g.c * prod(g.kernel)
    most_rows, most_taps = (h.kernel, w.kernel) if over_rows else (g.o, products)
    rows = balanced(most_rows, max(kernels.DOT_SIZES))
    steps = block[1] * (block[2] // lanes + (1.5 if block[2] % lanes else 0))
    element = w.stride * STAGE_ELEMENT if w.x == 1 else GATHER
    staging = g.c * stage.rows * (len(stage.w.counts) * STAGE_ROW + stage.w.staged * element)
    if w.y != 1:
        staging += g.o * prod(block) * GATHER
    sums = g.o * products * (steps * DOTS + REDUCE)
    yield Cut(
        form="dots",
        block=block,
        stage=stage,
        o=balanced(g.o, 64),
        c=balanced(g.c, max(1, STAGED_BYTES // (stage.plane * dtype.itemsize))),
        rows=rows,
        taps=balanced(most_taps, kernels.DOT_SIZES[rows]),
        over_rows=over_rows,
        cost=blocks(g, axes, block) * g.groups * (sums + staging + ITEM),
    )


def _outer(geometry, axes):
    """Vectors along the output channels: for many of them."""
    g, (d, h, w) = geometry, axes
    kernels, dtype = _isa.backward, geometry.convolution.dtype
    lanes, taps = kernels.LANES[dtype.name], prod(g.kernel)
    width = balanced(w.out, (2 if h.out == 1 else 1) * kernels.LONGEST_CHAIN)
    block = (1, balanced(h.out, max(1, 2 * kernels.LONGEST_CHAIN // width)), width)
    block, stage = _staged(axes, block, dtype)
    offsets, positions, count = stage.offsets().tolist(), block[1] * block[2], blocks(g, axes, block)
    live = live_taps(d, 1) * live_taps(h, block[1]) if skips_padding(g.convolution) else 1.0
    for o in {balanced(g.o, vectors * lanes) for vectors in OUTER_VECTORS}:
        wide = ceil(o / (2 * lanes)) * 2 * lanes
        most = min(KEPT_BYTES // (taps * wide * dtype.itemsize), STAGED_BYTES // (stage.plane * dtype.itemsize))
        for c in {balanced(g.c, max(1, most // parts)) for parts in (1, 2, 4)}:
            if c > lanes:
                c = min(g.c, ceil(c / lanes) * lanes)
            rows = Rows.of(offsets, w.kernel, c, lanes)
            by_columns = skips_columns(g, axes, rows)
            tiles = sum(_tile(size, positions) for size in rows.sizes)
            tiles *= live * (live_taps(w, 1) if by_columns else 1.0)
            turned = stage.plane * c + positions * wide
            cycles = tiles * ceil(o / (2 * lanes)) * OUTER + turned * TURN + ITEM
            yield Cut(
                form="outer products",
                block=block,
                stage=stage,
                o=o,
                c=c,
                rows=rows,
                chains=ceil(positions / kernels.LONGEST_CHAIN),
                cost=count * g.groups * ceil(g.o / o) * ceil(g.c / c) * cycles,
            )


def skips_columns(geometry, axes, rows):
    """Whether columns of a block where a tap reads padding are left out: enough of them, each tile having one tap."""
    live = live_taps(axes[2], 1) if skips_padding(geometry.convolution) else 1.0
    return live < WORTH_SKIPPING and min(rows.kernel_columns) >= 0


def _tile(rows, products):
    """Vector multiply-adds, or what takes as long, of a tile of two vectors."""
    return max(2 * rows, 4 + rows / 2) * products + 4 * rows + 20


def _channelwise(geometry, axes):
    """Vectors along channels that have a kernel of their own each."""
    g, (d, h, w) = geometry, axes
    kernels, dtype = _isa.backward, geometry.convolution.dtype
    channels, taps = 2 * kernels.LANES[dtype.name], prod(g.kernel)
    constant = g.convolution.padding_mode == "constant" or not any(line.map.border for line in axes)
    row_bytes = w.read * d.kernel * channels * dtype.itemsize
    if g.c > 1 or g.o > 1 or not constant or row_bytes * (h.last_tap + 1) > STAGED_BYTES:
        return
    rows = min(2 * kernels.LONGEST_CHAIN // w.out, (STAGED_BYTES // row_bytes - h.last_tap - 1) // h.stride + 1)
    block = (1, balanced(h.out, max(1, rows)), w.out)
    positions = block[1] * w.out
    turned = ((block[1] - 1) * h.stride + h.last_tap + 1) * w.read * d.kernel + positions
    cycles = channels * turned * TURN + 2 * positions * taps * DOTS + ITEM
    yield Cut(
        form="channelwise",
        block=block,
        stage=None,
        o=1,
        c=1,
        rows=2,
        taps=balanced(taps, kernels.MOST_SUMS // 2),
        channels=channels,
        chains=ceil(positions / kernels.LONGEST_CHAIN),
        cost=blocks(g, axes, block) * ceil(g.groups / channels) * cycles,
    )


def _winograd(geometry, axes):
    """Outer products of tiles that are transformed along h and w."""
    g, (d, h, w) = geometry, axes
    kernels, dtype = _isa.backward, geometry.convolution.dtype
    lanes = kernels.LANES[dtype.name]
    transforms = [TRANSFORMS.get(line.kernel) for line in (h, w)]
    if (
        g.convolution.precision == "strict"
        or None in transforms
        or h.kernel == w.kernel == 1
        or any(line.stride > 1 or line.dilation > 1 for line in (h, w))
    ):
        return
    (tall, h_points), (long, w_points) = transforms
    down, along = ceil(h.out / tall), ceil(w.out / long)
    width = balanced(along, MOST_TILES)
    block = (1, balanced(down, max(1, MOST_TILES // width)) * tall, width * long)
    points, tiles = h_points * w_points, block[1] // tall * width
    o = balanced(g.o, 4 * lanes)
    wide = ceil(o / (2 * lanes)) * 2 * lanes
    kept = points * d.kernel * wide * dtype.itemsize
    c = min(g.c, ceil(balanced(g.c, max(lanes, KEPT_VALUES // kept)) / lanes) * lanes)
    rows = even_rows(c, kernels.TILE_ROWS)
    stage = Stage.of(axes, block)
    items = g.groups * ceil(g.o / o) * ceil(g.c / c)
    sums = ceil(c / rows) * _tile(rows, tiles)
    turned = stage.plane * c + prod(block) * wide
    transformed = points * tiles * (d.kernel * ceil(c / lanes) + wide / lanes)
    cycles = points * d.kernel * ceil(o / (2 * lanes)) * sums * OUTER + turned * TURN + transformed * POINT + ITEM
    count = blocks(g, axes, block)
    flushed = ceil(count / FLUSH) * points * d.kernel * c * wide / lanes
    yield Cut(
        form="winograd",
        block=block,
        stage=stage,
        o=o,
        c=c,
        rows=rows,
        transforms=tuple(transforms),
        chains=ceil(tiles / kernels.TRANSFORMED_CHAIN),
        cost=items * (count * cycles + flushed * POINT) * WORTH,
    )


FORMS = {"dots": _dots, "outer products": _outer, "channelwise": _channelwise, "winograd": _winograd}


def cheapest_cut(geometry, axes):
    """The cheapest `Cut`, split into enough items."""
    cuts = [_split(geometry, axes, cut) for form in FORMS.values() for cut in form(geometry, axes)]
    return min(cuts, key=lambda cut: cut.cost)


def _staged(axes, block, dtype):
    """A block, halved while a channel of it is too much to stage and that helps, and how it is staged."""
    stage = Stage.of(axes, block)
    while stage.plane * dtype.itemsize > STAGED_BYTES:
        _, h, w = block
        smaller = (1, ceil(h / 2), w) if h > 1 else (1, 1, ceil(w / 2))
        half = Stage.of(axes, smaller)
        if half.plane > 0.75 * stage.plane:
            break
        block, stage = smaller, half
    return block, stage


def blocks(geometry, axes, block):
    """Number of blocks of positions."""
    return geometry.n * prod(ceil(line.out / part) for line, part in zip(axes, block, strict=True))


def items(geometry, cut):
    """Number of items for each part of the positions."""
    return ceil(geometry.groups / cut.channels) * ceil(geometry.o / cut.o) * ceil(geometry.c / cut.c)


def _split(geometry, axes, cut):
    """Split the positions where there are few items, unless parts would take much memory, and where items are long."""
    part = prod(geometry.convolution.weight_shape)
    part_bytes = part * geometry.convolution.dtype.itemsize
    positions, apart = blocks(geometry, axes, cut.block), items(geometry, cut)
    splits = min(positions, ceil(ITEMS / apart), max(1, PARTS_BYTES // part_bytes))
    flush = max(1, FLUSH // cut.chains)
    wanted = max(ceil(positions / (splits * flush * FLUSHES)), ceil(geometry.flops / (splits * apart * ITEM_FLOPS)))
    rounds = min(wanted, positions // splits)
    cost = cut.cost + (part * splits * rounds * ADD if splits * rounds > 1 else 0)
    return cut._replace(flush=flush, splits=splits, rounds=rounds, cost=cost)
