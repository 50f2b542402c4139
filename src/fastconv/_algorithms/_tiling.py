"""How a convolution is cut: chains of products, register tiles, and blocks that fit in cache.

Only the chains decide bits, and they depend on the weight's shape alone.  The rest is chosen by counting, in units of one vector
multiply-add: what the tiles multiply (lanes that hold no output included), what is staged, packed and stored besides.
"""

from functools import lru_cache
from math import ceil, prod
from typing import NamedTuple

from .. import _isa
from ._lines import Line, Stage, balanced

WORKSPACE = 1 << 20  # bytes of one thread that are aimed at: what a block needs should stay in the second-level cache
PIXELS = (128, 256, 512, 1024, 2048)  # of a block

# Costs beside the multiply-adds, in the same unit, counted on an AVX-512 core
STAGE_VECTOR = 2.0  # copying one vector of input
STAGE_ELEMENT = 1.5  # gathering one element that does not lie beside its neighbour
STAGE_ROW = 12.0  # finding a row and its borders
PACK_PIECE = 2.5  # copying one vector of a panel
STORE_VECTOR = 2.0  # finishing one vector of output
STORE_PIECE = 8.0  # starting a piece of an image row
STORE_ELEMENT = 1.0  # one element that does not lie beside its neighbour
TILE = 25.0  # starting a tile
BLOCK = 250.0  # starting a block
MOST_PAIRS = 1000  # positions and taps that are worth counting
SECONDS = 0.3e-9  # of one unit


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
    skips: bool  # products with zero padding may be left out
    threads: int

    @property
    def taps(self):
        return prod(line.kernel for line in self.lines)

    @property
    def depthwise(self):
        """Whether every channel has a kernel of its own, and they lie side by side."""
        return self.groups > 1 and self.c == self.o == self.x_c == 1

    def seen_as(self, kind):
        """The shape as tiles of this kind see it: the groups of a depthwise convolution are channels of channelwise ones."""
        return self._replace(groups=1, o=self.groups) if kind == CHANNELWISE else self

    @property
    def chunk(self):
        """(channels, taps) of a chain: whole channels where their taps fit, else part of one channel's."""
        if self.taps <= _isa.kernels.LONGEST_CHAIN:
            return balanced(self.c, _isa.kernels.LONGEST_CHAIN // self.taps), self.taps
        return 1, balanced(self.taps, _isa.kernels.LONGEST_CHAIN)


# What the tiles are made of
PACKED = "packed"  # pixels flattened across rows, packed into panels
SHIFTED = "shifted"  # pixels along a row as it lies and on into the next one: each tap reads them shifted
STRIP = "strip"  # the same, in tiles of few channels and many pixels
BAND = "band"  # image rows × pixels along the row, of one channel
SHARED = "shared band"  # the same; a row of input is loaded once for all the rows of output that it belongs to
CHANNELWISE = "channelwise"  # pixels × channels that have a kernel of their own each, channels last


class Tiling(NamedTuple):
    kind: str
    lanes_are_pixels: bool
    tile_rows: int
    tile_lanes: int
    block: tuple  # output positions on each axis
    block_tiles: int  # channel tiles in a block
    cost: float  # seconds

    @property
    def name(self):
        return f"{self.kind} {self.tile_rows}x{self.tile_lanes} along {'pixels' if self.lanes_are_pixels else 'channels'}"

    @property
    def row_wise(self):
        """Whether a tile is rows of the image."""
        return self.kind in (BAND, SHARED)

    @property
    def pixel_tile(self):
        return self.tile_lanes if self.lanes_are_pixels else self.tile_rows

    @property
    def channel_tile(self):
        if self.row_wise:
            return 1
        return self.tile_rows if self.lanes_are_pixels else self.tile_lanes

    def pixel_tiles(self, row):
        """Tiles that cover a block's pixels; `row`: from one image row to the next, as they lie."""
        _, h, w = self.block
        if self.kind == CHANNELWISE:
            return h * ceil(w / self.tile_rows)
        if self.row_wise:
            return ceil(h / self.tile_rows) * ceil(w / self.tile_lanes)
        pixels = h * w if self.kind == PACKED else (h - 1) * row + w
        return ceil(pixels / self.pixel_tile)


class Workspace(NamedTuple):
    """Elements that one thread needs, by what they hold."""

    staged: int
    panel: int
    sums: int

    @property
    def total(self):
        return sum(self)


def workspace(shape, tiling, placed_row=0):
    """Elements of a thread's memory; `placed_row`: distance of image rows that are read in place by unpacked tiles."""
    if tiling.kind == CHANNELWISE:
        return Workspace(_aligned(tiling.tile_lanes), 0, _aligned(tiling.block[2] * tiling.tile_lanes))
    channels, taps = shape.chunk
    stage = Stage.of(shape.lines, tiling.block, tiling.row_wise)
    slack = 4 * tiling.tile_lanes  # whole vectors are read and written behind the last pixel
    tiles = tiling.pixel_tiles(max(stage.row, placed_row)) * tiling.block_tiles
    single = channels >= shape.c and taps == shape.taps
    return Workspace(
        staged=_aligned(channels * stage.plane + (tiling.tile_rows if tiling.row_wise else 0) * stage.row + slack),
        panel=_aligned(channels * taps * tiling.pixel_tile + slack if tiling.kind == PACKED else 0),
        sums=_aligned((1 if single else tiles) * tiling.tile_rows * tiling.tile_lanes),
    )


def _aligned(elements):
    return ceil(elements / 16) * 16


@lru_cache(256)
def cheapest(shape, kinds):
    """The cheapest tiling of these kinds."""
    candidates = (
        tiling
        for block in _blocks(shape)
        for kind in kinds
        for role, rows, lanes in TILES[kind](shape, block)
        for tiling in _channel_blocks(shape.seen_as(kind), kind, role, rows, lanes, block)
    )
    return min(candidates, key=lambda tiling: tiling.cost)


def _blocks(shape):
    """Whole rows, one or several, or a part of one row."""
    _, h, w = shape.lines
    blocks = set()
    for pixels in PIXELS:
        width = balanced(w.out, pixels)
        height = balanced(h.out, max(1, pixels // width)) if width == w.out else 1
        blocks.add((1, height, width))
        # For the direct tile several rows of a part of the image share what they stage.
        blocks.add((1, balanced(h.out, 8), width))
        blocks.add((1, balanced(h.out, 16), width))
    return sorted(blocks)


def _packed_tiles(shape, block):
    """(lanes are pixels, rows, lanes) worth a try: either role."""
    lanes = 2 * _isa.kernels.LANES[shape.dtype]
    most = _isa.kernels.TILE_ROWS
    dividing = max(rows for rows in range(1, most + 1) if block[2] % rows == 0)  # no tile on two rows of the image
    pixels = {_even_rows(block[1] * block[2], most), dividing}
    return [(True, _even_rows(shape.o, most), lanes), *((False, rows, lanes) for rows in sorted(pixels))]


def _shifted_tiles(shape, block):
    return _packed_tiles(shape, block)[:1]


def _strip_tiles(shape, block):
    strips = _isa.kernels.STRIPS
    rows = min(strips, key=lambda rows: (ceil(shape.o / rows), rows))
    return [(True, rows, strips[rows] * _isa.kernels.LANES[shape.dtype])]


def _band_tiles(shape, block):
    """Whole rows of the block."""
    width = _isa.kernels.LANES[shape.dtype]
    return [(True, _isa.kernels.ROWS_OF_BAND, ceil(block[2] / width) * width)]


def _shared_tiles(shape, block):
    line = shape.lines[1]
    fits = line.kernel >= _isa.kernels.ROWS_OF_BAND - 1 and line.stride == line.dilation == 1 and shape.taps <= _isa.kernels.LONGEST_CHAIN
    return _band_tiles(shape, block) if fits else []


def _channelwise_tiles(shape, block):
    if not shape.depthwise:
        return []
    return [(False, _isa.kernels.PIXELS_OF_CHANNELWISE, 2 * _isa.kernels.LANES[shape.dtype])]


TILES = {
    PACKED: _packed_tiles,
    SHIFTED: _shifted_tiles,
    STRIP: _strip_tiles,
    BAND: _band_tiles,
    SHARED: _shared_tiles,
    CHANNELWISE: _channelwise_tiles,
}


def _even_rows(count, most):
    """Rows of a tile for `count` of them: few idle ones, and not so few rows that loads outnumber multiply-adds."""
    if count <= most:
        return count
    return min(range(most // 2, most + 1), key=lambda rows: ceil(count / rows) * (rows + 0.7))


def _channel_blocks(shape, kind, role, rows, lanes, block):
    tiling = Tiling(kind, role, rows, lanes, block, 1, 0.0)
    tiles = ceil(shape.o / tiling.channel_tile)
    items = shape.n * shape.groups * prod(ceil(line.out / part) for line, part in zip(shape.lines, block, strict=True))
    for block_tiles in sorted({tiles, *(balanced(tiles, max(1, tiles // parts)) for parts in (2, 4, 8, 16))}):
        candidate = tiling._replace(block_tiles=block_tiles)
        cost = _block_cost(shape, candidate)
        rounds = ceil(items * ceil(tiles / block_tiles) / shape.threads)
        yield candidate._replace(cost=rounds * cost * SECONDS)


def _live(shape, tiling):
    """The part of the products that is left where those with zero padding are left out."""
    if tiling.row_wise or tiling.kind == CHANNELWISE or not shape.skips:
        return 1.0
    d, h, w = shape.lines
    within = tiling.block[2] % tiling.pixel_tile == 0
    rows = 1 if within else ceil(tiling.pixel_tile / tiling.block[2]) + 1
    return _live_taps(d, 1) * _live_taps(h, rows) * (_live_taps(w, tiling.pixel_tile) if within else 1.0)


@lru_cache(256)
def _live_taps(line, span):
    """Of the pairs of a tap and `span` outputs, the part in which the tap reads any input."""
    if line.out * line.kernel > MOST_PAIRS or line.size == line.read:
        return 1.0
    pairs = [
        (first * line.stride + tap * line.dilation - line.before, (span - 1) * line.stride)
        for first in range(0, line.out, span)
        for tap in range(line.kernel)
    ]
    return sum(start + reach >= 0 and start < line.size for start, reach in pairs) / len(pairs)


def _block_cost(shape, tiling):
    """Of one block, in vector multiply-adds."""
    channels, taps = shape.chunk
    products = shape.c * shape.taps
    chains = ceil(shape.c / channels) * ceil(shape.taps / taps)
    width = _isa.kernels.LANES[shape.dtype]
    vectors = tiling.tile_lanes // width
    staged = Stage.of(shape.lines, tiling.block, tiling.row_wise)
    pixel_tiles = tiling.pixel_tiles(staged.row)
    tiles = pixel_tiles * tiling.block_tiles

    if tiling.kind == CHANNELWISE:
        loads = (tiling.tile_rows + 1) * vectors
    elif tiling.kind == BAND:
        loads = 2 * tiling.tile_rows * vectors + 1
    elif tiling.kind == SHARED:
        shared = (shape.lines[1].kernel + tiling.tile_rows - 1) / shape.lines[1].kernel  # rows loaded for one row of the kernel
        loads = 2 * vectors * shared + tiling.tile_rows / 2 + 2
    else:
        loads = tiling.tile_rows / 2 + vectors * (1 if tiling.kind == PACKED else 2)
    multiply = products * _live(shape, tiling) * max(tiling.tile_rows * vectors, loads, 4)
    flush = chains * (TILE + 2 * tiling.tile_rows * vectors)
    contiguous = shape.lines[2].y == 1 if tiling.lanes_are_pixels else shape.y_o == 1
    outputs = tiling.tile_rows * tiling.tile_lanes
    rows = tiling.tile_rows * (1 + tiling.pixel_tile / staged.row if tiling.lanes_are_pixels else 1)
    if tiling.row_wise and contiguous and chains == 1:
        store = 0  # summed where the output is to lie
    else:
        store = STORE_VECTOR * outputs / width + STORE_PIECE * rows if contiguous else STORE_ELEMENT * outputs

    line = shape.lines[2]
    element = STAGE_VECTOR * line.stride / width if line.x == 1 and line.stride <= 2 else STAGE_ELEMENT
    stage = shape.c * ceil(shape.taps / taps) * staged.rows * (len(staged.w.counts) * STAGE_ROW + staged.w.staged * element)
    if tiling.kind == CHANNELWISE or line.pointwise and line.x == 1 and all(line.pointwise for line in shape.lines[:2]):
        stage = 0  # read in place
    pack = 0
    if tiling.kind == PACKED:
        pieces = 1 + (tiling.pixel_tile - 1) / tiling.block[2]
        pack = products * pixel_tiles * PACK_PIECE * pieces * ceil(tiling.pixel_tile / width)
    excess = max(1.0, workspace(shape, tiling).total * (4 if shape.dtype == "float32" else 8) / WORKSPACE)
    return BLOCK + stage + pack + tiles * (multiply + flush + store) * excess
