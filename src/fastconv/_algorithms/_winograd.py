"""Winograd convolution: fewer products for kernels of 2, 3 and 5 taps at stride 1, and of 3 at stride 2.

Along h and w, tiles of `outputs` outputs are computed from `points` products each, as S. Winograd, "Arithmetic
Complexity of Computations" (1980), and Lavin and Gray (2015) describe; along d the products are summed directly. Where
a result is not finite, its block is computed once more without transforms.
"""

from functools import lru_cache
from itertools import product
from math import ceil, prod
from typing import NamedTuple

import numpy as np

from .. import _isa
from ._jobs import Tables, job
from ._lines import VECTOR, Line, balanced
from ._tiled import DIRECT, contiguous_layout, shape_of, shared, task_of
from ._tiles import PACKED, Size, even_rows
from ._tiling import (
    BLOCK,
    LATENCY,
    SECONDS,
    STAGE_ELEMENT,
    STAGE_ROW,
    STAGE_VECTOR,
    TILE,
    Tiling,
    in_place,
    products_cost,
    visit_cost,
    workspace,
)


class Form(NamedTuple):
    """A transform along one axis: F(outputs, taps)."""

    taps: int
    outputs: int
    points: int
    stride: int = 1

    @property
    def matrix(self):
        """G, which transforms the kernel: (points, taps)."""
        return _kernel_transform(self)

    @property
    def name(self):
        return f"F({self.outputs},{self.taps})" + (f"/{self.stride}" if self.stride > 1 else "")


FORMS = (
    Form(1, 1, 1),
    Form(2, 4, 5),
    Form(2, 2, 3),
    Form(3, 4, 6),
    Form(3, 3, 5),
    Form(3, 2, 4),
    Form(3, 4, 9, stride=2),
    Form(3, 2, 5, stride=2),
    Form(5, 2, 6),
)


@lru_cache(8)
def _kernel_transform(form):
    if form.stride == 2:  # of the taps 0 and 2, and tap 1 for each output as it is
        even = np.insert(_kernel_transform(Form(2, form.outputs, form.outputs + 1)), 1, 0.0, axis=1)
        return np.append(even, [[0.0, 1.0, 0.0]] * form.outputs, axis=0)
    finite = _isa.forward.POINTS[form.points]
    rows = [
        [point**tap / prod(point - other for other in finite if other != point) for tap in range(form.taps)]
        for point in finite
    ]
    infinity = [0.0] * (form.taps - 1) + [1.0]
    return np.array([*rows, infinity], np.float64)


class Cut(NamedTuple):
    """How a convolution is cut: transforms of h and w, and the register tiles and blocks of a `Tiling`."""

    forms: tuple
    tiling: Tiling
    part_tiles: int  # channel tiles whose products are kept at once
    cost: float = 0.0

    @property
    def name(self):
        transforms = " × ".join(form.name for form in self.forms if form.taps > 1)
        return f"{transforms} {self.tiling.name}"


class Winograd:
    name = "winograd"

    def declines(self, geometry):
        convolution = geometry.convolution
        if convolution.precision == "strict":
            return "precision='strict' wants products summed directly"
        for axis in (1, 2):
            taps, stride, dilation = geometry.kernel[axis], geometry.stride[axis], geometry.dilation[axis]
            if taps not in {form.taps for form in FORMS}:
                return f"it has no transform for {taps} taps"
            if taps > 1 and (taps, stride) not in {(form.taps, form.stride) for form in FORMS}:
                return f"it has no transform for {taps} taps with stride {stride}"
            if stride > 1 and dilation > 1:
                return "it takes stride or dilation, not both"
        if prod(geometry.kernel[1:]) == 1:
            return "a kernel of one tap has nothing to save"
        return None

    def cost(self, geometry):
        return best(_shape(geometry, contiguous_layout(geometry), 1)).cost * WORTH + START

    def packing_cost(self, geometry):
        cut = best(_shape(geometry, contiguous_layout(geometry), 1))
        values = prod(geometry.convolution.weight_shape[:2]) * geometry.kernel[0] * prod(f.points for f in cut.forms)
        vectors = values / _isa.forward.LANES[geometry.convolution.dtype.name]
        return DIRECT.packing_cost(geometry) + vectors * TRANSFORM_WEIGHTS * SECONDS

    def pack(self, convolution, weight, packing):
        *packing, forms = packing
        packed = DIRECT.pack(convolution, weight, packing)
        dtype = packing[-1]
        matrices = [form.matrix.astype(dtype) for form in forms]
        packed.transform(_isa.forward.TRANSFORM[dtype], convolution.canonical(weight), matrices)
        return packed

    def task(self, geometry, layout, threads, once=False):
        # of contiguous arrays: strides must not change bits
        contiguous, cut = shared(_shape(geometry, contiguous_layout(geometry), threads), best)
        shape = _shape(geometry, layout, contiguous.threads)
        tables = Tables()
        fields, elements = winograd_job(geometry, layout, shape, cut, tables)
        packing = shape.groups, cut.tiling.channel_tile, shape.dtype, cut.forms
        return task_of(_isa.forward.WINOGRAD, geometry, shape.threads, fields, elements, tables, packing, cut.name)


WINOGRAD = Winograd()


def _shape(geometry, layout, threads):
    """As the transforms see it: of what is dilated along h and w one phase, or all of them."""
    shape = shape_of(geometry, layout, threads)
    d, h, w = shape.lines
    if _folds(h, w):
        h, w = _folded(w)
    return shape._replace(lines=(d, *(line if _goes_across(line) else _first_phase(line) for line in (h, w))))


def _folds(h, w):
    """Whether a dilated signal is an image with a phase in each column."""
    return (
        w.dilation > 1
        and h.pointwise
        and h.size == 1
        and w.mode == "constant"
        and not (w.size % w.dilation or w.out % w.dilation or w.before % w.dilation)
    )


def _folded(w):
    """Such a signal as an image."""
    step = w.dilation
    steps = (stride and stride * step for stride in (w.x, w.y, w.add, w.bias))
    out, kernel = w.out // step, w.kernel
    h = Line(w.size // step, out, kernel, 1, 1, w.mode, w.before // step, out - 1 + kernel, *steps)
    return h, w._replace(size=step, out=step, kernel=1, dilation=1, before=0, read=step)


def _first_phase(line):
    """The outputs 0, dilation, 2 dilation … of an axis, which read every `dilation`-th position of the input."""
    step = line.dilation
    if step == 1:
        return line
    steps = {name: stride and stride * step for name, stride in line._asdict().items() if name in ("y", "add", "bias")}
    return line._replace(out=ceil(line.out / step), stride=step, **steps)


def _goes_across(line):
    """Whether it has more phases than a phase has tiles: then a block has a tile of many phases."""
    return line.dilation > max(1, ceil(line.out / (line.dilation * MOST_OUTPUTS)))


def _across(line):
    """Of those which `_goes_across` took."""
    return line.dilation > line.stride


def _stride(line):
    """Within a phase."""
    return 1 if line.dilation > 1 else line.stride


def _step(line, form):
    """From one tile's first output to the next one's."""
    return 1 if _across(line) else form.outputs


def _phases(line, form):
    """Convolutions that a dilated axis makes of it."""
    return ceil(line.out / (line.dilation * form.outputs)) if _across(line) else line.dilation


def _first(shape, forms):
    """The first of these convolutions: across phases, each one's first output, and what its first tile reads."""
    d, *plane = shape.lines
    return shape._replace(lines=(d, *map(_first_tiles, plane, forms)))


def _first_tiles(line, form):
    if not _across(line):
        return line
    read = (_phases(line, form) * form.outputs + form.outputs + form.points) * line.dilation
    return line._replace(out=min(line.out, line.dilation), reach=form.outputs - 1, read=max(line.read, read))


def _in_place(shape, tiling):
    d, h, w = shape.lines
    if d.kernel > 1 or _across(h) or _across(w):
        return False
    return (h.kernel == 1 or _stride(h) == 1) and in_place(shape, tiling)


def _tiles(shape, forms, block):
    """Of a block, along h and w."""
    return [part // _step(*axis) for part, *axis in zip(block[1:], shape.lines[1:], forms, strict=True)]


class Parts(NamedTuple):
    """Where the parts of the workspace begin, and how the arrays in them lie, in elements."""

    row_pitch: int
    value_panel: int
    value_pitch: int
    rows_at: int
    values_at: int
    products_at: int
    outputs_at: int
    flags_at: int
    total: int


def parts_of(shape, cut):
    tiling, (h, w) = cut.tiling, cut.forms
    lanes = _isa.forward.LANES[shape.dtype]
    tile = tiling.tile_rows * tiling.tile_lanes
    down, along = _tiles(shape, cut.forms, tiling.block)
    panels = ceil(down * along / tiling.pixel_tile)
    stage = tiling.stage(shape.lines)
    depths = stage.d.staged
    points = h.points * w.points
    row_pitch = ceil(along / lanes) * lanes
    value_panel = shape.c * depths * tiling.panel_pitch + VECTOR
    direct = workspace(shape, tiling._replace(block_tiles=1))
    sizes = (
        # vectors are read behind the last row
        direct.staged + 4 * tiling.tile_lanes + 6 * VECTOR,
        stage.h.staged * w.points * row_pitch + VECTOR,
        points * panels * value_panel + VECTOR,
        points * panels * cut.part_tiles * tile,
        h.outputs * w.outputs * tile + VECTOR,
        ceil(tiling.block_tiles / 4),
    )
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + ceil(size / VECTOR) * VECTOR)
    _, *starts, total = starts
    return Parts(row_pitch, value_panel, panels * value_panel, *starts, max(total, direct.total))


def winograd_job(geometry, layout, shape, cut, tables):
    """The fields of `_job.Job`, and the elements of working memory that one thread needs."""
    tiling = cut.tiling
    phases = list(map(_phases, shape.lines[1:], cut.forms))
    shape = _first(shape, cut.forms)
    stage = tiling.stage(shape.lines)
    fields, _ = job(geometry, layout, shape, tiling, tables)
    parts = parts_of(shape, cut)
    axes = zip(fields["axis"][1:], cut.forms, shape.lines[1:], phases, geometry.out[1:], strict=True)
    for axis, form, line, count, whole in axes:
        axis |= dict(points=form.points, tile=form.outputs, across=_across(line), phases=count, whole=whole)
    fields["items"] *= prod(phases)
    fields["values_in_place"] = _in_place(shape, tiling)
    depth = shape.lines[0].kernel
    chunk = max(1, _isa.forward.TRANSFORMED_CHAIN // depth)
    rows = np.add.outer(np.arange(min(shape.c, chunk)) * stage.d.staged, stage.d.slots)
    fields |= dict(
        products=shape.c * depth,
        chunk_products=balanced(shape.c, chunk) * depth,
        value_pitch=parts.value_pitch,
        value_panel=parts.value_panel,
        row_pitch=parts.row_pitch,
        value_channels=shape.chunk[0],
        part_tiles=cut.part_tiles,
        values_at=parts.values_at,
        rows_at=parts.rows_at,
        products_at=parts.products_at,
        outputs_at=parts.outputs_at,
        flags_at=parts.flags_at,
        value_rows=tables(rows.ravel() * tiling.panel_pitch),
        value_weights=tables(np.arange(rows.size) * tiling.channel_tile),
    )
    return fields, parts.total


# Costs beside the multiply-adds, in the unit of `_tiling`, counted on an AVX-512 core
ROW_POINT = 6.0  # transforming a vector of tiles along w, for each point
COLUMN_POINT = 9.0  # along h, and storing it where the products want it
PANEL = 400.0  # the way back, for one panel and channel tile,
FINISH = 250.0  # each row of its tiles,
OUTPUT = 30.0  # and each vector of outputs;
TURNED = 1.0  # storing one element, if its neighbours lie in other vectors
FAR_MEMORY = 4 << 20  # bytes of working memory beyond what is near that would take as long again
TRANSFORM_WEIGHTS = 24.0  # making a vector of transformed weights
WORTH = 1.0  # the cost of direct sums over that of Winograd, from which on it is chosen
START = 4e-6  # seconds that a call takes besides, measured on maps of 14 × 14
NEARLY = 1.03  # what smaller blocks may cost, over the cheapest
MOST_OUTPUTS = max(form.outputs for form in FORMS)  # of a tile
MOST_TILES = (16, 32, 64, 128)  # of a block
MOST_PART = 1 << 17  # elements of products that are kept at once


@lru_cache(256)
def best(shape):
    """The cheapest `Cut`; the number of threads decides only how channels are shared out."""
    if shape.threads > 1:
        forms, tiling, *_ = best(shape._replace(threads=1))
        size = Size(tiling.lanes_are_pixels, tiling.tile_rows, tiling.tile_lanes)
        return min(_cuts(shape, forms, tiling.block, size), key=lambda cut: cut.cost)
    cuts = [
        cut
        for forms in _forms(shape)
        for block in _blocks(_first(shape, forms), forms)
        for size in _sizes(shape, forms, block)
        for cut in _cuts(shape, forms, block, size)
    ]
    most = NEARLY * min(cut.cost for cut in cuts)
    # of those that cost nearly the same, small blocks: there are enough of them for any number of threads
    return min((cut for cut in cuts if cut.cost <= most), key=lambda cut: (prod(cut.tiling.block), cut.cost))


def _forms(shape):
    return list(product(*map(_forms_of, shape.lines[1:])))


def _forms_of(line):
    """Every third column is told apart by no instruction, but across phases columns lie as they must."""
    forms = [form for form in FORMS if form.taps == line.kernel and (_across(line) or form.outputs != 3)]
    return [form for form in forms if form.taps == 1 or form.stride == _stride(line)]


def _blocks(shape, forms):
    """Whole rows of tiles, one or several, or a part of one; several depths where kernels reach over them."""
    d, *plane = shape.lines
    steps = list(map(_step, plane, forms))
    down, along = (ceil(line.out / step) for line, step in zip(plane, steps, strict=True))
    depths = {1} if d.kernel == 1 else {balanced(d.out, most) for most in (1, 2, 4, 8)}
    blocks = set()
    for tiles in MOST_TILES:
        width = balanced(along, tiles)
        height = balanced(down, max(1, tiles // width)) if width == along else 1
        blocks.update((depth, height * steps[0], width * steps[1]) for depth in depths)
    return sorted(blocks)


def _sizes(shape, forms, block):
    lanes, most = 2 * _isa.forward.LANES[shape.dtype], _isa.forward.TILE_ROWS
    tiles = prod(_tiles(shape, forms, block))
    return [Size(True, even_rows(shape.o, most), lanes), Size(False, even_rows(tiles, most), lanes)]


def _cuts(shape, forms, block, size):
    whole = Tiling(PACKED, *size, block, block_tiles=1)
    tiles = ceil(shape.o / whole.channel_tile)
    products = prod(form.points for form in forms) * whole.tile_rows * whole.tile_lanes
    panels = ceil(prod(_tiles(shape, forms, block)) / whole.pixel_tile)
    first = _first(shape, forms)
    steps = (1, *map(_step, shape.lines[1:], forms))
    # the last block of an axis is the rest
    blocks = (ceil(line.out / step) * step / part for line, step, part in zip(first.lines, steps, block, strict=True))
    items = shape.n * shape.groups * prod(map(_phases, shape.lines[1:], forms)) * prod(blocks)
    for parts in {1, *(2**power for power in range(1, shape.threads.bit_length() + 2) if shape.threads > 1)}:
        block_tiles = balanced(tiles, max(1, tiles // parts))
        part = balanced(block_tiles, max(1, MOST_PART // (products * panels)))
        cut = Cut(forms, whole._replace(block_tiles=block_tiles), part)
        rounds = items * ceil(tiles / block_tiles) / shape.threads
        rounds = rounds if shape.threads == 1 else ceil(rounds)
        yield cut._replace(cost=rounds * _block_cost(first, cut) * SECONDS)


def _block_cost(shape, cut):
    tiling, (h, w) = cut.tiling, cut.forms
    lanes = _isa.forward.LANES[shape.dtype]
    vectors = tiling.tile_lanes // lanes
    stage = tiling.stage(shape.lines)
    depth = shape.lines[0].kernel
    down, along = _tiles(shape, cut.forms, tiling.block)
    panels = ceil(down * along / tiling.pixel_tile)
    points = h.points * w.points
    line = shape.lines[2]
    element = STAGE_VECTOR * line.stride / lanes if line.x == 1 and line.stride <= 2 else STAGE_ELEMENT
    staging = shape.c * stage.rows * (STAGE_ROW * len(stage.w.counts) + stage.w.staged * element)
    if _in_place(shape, tiling):
        staging *= 1 - prod(line.blocks_inside(part) for line, part in zip(shape.lines, tiling.block, strict=True))
    rows = 0 if w.points == 1 else shape.c * stage.rows * ceil(along / lanes) * w.points * ROW_POINT
    pieces = panels * ceil(tiling.pixel_tile / lanes) + down * (ceil(along / lanes) - 1) + down
    columns = shape.c * stage.d.staged * pieces * points * COLUMN_POINT
    products = shape.c * depth
    steps = max(tiling.tile_rows * vectors, tiling.tile_rows / 2 + vectors, LATENCY)
    chains = ceil(shape.c / max(1, _isa.forward.TRANSFORMED_CHAIN // depth))
    multiply = points * (products * steps + chains * (TILE + 2 * tiling.tile_rows * vectors))
    outputs = tiling.tile_rows * tiling.tile_lanes * h.outputs * w.outputs
    back = PANEL + FINISH * h.outputs + OUTPUT * outputs / lanes
    if (shape.lines[2].y if tiling.lanes_are_pixels else shape.y_o) != 1:
        back += TURNED * outputs
    tiles = tiling.block[0] * panels * tiling.block_tiles
    products = products_cost(shape, tiling, points / prod(form.taps for form in cut.forms), multiply * tiles)
    cost = BLOCK + visit_cost(shape, tiling, stage) + staging + rows + columns + products + back * tiles
    beyond = max(0, parts_of(shape, cut).total * shape.itemsize - _isa.forward.NEAR_MEMORY)
    return cost * (1 + beyond / FAR_MEMORY)
