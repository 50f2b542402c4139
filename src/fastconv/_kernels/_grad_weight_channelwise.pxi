"""The gradient of the weights of a depthwise convolution, with vectors along the channels: for small images.

    x_columns[d, h, w, channel], g_columns[h, w, channel], sums[tap, channel]

An item is a tile of channels and one of `splits` runs of blocks; its input is turned round with its padding, which is
a constant, so that neither rows nor borders leave lanes idle.
"""


cdef void turn_input(
    const Job* job, const Block* block, const real* x, int64_t channels, real* columns, vector* as_vectors
) noexcept nogil:
    """The padded positions that the block reads."""
    cdef const Axis* d = &job.axis[0]
    cdef const Axis* h = &job.axis[1]
    cdef const Axis* w = &job.axis[2]
    cdef int64_t rows = (h.block - 1) * h.stride + h.last_tap + 1
    cdef int64_t read = (block.count[1] - 1) * h.stride + h.last_tap + 1
    cdef int64_t left = bounded(w.before - block.first[2] * w.stride, 0, job.row)
    cdef int64_t begin = bounded(block.first[2] * w.stride - w.before, 0, w.size)
    cdef int64_t inside = bounded(w.size - begin, 0, job.row - left)
    cdef int64_t i, r, depth, row
    cdef real* target
    for i in range(d.kernel):
        depth = block.first[0] * d.stride + i * d.dilation - d.before
        for r in range(read):
            row = block.first[1] * h.stride + r - h.before
            target = columns + (i * rows + r) * job.row * job.pitch
            if depth < 0 or depth >= d.size or row < 0 or row >= h.size:
                fill_row(<vector*> target, <real> job.padding_value, job.row * job.pitch)
            else:
                fill_row(<vector*> target, <real> job.padding_value, left * job.pitch)
                turn[real, vector](
                    x + depth * d.x + row * h.x + begin * w.x, job.x_c, w.x, channels, inside,
                    target + left * job.pitch, job.pitch, as_vectors,
                )
                target += (left + inside) * job.pitch
                fill_row(<vector*> target, <real> job.padding_value, (job.row - left - inside) * job.pitch)


cdef void grad_weight_channelwise(const Job* job, int64_t item, real* workspace, vector* sums) noexcept nogil:
    cdef int64_t pitch = job.pitch
    cdef int64_t split = item % job.splits
    cdef int64_t channel = item // job.splits * pitch
    cdef int64_t channels = bounded(job.groups - channel, 0, pitch)
    cdef int64_t first, last
    cdef int64_t size = job.taps * pitch
    cdef real* g_columns = workspace + job.g_columns_at
    cdef real* part = <real*> sums
    cdef real* total = part + size
    cdef Block block
    cdef int64_t b, h
    find_run(job, split, job.n * job.axis[0].blocks * job.axis[1].blocks, &first, &last)
    fill_row(sums, <real> 0, 2 * size)
    block.first[2] = 0
    block.count[2] = job.axis[2].out
    for b in range(first, last):
        block.first[1] = b % job.axis[1].blocks * job.axis[1].block
        block.count[1] = bounded(job.axis[1].out - block.first[1], 0, job.axis[1].block)
        block.first[0] = b // job.axis[1].blocks % job.axis[0].blocks
        block.n = b // (job.axis[1].blocks * job.axis[0].blocks)
        turn_input(
            job, &block, <const real*> job.x + block.n * job.x_n + channel * job.x_c, channels, workspace, sums
        )
        for h in range(block.count[1]):
            turn[real, vector](
                <const real*> job.y + block.n * job.y_n + channel * job.y_o
                + block.first[0] * job.axis[0].y + (block.first[1] + h) * job.axis[1].y,
                job.y_o, job.axis[2].y, channels, block.count[2],
                g_columns + h * block.count[2] * pitch, pitch, sums,
            )
        add_columns(job, &block, workspace, g_columns, sums)
        if b + 1 == last or (b + 1 - first) % job.flush == 0:
            for h in range(size):
                total[h] += part[h]
                part[h] = 0
    transpose[real, vector](
        total, pitch, job.taps, channels,
        <real*> job.weight + (split * job.groups + channel) * job.taps, job.taps, sums,
    )


cdef inline void add_columns(
    const Job* job, const Block* block, const real* x_columns, const real* g_columns, vector* sums
) noexcept nogil:
    """In chains of positions, several taps at once."""
    cdef const Axis* axis = &job.axis[0]
    cdef int64_t positions = block.count[1] * block.count[2]
    cdef int64_t first = 0, length, k, h, tap, taps
    cdef int64_t steps[CHAIN]
    while first < positions:
        length = bounded(positions - first, 0, CHAIN)
        for k in range(length):
            h = (first + k) // block.count[2]
            steps[k] = (h * axis[1].stride * job.row + (first + k - h * block.count[2]) * axis[2].stride) * job.pitch
        tap = 0
        while tap < job.taps:
            taps = bounded(job.taps - tap, 0, job.dot_taps)
            taps_of(
                taps, g_columns + first * job.pitch, x_columns, steps, <const int64_t*> job.staged_rows + tap, length,
                sums + 2 * tap,
            )
            tap += taps
        first += length


cdef inline void add_taps_of(
    int t, const real* g, const real* x, const int64_t* steps, const int64_t* taps, int64_t length, vector* sums
) noexcept nogil:
    """sums[tap] += g[k] * x[steps[k] + taps[tap]], two vectors each."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef vector total[MOST_DOTS]
    cdef vector low, high
    cdef const vector* operand
    cdef int b
    cdef int64_t k = 0
    while True:  # once; see `tile_of`
        for b in range(2 * t):
            broadcast(total[b], 0)
        while k < length:
            low = (<const vector*> (g + 2 * k * lanes))[0]
            high = (<const vector*> (g + 2 * k * lanes))[1]
            for b in range(t):
                operand = <const vector*> (x + steps[k] + taps[b])
                total[2 * b] += low * operand[0]
                total[2 * b + 1] += high * operand[1]
            k += 1
        for b in range(2 * t):
            sums[b] += total[b]
        if k >= length:
            return


cdef void taps_of(
    int64_t t, const real* g, const real* x, const int64_t* steps, const int64_t* taps, int64_t length, vector* sums
) noexcept nogil:
    """The instances: two sums for each tap."""
    if t == 1:
        add_taps_of(1, g, x, steps, taps, length, sums)
    elif t == 2:
        add_taps_of(2, g, x, steps, taps, length, sums)
    elif t == 3:
        add_taps_of(3, g, x, steps, taps, length, sums)
    elif t == 4:
        add_taps_of(4, g, x, steps, taps, length, sums)
    elif t == 5:
        add_taps_of(5, g, x, steps, taps, length, sums)
    elif t == 6:
        add_taps_of(6, g, x, steps, taps, length, sums)
    elif MOST_DOTS >= 24:
        if t == 7:
            add_taps_of(7, g, x, steps, taps, length, sums)
        elif t == 8:
            add_taps_of(8, g, x, steps, taps, length, sums)
        elif t == 9:
            add_taps_of(9, g, x, steps, taps, length, sums)
        elif t == 10:
            add_taps_of(10, g, x, steps, taps, length, sums)
        elif t == 11:
            add_taps_of(11, g, x, steps, taps, length, sums)
        elif t == 12:
            add_taps_of(12, g, x, steps, taps, length, sums)
