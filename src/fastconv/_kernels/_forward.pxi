"""One block of the forward pass: stage, pack, multiply, finish.

The products of an output are summed in the order of the weight's memory (channel, d, h, w), in chains of at most 128
that are added in order: `im2col` (packed panels) and `direct` (rows read where they are), either role of the tile, any
blocking give the same bits.
"""


cdef inline int64_t digit(int64_t* number, int64_t base) noexcept nogil:
    """The last digit of a number, which is taken off it."""
    cdef int64_t rest = number[0]
    if base == 1:
        return 0
    number[0] = quotient(rest, base)
    return rest - number[0] * base


cdef inline void locate(const Job* job, int64_t item, Block* block) noexcept nogil:
    """Item number → block; channel blocks vary fastest, so that a block of the input is met again while in cache."""
    cdef const Axis* axis
    cdef int64_t i
    block.tile = digit(&item, job.channel_blocks) * job.block_tiles
    block.tiles = bounded(job.channel_tiles - block.tile, 0, job.block_tiles)
    for i in range(2, -1, -1):
        axis = &job.axis[i]
        block.first[i] = digit(&item, axis.blocks) * axis.block
        block.count[i] = bounded(axis.out - block.first[i], 0, axis.block)
    block.group = digit(&item, job.group_blocks) * job.block_groups
    block.groups = bounded(job.groups - block.group, 0, job.block_groups)
    block.n = item


cdef void forward(const Job* job, int64_t item, real* workspace, vector* sums) noexcept nogil:
    cdef Block block
    locate(job, item, &block)
    if job.channelwise:
        channelwise(job, &block, workspace, sums)
    else:
        convolve_block(job, &block, workspace, sums)


cdef void convolve_block(const Job* job, const Block* block, real* workspace, vector* sums) noexcept nogil:
    cdef Chain chain
    cdef Coming coming
    cdef const real* x
    cdef const real* base
    cdef const int64_t* rows
    cdef int64_t channel, channels, tap, length, i
    cdef bint placed
    x = <const real*> job.x + block.n * job.x_n + block.group * job.c * job.x_c
    placed = job.zero_border or (job.in_place and lies_inside(job, block, read_behind(job, block)))
    if placed:
        rows = <const int64_t*> job.placed_rows
        chain.row = job.axis[1].stride * job.axis[1].x
        if job.zero_border:
            fill_row(<vector*> workspace, <real> 0, job.panel_at)
        for i in range(3):
            x += (block.first[i] * job.axis[i].stride - job.axis[i].before) * job.axis[i].x
    else:
        rows = <const int64_t*> job.staged_rows
        chain.row = job.row

    coming.pieces = 0
    channel = 0
    while channel < job.c:
        channels = bounded(job.c - channel, 0, job.chunk_channels)
        base = x + channel * job.x_c
        if not placed:
            stage(job, block, base, channels, <vector*> workspace)
            expect_block(
                job, block, base + channels * job.x_c, bounded(job.c - channel - channels, 0, channels), &coming
            )
            base = workspace
        tap = 0
        while tap < job.taps:
            chain.product = channel * job.taps + tap
            chain.rows = rows + tap
            chain.weights = <const int64_t*> job.weight_rows
            chain.channels = channels
            length = chain_taps(job, tap)
            chain.length = channels * length
            chain.first = chain.product == 0
            chain.last = chain.product + chain.length == job.c * job.taps
            if job.band:
                bands(job, block, &chain, base, <const real*> workspace, sums)
            else:
                tiles(job, block, &chain, &coming, base, workspace + job.panel_at, sums)
            tap += length
        channel += job.chunk_channels


cdef inline int64_t chain_taps(const Job* job, int64_t tap) noexcept nogil:
    """Taps of the chain that begins at `tap`: no chain goes on from one span to the next."""
    if job.chunk_taps == job.span_taps:
        return job.chunk_taps
    return bounded(job.span_taps - tap % job.span_taps, 0, job.chunk_taps)


cdef inline int64_t read_behind(const Job* job, const Block* block) noexcept nogil:
    """Elements that are read in place behind the last one of a block: those of its last tile that are no pixels."""
    cdef int64_t row = job.axis[1].stride * job.axis[1].x if block.count[1] > 1 else 0
    if job.packed or job.band:
        return job.tile_lanes
    return job.pixel_tile - 1 - ((block.count[1] - 1) * row + block.count[2] - 1) % job.pixel_tile


cdef void bands(
    const Job* job, const Block* block, const Chain* chain, const real* base, const real* zeros, vector* sums
) noexcept nogil:
    """Tiles of image rows × pixels of one channel or several; what a block's groups have in common comes first."""
    cdef Tile tile
    cdef Band band
    cdef Strips strips
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t group, together
    describe_band(job, block, chain, <uintptr_t> zeros, &band)
    tile.pixel = 0
    tile.pixel_step = 1
    tile.w = block.first[2]
    tile.width = block.count[2]
    tile.wanted = tile.width
    tile.vectors = (tile.width + lanes - 1) // lanes
    tile.row = tile.vectors * lanes
    cut_strips(&band, job.channel_tile, tile.width, lanes, chain.first and chain.last, &strips, sums)
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
    if not (shares(band) and job.to_output and block.tiles == 1 and channels <= job.o and bytes <= 2 * LINE):
        return job.band_rows
    return job.band_rows * bounded((MOST_LINES // band.planes - band.height) // (2 * job.band_rows), 1, block.count[1])
