"""One block of the forward pass: stage, pack, multiply, finish.

The products of an output are summed in the order of the weight's memory (channel, d, h, w), in chains of at most 128 that are added
in order: `im2col` (packed panels) and `direct` (rows read where they are), either role of the tile, any blocking give the same bits.
"""


cdef inline void locate(const Job* job, int64_t item, Block* block) noexcept nogil:
    """Item number → block; channel blocks vary fastest, so that a block of the input is met again while it is in cache."""
    cdef const Axis* axis
    cdef int64_t i
    block.tile = item % job.channel_blocks * job.block_tiles
    block.tiles = bounded(job.channel_tiles - block.tile, 0, job.block_tiles)
    item = item // job.channel_blocks
    for i in range(2, -1, -1):
        axis = &job.axis[i]
        block.first[i] = item % axis.blocks * axis.block
        block.count[i] = bounded(axis.out - block.first[i], 0, axis.block)
        item = item // axis.blocks
    block.group = item % job.groups
    block.n = item // job.groups


cdef void forward(const Job* job, int64_t item, real* workspace, vector* sums) noexcept nogil:
    cdef const Axis* h = &job.axis[1]
    cdef const Axis* w = &job.axis[2]
    cdef Block block
    cdef Tile piece
    cdef real* panel = workspace + job.panel_at
    cdef vector* to
    cdef const real* x
    cdef const real* base
    cdef const real* pixels
    cdef const real* weight
    cdef const int64_t* rows
    cdef int64_t vectors = job.tile_lanes * sizeof(real) // sizeof(vector)
    cdef int64_t channel, channels, tap, chain, row, total, pixel, t, i
    cdef int64_t products = job.c * job.taps
    cdef bint placed, first, last
    cdef bint single = job.c <= job.chunk_channels and job.taps <= job.chunk_taps

    locate(job, item, &block)
    x = <const real*> job.x + block.n * job.x_n + block.group * job.c * job.x_c
    placed = job.in_place and lies_inside(job, &block)
    if placed:
        rows = <const int64_t*> job.placed_rows
        row = h.stride * h.x
        for i in range(3):
            x += (block.first[i] * job.axis[i].stride - job.axis[i].before) * job.axis[i].x
    else:
        rows = <const int64_t*> job.staged_rows
        row = job.row
    piece.row = block.count[2] if job.packed else row
    total = (block.count[1] - 1) * piece.row + block.count[2]
    if job.lanes_are_pixels:
        piece.channel_step = job.tile_lanes
        piece.pixel_step = 1
    else:
        piece.channel_step = 1
        piece.pixel_step = job.tile_lanes

    channel = 0
    while channel < job.c:
        channels = bounded(job.c - channel, 0, job.chunk_channels)
        if placed:
            base = x + channel * job.x_c
        else:
            stage(job, &block, x + channel * job.x_c, channels, workspace)
            base = workspace
        tap = 0
        while tap < job.taps:
            chain = channels * bounded(job.taps - tap, 0, job.chunk_taps)
            first = channel == 0 and tap == 0
            last = channel + channels == job.c and tap + job.chunk_taps >= job.taps
            pixel = 0
            while pixel < total:
                piece.pixel = pixel
                piece.pixels = bounded(total - pixel, 0, job.pixel_tile)
                if job.packed:
                    pack[real, vector](
                        job, base, rows + tap, row, block.count[2], chain, pixel, piece.pixels, <vector*> panel,
                    )
                    pixels = panel
                else:
                    pixels = base + pixel
                for t in range(block.tiles):
                    weight = <const real*> job.weight + (
                        (block.group * job.channel_tiles + block.tile + t) * products + channel * job.taps + tap
                    ) * job.channel_tile
                    to = sums
                    if not single:
                        to += (pixel // job.pixel_tile * job.block_tiles + t) * job.tile_rows * vectors
                    if job.lanes_are_pixels:
                        tile[real, vector](
                            job.tile_rows, vectors, weight, pixels,
                            <const int64_t*> job.packed_rows if job.packed else rows + tap, chain, to, first,
                        )
                    else:
                        tile[real, vector](
                            job.tile_rows, vectors, pixels, weight, <const int64_t*> job.packed_rows, chain, to, first,
                        )
                    if last:
                        piece.channel = block.group * job.o + (block.tile + t) * job.channel_tile
                        piece.channels = bounded(
                            job.o - (block.tile + t) * job.channel_tile, 0, job.channel_tile
                        )
                        finish(job, &block, &piece, <real*> to, to)
                pixel += job.pixel_tile
            tap += job.chunk_taps
        channel += job.chunk_channels
