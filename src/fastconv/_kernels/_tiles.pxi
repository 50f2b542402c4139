"""Tiles of pixels × channels over a block, to which one chain of products is added; or all, where nothing is packed for
each of them.

Pixels are packed into panels (`im2col`), or read where they lie. They run on from one image row into the next, but for
those whose channels are read one after the other.
"""


cdef void skip_padding(const Job* job, const Block* block, const Chain* whole, Panel* panel) noexcept nogil:
    """Leave out the products with zeros of the padding that a tile's pixels have in common; the weights are finite."""
    cdef const Tile* tile = &panel.tile
    cdef const Axis* d = &job.axis[0]
    cdef const Axis* h = &job.axis[1]
    cdef const Axis* w = &job.axis[2]
    cdef int64_t first = quotient(tile.pixel, tile.row)
    cdef int64_t last = quotient(tile.pixel + tile.pixels - 1, tile.row)
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
    if count < job.taps:
        k = 0
        for c in range(whole.channels):
            for i in range(count):
                panel.rows[k] = whole.rows[c * job.taps + live[i]]
                panel.weights[k] = whole.weights[c * job.taps + live[i]]
                k += 1
        panel.chain.rows = panel.rows
        panel.chain.weights = panel.weights
        panel.chain.length = k


cdef void place(
    const Job* job, const Block* block, const Chain* chain, const real* base, int64_t row, int64_t pixel,
    int64_t pixels, int64_t lanes, Panel* panel,
) noexcept nogil:
    """The tile from a pixel on, of a block whose image rows are `row` pixels apart; it has `pixels` at most."""
    cdef Tile* tile = &panel.tile
    cdef int64_t h = 0, w = 0, lane = 0
    tile.image_rows = 1
    tile.pixel = pixel
    tile.pixels = pixels
    tile.row = row
    tile.width = block.count[2]
    tile.h = block.first[1]
    tile.w = block.first[2]
    tile.wanted = job.tile_lanes
    tile.vectors = job.tile_lanes // lanes
    panel.chain = chain[0]
    if job.pointwise:  # as many as lie in one image row
        h = quotient(pixel, row)
        w = pixel - h * row
        tile.pixels = bounded(row - w, 0, pixels)
        panel.pixels = <uintptr_t> (base + h * chain.row + w * pixel_pitch(job))
        panel.in_output = job.to_output
        h += tile.h
        w += tile.w
    else:
        panel.pixels = <uintptr_t> (base + pixel)
        panel.in_output = job.to_output and pixels == job.pixel_tile
        if panel.in_output:
            panel.in_output = next_piece(tile, &lane, &h, &w) == pixels or (
                row == tile.width and job.axis[1].y == row * job.axis[2].y
            )
    if panel.in_output:
        panel.output = block.first[0] * job.axis[0].y + h * job.axis[1].y + w * job.axis[2].y


cdef inline int64_t pixel_pitch(const Job* job) noexcept nogil:
    """From what one pixel of a row reads to what the next one does."""
    return job.axis[2].stride * job.axis[2].x


cdef inline void expect_pixels(const Job* job, const real* start, int64_t pixels, Coming* coming) noexcept nogil:
    """All channels of so many pixels of a row."""
    coming.piece = <uintptr_t> start
    coming.bytes = pixels * pixel_pitch(job) * sizeof(real)
    coming.pieces = 1
    coming.at = 0


cdef inline void find_operands(const Job* job, Panel* panel) noexcept nogil:
    """The tile's tables; none where both sides are packed, or the channels of pixels side by side."""
    cdef const int64_t* pixels = panel.chain.rows
    cdef const int64_t* weights = panel.chain.weights
    if job.pointwise:
        pixels = weights = NULL
    elif job.packed and weights == panel.weights:  # some products are left out
        pixels = <const int64_t*> job.panel_rows
    elif job.packed:
        pixels = weights = NULL
    panel.steps = weights if job.lanes_are_pixels else pixels
    panel.operand_rows = pixels if job.lanes_are_pixels else weights


cdef void tiles(
    const Job* job, const Block* block, const Chain* whole, Coming* coming, const real* base, real* packed,
    vector* sums,
) noexcept nogil:
    """Tiles of pixels × channels, pixels flattened across the rows of the block (packed) or as they lie."""
    cdef Panel panels[PANELS]
    cdef Panel* panel
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t row = block.count[2] if job.packed or job.pointwise or block.count[1] == 1 else whole.row
    cdef int64_t total = (block.count[1] - 1) * row + block.count[2]
    cdef int64_t kept = 0 if whole.first and whole.last else job.tile_rows * job.tile_lanes // lanes
    cdef int64_t pixel = 0, count, t
    cdef const real* weight
    cdef const real* after
    while pixel < total:
        count = 0
        while count < PANELS and pixel < total:
            panel = &panels[count]
            place(job, block, whole, base, row, pixel, bounded(total - pixel, 0, job.pixel_tile), lanes, panel)
            if whole.skips:
                skip_padding(job, block, whole, panel)
                if job.packed:
                    pack(job, base, panel, 1, packed + count * job.panel_step, sums)
            find_operands(job, panel)
            pixel += panel.tile.pixels
            count += 1
        if job.pointwise and whole.first and row == total:
            expect_pixels(job, base + pixel * pixel_pitch(job), count * job.pixel_tile, coming)
        if job.packed and not whole.skips:
            pack(job, base, panels, count, packed, sums)
        # The weights of a tile stay in cache, and each row of the output is written for a while
        for t in range(block.tiles):
            weight = <const real*> whole.weight + t * whole.weight_step
            after = weight + whole.weight_step if t + 1 < block.tiles else <const real*> whole.weight
            multiply(job, block, whole, panels, count, block.tile + t, weight, <const char*> after, coming, kept, sums)
            sums += count * kept


cdef inline void multiply(
    const Job* job, const Block* block, const Chain* whole, Panel* panels, int64_t count, int64_t channel_tile,
    const real* weight, const char* after, Coming* coming, int64_t kept, vector* sums,
) noexcept nogil:
    """Add the products to the tiles of one channel tile, and finish them after their last, which may store them in the
    output. `after`: the next tile's weights; `kept`: vectors of sums that a tile keeps from chain to chain."""
    cdef Panel* panel
    cdef Work work
    cdef int64_t first = channel_tile * job.channel_tile
    cdef int64_t channels = bounded(job.o - first, 0, job.channel_tile)
    cdef int64_t rows = job.tile_rows
    cdef int64_t bytes = job.tile_lanes * sizeof(real)
    cdef int64_t vectors = bytes // sizeof(vector)
    cdef int64_t y_o = job.y_o
    cdef int64_t size = whole.length * job.channel_tile * sizeof(real)
    cdef int64_t expected = 0, p
    cdef bint to_output = whole.last and channels == job.channel_tile
    cdef bint in_output
    cdef bint finishes = whole.last and (job.bias or job.activation)
    cdef bint lanes_are_pixels = job.lanes_are_pixels
    cdef real* y = <real*> job.y + block.n * job.y_n + (block.group * job.o + first) * y_o
    cdef vector* target
    work.first = whole.first
    work.in_rows = job.pointwise
    work.chain = job.chunk_channels if job.pointwise else CHAIN
    if job.pointwise:
        work.factor_step = pixel_pitch(job)
    else:
        work.factor_step = job.channel_tile if lanes_are_pixels else job.panel_pitch
    for p in range(count):
        panel = &panels[p]
        if job.pointwise:
            rows = panel.tile.pixels
        target = sums + p * kept
        work.length = panel.chain.length
        work.steps = panel.steps
        work.rows = panel.operand_rows
        work.sums = <uintptr_t> target
        work.target_step = work.step = job.tile_lanes
        work.ahead = <uintptr_t> weight
        if expected < size:
            work.ahead = <uintptr_t> (after + expected)
            expected += work.length * AHEAD
        elif coming.pieces:
            work.ahead = <uintptr_t> next_lines(coming, work.length * AHEAD // LINE)
        in_output = to_output and panel.in_output
        if in_output:
            target = <vector*> (y + panel.output)
            work.sums = <uintptr_t> target if job.pointwise else work.sums
            work.target_step = y_o if lanes_are_pixels else job.axis[2].y
            if vectors == 2:  # a literal needs no loop
                expect_rows(<uintptr_t> target, rows, work.target_step * sizeof(real), 2 * sizeof(vector), True)
            else:
                expect_rows(<uintptr_t> target, rows, work.target_step * sizeof(real), bytes, True)
        if job.pointwise:
            work.step = work.target_step
        if lanes_are_pixels:
            tile(rows, vectors, &work, weight, <const real*> panel.pixels, target)
        else:
            tile(rows, vectors, &work, <const real*> panel.pixels, weight, target)
        if finishes or whole.last and not in_output:
            panel.tile.channel = block.group * job.o + first
            panel.tile.channels = channels
            panel.tile.in_output = in_output
            panel.tile.step = work.target_step
            panel.tile.pixel_step = 1 if lanes_are_pixels else work.target_step
            panel.tile.channel_step = work.target_step if lanes_are_pixels else 1
            finish(job, block, &panel.tile, <real*> target, target)
