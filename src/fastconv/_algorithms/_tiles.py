"""The kinds of register tile: what lies along its rows and lanes, which sizes are worth a try, and what it loads."""

from math import ceil
from typing import NamedTuple

from .. import _isa
from ._lines import balanced, reads_one_position

LOADED = 4  # rows of multiply-adds that loading the other side of a tile is worth
SPLIT = 3  # loads of aligned vectors that one across two cache lines is worth


class Size(NamedTuple):
    """Of a tile: whether the lanes are pixels, rows and lanes of sums; `image_rows` of each channel, of a band."""

    lanes_are_pixels: bool
    rows: int
    lanes: int
    image_rows: int = 1


class Kind(NamedTuple):
    """One kind of tile.

    `sizes(shape, block)` gives `Size`s; `count(tiling, row)` the tiles that cover a block's pixels, `row` being the
    distance of two image rows as they lie; `loads(tiling, shape, vectors)` the vectors loaded for one product, one that
    is not aligned counting `SPLIT` times and a scalar half.
    """

    name: str
    sizes: object
    count: object
    loads: object
    packed: bool = False  # pixels are packed into panels
    pointwise: bool = False  # or their channels are read one after the other where they are
    row_wise: bool = False  # a tile is rows of the image, of one channel or several
    shared: bool = False  # and loads a row of input once for all the rows of output that it belongs to
    zero_border: bool = False  # and reads it in the input itself, which is padded with zeros
    alternate: bool = False  # or takes every second column of rows that are staged as they lie
    channelwise: bool = False  # a tile is pixels × channels that have a kernel of their own each, and nothing is staged


def even_rows(count, most):
    """Rows of a tile for `count` of them: few idle ones, and few tiles, each of which loads the whole other side."""
    if count <= most:
        return count
    return min(range(most // 2, most + 1), key=lambda rows: ceil(count / rows) * (rows + LOADED))


def _both_roles(shape, block):
    """Either role; pixels as rows also so that no tile lies on two rows of the image, if that leaves it large."""
    lanes, most = 2 * _isa.forward.LANES[shape.dtype], _isa.forward.TILE_ROWS
    even = even_rows(block[1] * block[2], most)
    pixels = {even, *(rows for rows in range(min(even, most // 2 + 1), most + 1) if block[2] % rows == 0)}
    return [Size(True, even_rows(shape.o, most), lanes), *(Size(False, rows, lanes) for rows in sorted(pixels))]


def _pointwise_sizes(shape, block):
    """As many pixels of one row as the registers hold."""
    if not (reads_one_position(shape.lines) and shape.x_c == 1):
        return []
    return [Size(False, balanced(block[2], _isa.forward.TILE_ROWS), 2 * _isa.forward.LANES[shape.dtype])]


def _strip_sizes(shape, block):
    strips = _isa.forward.STRIPS
    rows = min(strips, key=lambda rows: (ceil(shape.o / rows), rows))
    return [Size(True, rows, strips[rows] * _isa.forward.LANES[shape.dtype])]


def _band_size(shape, block, rows, channels=1):
    """Whole rows of the block."""
    width = _isa.forward.LANES[shape.dtype]
    return Size(True, channels * rows, ceil(block[2] / width) * width, rows)


def _band_sizes(shape, block):
    return [_band_size(shape, block, _isa.forward.ROWS_OF_BAND)]


def _sizes_of_form(shape, block, stride):
    """A band of one channel or several, if there is a form for it."""
    several = _isa.forward.CHANNELS_OF_BAND
    channels = 1 if 2 * shape.o <= several else several
    found = form(shape, channels, stride)
    return [] if found is None else [_band_size(shape, block, found.image_rows, channels)]


class Form(NamedTuple):
    """How a band takes the taps so that it shares what it loads, and its image rows."""

    code: int
    image_rows: int


def form(shape, channels, stride):
    """That of a band of so many channels, or None.

    The first row of `_isa.forward.FORMS` that fits: form, stride, rows and columns of the kernel (0: any columns, or as
    many rows as there are instances for), and image rows of one channel and of several (0: it is for one). A form of so
    many columns reads them side by side.
    """
    _, h, w = shape.lines
    longest = _isa.forward.LONGEST_CHAIN
    near = w.dilation == 1 and w.stride == stride
    if h.stride != stride or h.dilation > 1 or max(h.kernel, w.kernel) > longest:
        return None
    for code, step, rows, columns, of_one, of_several in _isa.forward.FORMS:
        image_rows = of_one if channels == 1 else of_several
        if (
            step == stride
            and image_rows
            and (h.kernel == rows if rows else h.kernel >= image_rows - 1)
            and (w.kernel == columns and near and h.kernel * w.kernel <= longest if columns else True)
        ):
            return Form(code, image_rows)
    return None


def _shared_sizes(shape, block):
    return _sizes_of_form(shape, block, 1)


def _bordered_sizes(shape, block):
    """Whole vectors of input, but for the first and the last one of a row."""
    d, _, w = shape.lines
    if not (shape.zero_padding and w.stride == w.x == 1 and d.map.border == 0):
        return []
    lanes = _isa.forward.LANES[shape.dtype]
    width = w.out - (ceil(w.out / block[2]) - 1) * block[2]  # of the last block
    rest = (width - 1) % lanes + 1
    fits = w.before <= lanes and _behind(w) <= (lanes if width <= lanes else rest)
    return _sizes_of_form(shape, block, 1) if fits else []


def _halved_sizes(shape, block):
    """Likewise; the edges of rows lie in the first strip and the last two."""
    d, _, w = shape.lines
    if not (shape.zero_padding and w.stride == 2 and w.x == w.dilation == 1 and d.map.border == 0):
        return []
    lanes = _isa.forward.LANES[shape.dtype]
    fits = max(w.before, _behind(w)) <= lanes and (block[2] == w.out or block[2] % (4 * lanes) == 0)
    return _sizes_of_form(shape, block, 2) if fits else []


def _behind(line):
    """Positions behind the input that the last output reads."""
    return (line.out - 1) * line.stride + line.last_tap - line.before - (line.size - 1)


def _alternate_sizes(shape, block):
    w = shape.lines[2]
    return _band_sizes(shape, block) if w.stride == 2 and w.out > 1 else []


def _channelwise_sizes(shape, block):
    lanes = 2 * _isa.forward.LANES[shape.dtype]
    return [Size(False, _isa.forward.PIXELS_OF_CHANNELWISE, lanes)] if shape.depthwise else []


def _flattened(tiling, row):
    _, h, w = tiling.block
    return ceil(h * w / tiling.pixel_tile)


def _as_they_lie(tiling, row):
    _, h, w = tiling.block
    return ceil(((h - 1) * row + w) / tiling.pixel_tile)


def _row_by_row(tiling, row):
    _, h, w = tiling.block
    return ceil(h / tiling.image_rows) * ceil(w / tiling.tile_lanes)


def _pixel_by_pixel(tiling, row):
    _, h, w = tiling.block
    return h * ceil(w / tiling.tile_rows)


def _aligned_loads(tiling, shape, vectors):
    return tiling.tile_rows / 2 + vectors


def _shifted_loads(tiling, shape, vectors):
    return tiling.tile_rows / 2 + (SPLIT * vectors if tiling.lanes_are_pixels else vectors)


def _band_loads(tiling, shape, vectors):
    return SPLIT * tiling.tile_rows * vectors + 1


def _shared_loads(tiling, shape, vectors):
    """Each row of the kernel and of the band but one."""
    h = shape.lines[1]
    read = (h.kernel + h.stride * (tiling.image_rows - 1)) / h.kernel
    return SPLIT * h.stride * vectors * read + tiling.tile_rows / 2


def _alternate_loads(tiling, shape, vectors):
    pairs = ceil(shape.lines[2].kernel / 2) / shape.lines[2].kernel
    return 2 * SPLIT * tiling.tile_rows * vectors * pairs + 1


def _channelwise_loads(tiling, shape, vectors):
    return (tiling.tile_rows + 1) * vectors


PACKED = Kind("packed", _both_roles, _flattened, _aligned_loads, packed=True)
POINTWISE = Kind("pointwise", _pointwise_sizes, _pixel_by_pixel, _aligned_loads, pointwise=True)
# Pixels along a row as it lies and on into the next one: each tap reads them shifted
SHIFTED = Kind("shifted", _both_roles, _as_they_lie, _shifted_loads)
# The same, of few channels and many pixels
STRIP = SHIFTED._replace(name="strip", sizes=_strip_sizes)
BAND = Kind("band", _band_sizes, _row_by_row, _band_loads, row_wise=True)
SHARED = Kind("shared band", _shared_sizes, _row_by_row, _shared_loads, row_wise=True, shared=True)
BORDERED = SHARED._replace(name="bordered band", sizes=_bordered_sizes, zero_border=True)
HALVED = BORDERED._replace(name="halved band", sizes=_halved_sizes)
ALTERNATE = Kind("alternate band", _alternate_sizes, _row_by_row, _alternate_loads, row_wise=True, alternate=True)
CHANNELWISE = Kind("channelwise", _channelwise_sizes, _pixel_by_pixel, _channelwise_loads, channelwise=True)

TILES = {
    "direct": (STRIP, BAND, SHARED, BORDERED, HALVED, ALTERNATE, CHANNELWISE),
    "im2col": (PACKED, POINTWISE, SHIFTED),
}
