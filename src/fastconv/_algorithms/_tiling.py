"""How a convolution is cut: chains of products, register tiles, and blocks that fit in cache.

Only the chains decide bits, and they depend on the weight's shape alone. The rest is chosen by counting, in units of
one vector multiply-add: what the tiles multiply (lanes that hold no output included), what is staged, packed and
stored besides.
"""

from functools import lru_cache
from math import ceil, prod
from typing import NamedTuple

import numpy as np

from .. import _isa
from ._lines import VECTOR, Line, Stage, balanced
from ._tiles import TILES, Kind, form

WORKSPACE = 1 << 20  # bytes of one thread that are aimed at: what a block needs should stay in the second-level cache
PIXELS = (128, 256, 512, 1024, 2048)  # of a block
WHOLE = 1 << 14  # outputs of one channel that may be one block of work
GROUPED = 1 << 15  # outputs of one channel each that several groups in a block have together, at most
SHARES = 8  # blocks of a thread, at least
NARROWER = (2, 3, 4)  # parts of a row where a dilation reaches far into the padding
BAND_BLOCKS = (8, 16)  # rows of a block where several rows share what they stage

# Costs beside the multiply-adds, in the same unit, counted on an AVX-512 core
LATENCY = 8.0  # what a product of few sums takes: two multiply-adds begin in each of the four cycles that one takes
POINTWISE = 1.0  # a product of a tile that goes to the channels of several pixels,
SHIFTED = 1.0  # a product of a tile that reads its pixels where they lie, by tables,
SHIFT_VECTOR = 1.0  # what a vector of pixels that is not aligned costs beside its multiply-adds
MANY_ROWS = 4.0  # going to one of so many rows of pixels that the first-level cache does not keep them,
FAR_ROW = 25.0  # or to one in a page of its own
PAGE = 4096  # bytes
NEAR_ROWS = 64  # that are kept from one tile to the next
READ_VECTOR = 1.0  # fetching one vector of input that is read where it is
STAGE_VECTOR = 2.0  # copying one vector of input
STAGE_ELEMENT = 1.5  # gathering one element that does not lie beside its neighbour
STAGE_ROW = 30.0  # finding a row and its borders
PACK_PIECE = 5.0  # starting a piece of a panel's row
PACK_VECTOR = 2.5  # copying one vector of it
STORE_VECTOR = 2.0  # finishing one vector of output
STORE_ELEMENT = 1.0  # one element that does not lie beside its neighbour
STORE_TURNED = 1.8  # or whose neighbours lie in other vectors, of eight lanes
STORE_PIECE = 8.0  # starting a piece of an image row
FAR_PIECE = 16.0  # and besides, if no cache keeps the output
TILE = 25.0  # starting a tile
ROWS_VECTOR = 35.0  # and each vector of one whose rows are image rows
BLOCK = 250.0  # starting a block,
GROUP = 100.0  # and each group in it where there are several
LINE = 64  # bytes
# Fetching a line of weights, of those that a cache of so many bytes does not keep from one block to the next (the first
# one: also of input that phases do not find there); of the second cache, which other programs use too, timed on an AVX2
# core,
FAR_LINES = ((1 << 20, 9.0), (8 << 20, 18.0))
EXPOSED = 0.25  # of which this part is not hidden behind the multiply-adds
NEAR_IMAGE = 2 << 20  # bytes of an input or output that a cache keeps;
FAR_PLANE = 450.0  # coming, with a block, to a plane of another one,
FAR_ELEMENT = 8.0  # and storing an element there, if its neighbours lie in other vectors
WAIT = 0.25  # of a block, where threads wait for the last one
SECONDS = 0.3e-9  # of one unit
MOST_OF_PITCH = 0.87  # of a power of two, from which on it is worth rounding a panel's rows up
MOST_JUNK = 1.25  # of a row that is read in place by tiles that run on into the next one: distance over length
MOST_PAIRS = 10**5  # positions and taps that are worth counting


class Chunk(NamedTuple):
    """The products of one chain: channels, and taps of each; none goes on from one `span` of taps to the next."""

    channels: int
    taps: int
    span: int


class Shape(NamedTuple):
    """What the choice depends on: the convolution without its arrays."""

    lines: tuple[Line, Line, Line]
    n: int
    groups: int
    c: int
    o: int
    x_c: int
    y_o: int
    dtype: str
    zero_padding: bool
    skips: bool  # products with zero padding may be left out
    phases: int  # convolutions that are computed by turns
    threads: int

    @property
    def taps(self):
        depth, height, width = self.lines
        return depth.kernel * height.kernel * width.kernel

    @property
    def itemsize(self):
        return {"float32": 4, "float64": 8}[self.dtype]

    @property
    def depthwise(self):
        """Whether every channel has a kernel of its own, and they lie side by side."""
        return self.groups > 1 and self.c == self.o == self.x_c == 1

    @property
    def chunk(self):
        """What one chain sums: whole channels where they fit; else planes of a kernel, or rows, or part of one."""
        longest = _isa.forward.LONGEST_CHAIN
        if self.taps <= longest:
            return Chunk(balanced(self.c, longest // self.taps), self.taps, self.taps)
        depth, height, width = (line.kernel for line in self.lines)
        if height * width <= longest:
            return Chunk(1, balanced(depth, longest // (height * width)) * height * width, self.taps)
        if width <= longest:
            return Chunk(1, balanced(height, longest // width) * width, height * width)
        return Chunk(1, balanced(width, longest), width)

    @property
    def chains(self):
        channels, taps, span = self.chunk
        return ceil(self.c / channels) * self.taps // span * ceil(span / taps)

    @property
    def read_in_place(self):
        return self.lines[2].x == 1 and all(line.pointwise for line in self.lines)

    def seen_as(self, kind):
        """As tiles of this kind see it: channelwise ones take the groups of a depthwise convolution for channels."""
        return self._replace(groups=1, o=self.groups) if kind.channelwise else self


class Tiling(NamedTuple):
    kind: Kind
    lanes_are_pixels: bool
    tile_rows: int
    tile_lanes: int
    image_rows: int  # of the tile's rows, those of one channel
    block: tuple  # output positions on each axis
    block_tiles: int  # channel tiles in a block
    cost: float = 0.0  # seconds

    @property
    def name(self):
        along = "pixels" if self.lanes_are_pixels else "channels"
        return f"{self.kind.name} {self.tile_rows}x{self.tile_lanes} along {along}"

    @property
    def pixel_tile(self):
        return self.tile_lanes if self.lanes_are_pixels else self.tile_rows

    @property
    def panel_pitch(self):
        """Elements from one product to the next in a panel of pixels: a power of two, whose vectors lie on few lines,
        if hardly any memory is lost."""
        power = 1 << (self.pixel_tile - 1).bit_length()
        return power if self.pixel_tile >= MOST_OF_PITCH * power else self.pixel_tile

    @property
    def channel_tile(self):
        return self.tile_rows // self.image_rows if self.lanes_are_pixels else self.tile_lanes

    def stage(self, lines):
        return Stage.of(lines, self.block, aligned=self.kind.row_wise, alternate=self.kind.alternate)


class Workspace(NamedTuple):
    """Elements that one thread needs, by what they hold."""

    staged: int
    panel: int
    sums: int

    @property
    def total(self):
        return sum(self)


def workspace(shape, tiling, placed_row=0):
    """Elements of a thread's memory; `placed_row`: distance of image rows that are read in place, as they lie."""
    tile = tiling.tile_rows * tiling.tile_lanes
    if tiling.kind.channelwise:  # a vector of the constant, and the sums of one row
        sums = max(tile, tiling.block[2] * tiling.tile_lanes)
        return Workspace(_aligned(tiling.tile_lanes), 0, _aligned(sums + VECTOR))
    if tiling.kind.zero_border:  # a row of zeros
        row = tiling.block[2] * shape.lines[2].stride + shape.lines[2].last_tap + 4 * VECTOR
        return Workspace(_aligned(row), 0, _aligned(tiling.kind.count(tiling, 0) * tiling.block_tiles * tile + VECTOR))
    channels, *_ = shape.chunk
    stage = tiling.stage(shape.lines)
    slack = 4 * tiling.tile_lanes  # whole vectors are read and written behind the last pixel,
    below = tiling.image_rows * stage.row if tiling.kind.row_wise else 0  # and whole tiles below the last row
    tiles = tiling.kind.count(tiling, max(stage.row, placed_row))
    at_once = shape.chains == 1 or tiling.kind.pointwise  # no sums are kept from chain to chain
    return Workspace(
        staged=0 if tiling.kind.pointwise else _aligned(channels * stage.plane + below + slack),
        panel=min(tiles, _isa.forward.MOST_PANELS) * panel_step(shape, tiling) if tiling.kind.packed else 0,
        # the last piece is read by whole vectors
        sums=_aligned((1 if at_once else tiles * tiling.block_tiles) * tile + VECTOR),
    )


def block_groups(shape, tiling):
    """Groups that are one block of work: several of small images, but no fewer blocks than even out a load."""
    if not tiling.kind.zero_border or shape.chains > 1:
        return 1
    positions = prod(tiling.block)
    blocks = shape.n * shape.groups * prod(line.out for line in shape.lines) // max(1, positions)
    return balanced(shape.groups, max(1, min(GROUPED // max(1, positions), blocks // (SHARES * shape.threads))))


def panel_step(shape, tiling):
    """Elements from one packed panel to the next, with room for what whole vectors write behind it."""
    channels, taps, _ = shape.chunk
    return _aligned(channels * taps * tiling.panel_pitch + VECTOR)


def packs_itself(shape, tiling):
    """Whether blocks may pack their weights: each is the only one that multiplies by them in one run of the task, and
    they stay in cache."""
    kind = tiling.kind
    if kind.row_wise or kind.channelwise or shape.n > 1:
        return False
    alone = all(part >= line.out for line, part in zip(shape.lines, tiling.block, strict=True))
    return alone and chain_weights(shape, tiling) * shape.itemsize <= WORKSPACE // 2


def chain_weights(shape, tiling):
    """Elements of a block's packed weights of one chain; of all, where a tile adds them at once."""
    channels, taps, _ = shape.chunk
    products = shape.c if tiling.kind.pointwise else channels * taps
    return _aligned(products * tiling.block_tiles * tiling.channel_tile)


def _aligned(elements):
    return ceil(elements / 16) * 16


@lru_cache(256)
def cheapest(shape, algorithm):
    """The cheapest tiling that an algorithm has."""
    candidates = (
        tiling
        for block in _blocks(shape)
        for kind in TILES[algorithm]
        for size in kind.sizes(shape, block)
        for tiling in _tilings(shape.seen_as(kind), kind, size, _whole_bands(shape, size, block))
    )
    return min(candidates, key=lambda tiling: tiling.cost)


def _blocks(shape):
    """Whole rows, one or several; a part of one; parts of several, if all their columns have padding under a tap."""
    _, h, w = shape.lines
    narrower = [ceil(w.out / parts) for parts in NARROWER] if shape.skips else []
    narrower = [width for width in narrower if live_taps(w, width) < 1]
    blocks = set()
    if h.out * w.out <= WHOLE:
        blocks.add((1, h.out, w.out))
    for pixels in PIXELS:
        width = balanced(w.out, pixels)
        height = balanced(h.out, max(1, pixels // width)) if width == w.out else 1
        blocks.update((1, balanced(h.out, rows), width) for rows in (height, *BAND_BLOCKS))
        blocks.update((1, balanced(h.out, max(1, pixels // width)), width) for width in narrower)
    return sorted(blocks)


def _whole_bands(shape, size, block):
    """The block with as many rows as whole tiles have, if those are rows of the image."""
    depth, height, width = block
    return depth, min(shape.lines[1].out, ceil(height / size.image_rows) * size.image_rows), width


def _tilings(shape, kind, size, block):
    """Tiles of one size in one block, with the channels cut into parts or not."""
    whole = Tiling(kind, *size, block, block_tiles=1)
    tiles = ceil(shape.o / whole.channel_tile)
    items = shape.n * shape.groups * prod(ceil(line.out / part) for line, part in zip(shape.lines, block, strict=True))
    if kind.row_wise:  # the last block has fewer bands
        bands, of_block = (max(1, ceil(rows / size.image_rows)) for rows in (shape.lines[1].out, block[1]))
        items *= bands / of_block / ceil(bands / of_block)
    for block_tiles in {tiles, *(balanced(tiles, max(1, tiles // parts)) for parts in (2, 4, 8, 16))}:
        tiling = whole._replace(block_tiles=block_tiles)
        blocks = items * shape.phases * ceil(tiles / block_tiles)
        turns = blocks if shape.threads == 1 else ceil(blocks / shape.threads) + WAIT
        yield tiling._replace(cost=turns / shape.phases * _block_cost(shape, tiling) * SECONDS)


def _block_cost(shape, tiling):
    """Of one block, in vector multiply-adds."""
    width = _isa.forward.LANES[shape.dtype]
    vectors = tiling.tile_lanes // width
    stage = tiling.stage(shape.lines)
    pixel_tiles = tiling.kind.count(tiling, stage.row)

    steps = max(tiling.tile_rows * vectors, tiling.kind.loads(tiling, shape, vectors), LATENCY)
    steps += _way(shape, tiling, vectors)
    multiply = shape.c * shape.taps * live(shape, tiling) * steps
    if tiling.kind.pointwise:  # the last tile of a row is no larger than need be
        multiply *= prod(tiling.block) / (pixel_tiles * tiling.pixel_tile)
    start = TILE + (ROWS_VECTOR * vectors if tiling.kind.row_wise else 0)
    flush = shape.chains * (start + 2 * tiling.tile_rows * vectors)
    tiles = pixel_tiles * tiling.block_tiles * (multiply + flush + _store_cost(shape, tiling, stage, width))
    pack = 0
    if tiling.kind.packed:
        pieces = 1 + (tiling.pixel_tile - 1) / tiling.block[2]
        piece = PACK_PIECE + PACK_VECTOR * ceil(tiling.pixel_tile / width)
        pack = shape.c * shape.taps * pixel_tiles * pieces * piece
    excess = max(1.0, workspace(shape, tiling).total * shape.itemsize / WORKSPACE)
    groups = block_groups(shape, tiling)
    beside = BLOCK / groups + (GROUP if groups > 1 else 0) + visit_cost(shape, tiling, stage)
    products = products_cost(shape, tiling, 1, tiles * excess)
    return beside + _stage_cost(shape, tiling, stage, width) + pack + products


def _way(shape, tiling, vectors):
    """What it costs, for each product, to go to operands, and to pixels that are read where they lie."""
    if tiling.kind.row_wise or tiling.kind.channelwise or tiling.kind.packed:
        return 0
    if tiling.kind.pointwise:
        return POINTWISE
    shift = SHIFTED + (SHIFT_VECTOR * vectors if tiling.lanes_are_pixels else 0)
    d, h, _ = shape.lines
    rows = shape.chunk.channels * d.kernel * h.kernel * len(tiling.stage(shape.lines).w.counts)
    if rows <= NEAR_ROWS:
        return shift
    placed = shape.read_in_place or in_place(shape, tiling)
    return shift + (FAR_ROW if placed and abs(shape.x_c) * shape.itemsize >= PAGE else MANY_ROWS)


def products_cost(shape, tiling, factor, multiply):
    """Of multiplying, for which weights are fetched; they are `factor` times as many as the convolution has."""
    weights = shape.phases * factor * shape.o * shape.c * shape.taps * shape.itemsize
    share = tiling.block_tiles * tiling.channel_tile / shape.o / shape.phases
    fetch = share * sum(max(0, weights - near) / LINE * cost for near, cost in FAR_LINES)
    return max(multiply, fetch) + EXPOSED * fetch


def visit_cost(shape, tiling, stage):
    """Of coming to the planes that a block reads, and to those that it writes.

    Where phases take turns in a block that a cache keeps, the first one brings it in; else each one does.
    """
    outputs = min(shape.o, tiling.block_tiles * tiling.channel_tile)
    read = shape.c * stage.d.staged if is_far(shape, shape.groups * shape.c, "size") else 0
    written = outputs * tiling.block[0] if is_far(shape, shape.groups * shape.o, "out") else 0
    visits = FAR_PLANE * (read + written)
    if shape.phases == 1:
        return visits
    size = shape.c * prod(tiling.block) * shape.itemsize
    return visits / shape.phases if size <= WORKSPACE // 2 else visits + size / LINE * FAR_LINES[0][1]


def is_far(shape, channels, extent):
    """Whether so many channels of one image are more than a cache keeps; `extent`: "size" or "out"."""
    return channels * prod(getattr(line, extent) for line in shape.lines) * shape.itemsize > NEAR_IMAGE


def _store_cost(shape, tiling, stage, width):
    """Of the last pass over one tile."""
    outputs = tiling.tile_rows * tiling.tile_lanes
    if (shape.lines[2].y if tiling.lanes_are_pixels else shape.y_o) != 1:
        turned = (shape.y_o if tiling.lanes_are_pixels else shape.lines[2].y) == 1
        far = is_far(shape, shape.o, "out")
        return ((STORE_TURNED if turned else STORE_ELEMENT) + (FAR_ELEMENT if far else 0)) * outputs
    if tiling.kind.row_wise and shape.chains == 1:
        return 0  # summed where the output is to lie
    pieces = tiling.tile_rows * (1 + tiling.pixel_tile / stage.row if tiling.lanes_are_pixels else 1)
    piece = STORE_PIECE + (FAR_PIECE if is_far(shape, shape.o, "out") else 0)
    return STORE_VECTOR * outputs / width + piece * pieces


def in_place(shape, tiling):
    """Whether blocks away from the borders, if there are any, may read the input where it is."""
    if tiling.kind.pointwise:
        return True
    d, h, w = shape.lines
    if w.stride != 1 or w.x != 1 or min(shape.x_c, d.x, h.x) < 0:
        return False
    row = h.stride * h.x
    return tiling.kind.packed or tiling.kind.row_wise or tiling.block[1] == 1 or w.out <= row <= MOST_JUNK * w.out


def _stage_cost(shape, tiling, stage, width):
    if tiling.kind.channelwise:
        return 0
    read = READ_VECTOR * shape.c * prod(tiling.block) / width
    if shape.read_in_place or tiling.kind.zero_border or tiling.kind.pointwise:
        return read
    line = shape.lines[2]
    step = 1 if tiling.kind.alternate else line.stride
    element = STAGE_VECTOR * step / width if line.x == 1 and step <= 2 else STAGE_ELEMENT
    rows = shape.c * stage.rows
    staged = rows * (len(stage.w.counts) * STAGE_ROW + stage.w.staged * element)
    if not in_place(shape, tiling):
        return staged
    inside = prod(line.blocks_inside(part) for line, part in zip(shape.lines, tiling.block, strict=True))
    return inside * read + (1 - inside) * staged


def live(shape, tiling):
    """The part of the products that is left where those with zero padding are left out."""
    d, h, w = shape.lines
    if tiling.kind.channelwise or not shape.skips:
        return 1.0
    if tiling.kind.row_wise:
        by_rows = tiling.kind.shared and form(shape, tiling.channel_tile, h.stride).code == _isa.forward.ANY_FORM
        return live_taps(h, 1) if by_rows else 1.0
    within = tiling.block[2] % tiling.pixel_tile == 0
    rows = 1 if within else ceil(tiling.pixel_tile / tiling.block[2]) + 1
    return live_taps(d, 1) * live_taps(h, rows) * live_taps(w, tiling.pixel_tile if within else tiling.block[2])


@lru_cache(256)
def live_taps(line, span):
    """Of the pairs of a tap and `span` outputs, the part in which the tap reads any input."""
    if line.out * line.kernel > MOST_PAIRS or line.size == line.read:
        return 1.0
    firsts, taps = np.arange(0, line.out, span) * line.stride, np.arange(line.kernel) * line.dilation
    starts = np.add.outer(firsts, taps - line.before)
    reach = (span - 1) * line.stride
    return float(((-reach <= starts) & (starts < line.size)).mean())
