"""One block of the forward pass: stage, pack, multiply, finish.

The products of an output are summed in the order of the weight's memory (channel, d, h, w), in chains of at most 128
that are added in order: all kinds of tile, packed or read where things are, either role of it, any blocking give the
same bits.
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
    cdef int64_t channel, channels, tap, length, i, behind
    cdef bint placed
    x = <const real*> job.x + block.n * job.x_n + block.group * job.c * job.x_c
    behind = read_behind(job, block)
    placed = job.zero_border or (job.in_place and lies_inside(job, block, 0 if job.packed else behind))
    chain.exact = job.packed and placed and not lies_inside(job, block, behind)
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
        channels = job.c if job.pointwise else bounded(job.c - channel, 0, job.chunk_channels)
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
            find_weights(job, block, &chain, workspace, sums)
            if job.band:
                bands(job, block, &chain, base, <const real*> workspace, sums)
            else:
                tiles(job, block, &chain, &coming, base, workspace + job.panel_at, sums)
            tap += length
        channel += channels


cdef inline void find_weights(
    const Job* job, const Block* block, Chain* chain, real* workspace, vector* as_vectors
) noexcept nogil:
    """What the block's channel tiles have for a chain: among the packed weights, or packed for it now."""
    cdef int64_t place = block.group * job.channel_tiles + block.tile
    chain.skips = job.skips
    if job.unpacked:
        chain.weight = <uintptr_t> (workspace + job.weights_at)
        chain.weight_step = chain.length * job.channel_tile
        pack_chain(<const Packing*> job.weight, block, chain, workspace + job.weights_at, as_vectors)
        if job.skips:
            chain.skips = all_finite(workspace + job.weights_at, block.tiles * chain.weight_step, as_vectors)
    else:
        chain.weight = job.weight + (place * job.c * job.taps + chain.product) * job.channel_tile * sizeof(real)
        chain.weight_step = job.c * job.taps * job.channel_tile


cdef inline int64_t chain_taps(const Job* job, int64_t tap) noexcept nogil:
    """Taps of the chain that begins at `tap`: no chain goes on from one span to the next."""
    if job.chunk_taps == job.span_taps:
        return job.chunk_taps
    return bounded(job.span_taps - tap % job.span_taps, 0, job.chunk_taps)


cdef inline int64_t read_behind(const Job* job, const Block* block) noexcept nogil:
    """Elements that whole vectors read behind the last one of a block: those of its last tile that are no pixels."""
    cdef int64_t row = job.axis[1].stride * job.axis[1].x if block.count[1] > 1 else 0
    if job.pointwise:
        return 0
    if job.packed or job.band:
        return job.tile_lanes
    return job.pixel_tile - 1 - ((block.count[1] - 1) * row + block.count[2] - 1) % job.pixel_tile
