"""Depthwise convolution of channels-last arrays: vectors along the channels, each with its own kernel, read in place.

    sums[pixel, channel] += taps[k][pixel * steps[k] + channel] * weight[k, channel]

A tap in the constant's padding reads a vector of the constant.
"""


cdef inline void add_pixels(
    int pixels, int vectors, bint whole, int64_t count, const real* weight, const real** taps, const int64_t* steps,
    int64_t chain, int64_t lanes, int64_t channels, vector* sums, int64_t step, bint first,
) noexcept nogil:
    """`count` tiles side by side. `whole`: the channels fill the vectors; else the last one is read in part."""
    cdef vector total[CHANNELWISE_PIXELS][2]
    cdef vector operand
    cdef const vector* source
    cdef const vector* factor
    cdef int p, v
    cdef int64_t t, k
    cdef int64_t rest = channels - (vectors - 1) * (sizeof(vector) // sizeof(real))
    for t in range(count):
        for p in range(pixels):
            for v in range(vectors):
                broadcast(total[p][v], 0)
        for k in range(chain):
            factor = <const vector*> (weight + k * lanes)
            for p in range(pixels):
                source = <const vector*> (taps[k] + (t * pixels + p) * steps[k])
                for v in range(vectors):
                    if whole or v < vectors - 1:
                        total[p][v] += factor[v] * source[v]
                    else:
                        load_part(operand, source + v, rest)
                        total[p][v] += factor[v] * operand
        for p in range(pixels):
            for v in range(vectors):
                if not first:
                    total[p][v] += (<vector*> (<real*> sums + p * step))[v]
                (<vector*> (<real*> sums + p * step))[v] = total[p][v]
        sums = <vector*> (<real*> sums + pixels * step)


cdef void multiply_pixels(
    int64_t pixels, int64_t count, const real* weight, const real** taps, const int64_t* steps, int64_t chain,
    int64_t lanes, int64_t channels, vector* sums, int64_t step, bint first,
) noexcept nogil:
    """The instances: CHANNELWISE_PIXELS pixels or one, of one or two vectors of channels."""
    cdef int64_t width = sizeof(vector) // sizeof(real)
    if channels == 2 * width:
        if pixels == CHANNELWISE_PIXELS:
            add_pixels(
                CHANNELWISE_PIXELS, 2, True, count, weight, taps, steps, chain, lanes, channels, sums, step, first
            )
        else:
            add_pixels(1, 2, True, count, weight, taps, steps, chain, lanes, channels, sums, step, first)
    elif channels > width:
        if pixels == CHANNELWISE_PIXELS:
            add_pixels(
                CHANNELWISE_PIXELS, 2, False, count, weight, taps, steps, chain, lanes, channels, sums, step, first
            )
        else:
            add_pixels(1, 2, False, count, weight, taps, steps, chain, lanes, channels, sums, step, first)
    elif pixels == CHANNELWISE_PIXELS:
        add_pixels(CHANNELWISE_PIXELS, 1, False, count, weight, taps, steps, chain, lanes, channels, sums, step, first)
    else:
        add_pixels(1, 1, False, count, weight, taps, steps, chain, lanes, channels, sums, step, first)


cdef void channelwise(const Job* job, const Block* block, real* constant, vector* sums) noexcept nogil:
    cdef const Axis* w = &job.axis[2]
    cdef int64_t begin = block.first[2]
    cdef int64_t end = begin + block.count[2]
    # columns low .. high - 1 of the output read no padding
    cdef int64_t low = bounded(steps(w.before, w.stride), begin, end)
    cdef int64_t high = bounded(steps(w.before + w.size - w.last_tap, w.stride), low, end)
    cdef int64_t h, x, t
    cdef Tile tile
    fill_row(<vector*> constant, <real> job.padding_value, job.tile_lanes)
    tile.image_rows = 1
    tile.pixel = 0
    tile.vectors = 2
    tile.channel_step = 1
    for t in range(block.tile, block.tile + block.tiles):
        tile.channel = t * job.tile_lanes
        tile.channels = bounded(job.o - tile.channel, 0, job.tile_lanes)
        for h in range(block.first[1], block.first[1] + block.count[1]):
            tile.h = h
            x = begin
            while x < end:
                tile.w = x
                if low <= x and x + job.tile_rows <= high:
                    tile.row = job.tile_rows
                    add_segment[real, vector](job, block, &tile, (high - x) // tile.row, True, constant, sums)
                    x += (high - x) // tile.row * tile.row
                else:
                    tile.row = 1
                    add_segment[real, vector](job, block, &tile, 1, low <= x and x < high, constant, sums)
                    x += 1


cdef void add_segment(
    const Job* job, const Block* block, Tile* tile, int64_t count, bint inside, const real* constant, vector* sums
) noexcept nogil:
    """`count` tiles of one row, side by side; `inside`: none of their taps reads padding to the left or right."""
    cdef const real* taps[CHAIN]
    cdef int64_t tap_steps[CHAIN]
    cdef int64_t i, chain, tap = 0
    cdef const real* weight = <const real*> job.weight + tile.channel * job.taps
    cdef real* y = (
        <real*> job.y + block.n * job.y_n + tile.channel + block.first[0] * job.axis[0].y + tile.h * job.axis[1].y
        + tile.w * job.axis[2].y
    )
    tile.in_output = job.to_output and not job.bias and not job.activation and tile.channels == job.tile_lanes
    tile.step = job.axis[2].y if tile.in_output else job.tile_lanes
    tile.pixel_step = tile.step
    tile.pixels = tile.row
    tile.width = tile.row
    while tap < job.taps:
        chain = chain_taps(job, tap)
        locate_taps(job, block, tile, tap, chain, inside, constant, taps, tap_steps)
        multiply_pixels(
            tile.row, count, weight + tap * job.tile_lanes, taps, tap_steps, chain, job.tile_lanes, tile.channels,
            <vector*> (y if tile.in_output else <real*> sums), tile.step, tap == 0,
        )
        tap += chain
    if not tile.in_output:
        for i in range(count):
            finish(job, block, tile, <real*> sums + i * tile.row * tile.step, sums)
            tile.w += tile.row


cdef void locate_taps(
    const Job* job, const Block* block, const Tile* tile, int64_t first, int64_t count, bint inside,
    const real* constant, const real** taps, int64_t* tap_steps,
) noexcept nogil:
    """What the taps first .. first + count - 1 read for the first pixel of a tile, and the step from pixel to pixel."""
    cdef const Axis* d = &job.axis[0]
    cdef const Axis* h = &job.axis[1]
    cdef const Axis* w = &job.axis[2]
    cdef const real* x = <const real*> job.x + block.n * job.x_n + tile.channel
    cdef int64_t i, k = first % w.kernel, j = first // w.kernel, depth, line, column
    for i in range(count):
        depth = source_of(d, block.first[0] * d.stride + j // h.kernel * d.dilation)
        line = source_of(h, tile.h * h.stride + j % h.kernel * h.dilation)
        column = tile.w * w.stride + k * w.dilation
        column = column - w.before if inside else source_of(w, column)
        if depth < 0 or line < 0 or column < 0:
            taps[i] = constant
            tap_steps[i] = 0
        else:
            taps[i] = x + depth * d.x + line * h.x + column * w.x
            tap_steps[i] = w.stride * w.x
        k += 1
        if k == w.kernel:
            k = 0
            j += 1
