"""Bands of image rows over a block, to which one chain of products is added.

Pixels are read where they are staged, or in the input itself.
"""


cdef void bands(
    const Job* job, const Block* block, const Chain* chain, const real* base, const real* zeros, vector* sums
) noexcept nogil:
    """Tiles of image rows × pixels of one channel or several; what a block's groups have in common comes first."""
    cdef Tile tile
    cdef Band band
    cdef Strips strips
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t group, together
    cdef bint once
    describe_band(job, block, chain, <uintptr_t> zeros, &band)
    tile.pixel = 0
    tile.pixel_step = 1
    tile.w = block.first[2]
    tile.width = block.count[2]
    tile.wanted = tile.width
    tile.vectors = (tile.width + lanes - 1) // lanes
    tile.row = tile.vectors * lanes
    # where chains end on the way, sums are kept in cache, with room for whole strips
    once = chain.first and chain.last and band.flush >= band.height
    cut_strips(&band, job.channel_tile, tile.width, lanes, once, &strips, sums)
    together = rows_together(job, block, &band, tile.width * sizeof(real))
    for group in range(block.group, block.group + block.groups):
        bands_of_group(job, block, chain, group, together, &tile, &band, &strips, base, sums)
        base += job.c * job.x_c


cdef void describe_band(
    const Job* job, const Block* block, const Chain* chain, uintptr_t zeros, Band* band
) noexcept nogil:
    cdef const Axis* axis = &job.axis[0]
    band.form = <Form> job.form
    band.rows = chain.rows
    band.row = axis[1].x if halves(band) else chain.row
    band.height = axis[1].kernel
    band.width = axis[2].kernel
    band.chain = chain.length
    band.planes = 1
    if chain.length > band.height * band.width:
        band.planes = chain.length // (band.height * band.width)
    band.flush = job.flush_rows
    band.first = chain.first
    band.skips = job.skips and band.form == ANY_SIZE
    band.placed = job.zero_border
    band.left = block.first[2] * axis[2].stride - axis[2].before
    band.rows_of_input = axis[1].size
    band.row_length = axis[2].size
    band.zeros = zeros
    if job.flush_rows < band.height:
        set_ends(band)


cdef void bands_of_group(
    const Job* job, const Block* block, const Chain* chain, int64_t group, int64_t together,
    Tile* tile, Band* band, Strips* strips, const real* base, vector* sums,
) noexcept nogil:
    """One band of image rows after the other, or those of so many rows together, and all channel tiles of each."""
    cdef const Axis* axis = &job.axis[0]
    cdef int64_t h = 0, t
    cdef vector* to
    while h < block.count[1]:
        if job.to_output and h > bounded(block.count[1] - job.band_rows, 0, h):
            h = block.count[1] - job.band_rows  # rather a few rows twice than a tile that is not whole
        tile.h = block.first[1] + h
        tile.pixels = bounded(block.count[1] - h, 0, job.band_rows) * tile.row
        band.top = tile.h * axis[1].stride - axis[1].before
        band.rows_of_sums = tile.image_rows = bounded(block.count[1] - h, job.band_rows, together)
        if shares(band):
            band.lines = band.height + (band.rows_of_sums - 1) * (2 if halves(band) else 1)
            set_lines(band, base + h * chain.row, &strips.lines)
        for t in range(block.tile, block.tile + block.tiles):
            tile.channel = group * job.o + t * job.channel_tile
            tile.channels = bounded(job.o - t * job.channel_tile, 0, job.channel_tile)
            tile.in_output = job.to_output and block.count[1] >= job.band_rows and tile.channels == job.channel_tile
            if tile.in_output:
                to = <vector*> (
                    <real*> job.y + block.n * job.y_n + tile.channel * job.y_o
                    + block.first[0] * axis[0].y + tile.h * axis[1].y + tile.w * axis[2].y
                )
                tile.step = axis[1].y
                tile.channel_step = job.y_o
            else:
                to = sums
                tile.step = tile.row
                tile.channel_step = job.band_rows * tile.row
                if not (chain.first and chain.last):
                    sums += job.tile_rows * job.tile_lanes * sizeof(real) // sizeof(vector)
            band.row_step = tile.step
            band.channel_step = tile.channel_step
            band.ahead = job.channel_tile * tile.channel_step if tile.in_output else 0
            band.expects = band.placed and t == block.tile
            multiply_band(
                band, strips, job.channel_tile,
                <const real*> job.weight
                + ((group * job.channel_tiles + t) * job.c * job.taps + chain.product) * job.channel_tile,
                base + h * chain.row, to,
            )
            if chain.last and (not tile.in_output or job.bias or job.activation):
                finish(job, block, tile, <real*> to, to)
        h += together


cdef inline int64_t rows_together(
    const Job* job, const Block* block, const Band* band, int64_t bytes
) noexcept nogil:
    """Image rows of the bands that a strip goes down at once: many where they are of few bytes, on the same lines."""
    cdef int64_t channels = (block.tile + block.tiles) * job.channel_tile
    if not (shares(band) and job.to_output and block.tiles == 1 and channels <= job.o and bytes <= 8 * LINE):
        return job.band_rows
    return job.band_rows * bounded((MOST_LINES // band.planes - band.height) // (2 * job.band_rows), 1, block.count[1])
