"""One block of the forward pass: stage, pack, multiply, finish.

The products of an output are summed in the order of the weight's memory (channel, d, h, w), in chains of at most 128
that are added in order: `im2col` (packed panels) and `direct` (rows read where they are), either role of the tile, any
blocking give the same bits.
"""


cdef struct Chain:
    # A run of products: of pixel (h, w) the operand of product k lies at base[rows[k] + h * row + w],
    # its weights at weight[weights[k]]
    int64_t row
    int64_t product         # first product, in the weight's order
    int64_t channels
    int64_t length
    const int64_t* rows
    const int64_t* weights
    bint first
    bint last


cdef inline int64_t digit(int64_t* number, int64_t base) noexcept nogil:
    """The last digit of a number, which is taken off it."""
    cdef int64_t rest = number[0]
    if base == 1:
        return 0
    if (rest | base) >> 32:
        number[0] = rest // base
    else:  # half as long takes processors a third of the time, which small blocks feel
        number[0] = <uint32_t> rest // <uint32_t> base
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
    block.group = digit(&item, job.groups)
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

    channel = 0
    while channel < job.c:
        channels = bounded(job.c - channel, 0, job.chunk_channels)
        base = x + channel * job.x_c
        if not placed:
            stage(job, block, base, channels, <vector*> workspace)
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
                tiles(job, block, &chain, base, workspace + job.panel_at, sums)
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


cdef inline bint lies_outside(const Axis* axis, int64_t first, int64_t last, int64_t tap) noexcept nogil:
    """Whether a tap reads padding, all before or all behind the input, for the outputs first .. last."""
    cdef int64_t offset = tap * axis.dilation - axis.before
    return last * axis.stride + offset < 0 or first * axis.stride + offset >= axis.size


cdef void skip_padding(
    const Job* job, const Block* block, const Tile* tile,
    const Chain* whole, Chain* chain, int64_t* rows, int64_t* weights,
) noexcept nogil:
    """Leave out the products with zeros of the padding that a tile's pixels have in common; the weights are finite."""
    cdef const Axis* d = &job.axis[0]
    cdef const Axis* h = &job.axis[1]
    cdef const Axis* w = &job.axis[2]
    cdef int64_t first = tile.pixel // tile.row
    cdef int64_t last = (tile.pixel + tile.pixels - 1) // tile.row
    cdef int64_t left = block.first[2]
    cdef int64_t right = left + tile.width - 1
    cdef int64_t live[CHAIN]
    cdef int64_t i, j, k, c, tap = 0, count = 0
    if first == last:
        right = bounded(left + tile.pixel + tile.pixels - 1 - first * tile.row, left, right)
        left += tile.pixel - first * tile.row
    first += block.first[1]
    last += block.first[1]
    for i in range(d.kernel):
        for j in range(h.kernel):
            for k in range(w.kernel):
                if not (
                    lies_outside(d, block.first[0], block.first[0], i)
                    or lies_outside(h, first, last, j) or lies_outside(w, left, right, k)
                ):
                    live[count] = tap
                    count += 1
                tap += 1
    chain[0] = whole[0]
    if count < job.taps:
        k = 0
        for c in range(chain.channels):
            for i in range(count):
                rows[k] = whole.rows[c * job.taps + live[i]]
                weights[k] = whole.weights[c * job.taps + live[i]]
                k += 1
        chain.rows = rows
        chain.weights = weights
        chain.length = k


cdef void tiles(
    const Job* job, const Block* block, const Chain* whole, const real* base, real* panel, vector* sums
) noexcept nogil:
    """Tiles of pixels × channels, pixels flattened across the rows of the block (packed) or as they lie."""
    cdef Tile tile
    cdef Chain chain = whole[0]
    cdef bint in_output
    cdef int64_t live_rows[CHAIN]
    cdef int64_t live_weights[CHAIN]
    cdef int64_t total, pixel, t, h, w, lane, slot = 0
    cdef const real* pixels
    tile.vectors = job.tile_lanes * sizeof(real) // sizeof(vector)
    tile.wanted = job.tile_lanes
    tile.h = block.first[1]
    tile.w = block.first[2]
    tile.width = block.count[2]
    tile.row = whole.row if block.count[1] > 1 and not job.packed else tile.width
    total = (block.count[1] - 1) * tile.row + tile.width
    # What is loaded most stays in cache: the weights that the vectors run along, or few channels of pixels
    if not (job.packed or job.skips or (job.lanes_are_pixels and tile.vectors == 2)):
        for t in range(block.tiles):
            slot = t
            pixel = 0
            while pixel < total:
                tile.pixel = pixel
                tile.pixels = bounded(total - pixel, 0, job.pixel_tile)
                lane = 0
                tile.in_output = job.to_output and next_piece(&tile, &lane, &h, &w) == job.tile_lanes
                multiply(job, block, &chain, &tile, block.tile + t, base + pixel, sums, slot)
                slot += block.tiles
                pixel += job.pixel_tile
        return
    pixel = 0
    while pixel < total:
        tile.pixel = pixel
        tile.pixels = bounded(total - pixel, 0, job.pixel_tile)
        if job.skips:
            skip_padding(job, block, &tile, whole, &chain, live_rows, live_weights)
        if job.packed:
            pack(job, base, chain.rows, chain.row, tile.width, chain.length, pixel, tile.pixels, <vector*> panel)
            pixels = panel
        else:
            pixels = base + pixel
        lane = 0
        in_output = job.to_output and next_piece(&tile, &lane, &h, &w) == job.tile_lanes
        for t in range(block.tiles):
            tile.in_output = in_output
            multiply(job, block, &chain, &tile, block.tile + t, pixels, sums, slot)
            slot += 1
        pixel += job.pixel_tile


cdef void bands(
    const Job* job, const Block* block, const Chain* chain, const real* base, const real* zeros, vector* sums
) noexcept nogil:
    """Tiles of image rows × pixels of one channel or a few."""
    cdef Tile tile
    cdef Band band
    cdef Strips strips
    cdef const Axis* axis = &job.axis[0]
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t h = 0, t, span
    cdef vector* to
    band.form = <Form> job.form
    band.rows = chain.rows
    band.row = axis[1].x if halves(&band) else chain.row
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
    band.zeros = <uintptr_t> zeros
    tile.pixel = 0
    tile.pixel_step = 1
    tile.w = block.first[2]
    tile.width = block.count[2]
    tile.wanted = tile.width
    tile.vectors = (tile.width + lanes - 1) // lanes
    tile.row = tile.vectors * lanes
    if job.flush_rows < band.height:
        set_ends(&band)
    cut_strips(&band, job.channel_tile, tile.width, lanes, &strips)
    span = (job.band_rows - 1) * (2 if halves(&band) else 1)
    while h < block.count[1]:
        if job.to_output and h > bounded(block.count[1] - job.band_rows, 0, h):
            h = block.count[1] - job.band_rows  # rather a few rows twice than a tile that is not whole
        tile.h = block.first[1] + h
        tile.pixels = bounded(block.count[1] - h, 0, job.band_rows) * tile.row
        band.top = tile.h * axis[1].stride - axis[1].before
        if shares(&band):
            set_lines(band.height + span, &band, base + h * chain.row, &strips.lines)
        for t in range(block.tile, block.tile + block.tiles):
            tile.channel = block.group * job.o + t * job.channel_tile
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
            strips.width = tile.width if tile.in_output else tile.row
            band.row_step = tile.step
            band.channel_step = tile.channel_step
            multiply_band(
                &band, &strips, job.channel_tile,
                <const real*> job.weight
                + ((block.group * job.channel_tiles + t) * job.c * job.taps + chain.product) * job.channel_tile,
                base + h * chain.row, to,
            )
            if chain.last and (not tile.in_output or job.bias or job.activation):
                finish(job, block, &tile, <real*> to, to)
        h += job.band_rows


cdef inline void multiply(
    const Job* job, const Block* block, const Chain* chain, Tile* piece, int64_t channel_tile,
    const real* pixels, vector* sums, int64_t slot,
) noexcept nogil:
    """Add one chain to one tile, and finish the tile after its last chain."""
    cdef int64_t h, w, lane = 0
    cdef const real* weight = <const real*> job.weight + (
        (block.group * job.channel_tiles + channel_tile) * job.c * job.taps + chain.product
    ) * job.channel_tile
    piece.channel = block.group * job.o + channel_tile * job.channel_tile
    piece.channels = bounded(job.o - channel_tile * job.channel_tile, 0, job.channel_tile)
    if piece.in_output and piece.channels == job.channel_tile:
        piece.step = job.y_o
        next_piece(piece, &lane, &h, &w)
        sums = <vector*> (
            <real*> job.y + block.n * job.y_n + piece.channel * job.y_o
            + block.first[0] * job.axis[0].y + h * job.axis[1].y + w * job.axis[2].y
        )
    else:
        piece.in_output = False
        piece.step = piece.vectors * sizeof(vector) // sizeof(real)
        if not (chain.first and chain.last):
            sums += slot * job.tile_rows * job.tile_lanes * sizeof(real) // sizeof(vector)
    piece.pixel_step = 1 if job.lanes_are_pixels else piece.step
    piece.channel_step = piece.step if job.lanes_are_pixels else 1
    if job.lanes_are_pixels:
        tile(
            job.tile_rows, piece.vectors, weight, chain.weights,
            pixels, <const int64_t*> job.panel_rows if job.packed else chain.rows,
            chain.length, sums, piece.step, chain.first,
        )
    else:
        tile(
            job.tile_rows, piece.vectors,
            pixels, <const int64_t*> job.panel_rows if job.packed else chain.rows,
            weight, chain.weights, chain.length, sums, piece.step, chain.first,
        )
    if chain.last and (not piece.in_output or job.bias or job.activation):
        finish(job, block, piece, <real*> sums, sums)
